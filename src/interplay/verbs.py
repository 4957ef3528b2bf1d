"""What the commands do, as Python functions of their names and defaults: init, run, track, recommend, compare, diff, test, export, card.

Settings are checked before torch is imported, so a typing error does not cost ten seconds.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from interplay.data.words import WORDS_PER_PROMPT
from interplay.errors import InterplayError

if TYPE_CHECKING:
    from interplay.auditing.checks import Tested
    from interplay.auditing.result import Audit
    from interplay.comparison.comparison import Comparison
    from interplay.config.starting import Started
    from interplay.exports.export import ExportResult
    from interplay.pipeline.pipeline import Unfinished
    from interplay.recommendation.logged import LoggedTraining
    from interplay.recommendation.result import Recommendation
    from interplay.runfolder import Run

AnyPath = str | os.PathLike[str]
Chat = Literal["auto"] | bool
Overrides = Mapping[str, Any] | Iterable[str]
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"  # where no other is named [ours]
PROMPTS = 12  # held-out prompts, where no other number is asked for [ours]

_ROWS = "--prompts FILE (a dozen or more held-out rows with the answer each: text and label, prompt and completion, or messages)"


def init(
    data: str = "emotions",
    model: str = MODEL,
    *,
    settings: Overrides | None = None,
    out: AnyPath = "interplay.yaml",
    force: bool = False,
) -> "Started":
    """Write a settings file for `run` from the rows of a data set, with what each setting means.

    Args:
        data: a file, which is split, or a folder of splits, hub:owner/name, or emotions: the embedded sentences.
        model: the LLM to fine-tune: hub name, local folder or GGUF file.
        settings: overrides, as for `run`: `{"data.columns": {"text": "comment"}}` where columns have other names.
        out: the file to write.
        force: overwrite it.

    Returns what was recognised: `.rows`, `.form`, `.columns`, `.labels`, `.notes`, and `.path`; as `str` in lines. Raises
    InterplayError, and writes nothing, for rows that cannot be read and for a file that is there.

    >>> import tempfile
    >>> init(out=f"{tempfile.mkdtemp()}/interplay.yaml").rows["train"]
    680
    """
    from interplay.config.loading import assignments
    from interplay.config.starting import start

    return start(data, model, assignments(settings), Path(out), force)


def run(
    config: AnyPath | Mapping[str, Any],
    *,
    model: str | None = None,
    data: str | None = None,
    settings: Overrides | None = None,
    out: AnyPath | None = None,
    workers: int | None = None,
    shard: str | None = None,
    ray: str | None = None,
    quiet: bool = False,
) -> "Run | Unfinished":
    """Fine-tune a causal LM, extract interactions at every checkpoint, track and report them.

    The same call continues an unfinished run and repeats nothing that is done.

    Args:
        config: a settings file, `preset:NAME`, or the settings as a mapping.
        model: the LLM instead of the one in `config`: hub name, local folder or GGUF file.
        data: the data instead of those in `config`: a folder with train, dev and test files, or one file, which is split.
        settings: overrides, as `{"dynamics.ratio": 0.1}` or `["dynamics.ratio=0.1"]`, whose values are read as YAML.
        out: run folder; None: `runs/NAME-HASH`.
        workers: number of scoring processes (with `ray`: actors); None: one.
        shard: "I/N": do the I-th of N parts of the run only.
        ray: address of a Ray cluster: auto, HOST:PORT, ray://HOST:PORT, or local for one here.
        quiet: no progress on stderr.

    Returns the finished run, or an `Unfinished` with the number of missing results if other shards are not done. Raises
    InterplayError for anything the user can correct; finished parts stay and are used again.
    """
    from interplay.config.loading import assignments
    from interplay.presets import preset_path

    if not isinstance(config, Mapping):
        name = os.fspath(config)
        config = preset_path(name.removeprefix("preset:")) if name.startswith("preset:") else Path(name)
    return _make(config, [*copies(model, data), *assignments(settings)], out, quiet, workers, shard, ray)


def track(
    base: AnyPath,
    checkpoints: AnyPath,
    data: AnyPath,
    *,
    form: str = "auto",
    system: str | None = None,
    template: str = "{text}",
    chat: Chat = "auto",
    train: AnyPath | None = None,
    n: int = WORDS_PER_PROMPT,
    num_prompts: int = PROMPTS,
    steps: Iterable[int] | None = None,
    baseline: Iterable[str] | None = None,
    settings: Overrides | None = None,
    out: AnyPath | None = None,
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
        train: the rows it was trained on, so that it is audited too: which word rules of them did it learn?
        n, num_prompts: words per prompt, 2 to 16, and number of prompts; all 2^n coalitions of each are scored.
        steps: only these steps; None: all that are found.
        baseline: baseline LLMs for generalizability.

    The other arguments, the result and the errors are those of `run`.
    """
    from interplay.config.loading import assignments

    made = _tracking(locals(), checkpoints, data)
    made["data"] |= {"eval": os.fspath(data), "train": None if train is None else os.fspath(train)}
    made["checkpoints"]["steps"] = None if steps is None else list(steps)
    if baseline:
        made["baseline"] = [{"name": name, "few_shot": 0, "template": template} for name in baseline]
    return _make(made, assignments(settings), out, quiet, workers, shard, ray)


