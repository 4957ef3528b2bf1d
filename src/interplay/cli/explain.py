"""`interplay explain`: `interplay.explain`, printed."""

from typing import Annotated

import typer

EXAMPLES = """\b
Examples:
  interplay explain --model Qwen/Qwen2.5-0.5B --prompt "I was not happy with it" --target sadness
  interplay explain --model out/ --prompt "..." --target joy --words "not,happy,wedding" --json
  interplay explain --model out/ --prompt "a long text ..." --target joy --n 24 --coalitions 4000 --order 2
  interplay explain runs/demo@0 runs/demo@40 --prompt "..." --target joy
  interplay explain BASE out/checkpoint-40 --prompt "..." --target joy --rephrased "Please answer. {text}"
"""


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
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
) -> None:
    """Explain one prompt under one model: its salient AND-OR interactions, as a table and a small picture.

    With two models, what was removed, kept and new from A to B, on the same words and with one tau each.

    Up to 16 words the split is exact. Beyond, it is fitted to sampled coalitions, and R2 on coalitions that were never fitted
    says how far to trust it.
    """
    import sys
    import warnings

    from interplay.cli.show import printable
    from interplay.errors import InterplayError
    from interplay.explanation.explain import explain as explained

    chosen = [*(models or []), *([] if model is None else [model])]
    if models and model is not None:
        raise InterplayError(f"--model {model!r} and {models[0]!r} are both the model: give one of the two")
    with warnings.catch_warnings(record=True):  # they are among the notes
        found = explained(
            chosen,
            prompt,
            target,
            words=None if words is None else [w.strip() for w in words.split(",") if w.strip()],
            n=n,
            coalitions=coalitions,
            order=order,
            adapter=adapter,
            base=base,
            system=system,
            template=template,
            chat={"true": True, "false": False}.get(chat, chat) if chat else chat,
            rephrased=rephrased,
            dtype=dtype,
            top=top,
            seed=seed,
            progress=not quiet,
        )
    for note in found.notes:
        print(f"interplay: {printable(note)}", file=sys.stderr, flush=True)
    print(found.to_json() if as_json else found.text(terminal=sys.stdout.isatty()))
