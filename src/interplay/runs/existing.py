"""The recommendation of a run among the checkpoints that are still on disk: nobody can keep one whose weights are gone.

Looks at folders and the first bytes of weight files, and asks the rule again where a checkpoint was lost since the run. It
opens no model and measures nothing; which checkpoint a rule prefers is `verdict`'s business.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interplay.errors import InterplayError
from interplay.runs.files import read_json
from interplay.runs.folder import RunFolder
from interplay.runs.intact import reading
from interplay.scoring.layouts import Checkpoint, find_layout, weight_files


@dataclass(frozen=True)
class Kept:
    """Checkpoints of a run by whether their weights can still be opened.

    where   the folder the training left them in
    paths   optimiser step -> folder of each one that is there; step 0, the base, is none of them
    gone    measured steps whose weights are not there any more, ascending
    """

    where: Path
    paths: dict[int, Path]
    gone: tuple[int, ...]


def kept_checkpoints(folder: RunFolder) -> Kept:
    """Which of the checkpoints that a run measured are on disk, whole as far as their headers say.

    A relative folder of another training is looked for from here, as `track` did. Raises InterplayError where the run
    measured the base alone, or none of its checkpoints is left.
    """
    outside = folder.settings().checkpoints.folder
    where = Path(outside) if outside else folder.checkpoints
    measured = sorted(step for step in _measured(folder) if step > 0)
    if not measured:
        raise InterplayError(
            f"{str(folder.path)!r} is of the base model alone, which is no checkpoint to keep: measure saved checkpoints too"
        )
    try:
        found = {c.step: c.path for c in find_layout(where).checkpoints if c.path is not None and _is_whole(c)}
    except InterplayError as error:
        raise InterplayError(
            f"none of the checkpoints that {str(folder.path)!r} measured ({_listed(measured)}) is there to keep: {error}"
        ) from error
    paths = {step: path for step in measured if (path := found.get(step)) is not None}
    if not paths:
        raise InterplayError(
            f"none of the checkpoints that {str(folder.path)!r} measured ({_listed(measured)}) is whole in "
            f"{str(where)!r} any more: copy one back"
        )
    return Kept(where, paths, tuple(step for step in measured if step not in paths))


def recommend_kept(folder: RunFolder, recorded: dict[str, Any], kept: Kept) -> dict[str, Any]:
    """What the run recommended, in the form of `recommendation.json`; asked anew where a checkpoint of it is gone.

    Raises InterplayError where no checkpoint is left that the rule may name.
    """
    with reading(folder.path):
        if not kept.gone and recorded["step"] in (None, *kept.paths):
            return recorded
        from interplay.runs.results import recommend_among  # pandas, which an untouched run does not need

        verdict = recommend_among(folder, tuple(kept.paths)).to_dict()
    if verdict["step"] is not None and verdict["step"] not in kept.paths:
        raise InterplayError(
            f"of what {str(folder.path)!r} measured only {_listed(sorted(kept.paths))} is on disk, which leaves no trained "
            f"checkpoint to name: copy the others back into {str(kept.where)!r}"
        )
    return verdict


def _measured(folder: RunFolder) -> list[int]:
    """The steps whose weights the run hashed."""
    with reading(folder.path):
        return [int(step) for step in read_json(folder.path / "weights.json")["checkpoints"]]


def _listed(steps: list[int]) -> str:
    return f"step{'' if len(steps) == 1 else 's'} {', '.join(map(str, steps))}"


def _is_whole(checkpoint: Checkpoint) -> bool:
    """Whether its weight files are there and as long as their headers say; their bytes are not read."""
    from safetensors import SafetensorError, safe_open

    assert checkpoint.path is not None
    try:
        full = checkpoint.kind == "full"
        files = weight_files(checkpoint.path) if full else [checkpoint.path / "adapter_model.safetensors"]
        for file in files:
            with safe_open(file, framework="np"):
                pass
    except (OSError, SafetensorError, InterplayError):
        return False
    return True