def recommend(
    path: AnyPath,
    *,
    base: AnyPath | None = None,
    prompts: AnyPath | None = None,
    form: str = "auto",
    system: str | None = None,
    template: str = "{text}",
    chat: Chat = "auto",
    num_prompts: int = PROMPTS,
    n: int = WORDS_PER_PROMPT,
    settings: Overrides | None = None,
    out: AnyPath | None = None,
    quiet: bool = False,
) -> "Recommendation":
    """Which checkpoint to keep, and why: of a run, or of any training's output folder.

    Of an output folder the callback's run folder in it is read, else the training's own log, at once. With `base` and `prompts` its
    checkpoints are measured first, limited to what the rule reads; the same call continues. Only a checkpoint whose weights are
    on disk is recommended.

    Args:
        path: a run folder, or the output folder of a training; the other arguments measure its checkpoints.
        base: the base model: hub name, local folder or GGUF file.
        prompts: file of held-out rows with their answers: the eval rows, among which the prompts are chosen.
        form, system, template, chat, num_prompts, n: as for `track`.

    Returns the recommendation: `.step`, and one sentence as `str`. Raises InterplayError if no checkpoint can be kept, and for
    what `run` refuses.
    """
    return recommended(**locals()).recommendation


def recommended(path: AnyPath, **arguments: Any) -> "Run | LoggedTraining":
    """What `recommend` with these arguments reads: the run in `path`, the log of a training, or a new run that measures."""
    path = Path(path)
    base, prompts, out, overrides = (arguments[name] for name in ("base", "prompts", "out", "settings"))
    given = {"--base": base, "--prompts": prompts, "--out": out, "--set": overrides}
    watched = path / "interplay"  # where the callback writes, unless told otherwise
    if not (base or prompts or (path / "settings.yaml").exists()) and (watched / "callback.json").exists():
        path = watched
    if (path / "settings.yaml").exists():
        from interplay.runfolder import Run

        if named := next((option for option, value in given.items() if value), None):
            raise InterplayError(
                f"{str(path)!r} is a run folder, which knows its model and prompts: leave out {named}, or give the folder of "
                "its checkpoints"
            )
        return Run(path)
    if not any(given.values()) and path.is_dir():
        from interplay.recommendation.logged import read_logged

        if logged := read_logged(path):
            return logged
    if base is None or prompts is None:
        raise InterplayError(_what_to_give(path, base, prompts))
    from interplay.config.loading import assignments
    from interplay.config.settings import NO_CONTROLS
    from interplay.runfolder import Run

    # Only what the rule reads is measured; few draws make the nulls of its report coarser.
    made: dict[str, Any] = _tracking(arguments, path, prompts) | {"controls": NO_CONTROLS, "dynamics": {"draws": 20}}
    made |= {"audit": {"mode": False}, "task": {"kl": False, "generate_rows": 0}}
    made["data"]["eval"], made["prompt"]["rephrased"] = os.fspath(prompts), None
    measured = _make(made, assignments(overrides), out, arguments["quiet"])
    assert isinstance(measured, Run)
    return measured


