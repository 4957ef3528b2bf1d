"""The verbs. Each one turns its options into settings, calls the library and prints; nothing is computed here.

Heavy modules are imported inside the verbs, so `interplay --help` needs neither torch nor transformers.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from interplay.errors import InterplayError

app = typer.Typer(
    name="interplay",
    help="See what supervised fine-tuning does to a language model's reasoning, and which checkpoint to keep.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

# typer carries a click of its own since 0.20 and used the installed one before: the base of its errors is found either way.
_USAGE_ERROR = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Run folder; default runs/NAME-HASH. An unfinished run in it goes on."),
]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override one setting; may be repeated.")]
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
        bool, typer.Option("--baseline", help="Measure generalizability against Gemma-3-270M as well (238 MB).")
    ] = False,
    overrides: Set = None,
    quiet: Quiet = False,
) -> None:
    """Fine-tune SmolLM2-135M on the embedded emotion data and show what happened inside, in about ten minutes."""
    from interplay.presets import preset_path

    extra = list(overrides or [])
    if baseline:
        extra = [
            "baseline.name=google/gemma-3-270m",
            'baseline.template="Sentence: {text}\\nEmotion:"',
            "baseline.chat=false",
            *extra,
        ]
    _run(preset_path("demo"), extra, out or Path("runs") / ("demo-baseline" if baseline else "demo"), quiet)


@app.command()
def run(
    config: Annotated[str, typer.Argument(metavar="CONFIG.yaml", help="Settings file, or preset:NAME.")],
    overrides: Set = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Fine-tune any causal LM on any data, extract interactions at every checkpoint, track and report them.

    The same command run again continues and recomputes nothing that is valid.
    """
    from interplay.presets import preset_path

    path = preset_path(config.removeprefix("preset:")) if config.startswith("preset:") else Path(config)
    _run(path, list(overrides or []), out, quiet)


@app.command()
def track(
    base: Annotated[str, typer.Option("--base", help="Base model: hub name, local folder or GGUF file.")],
    checkpoints: Annotated[
        str, typer.Option("--checkpoints", help="Folder with checkpoint-STEP folders (adapters or full weights).")
    ],
    data: Annotated[
        str, typer.Option("--data", help="Held-out rows: probe prompts and eval rows are taken from them.")
    ],
    form: Annotated[str, typer.Option(help="Form of the data; auto looks at the columns.")] = "auto",
    system: Annotated[str | None, typer.Option(help="System message that training used.")] = None,
    template: Annotated[
        str, typer.Option(help="User message that training used; {text} stands for the text.")
    ] = "{text}",
    chat: Annotated[str, typer.Option(help="Use the chat template: auto, true or false.")] = "auto",
    n: Annotated[int, typer.Option(help="Words per probe prompt, 1 to 16.")] = 8,
    probes: Annotated[int, typer.Option(help="Number of probe prompts.")] = 12,
    steps: Annotated[str | None, typer.Option(help="Only these steps, with commas; default all found.")] = None,
    baseline: Annotated[str | None, typer.Option(help="Baseline LLM for generalizability.")] = None,
    overrides: Set = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Analyse the checkpoints another training left: no training, the base is loaded once."""
    settings = {
        "name": f"{Path(checkpoints).name} on {Path(base).name}",
        "model": {"name": base},
        "data": {"probes": data, "eval": data, "form": form},
        "prompt": {"system": system, "template": template, "chat": {"true": True, "false": False}.get(chat, chat)},
        "probes": {"count": probes, "n": n},
        "checkpoints": {"folder": checkpoints, "steps": _numbers(steps)},
    }
    if baseline is not None:
        settings["baseline"] = {"name": baseline, "few_shot": 0, "template": template}
    _run(settings, list(overrides or []), out, quiet)


@app.command()
def explain(
    model: Annotated[str, typer.Option("--model", help="Hub name, local folder or GGUF file.")],
    prompt: Annotated[str, typer.Option("--prompt", help="The user's text; words are chosen from it.")],
    target: Annotated[str, typer.Option("--target", help="The response whose first token is explained.")],
    words: Annotated[
        str | None, typer.Option("--words", metavar="A,B,C", help="These words, in the order of the text.")
    ] = None,
    n: Annotated[int, typer.Option(help="Number of words if none are named, 1 to 16: 2^n forward passes.")] = 8,
    adapter: Annotated[str | None, typer.Option(help="A LoRA adapter folder to put on the model.")] = None,
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    template: Annotated[str, typer.Option(help="User message; {text} stands for the prompt.")] = "{text}",
    chat: Annotated[str, typer.Option(help="Use the chat template: auto, true or false.")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32, float64, bfloat16 or float16.")] = "float32",
    top: Annotated[int, typer.Option(help="Interactions shown, strongest first.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the choice of words.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on stdout.")] = False,
) -> None:
    """Explain one prompt under one model: its salient AND-OR interactions, as a table and a small picture."""
    from interplay.cli.explain import explain_prompt

    explain_prompt(
        model=model,
        prompt=prompt,
        target=target,
        words=None if words is None else [w.strip() for w in words.split(",") if w.strip()],
        n=n,
        adapter=adapter,
        system=system,
        template=template,
        chat={"true": True, "false": False}.get(chat, chat),
        dtype=dtype,
        top=top,
        seed=seed,
        as_json=as_json,
    )


@app.command()
def report(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to write the page; default RUN/report.html.")
    ] = None,
) -> None:
    """Rebuild the page of a run from its tables."""
    from interplay.report import write
    from interplay.runs.folder import RunFolder
    from interplay.runs.payload import build_payload

    path = out or run_folder / "report.html"
    write(build_payload(RunFolder(run_folder)), path)
    print(path)


@app.command()
def recommend(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole verdict as JSON.")] = False,
) -> None:
    """Print which checkpoint of a run to keep, and why (provisional rule)."""
    import json

    from interplay.cli.show import printable
    from interplay.runs.files import read_json
    from interplay.runs.folder import RunFolder

    folder = RunFolder(run_folder)
    folder.settings()
    verdict = read_json(run_folder / "recommendation.json")
    if as_json:
        print(json.dumps(verdict, ensure_ascii=False, allow_nan=False))
        return
    print(f"step {verdict['step']}")
    print(printable(verdict["sentence"]))


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InterplayError(f"--steps {text!r}: give whole numbers with commas, for example 0,10,40") from None


def _run(source, overrides: list[str], out: Path | None, quiet: bool) -> None:
    from interplay.cli.show import show_result
    from interplay.runs.settings import default_folder, load_settings

    settings = load_settings(source, overrides)  # before the heavy imports: a typing error should not cost ten seconds
    from interplay.runs.pipeline import run as run_pipeline
    from interplay.runs.progress import Progress

    show_result(run_pipeline(settings, out or default_folder(settings), Progress(quiet=quiet)))


def main() -> None:
    """Entry point: one line on stderr and exit code 2 for what the user can mend, 130 when interrupted."""
    from interplay.cli.show import printable

    try:
        code = app(standalone_mode=False)
    except InterplayError as error:
        print(f"interplay: {printable(str(error))}", file=sys.stderr)
        sys.exit(2)
    except _USAGE_ERROR as error:
        print(f"interplay: {printable(error.format_message())} (see interplay --help)", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        print("interplay: stopped; what is finished stays, the same command goes on from there", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of stdout went away, which is its right
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)
