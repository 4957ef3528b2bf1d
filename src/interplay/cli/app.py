"""The verbs. Each one turns its options into settings, calls the library and prints; nothing is computed here.

Heavy modules are imported inside the verbs, so `interplay --help` needs neither torch nor transformers.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from interplay.cli.card import card
from interplay.cli.compare import compare
from interplay.cli.export import export
from interplay.cli.presets import presets
from interplay.cli.recommend import recommend
from interplay.cli.report import report
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
    from interplay.presets import preset_path
    from interplay.scoring.gguf import wheel_folder

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
    _run(preset_path("demo"), extra, out or Path("runs") / ("demo-baseline" if baseline else "demo"), quiet, workers)


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
    from interplay.presets import preset_path

    path = preset_path(config.removeprefix("preset:")) if config.startswith("preset:") else Path(config)
    _run(path, [*_copies(model, data), *(overrides or [])], out, quiet, workers, shard, ray)


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
    settings = {
        "name": f"{Path(checkpoints).name} on {Path(base).name}",
        "model": {"name": base},
        "data": {"probes": data, "eval": data, "form": form},
        "prompt": {"system": system, "template": template, "chat": {"true": True, "false": False}.get(chat, chat)},
        "probes": {"count": probes, "n": n},
        "checkpoints": {"folder": checkpoints, "steps": _numbers(steps)},
    }
    if baseline:
        settings["baseline"] = [{"name": name, "few_shot": 0, "template": template} for name in baseline]
    _run(settings, list(overrides or []), out, quiet, workers, shard, ray)


@app.command(
    epilog="""\b
Examples:
  interplay explain --model Qwen/Qwen2.5-0.5B --prompt "I was not happy with it" --target sadness
  interplay explain --model out/ --prompt "..." --target joy --words "not,happy,wedding" --json
  interplay explain --model out/ --prompt "a long text ..." --target joy --n 24 --coalitions 4000 --order 2
  interplay explain runs/demo@0 runs/demo@40 --prompt "..." --target joy
  interplay explain BASE out/checkpoint-40 --prompt "..." --target joy --rephrased "Please answer. {text}"
"""
)
def explain(
    *,
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="A [B]",
            help="One model, or two to show side by side: hub name, local folder, GGUF file, a folder with an adapter, or "
            "RUN@STEP, a checkpoint of a run folder.",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Hub name, local folder or GGUF file; the same as A.")
    ] = None,
    prompt: Annotated[str, typer.Option("--prompt", help="The user's text; words are chosen from it.")],
    target: Annotated[str, typer.Option("--target", help="The response whose first token is explained.")],
    words: Annotated[
        str | None, typer.Option("--words", metavar="A,B,C", help="These words, in the order of the text.")
    ] = None,
    n: Annotated[
        int,
        typer.Option(help="Number of words if none are named, 1 to 64; up to 16 words all 2^n coalitions are scored."),
    ] = 8,
    coalitions: Annotated[
        int | None,
        typer.Option(
            help="Score no more than this many coalitions, sampled where there are more; default 2000 beyond 16 words."
        ),
    ] = None,
    order: Annotated[
        int | None,
        typer.Option(min=1, help="Words in an interaction at most, where coalitions are sampled; default 3."),
    ] = None,
    adapter: Annotated[
        str | None, typer.Option(help="An adapter folder (LoRA, DoRA, IA3) to put on the model.")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(help="What an adapter, or RUN@STEP, is put on; default the base it names, or the run's."),
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="System message; default the run's where A or B is RUN@STEP.")
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(help="User message; {text} stands for the prompt. Default the run's, else {text} alone."),
    ] = None,
    chat: Annotated[
        str | None, typer.Option(help="Use the chat template: auto, true or false; default the run's, else auto.")
    ] = None,
    rephrased: Annotated[
        str | None,
        typer.Option(help="Of two models, score A in this wording too: the floor that removed and new stand on."),
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32, float64, bfloat16 or float16.")] = "float32",
    top: Annotated[int, typer.Option(min=1, help="Interactions drawn, strongest first; --json has all.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the choice of words, and of sampled coalitions.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on stdout.")] = False,
    quiet: Quiet = False,
) -> None:
    """Explain one prompt under one model: its salient AND-OR interactions, as a table and a small picture.

    With two models, what was removed, kept and new from A to B, on the same words and with one tau each.

    Up to 16 words the split is exact. Beyond, it is fitted to sampled coalitions, and R2 on coalitions that were never fitted
    says how far to trust it.
    """
    from interplay.cli.explain import explain_prompt

    explain_prompt(
        models=models or [],
        model=model,
        base=base,
        prompt=prompt,
        target=target,
        words=None if words is None else [w.strip() for w in words.split(",") if w.strip()],
        n=n,
        coalitions=coalitions,
        order=order,
        adapter=adapter,
        system=system,
        template=template,
        chat={"true": True, "false": False}.get(chat, chat) if chat else chat,
        rephrased=rephrased,
        dtype=dtype,
        top=top,
        seed=seed,
        as_json=as_json,
        quiet=quiet,
    )


app.command()(report)
app.command()(recommend)
app.command()(card)
app.command()(presets)
app.command()(compare)
app.command()(export)


def _copies(model: str | None, data: str | None) -> list[str]:
    """The overrides that point a run at local copies of its model and its data."""
    import json

    from interplay.data.splits import data_settings

    values: dict[str, str | None] = {} if model is None else {"model.name": model}
    if data is not None:
        values |= {f"data.{key}": value for key, value in data_settings(data).items()}
    return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InterplayError(f"--steps {text!r}: give whole numbers with commas, for example 0,10,40") from None


def _run(
    source: Any,
    overrides: list[str],
    out: Path | None,
    quiet: bool,
    workers: int | None = None,
    shard: str | None = None,
    ray: str | None = None,
) -> None:
    from interplay.cli.show import show_result, show_unfinished
    from interplay.runs.loading import default_folder, load_settings
    from interplay.runs.shards import parse_shard

    settings = load_settings(source, overrides)  # before the heavy imports: a typing error should not cost ten seconds
    part = None if shard is None else parse_shard(shard)
    if shard is not None and (workers is not None or ray is not None):
        raise InterplayError("--shard is one process of many: leave out --workers and --ray, or leave out --shard")
    from interplay.runs.pipeline import RunResult, run_shard
    from interplay.runs.progress import Progress
    from interplay.sharing.run import run as run_with

    folder, progress = out or default_folder(settings), Progress(quiet=quiet)
    if part is None:
        show_result(run_with(settings, folder, progress, workers=workers, ray=ray))
    elif isinstance(result := run_shard(settings, folder, part, progress), RunResult):
        show_result(result)
    else:
        show_unfinished(result)