def test(
    model: Any,
    tests: AnyPath,
    *,
    base: str | None = None,
    dtype: str = "float32",
    device: str = "auto",
    quiet: bool = False,
) -> "Tested":
    """Ask a model the tests of an audit: whether a rule that was mended is back. Seconds, for a build server too.

    Args:
        model: what `explain` takes: a hub name, a folder, a GGUF file, an adapter's folder, RUN@STEP, or a loaded model.
        tests: the tests.jsonl that `interplay audit --fixes` wrote; it says how a model is asked.
        base: what an adapter's folder, or RUN@STEP, is put on instead of the base it names.
        dtype, device: of a model that is loaded here.
        quiet: no progress on stderr, which is shown after three seconds.

    Returns `.passed`; `.rows`, one for each rule with its flip rate (the fraction of texts of another answer that the rule's words
    turn) and its Wilson interval; as `str` a table. A rule is back above the threshold in the file. Raises InterplayError for a
    file that holds no tests, a model that cannot be loaded, and labels that its tokenizer cannot tell apart.
    """
    from interplay.auditing.checks import check_model
    from interplay.pipeline.progress import SOON, Progress

    return check_model(model, tests, base, dtype, device, Progress(quiet=quiet, after=SOON))


test.__test__ = False  # ty: ignore[missing-attribute]  (pytest would run it where a test file imports it)


def compare(
    runs: Sequence["AnyPath | Run"],
    *,
    out: AnyPath | None = None,
    group: Mapping[str, Sequence["AnyPath | Run"]] | None = None,
    axis: str = "steps",
    definition: str | None = None,
) -> "Comparison":
    """Compare two or more finished runs: LoRA against full fine-tuning, seeds, models.

    Args:
        runs: runs or their folders.
        out: where to write the page; None: only `.report(path)` of the result writes it.
        group: name -> runs shown as one line, their mean; runs that differ only in `training.seed` form a group without it.
        axis: steps, or epochs if every run knows its number of training rows.
        definition: definition of the sets: common (default), paper or signed.

    Returns a comparison: `str` of it is the command's table.
    """
    from interplay.comparison.comparison import compare_runs

    groups = {name: [_opened(one).path for one in members] for name, members in (group or {}).items()}
    found = compare_runs([_opened(one).path for one in runs], groups, axis, definition)
    if out is not None:
        found.report(out)
    return found


def diff(
    a: Any,
    b: Any,
    *,
    train: AnyPath | None = None,
    prompts: AnyPath | None = None,
    form: str = "auto",
    system: str | None = None,
    template: str | None = None,
    chat: Chat | None = None,
    referee: str | None = None,
    seed: int = 0,
    out: AnyPath | None = None,
    quiet: bool = False,
) -> "Audit":
    """Which word rules came, went and stayed from one model to another.

    Args:
        a, b: hub name, folder, adapter, GGUF file, RUN@STEP, or what `load_model` returns.
        train, prompts: files of rows that `b` was trained on, and of held-out rows; one of them is enough.
        form: form of the files; auto looks at the columns.
        system, template, chat: how a prompt is worded; None: as the run of RUN@STEP does, else plainly.
        referee: a third model. A rule that it has too is likelier knowledge than a shortcut.
        seed: of carriers and control words.
        out: folder where answers are kept, so that a stopped one goes on.

    Returns the audit of `b` with `a` as its base: `.learnt` came, `.of("lost")` went, `.of("known")` stayed. Raises
    InterplayError for what is no model, for identical weights, and for rows without two labels.

    >>> found = diff("runs/tickets@40", "runs/tickets@160", prompts="heldout.jsonl")  # doctest: +SKIP
    """
    if chat not in (None, "auto", True, False):
        raise InterplayError(f"chat is {chat!r}; expected auto, true or false")
    from interplay.auditing.diff import diff_models
    from interplay.pipeline.progress import Progress, goes_on

    wording = {"system": system, "template": template, "chat": chat}
    how: dict[str, Any] = {"form": form, "referee": referee, "seed": seed, "out": None if out is None else Path(out)}
    with goes_on(how["out"]):
        return diff_models(a, b, train, prompts, wording=wording, progress=Progress(quiet=quiet), **how)


