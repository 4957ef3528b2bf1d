"""The checkpoints of a run that are still on disk, and the recommendation among them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from interplay.errors import InterplayError
from interplay.models.layouts import find_layout
from interplay.recommendation import Recommendation, recommend
from interplay.store.folder import RunFolder
from interplay.store.reader import RunReader


@dataclass(frozen=True)
class SavedCheckpoints:
    """The trained checkpoints that a run measured, without step 0, and where their weights are.

    where    the folder the training left them in
    hashes   measured step -> SHA-256 of its weights, ascending; None where the run kept none
    paths    step -> folder of each one whose weights can still be opened
    problem  why none can be found at all
    """

    where: Path
    hashes: Mapping[int, str | None]
    paths: Mapping[int, Path]
    problem: str | None = None

    @property
    def steps(self) -> tuple[int, ...]:
        """The measured steps after 0, ascending."""
        return tuple(self.hashes)

    @property
    def gone(self) -> tuple[int, ...]:
        """Measured steps whose weights are not there any more."""
        return tuple(step for step in self.hashes if step not in self.paths)


def saved_checkpoints(run: RunReader) -> SavedCheckpoints:
    """Which of the checkpoints that a run measured are on disk, whole as far as their headers say."""
    outside = run.settings.checkpoints.folder
    where = Path(outside) if outside else RunFolder(run.path).checkpoints
    hashes = {step: sha for step, sha in sorted(_measured(run).items()) if step > 0}
    try:
        found = {c.step: c.path for c in find_layout(where).checkpoints if c.path is not None}
    except InterplayError as error:
        return SavedCheckpoints(where, hashes, {}, str(error))
    return SavedCheckpoints(where, hashes, {step: path for step in hashes if (path := found.get(step)) is not None})


def recommend_saved(run: RunReader, saved: SavedCheckpoints) -> Recommendation:
    """What the run recommended, or recommends now where one of its checkpoints is gone.

    Raises InterplayError where the run measured the base alone, and where no checkpoint is left that can be kept.
    """
    name = str(run.path)
    if not saved.hashes:
        raise InterplayError(
            f"{name!r} measured the base model only, so there is no checkpoint to keep: measure saved checkpoints too"
        )
    if not saved.paths:
        reason = f"is there to keep: {saved.problem}"
        if saved.problem is None:
            reason = f"is whole in {str(saved.where)!r} any more: copy one back"
        raise InterplayError(f"none of the checkpoints that {name!r} measured ({_listed(saved.steps)}) {reason}")
    with run.intact():
        recorded = Recommendation.from_dict(run.recorded)
    if not saved.gone and recorded.step in (None, *saved.paths):
        return recorded
    with run.intact():
        how = {"resamples": run.settings.dynamics.resamples, "seed": run.settings.seed}
        again = recommend(run.trajectory, run.task, existing=tuple(saved.paths), **how)
    if again.step not in saved.paths:
        raise InterplayError(
            f"of what {name!r} measured only {_listed(tuple(saved.paths))} is on disk, which leaves no trained "
            f"checkpoint to name: copy the others back into {str(saved.where)!r}"
        )
    return again


def _measured(run: RunReader) -> dict[int, str | None]:
    """Every measured step with the hash of its weights, where the run kept hashes."""
    if run.has("weights.json"):
        return {int(step): sha for step, sha in run.json("weights.json")["checkpoints"].items()}
    with run.intact():
        return dict.fromkeys(run.trajectory.steps)


def _listed(steps: tuple[int, ...]) -> str:
    return f"step{'' if len(steps) == 1 else 's'} {', '.join(map(str, steps))}"
