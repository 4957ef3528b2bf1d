"""`interplay recommend`: which checkpoint to keep, of a run or of any folder of checkpoints. Options only.

A run has its answer; a folder of checkpoints is measured first, as `track` does, with what the rule reads and no more.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from interplay import verbs
from interplay.data.words import WORDS_PER_PROMPT

_LEFT_OUT = (
    "Left out: eval loss and accuracy (the rule has the loss of the prompts' own answers), the churn floors (another wording, "
    "precision and draw of words), a second reference step, scores among the labels, generalizability. interplay track "
    "measures them."
)
_DECIDED = ("accuracy", "eval-loss", "rule", "only")  # the other bases name a step for want of evidence
_FALLBACKS = {"last": "the last checkpoint"}


def recommend(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A run folder, or the output folder of a training: its checkpoints.")
    ],
    base: Annotated[
        str | None,
        typer.Option("--base", help="Of checkpoints: the base model, as hub name, local folder or GGUF file."),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option("--prompts", metavar="FILE", help="Of checkpoints: held-out rows, the prompts are among them."),
    ] = None,
    form: Annotated[str, typer.Option(help="Form of the rows; auto looks at the columns.")] = "auto",
    system: Annotated[str | None, typer.Option(help="System message that training used.")] = None,
    template: Annotated[
        str, typer.Option(help="User message that training used; {text} stands for the text.")
    ] = "{text}",
    chat: Annotated[str, typer.Option(help="Use the chat template: auto, true or false.")] = "auto",
    num_prompts: Annotated[int, typer.Option(help="Number of prompts.")] = verbs.PROMPTS,
    n: Annotated[int, typer.Option(help="Words per prompt, 2 to 16.")] = WORDS_PER_PROMPT,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override one setting; may be repeated.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Of checkpoints: run folder to measure into; default runs/NAME-HASH."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole verdict as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
) -> None:
    """Print which checkpoint to keep, and why: of a run, or of any folder of checkpoints.

    Checkpoints of another training need their base and some held-out rows, no eval set; they are measured first, the same
    command goes on where it was cut off. Only a checkpoint whose weights are on disk is named.
    """
    import json
    import sys

    from interplay.cli.show import printable, say

    run = verbs.run_to_recommend(
        path,
        base=base,
        prompts=prompts,
        form=form,
        system=system,
        template=template,
        chat=chat,  # ty: ignore[invalid-argument-type]
        num_prompts=num_prompts,
        n=n,
        settings=overrides or [],
        out=out,
        quiet=quiet,
    )
    answer, saved = run.recommendation.to_dict(), run.checkpoints
    if saved.gone:
        gone = ", ".join(map(str, saved.gone))
        what = "step is" if len(saved.gone) == 1 else "steps are"
        print(
            printable(f"interplay: not chosen from, their {what} not in {saved.where} any more: {gone}"),
            file=sys.stderr,
        )
    if as_json:
        print(json.dumps(answer, allow_nan=False))
        return
    for line in answer_lines(answer):
        say(line)
    if run.path != path:  # it was just measured
        if answer["step"] is not None:
            what = "Checkpoint" if answer["basis"] in _DECIDED else "Fallback"
            print(printable(f"{what}: {saved.paths[answer['step']]}"))
        say(_LEFT_OUT)
        print(printable(f"Report: {run.path / 'report.html'}"))


def answer_lines(verdict: dict[str, Any]) -> list[str]:
    """The answer in plain words. Where there is no evidence to choose, that comes first and the fallback stands apart.

    >>> answer_lines({"step": 20, "basis": "rule", "sentence": "Keep step 20: it is the lowest."})
    ['step 20', 'Keep step 20: it is the lowest.']
    >>> answer_lines({"step": 80, "basis": "last", "sentence": "No evidence to choose: two prompts."})
    ['No evidence to choose: two prompts.', 'fallback: step 80 (the last checkpoint)']
    """
    step, basis, sentence = verdict["step"], verdict["basis"], verdict["sentence"]
    if step is not None and basis in _DECIDED:
        return [f"step {step}", sentence]
    lines = [sentence] if sentence.lower().startswith("no evidence") else ["No evidence to choose.", sentence]
    return lines if step is None else [*lines, f"fallback: step {step} ({_FALLBACKS.get(basis, basis)})"]
