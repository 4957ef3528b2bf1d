"""`interplay recommend`: which checkpoint to keep, of a run or of any folder of checkpoints."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from interplay import verbs
from interplay.cli.options import takes
from interplay.cli.show import printable, say
from interplay.process import tell

_LEFT_OUT = (
    "Not measured: eval loss and accuracy (the rule uses the loss of the prompts' own answers), churn floors, a second "
    "reference step, scores among the labels, generalizability. interplay track measures them."
)
_DECIDED = ("accuracy", "eval-loss", "rule", "only")  # any other basis is no evidence


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

    Checkpoints of another training are measured first; that needs their base model and some held-out rows, and the same
    command continues an unfinished measurement. Only a checkpoint whose weights are on disk is recommended.
    """
    run = verbs.run_to_recommend(**arguments)
    answer, saved = run.recommendation.to_dict(), run.checkpoints
    if saved.gone:
        gone = ", ".join(map(str, saved.gone))
        tell(printable(f"interplay: left out, no longer in {saved.where}: {gone}"))
    if as_json:
        print(json.dumps(answer, allow_nan=False))
        return
    for line in answer_lines(answer):
        say(line)
    if run.path != arguments["path"]:  # it was just measured, or watched by the callback
        if answer["step"] is not None:
            what = "Checkpoint" if answer["basis"] in _DECIDED else "Fallback"
            print(printable(f"{what}: {saved.paths[answer['step']]}"))
        if not run.has("callback.json"):
            say(_LEFT_OUT)
        if run.has("report.html"):
            print(printable(f"Report: {run.path / 'report.html'}"))


def answer_lines(answer: dict[str, Any]) -> list[str]:
    """The recommendation in lines. Without evidence to choose, the first line says so and the fallback is marked as one.

    >>> answer_lines({"step": 20, "basis": "rule", "sentence": "Keep step 20: it is the lowest."})
    ['step 20', 'Keep step 20: it is the lowest.']
    >>> answer_lines({"step": 80, "basis": "last", "sentence": "No evidence to choose: two prompts."})
    ['No evidence to choose: two prompts.', 'fallback: step 80 (the last checkpoint)']
    """
    step, basis, sentence = answer["step"], answer["basis"], answer["sentence"]
    if step is not None and basis in _DECIDED:
        return [f"step {step}", sentence]
    lines = [sentence] if sentence.lower().startswith("no evidence") else ["No evidence to choose.", sentence]
    if step is not None:
        lines.append(f"fallback: step {step} ({'the last checkpoint' if basis == 'last' else basis})")
    return lines
