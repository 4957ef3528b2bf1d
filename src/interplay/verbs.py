"""What the commands do, in Python, under the same names and with the same defaults: run, track, recommend, compare, export, card.

The command line turns its options into these calls and prints what comes back. Settings are made and checked here, before
anything heavy is imported, so a typing error does not cost ten seconds.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from interplay.data.words import WORDS_PER_PROMPT
from interplay.errors import InterplayError

if TYPE_CHECKING:
    from interplay.comparison.result import RunComparison
    from interplay.config.settings import Settings
    from interplay.exports.export import ExportResult
    from interplay.pipeline.pipeline import Unfinished
    from interplay.recommendation import Recommendation
    from interplay.runfolder import Run

Place = str | os.PathLike[str]
Chat = Literal["auto", "true", "false"] | bool
Overrides = Mapping[str, Any] | Iterable[str]
PROMPTS = 12  # held-out prompts, where no other number is asked for [ours]

# `recommend` spends no forward pass on what the rule does not read. With few draws the nulls of the report are coarser, and
# no figure of the rule changes.
_QUICK = {
    "prompt": {"rephrased": None},
    "controls": {"precision": None, "reference": None, "draws": 1, "labels": False},
    "dynamics": {"draws": 20},
}
_ROWS = "--prompts FILE (a dozen or more held-out rows with the answer each: text and label, prompt and completion, or messages)"


def run(
    config: Place | Mapping[str, Any],
    *,
    model: str | None = None,
    data: str | None = None,
    settings: Overrides = (),
    out: Place | None = None,
    workers: int | None = None,
    shard: str | None = None,
    ray: str | None = None,
    quiet: bool = False,
) -> "Run | Unfinished":
    """Fine-tune a causal LM, extract interactions at every checkpoint, track and report them.

    The same call continues an unfinished run and computes nothing again that is valid.

    Args:
        config: a settings file, `preset:NAME`, or the settings as a mapping.
        model: the LLM instead of the one in `config`: hub name, local folder or GGUF file.
        data: the data instead of those in `config`: a folder with train, dev and test files, or one file, which is split.
        settings: overrides, as `{"dynamics.ratio": 0.1}` or as `["dynamics.ratio=0.1"]`, whose values are read as YAML.
        out: run folder; None: `runs/NAME-HASH`.
        workers: number of scoring processes (with `ray`: actors); None: one.
        shard: "I/N": do the I-th of N shares of the run only.
        ray: address of a Ray cluster: auto, HOST:PORT, ray://HOST:PORT, or local for one here.
        quiet: no progress on stderr.

    Returns the finished run; of a shard whose others are not done, an `Unfinished`, which counts what is missing.

    Raises InterplayError for anything the user can mend; what was finished by then stays and is used again.
    """
    from interplay.presets import preset_path

    source: Path | Mapping[str, Any]
    if isinstance(config, Mapping):
        source = config
    else:
        name = os.fspath(config)
        source = preset_path(name.removeprefix("preset:")) if name.startswith("preset:") else Path(name)
    return _make(source, [*copies(model, data), *_assignments(settings)], out, quiet, workers, shard, ray)


def track(
    base: str,
    checkpoints: Place,
    data: Place,
    *,
    form: str = "auto",
    system: str | None = None,
    template: str = "{text}",
    chat: Chat = "auto",
    n: int = WORDS_PER_PROMPT,
    num_prompts: int = PROMPTS,
    steps: Iterable[int] | None = None,
    baseline: Iterable[str] = (),
    settings: Overrides = (),
    out: Place | None = None,
    workers: int | None = None,
    shard: str | None = None,
    ray: str | None = None,
    quiet: bool = False,
) -> "Run | Unfinished":
    """Analyse the checkpoints that another training left. Nothing is trained and the base is loaded once.

    Args:
        base: the base model: hub name, local folder or GGUF file.
        checkpoints: folder with checkpoint-STEP folders, adapters or full weights.
        data: held-out rows; the prompts and the eval rows are taken from them.
        form: form of the data; auto looks at the columns.
        system, template, chat: how training worded a prompt; `{text}` stands for the text.
        n: words per prompt, 2 to 16; all 2^n coalitions are scored.
        num_prompts: number of prompts.
        steps: only these steps; None: all that are found.
        baseline: baseline LLMs for generalizability.

    The other arguments, the result and the errors are those of `run`.
    """
    base, folder = str(base), os.fspath(checkpoints)
    made: dict[str, Any] = {
        "name": f"{Path(folder).name} on {Path(base).name}",
        "model": {"name": base},
        "data": {"prompts": os.fspath(data), "eval": os.fspath(data), "form": form},
        "prompt": {"system": system, "template": template, "chat": _chat(chat)},
        "prompts": {"count": num_prompts, "n": n},
        "checkpoints": {"folder": folder, "steps": None if steps is None else list(steps)},
    }
    if others := list(baseline):
        made["baseline"] = [{"name": name, "few_shot": 0, "template": template} for name in others]
    return _make(made, _assignments(settings), out, quiet, workers, shard, ray)


def recommend(
    path: Place,
    *,
    base: str | None = None,
    prompts: Place | None = None,
    form: str = "auto",
    system: str | None = None,
    template: str = "{text}",
    chat: Chat = "auto",
    num_prompts: int = PROMPTS,
    n: int = WORDS_PER_PROMPT,
    settings: Overrides = (),
    out: Place | None = None,
    quiet: bool = False,
) -> "Recommendation":
    """Which checkpoint to keep, and why: of a run, or of any folder of checkpoints. Only one whose weights are on disk is named.

    A folder of checkpoints is measured first, with what the rule reads and no more. The same call continues where it was
    stopped.

    Args:
        path: a run folder, or the output folder of a training; the other arguments belong to such a folder only.
        base: the base model: hub name, local folder or GGUF file.
        prompts: file of held-out rows with their answers; the prompts are chosen among them.
        form, system, template, chat, num_prompts, n: as for `track`.

    Returns the recommendation: `.step`, and one sentence as `str`.

    Raises InterplayError where nothing can be kept, and for what `run` refuses.
    """
    return run_to_recommend(
        path,
        base=base,
        prompts=prompts,
        form=form,
        system=system,
        template=template,
        chat=chat,
        num_prompts=num_prompts,
        n=n,
        settings=settings,
        out=out,
        quiet=quiet,
    ).recommendation


def run_to_recommend(
    path: Place,
    *,
    base: str | None,
    prompts: Place | None,
    form: str,
    system: str | None,
    template: str,
    chat: Chat,
    num_prompts: int,
    n: int,
    settings: Overrides,
    out: Place | None,
    quiet: bool,
) -> "Run":
    """The run in which `recommend` finds its answer: the one in `path`, or the one that measures the checkpoints in it."""
    path, overrides = Path(path), _assignments(settings)
    from interplay.runfolder import Run

    if (path / "settings.yaml").exists():
        given = {"--base": base, "--prompts": prompts, "--out": out, "--set": overrides}
        if named := next((option for option, value in given.items() if value), None):
            raise InterplayError(
                f"{str(path)!r} is a run folder, which knows its model and prompts: leave out {named}, or give the folder of "
                "its checkpoints"
            )
        return Run(path)
    if base is None or prompts is None:
        raise InterplayError(_what_to_give(path, base, prompts))
    made = {
        "name": f"{path.resolve().name} on {Path(base).name}",
        "model": {"name": base},
        "data": {"prompts": os.fspath(prompts), "form": form},
        "prompts": {"count": num_prompts, "n": n},
        "checkpoints": {"folder": str(path), "steps": None},
        **_QUICK,
        "prompt": {**_QUICK["prompt"], "system": system, "template": template, "chat": _chat(chat)},
    }
    measured = _make(made, overrides, out, quiet)
    assert isinstance(measured, Run)
    return measured


def compare(
    runs: Sequence["Place | Run"],
    *,
    groups: Mapping[str, Sequence["Place | Run"]] | None = None,
    axis: str = "steps",
    definition: str = "paper",
) -> "RunComparison":
    """Put two or more finished runs side by side: LoRA against full fine-tuning, seeds, models.

    Args:
        runs: runs or their folders.
        groups: name -> runs that are shown as one line, their mean. Runs that differ in nothing but `training.seed` are grouped
            without it.
        axis: steps, or epochs where the training rows are known.
        definition: definition of the sets: paper, signed or fixed-tau.

    Returns a comparison: `str` of it is the command's table, `.report("compare.html")` writes the page.
    """
    from interplay.comparison.result import compare_folders

    named = {name: [_folder(one) for one in members] for name, members in (groups or {}).items()}
    return compare_folders([_folder(one) for one in runs], named, axis, definition)


def export(
    run: "Place | Run",
    folder: Place,
    *,
    format: str | Sequence[str] = ("svg", "pdf"),
    tables: str | Sequence[str] = ("csv", "parquet"),
) -> "ExportResult":
    """Write every figure of a run for a paper, and every number behind it: `Run.export`."""
    return _opened(run).export(Path(folder), format=format, tables=tables)


def card(run: "Place | Run", *, append: Place | None = None) -> str:
    """A "Training dynamics" section for a model card, and with `append` into that card: `Run.card`."""
    return _opened(run).card(None if append is None else Path(append))


def copies(model: str | None, data: str | None) -> list[tuple[str, Any]]:
    """The overrides that point a run at local copies of its model and its data."""
    from interplay.data.splits import data_settings

    found: list[tuple[str, Any]] = [] if model is None else [("model.name", model)]
    if data is not None:
        found += [(f"data.{key}", value) for key, value in data_settings(data).items()]
    return found


def _assignments(settings: Overrides) -> list[Any]:
    """Overrides as `load_settings` takes them."""
    if isinstance(settings, str):
        return [settings]
    return list(settings.items() if isinstance(settings, Mapping) else settings)


def _make(
    source: Path | Mapping[str, Any],
    overrides: Sequence[Any],
    out: Place | None,
    quiet: bool,
    workers: int | None = None,
    shard: str | None = None,
    ray: str | None = None,
) -> "Run | Unfinished":
    """Make or finish the run of these settings."""
    from interplay.config.loading import default_folder, load_settings
    from interplay.pipeline.shards import EVERYTHING, parse_shard

    checked: Settings = load_settings(source, overrides)
    part = EVERYTHING if shard is None else parse_shard(shard)
    if shard is not None and (workers is not None or ray is not None):
        raise InterplayError("--shard is one process of many: leave out --workers and --ray, or leave out --shard")
    from interplay.parallel.run import run as run_pipeline
    from interplay.pipeline.pipeline import Unfinished
    from interplay.pipeline.progress import Progress
    from interplay.runfolder import Run

    folder, progress = default_folder(checked) if out is None else Path(out), Progress(quiet=quiet)
    done = run_pipeline(checked, folder, progress, workers=workers, ray=ray, shard=part)
    return done if isinstance(done, Unfinished) else Run(folder)


def _what_to_give(path: Path, base: str | None, prompts: Place | None) -> str:
    """What is missing to measure a folder of checkpoints; InterplayError where it holds none."""
    if not path.is_dir() or not any(path.iterdir()):
        return (
            f"{str(path)!r} is no run folder (no settings.yaml) and holds no checkpoints: give a folder that a run or a "
            "training was written to"
        )
    from interplay.models.layouts import find_layout

    try:
        steps = [c.step for c in find_layout(path).checkpoints if c.path is not None]
    except InterplayError as error:
        return f"{str(path)!r} is no run folder (no settings.yaml); as the folder of a training: {error}"
    missing = " and ".join(
        said for said, value in (("--base MODEL (what was fine-tuned)", base), (_ROWS, prompts)) if value is None
    )
    many = "a checkpoint" if len(steps) == 1 else f"{len(steps)} checkpoints"
    return f"{str(path)!r} holds {many} of a training but no measured run: give {missing}"


def _chat(value: Chat) -> bool | str:
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def _opened(run: "Place | Run") -> "Run":
    from interplay.runfolder import Run

    return run if isinstance(run, Run) else Run(Path(run))


def _folder(run: "Place | Run") -> Path:
    return Path(run) if isinstance(run, str | os.PathLike) else run.path
