"""`interplay init` writes settings; `demo`, `run` and `track`: make a run, print its table; `recommend`: which checkpoint of it to keep; `presets`: what to run."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from interplay import verbs
from interplay.cli.options import Json, Quiet, Set, Workers, takes
from interplay.cli.show import printable, say, show
from interplay.errors import InterplayError
from interplay.pipeline.progress import SOON, Progress
from interplay.presets import preset_needs
from interplay.process import tell

_LEFT_OUT = (
    "Not measured: churn floors, a second reference step, both scores of rows with labels, generalizability. interplay track "
    "measures them."
)
_LOG_ONLY = (
    "From the training's own log. --base MODEL --prompts FILE would ask every checkpoint and the base model the rows of FILE: leads "
    "tested row by row, and interactions."
)
_DECIDED = ("accuracy", "eval-loss", "metric", "rule", "only")  # any other basis is no evidence


def demo(
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Run folder, continued if unfinished; default runs/demo, or demo-clean, demo-baseline."
        ),
    ] = None,
    clean: Annotated[
        bool, typer.Option("--clean", help="Train on all eight emotions as they are, without the planted shortcut.")
    ] = False,
    baseline: Annotated[
        bool | None,
        typer.Option(help="Measure gamma against Gemma-3-270M (238 MB); default: if its wheel is installed."),
    ] = None,
    settings: Set = None,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Fine-tune SmolLM2-135M on embedded sentences, in which a shortcut is planted, and show what it learnt, in minutes."""
    from interplay.models.gguf import wheel_folder

    other, overrides, folder = "google/gemma-3-270m", settings or [], "demo"
    if clean:
        named = ["name=Interplay demo: eight emotions", "data.train=emotions:train", "data.eval=emotions:dev"]
        overrides, folder = [*named, "data.prompts=emotions:test", *overrides], "demo-clean"
    if baseline or (baseline is None and wheel_folder(other) is not None):
        wording = ['baseline.template="Sentence: {text}\\nEmotion:"', "baseline.chat=false"]
        overrides, folder = [f"baseline.name={other}", *wording, *overrides], f"{folder}-baseline"
    show(verbs.run("preset:demo", settings=overrides, out=out or Path("runs", folder), workers=workers, quiet=quiet))


@takes(
    verbs.init,
    data=Annotated[
        str, typer.Argument(metavar="DATA", help="File, which is split, or folder of splits; emotions: those embedded.")
    ],
    model=Annotated[str, typer.Option(help="The LLM to fine-tune: hub name, local folder or GGUF file.")],
    out=Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Settings file to write.")],
    force=Annotated[bool, typer.Option("--force", help="Overwrite the settings file.")],
)
def init(**arguments: Any) -> None:
    """Write a commented settings file for interplay run from the rows of a data set, and say what was recognised."""
    print(verbs.init(**arguments))


@takes(
    verbs.run,
    config=Annotated[
        str, typer.Argument(metavar="CONFIG.yaml", help="Settings file, or preset:NAME (see interplay presets).")
    ],
    model=Annotated[
        str | None, typer.Option("--model", metavar="DIR", help="The LLM: local folder, GGUF file or hub name.")
    ],
    data=Annotated[
        str | None, typer.Option(metavar="FILE", help="Folder with train, dev and test files, or one file to split.")
    ],
)
def run(**arguments: Any) -> None:
    """Fine-tune a causal LM, extract interactions at every checkpoint, track and report them.

    The same command continues an unfinished run and repeats nothing that is done.
    """
    show(verbs.run(**arguments))


@takes(
    verbs.track,
    base=Annotated[str, typer.Option("--base", help="Base model: hub name, local folder or GGUF file.")],
    checkpoints=Annotated[
        str, typer.Option("--checkpoints", help="Folder with checkpoint-STEP folders (adapters or full weights).")
    ],
    data=Annotated[str, typer.Option("--data", help="Held-out rows; prompts and eval rows are taken from them.")],
    train=Annotated[
        str | None, typer.Option(metavar="FILE", help="The rows it was trained on, so that it is audited too.")
    ],
    steps=Annotated[str | None, typer.Option(help="Only these steps, separated by commas; default: all.")],
    baseline=Annotated[list[str] | None, typer.Option(help="Baseline LLM for generalizability; repeat for several.")],
)
def track(steps: str | None, **arguments: Any) -> None:
    """Analyse the checkpoints of another training. Nothing is trained and the base is loaded once."""
    try:
        only = None if steps is None else [int(part) for part in steps.split(",")]
    except ValueError:
        raise InterplayError(f"--steps {steps!r}: give whole numbers with commas, for example 0,10,40") from None
    show(verbs.track(steps=only, **arguments))


