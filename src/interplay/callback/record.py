"""The run folder of a training that was watched: units as they are measured, tables and the page from them.

It is the folder of `interplay track` in all that `interplay report` and `recommend` read, and `callback.json` beside it: what
was asked for, what was planned, the hashes of the weights at each measurement. From that file and the units a resumed training
knows its measurements; nothing is taken from the trainer's own state.
"""

import contextlib
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from interplay.callback.budget import Plan
from interplay.callback.prompts import PromptRows, Prompts
from interplay.config.loading import dump_settings
from interplay.config.settings import Settings
from interplay.data.prompts import template_hash, uses_chat
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError
from interplay.pipeline.inputs import Inputs
from interplay.pipeline.measure import cache_calibration
from interplay.store.conditions import Calibration, Omitted, Record, offsets, step_name
from interplay.store.files import sweep, write_json
from interplay.store.folder import RunFolder, environment
from interplay.store.formats import check_format, write_format
from interplay.store.guard import refuse_links

OURS = "callback.json"
_STEP = re.compile(r"step-(\d{6,})")


@dataclass
class Kept:
    """What `callback.json` holds: under which question (`request`), the plan, the calibration, and hashes of weights.

    base     of the parameters that training leaves alone
    hashes   step -> of the others, at each measurement
    saved    steps of which the trainer saved a checkpoint
    """

    request: str
    plan: Plan
    base: str
    calibration: Calibration | None = None
    hashes: dict[int, str] = field(default_factory=dict)
    saved: list[int] = field(default_factory=list)


def read_kept(folder: Path) -> Kept | None:
    """What an earlier process left in the folder; None where there is nothing of ours, or it is damaged."""
    try:
        return TypeAdapter(Kept).validate_json((folder / OURS).read_bytes())
    except (OSError, ValidationError):
        return None


def write_kept(folder: Path, kept: Kept) -> None:
    """Write `callback.json`, and `weights.json` with the checkpoints that were saved."""
    write_json(folder / OURS, asdict(kept))
    checkpoints = {str(step): kept.hashes[step] for step in kept.saved if step in kept.hashes}
    write_json(folder / "weights.json", {"base": kept.base, "checkpoints": checkpoints})


def claim(folder: Path, step: int, request: str) -> tuple[Kept | None, str | None]:
    """Take the folder for a training that stands at `step`; what it left there up to then, and a note where that is lost.

    What a training left behind its checkpoint is removed: it will be measured again. A folder that belongs to something else
    is refused with an InterplayError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = [p.name for p in folder.iterdir() if not p.name.endswith(".tmp")]
    except OSError as error:
        raise InterplayError(
            f"cannot write the folder {str(folder)!r}: {error.strerror}; give another folder="
        ) from error
    refuse_links(folder)  # what is removed below must not be somebody else's
    if "settings.yaml" in names:
        check_format(folder)
    kept = read_kept(folder)
    if names and OURS not in names:
        raise InterplayError(f"{str(folder)!r} is not empty and was not written by this callback: give another folder=")
    sweep(folder)
    note = f"{OURS} is damaged, so the rule begins anew at step {step}" if kept is None and names and step else None
    if kept is not None and (step == 0 or kept.request != request):
        if step:
            note = (
                "earlier measurements of this training asked another question (prompts, words or template differ): "
                f"the rule begins anew at step {step}"
            )
        kept = None
    _clear(folder, None if kept is None else step)
    if kept is not None:
        kept.hashes = {s: sha for s, sha in kept.hashes.items() if s <= step}
        kept.saved = [s for s in kept.saved if s <= step]
    return kept, note


def _clear(folder: Path, until: int | None) -> None:
    """Remove the results, and the units behind step `until`; all of them where it is None."""
    for name in ("*.parquet", "report.*", "recommendation.json", "controls.json", "manifest.json", "times.json"):
        for path in folder.glob(name):
            path.unlink(missing_ok=True)
    for path in (folder / "units").glob("step-*"):
        found = _STEP.fullmatch(path.name)
        if found and (until is None or int(found[1]) > until) and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)


def make_settings(
    *,
    name: str,
    model: str,
    dtype: str,
    found: PromptRows,
    plan: Plan,
    seed: int,
    output_dir: str,
    mask: str | int | None,
    target_tokens: int,
) -> Settings:
    """The measurement as settings of a run: those of `interplay track` on the checkpoints of this training, without controls."""
    template = found.template
    return Settings.model_validate(
        {
            "name": name or "training",
            "seed": seed,
            "model": {"name": model, "dtype": dtype},
            "data": {"prompts": found.source},
            "prompt": {
                "system": template.system,
                "template": template.template,
                "chat": False if found.verbatim else template.chat,
                "rephrased": None,
            },
            "prompts": {"count": plan.prompts, "n": max(2, plan.n)},
            "checkpoints": {"folder": output_dir, "steps": None},
            "scoring": {"mask": mask, "target_tokens": target_tokens},
            "task": {"kl": False},
            "controls": {"precision": None, "reference": None, "draws": 1, "labels": False},
        }
    )


def make_inputs(found: PromptRows, prompts: Prompts) -> Inputs:
    """The prompts as inputs of a run; rows of the training are not known here."""
    template = PromptTemplate(chat=False) if found.verbatim else found.template
    return Inputs(
        train=(),
        eval=(),
        labels=None,
        prompts=prompts.samples,
        template=template,
        rephrased=None,
        few_shot=None,
        format=None,
        draws=(),
        baselines=(),
        omitted=tuple(Omitted("prompts", s.id, s.reason) for s in prompts.skipped),
        notes=prompts.notes,
    )


def open_folder(folder: Path, settings: Settings, inputs: Inputs) -> None:
    """What a run folder holds before anything is measured."""
    from interplay.atomic import write_text

    write_format(folder)
    write_text(folder / "settings.yaml", dump_settings(settings))
    write_json(folder / "environment.json", environment())
    write_json(folder / "inputs.json", {"fingerprint": inputs.fingerprint(), **inputs.describe()})


def write_record(
    folder: Path, kept: Kept, steps: Sequence[int], prompts: Prompts, inputs: Inputs, tokenizer: Any, **more: Any
) -> None:
    """What was measured so far, as the analysis reads it; the reference is the first step."""
    assert kept.calibration is not None
    cache_calibration(folder / "calibration.json", kept.request, kept.calibration)
    mask_id = prompts.prepared[0].mask_id
    Record(
        base_sha256=kept.base,
        weights={step: kept.hashes[step] for step in steps},
        conditions={step_name(step): tuple(range(len(prompts.prepared))) for step in steps},
        words={1: offsets(inputs.prompts)},
        mask=(tokenizer.convert_ids_to_tokens(mask_id), mask_id),
        chat=uses_chat(tokenizer, inputs.template),
        template_hash=template_hash(tokenizer, inputs.template),
        task=("logged",),
        omitted=inputs.omitted,
        **more,
    ).write(folder)


def write_page(folder: Path, seconds: dict[str, float]) -> None:
    """The page from the tables, and the manifest over everything."""
    from interplay.analysis.payload import build_payload
    from interplay.report import write

    run = RunFolder(folder)
    with contextlib.suppress(FileNotFoundError):
        (folder / "manifest.json").unlink()
    write(build_payload(run), folder / "report.html", folders=0)
    run.finish(seconds)
