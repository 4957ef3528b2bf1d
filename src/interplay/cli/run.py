"""`interplay demo`, `run` and `track`: make a run and print its table. `presets`: what there is to run."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from interplay import verbs
from interplay.cli.options import Json, Quiet, Set, Workers, takes
from interplay.cli.show import show
from interplay.errors import InterplayError
from interplay.presets import preset_needs


def demo(
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Run folder, continued if unfinished; default runs/demo, or runs/demo-baseline."
        ),
    ] = None,
    baseline: Annotated[
        bool | None,
        typer.Option(help="Measure gamma against Gemma-3-270M (238 MB); default: if its wheel is installed."),
    ] = None,
    settings: Set = None,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Fine-tune SmolLM2-135M on the embedded emotion data and show what it learnt, in about ten minutes."""
    from interplay.models.gguf import wheel_folder

    other, overrides, folder = "google/gemma-3-270m", settings or [], "demo"
    if baseline or (baseline is None and wheel_folder(other) is not None):
        wording = ['baseline.template="Sentence: {text}\\nEmotion:"', "baseline.chat=false"]
        overrides, folder = [f"baseline.name={other}", *wording, *overrides], "demo-baseline"
    show(verbs.run("preset:demo", settings=overrides, out=out or Path("runs", folder), workers=workers, quiet=quiet))


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
