"""The verbs. Each one turns its options into a call of `interplay.verbs` and prints what comes back.

Heavy modules are imported inside the verbs, so `interplay --help` needs neither torch nor transformers.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from interplay import verbs
from interplay.cli.card import card
from interplay.cli.compare import compare
from interplay.cli.explain import EXAMPLES, explain
from interplay.cli.export import export
from interplay.cli.presets import presets
from interplay.cli.recommend import recommend
from interplay.cli.report import report
from interplay.data.words import WORDS_PER_PROMPT
from interplay.errors import InterplayError

app = typer.Typer(
    name="interplay",
    help="See what supervised fine-tuning does to a language model's reasoning, and which checkpoint to keep.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Run folder; default runs/NAME-HASH. An unfinished run in it goes on."),
]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override one setting; may be repeated.")]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Do the I-th of N shares and no more: for job arrays. All N may write to one folder; the last to finish "
        "finishes the run. Shares written to folders apart: copy these together and run the same command once more.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        "-j",
        min=1,
        max=256,
        help="Processes that score, each on its GPU or its part of the cores; of --ray, actors.",
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Score on a Ray cluster: auto, HOST:PORT, ray://HOST:PORT, or local for one here.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]


def _version(wanted: bool) -> None:
    if wanted:
        from interplay import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    out: Out = None,
    baseline: Annotated[
        bool | None,
        typer.Option(
            "--baseline/--no-baseline",
            help="Measure generalizability against Gemma-3-270M (238 MB); default: where its wheel is installed.",
        ),
    ] = None,
    overrides: Set = None,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Fine-tune SmolLM2-135M on the embedded emotion data and show what happened inside, in about ten minutes."""
    from interplay.models.gguf import wheel_folder

    other = "google/gemma-3-270m"
    extra = list(overrides or [])
    if baseline is None:
        baseline = wheel_folder(other) is not None
    if baseline:
        extra = [
            f"baseline.name={other}",
            'baseline.template="Sentence: {text}\\nEmotion:"',
            "baseline.chat=false",
            *extra,
        ]
    folder = out or Path("runs") / ("demo-baseline" if baseline else "demo")
    _show(verbs.run("preset:demo", settings=extra, out=folder, workers=workers, quiet=quiet))


@app.command()
def run(
    config: Annotated[
        str, typer.Argument(metavar="CONFIG.yaml", help="Settings file, or preset:NAME (see interplay presets).")
    ],
    model: Annotated[
        str | None, typer.Option("--model", metavar="DIR", help="The LLM: a local copy, GGUF file or hub name.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="FILE",
            help="The data: a folder with train, dev and test files, or one file, which is split 80/10/10 %.",
        ),
    ] = None,
    overrides: Set = None,
    out: Out = None,
    workers: Workers = None,
    shard: Shard = None,
    ray: Ray = None,
    quiet: Quiet = False,
) -> None:
    """Fine-tune any causal LM on any data, extract interactions at every checkpoint, track and report them.

    The same command run again continues and recomputes nothing that is valid.
    """
    sharing = {"workers": workers, "shard": shard, "ray": ray}
    _show(verbs.run(config, model=model, data=data, settings=overrides or [], out=out, **sharing, quiet=quiet))


@app.command()
def track(
    base: Annotated[str, typer.Option("--base", help="Base model: hub name, local folder or GGUF file.")],
    checkpoints: Annotated[
        str, typer.Option("--checkpoints", help="Folder with checkpoint-STEP folders (adapters or full weights).")
    ],
    data: Annotated[str, typer.Option("--data", help="Held-out rows: prompts and eval rows are taken from them.")],
    form: Annotated[str, typer.Option(help="Form of the data; auto looks at the columns.")] = "auto",
    system: Annotated[str | None, typer.Option(help="System message that training used.")] = None,
    template: Annotated[
        str, typer.Option(help="User message that training used; {text} stands for the text.")
    ] = "{text}",
    chat: Annotated[str, typer.Option(help="Use the chat template: auto, true or false.")] = "auto",
    n: Annotated[int, typer.Option(help="Words per prompt, 2 to 16.")] = WORDS_PER_PROMPT,
    num_prompts: Annotated[int, typer.Option(help="Number of prompts.")] = verbs.PROMPTS,
    steps: Annotated[str | None, typer.Option(help="Only these steps, with commas; default all found.")] = None,
    baseline: Annotated[
        list[str] | None, typer.Option(help="Baseline LLM for generalizability; may be repeated.")
    ] = None,
    overrides: Set = None,
    out: Out = None,
    workers: Workers = None,
    shard: Shard = None,
    ray: Ray = None,
    quiet: Quiet = False,
) -> None:
    """Analyse the checkpoints another training left: no training, the base is loaded once."""
    made = verbs.track(
        base,
        checkpoints,
        data,
        form=form,
        system=system,
        template=template,
        chat=chat,  # ty: ignore[invalid-argument-type]
        n=n,
        num_prompts=num_prompts,
        steps=_numbers(steps),
        baseline=baseline or [],
        settings=overrides or [],
        out=out,
        workers=workers,
        shard=shard,
        ray=ray,
        quiet=quiet,
    )
    _show(made)


app.command(epilog=EXAMPLES)(explain)
app.command()(report)
app.command()(recommend)
app.command()(card)
app.command()(presets)
app.command()(compare)
app.command()(export)


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InterplayError(f"--steps {text!r}: give whole numbers with commas, for example 0,10,40") from None


def _show(made: Any) -> None:
    """What a finished run came to, or what a share leaves to the others."""
    from interplay.cli.show import show_run, show_unfinished
    from interplay.runfolder import Run

    if isinstance(made, Run):
        show_run(made)
    else:
        show_unfinished(made)
