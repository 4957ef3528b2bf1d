"""`interplay explain`: `interplay.explain`, printed."""

import json
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from interplay.cli.options import Json, Quiet
from interplay.cli.show import printable
from interplay.data.words import WORDS_PER_PROMPT
from interplay.errors import InterplayError
from interplay.process import tell
from interplay.text import short, split_names

EXAMPLES = """\b
Examples:
  interplay explain --model Qwen/Qwen2.5-0.5B --prompt "I was not happy with it" --target sadness
  interplay explain --model out/ --prompt "..." --target joy --words "not,happy,wedding" --json
  interplay explain --model out/ --prompt "a long text ..." --target joy --n 24 --coalitions 4000 --order 2
  interplay explain out/ --prompts heldout.jsonl --html explained.html
  interplay explain runs/demo@0 runs/demo@40 --prompt "..." --target joy
  interplay explain BASE out/checkpoint-40 --prompt "..." --target joy --rephrased "Please answer. {text}"
"""


def explain(
    *,
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="A [B]",
            help="One model, or two to compare: hub name, local folder, GGUF file, adapter folder, or RUN@STEP, a checkpoint "
            "of a run folder.",
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="The model, instead of A.")] = None,
    prompt: Annotated[str | None, typer.Option(help="The user's text; the words are chosen from it.")] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Many prompts, one after another: a .txt file with one a line, or rows with text or prompt, and a target, label "
            "or completion where there is no --target. --json prints one object a line.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="The response that is explained. Default: the model's own (of two, B's): likeliest label, or greedy."
        ),
    ] = None,
    words: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="Words to explain, instead of a random choice.")
    ] = None,
    n: Annotated[
        int, typer.Option(help="Number of words without --words, 1 to 64; up to 16 all 2^n coalitions are scored.")
    ] = WORDS_PER_PROMPT,
    coalitions: Annotated[
        int | None, typer.Option(help="Score at most this many coalitions, sampled; default 2000 beyond 16 words.")
    ] = None,
    order: Annotated[
        int | None, typer.Option(min=1, help="Most words in an interaction if coalitions are sampled; default 3.")
    ] = None,
    adapter: Annotated[str | None, typer.Option(help="Adapter folder (LoRA, DoRA, IA3) to put on the model.")] = None,
    base: Annotated[
        str | None, typer.Option(help="Base model of an adapter or of RUN@STEP; default: the one it names.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="System message; default: that of the run, for RUN@STEP.")] = None,
    template: Annotated[
        str | None, typer.Option(help="User message; {text} is the prompt. Default: the run's, else {text} alone.")
    ] = None,
    chat: Annotated[
        str | None, typer.Option(help="Use the chat template: auto, true or false. Default: the run's, else auto.")
    ] = None,
    chat_template_kwargs: Annotated[
        str | None, typer.Option(metavar="JSON", help="Variables of the chat template: '{\"enable_thinking\": false}'.")
    ] = None,
    rephrased: Annotated[
        str | None, typer.Option(help="With two models: score A in this wording too, the floor of changes.")
    ] = None,
    target_tokens: Annotated[
        str | None,
        typer.Option(help="Scored: auto, first, word, or a number of tokens. Default: the run's, else auto."),
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option(
            help="What absent words become: a token (or its id), auto, mean, swap (other words of the place), drop, paper. "
            "Default: the run's, else auto, a neutral token."
        ),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="Answers to score the target among. Default: as the run does.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32, float64, bfloat16x2, bfloat16 or float16.")] = "float32",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    top: Annotated[
        int, typer.Option(min=1, help="Number of interactions in the table, strongest first; --json has all.")
    ] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the choice of words and of sampled coalitions.")] = 0,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write an offline page too.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Explain one prompt under one model: the Shapley value of each word, and the salient AND-OR interactions.

    With two models: what changed from A to B in each value and each interaction, strongest change first, on the same words.

    Up to 16 words the split is exact. Beyond, it is fitted to sampled coalitions, and R2 on held-out coalitions says how good
    the fit is. On a terminal a preliminary picture comes first, on stderr.
    """
    arguments = locals()  # the same names in Python
    for name in ("models", "as_json", "quiet", "html", "prompt", "prompts", "target"):
        del arguments[name]
    if (prompt is None) == (prompts is None):
        raise InterplayError("give --prompt TEXT or --prompts FILE, one of the two")
    if html is not None and html.is_dir():
        raise InterplayError(f"--html {str(html)!r} is a folder, expected the name of a page: end it in a file name")
    from interplay.explanation.explain import Explainer
    from interplay.explanation.prompts import read_prompts, write_page

    asked = [(prompt or "", target)] if prompts is None else read_prompts(prompts, target)
    if models and model is not None:
        raise InterplayError(f"--model {model!r} and {models[0]!r} are both the model: give one of the two")
    arguments["model"] = models or ([] if model is None else [model])
    for name, listed in (("words", words), ("labels", labels)):
        if listed is not None:
            arguments[name] = split_names(listed)
    for name in ("target_tokens", "mask"):
        if arguments[name] is not None and arguments[name].isdecimal():
            arguments[name] = int(arguments[name])
    if chat_template_kwargs is not None:
        try:
            arguments["chat_template_kwargs"] = json.loads(chat_template_kwargs)
        except ValueError:
            said = f"--chat-template-kwargs is {short(chat_template_kwargs)}; expected JSON"
            raise InterplayError(f"{said} such as '{{\"enable_thinking\": false}}'") from None
    if chat in ("true", "false"):
        arguments["chat"] = chat == "true"
    early = prompts is None and not (as_json or quiet) and sys.stderr.isatty()
    explainer, done = Explainer(**arguments, progress=not quiet, show=tell if early else None), []
    try:
        for i, (text, answer) in enumerate(asked, start=1):
            try:
                with warnings.catch_warnings(record=True):  # they are among the notes
                    found = explainer(text, answer)
            except InterplayError as error:
                if prompts is None or (i == len(asked) and not done):
                    raise
                tell(f"interplay: prompt {i} of {len(asked)} is left out: {printable(str(error))}")
                continue
            for note in found.notes:
                tell(f"interplay: {printable(note)}")
            if prompts is not None and not as_json:
                print("\n" * bool(done) + printable(f"{i} of {len(asked)}: {text}"))
            print(found.to_json() if as_json else found.text(terminal=sys.stdout.isatty()), flush=True)
            done.append(found)
    except KeyboardInterrupt as stopped:
        page = f", on the page {html}" if html and done else ""
        stopped.add_note(f"{len(done)} of {len(asked)} prompts are explained{page}; the same command starts over")
        raise
    finally:
        if html is not None and done:
            write_page(done, html)