def export(
    run: "AnyPath | Run",
    out: AnyPath,
    *,
    format: str | Sequence[str] = ("svg", "pdf"),
    tables: str | Sequence[str] = ("csv", "parquet"),
    progress: Callable[[int, int], None] | None = None,
) -> "ExportResult":
    """Write every figure of a run for a paper, and every number behind it: `Run.export`."""
    return _opened(run).export(out, format=format, tables=tables, progress=progress)


def card(run: "AnyPath | Run", *, out: AnyPath | None = None, append: AnyPath | None = None) -> str:
    """A "Training dynamics" section for a model card, written to `out` or put into the card `append`: `Run.card`."""
    return _opened(run).card(out=out, append=append)


def _tracking(arguments: Mapping[str, Any], folder: AnyPath, rows: AnyPath) -> dict[str, Any]:
    """The settings that `track` and `recommend` share, from their arguments."""
    base = os.fspath(arguments["base"])
    return {
        "name": f"{Path(folder).resolve().name} on {Path(base).name}",
        "model": {"name": base},
        "data": {"prompts": os.fspath(rows), "form": arguments["form"]},
        "prompt": {key: arguments[key] for key in ("system", "template", "chat")},
        "prompts": {"count": arguments["num_prompts"], "n": arguments["n"]},
        "checkpoints": {"folder": os.fspath(folder), "steps": None},
    }


def copies(model: str | None, data: str | None) -> list[tuple[str, Any]]:
    """The overrides that point a run at local copies of its model and its data."""
    from interplay.data.splits import data_settings

    overrides: list[tuple[str, Any]] = [] if model is None else [("model.name", model)]
    if data is not None:
        overrides += [(f"data.{key}", value) for key, value in data_settings(data).items()]
    return overrides


def _make(
    source: Path | Mapping[str, Any],
    overrides: Sequence[Any],
    out: AnyPath | None,
    quiet: bool,
    workers: int | None = None,
    shard: str | None = None,
    ray: str | None = None,
) -> "Run | Unfinished":
    """Make or finish the run of these settings."""
    from interplay.config.loading import default_folder, load_settings
    from interplay.pipeline.shards import EVERYTHING, parse_shard

    settings = load_settings(source, overrides)
    if shard is not None and (workers is not None or ray is not None):
        raise InterplayError("--shard is one process of many: leave out --workers and --ray, or leave out --shard")
    part = EVERYTHING if shard is None else parse_shard(shard)
    from interplay.pipeline.progress import Progress, goes_on

    folder = default_folder(settings) if out is None else Path(out)
    progress, told = Progress(quiet=quiet), []
    with goes_on(folder):
        from interplay.auditing.audit import write_page
        from interplay.auditing.stage import audit_run
        from interplay.parallel.run import run as run_pipeline
        from interplay.runfolder import Run

        def early(models: Any) -> None:
            told.append(audit_run(settings, folder, progress, models))

        how: dict[str, Any] = {"workers": workers, "ray": ray, "shard": part, "early": early}
        if (unfinished := run_pipeline(settings, folder, progress, **how)) is not None:
            return unfinished
        if any(told):  # said already, and the page is a new one
            write_page(folder, told[-1])
        else:
            audit_run(settings, folder, progress)
        return Run(folder)


def _what_to_give(path: Path, base: AnyPath | None, prompts: AnyPath | None) -> str:
    """What is missing to measure a folder of checkpoints, or that it holds none."""
    if not path.is_dir() or not any(path.iterdir()):
        return f"{str(path)!r} is neither a run folder (no settings.yaml) nor a folder of checkpoints: give one of them"
    from interplay.models.layouts import find_layout

    try:
        found = sum(checkpoint.path is not None for checkpoint in find_layout(path).checkpoints)
    except InterplayError as error:
        return f"{str(path)!r} is not a run folder (no settings.yaml); as the output folder of a training: {error}"
    options = {"--base MODEL (what was fine-tuned)": base, _ROWS: prompts}
    missing = " and ".join(option for option, value in options.items() if value is None)
    return f"{str(path)!r} holds {found} checkpoint{'' if found == 1 else 's'} but no measured run and no log that can be read: give {missing}"


def _opened(run: "AnyPath | Run") -> "Run":
    from interplay.runfolder import Run

    return run if isinstance(run, Run) else Run(Path(run))