@takes(
    verbs.recommend,
    "as_json",
    path=Annotated[
        Path, typer.Argument(metavar="PATH", help="A run folder, or the output folder of a training: its checkpoints.")
    ],
    base=Annotated[
        str | None, typer.Option(help="Base model (hub name, folder or GGUF file), if PATH is a folder of checkpoints.")
    ],
    prompts=Annotated[
        str | None, typer.Option(metavar="FILE", help="Held-out rows with answers, if PATH is a folder of checkpoints.")
    ],
    out=Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder for the measurements of a folder of checkpoints.")
    ],
    as_json=Annotated[bool, typer.Option("--json", help="Print the whole recommendation as JSON.")],
)
def recommend(as_json: bool, **arguments: Any) -> None:
    """Print which checkpoint to keep, and why: of a run, or of any folder of checkpoints.

    Of a training's output folder its own log is read, or the callback's run folder in it. With the base model and some held-out
    rows its checkpoints are measured instead, and the same command continues. Only a checkpoint whose weights are on disk is
    recommended.
    """
    from interplay.recommendation.logged import LoggedTraining

    found = verbs.recommended(**arguments)
    with Progress(quiet=arguments["quiet"], after=SOON).phase("reading the run"):
        answer = found.recommendation.to_dict()
    run = None if isinstance(found, LoggedTraining) else found
    paths = found.paths if isinstance(found, LoggedTraining) else found.checkpoints.paths
    if run and (gone := run.checkpoints.gone):
        tell(printable(f"interplay: left out, no longer in {run.checkpoints.where}: {', '.join(map(str, gone))}"))
    if as_json:
        print(json.dumps(answer, allow_nan=False))
        return
    for line in answer_lines(answer):
        say(line)
    if run and run.path == arguments["path"]:
        return
    if answer["step"] in paths:  # it was just read, measured, or watched by the callback
        what = "Checkpoint" if answer["basis"] in _DECIDED else "Fallback"
        print(printable(f"{what}: {paths[answer['step']]}"))
    if run is None:
        say(_LOG_ONLY)
    elif not run.has("callback.json"):
        say(_LEFT_OUT)
    if run and run.has("report.html"):
        print(printable(f"Report: {run.path / 'report.html'}"))


def answer_lines(answer: dict[str, Any]) -> list[str]:
    """The recommendation in lines. Without evidence to choose, the first line says so and the fallback is marked as one.

    >>> answer_lines({"step": 0, "basis": "base", "sentence": "No checkpoint beats the base model: 3 are worse."})
    ['base model', 'No checkpoint beats the base model: 3 are worse.']
    >>> answer_lines({"step": 20, "basis": "rule", "sentence": "Keep step 20: it is the lowest."})
    ['step 20', 'Keep step 20: it is the lowest.']
    >>> answer_lines({"step": 80, "basis": "last", "sentence": "No evidence to choose: two prompts."})
    ['No evidence to choose: two prompts.', 'fallback: step 80 (the last checkpoint)']
    """
    step, basis, sentence = answer["step"], answer["basis"], answer["sentence"]
    if basis == "base":
        return ["base model", sentence]
    if step is not None and basis in _DECIDED:
        return [f"step {step}", sentence]
    lines = [sentence] if sentence.lower().startswith("no evidence") else ["No evidence to choose.", sentence]
    if step is not None:
        lines.append(f"fallback: step {step} ({'the last checkpoint' if basis == 'last' else basis})")
    return lines


def presets(as_json: Json = False) -> None:
    """List the shipped presets with the weights to download and the GPU memory that each needs (estimates)."""
    found = preset_needs()
    if as_json:
        print(json.dumps(found, ensure_ascii=False, allow_nan=False))
        return
    rows = [("preset", "download", "GPU memory", "no baseline"), *map(_cells, found)]
    first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    for name, *cells in rows:
        print(name.ljust(first), *map(str.rjust, cells, widths), sep="  ")
    gated = sorted({name for needs in found for name in needs["gated"]})
    print()
    print("interplay run preset:NAME [--model DIR] [--data FILE or FOLDER]")
    print("Estimates for one GPU; none was measured on one. No baseline: with --set baseline=null.")
    print(f"Accept the licence on the hub first for {', '.join(gated)}.")


def _cells(needs: dict[str, Any]) -> tuple[str, ...]:
    """Its name, and sizes; training and scoring never run at the same time."""
    memory = max(needs["memory_training_gb"], needs["memory_scoring_gb"])
    sizes = (needs["download_gb"], memory, needs["memory_without_baselines_gb"])
    return (needs["preset"], *(f"{size:.{0 if size >= 9.5 else 1}f} GB" for size in sizes))
