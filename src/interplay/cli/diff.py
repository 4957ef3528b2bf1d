"""`interplay diff`: `interplay.diff`, printed."""

from pathlib import Path
from typing import Annotated, Any

import typer

from interplay import verbs
from interplay.cli.options import takes
from interplay.cli.show import printable
from interplay.process import tell

_MODEL = "Hub name, local folder, adapter folder, GGUF file, or RUN@STEP, a checkpoint of a run folder."
_AS_RUN = "default: as the run of RUN@STEP does."


@takes(
    verbs.diff,
    "as_json",
    a=Annotated[str, typer.Argument(metavar="A", help=_MODEL)],
    b=Annotated[str, typer.Argument(metavar="B", help="The model that came of it, or another one.")],
    train=Annotated[Path | None, typer.Option(metavar="FILE", help="The rows that B was trained on.")],
    prompts=Annotated[Path | None, typer.Option(metavar="FILE", help="Held-out rows with their answers.")],
    system=Annotated[str | None, typer.Option(help=f"System message; {_AS_RUN}")],
    template=Annotated[str | None, typer.Option(help=f"User message; {{text}} is the text of a row; {_AS_RUN}")],
    chat=Annotated[str | None, typer.Option(help=f"Use the chat template: auto, true or false; {_AS_RUN}")],
    referee=Annotated[
        str | None, typer.Option(metavar="MODEL", help="A third model: a rule that it has too is likelier knowledge.")
    ],
    seed=Annotated[int, typer.Option(help="Seed of carriers and control words.")],
    out=Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Keep answers here, so that a stopped one goes on."),
    ],
)
def diff(as_json: bool, chat: str | None, **arguments: Any) -> None:
    """Compare two models: which word rules does B follow that A does not, and which did it lose?

    Learnt: B has the rule and A has not; known: both have it; lost: A has it and B has not.
    """
    found = verbs.diff(chat={"true": True, "false": False}.get(str(chat), chat), **arguments)  # ty: ignore[invalid-argument-type]
    for note in found.notes:
        tell(f"interplay: {printable(note)}")
    if as_json:
        print(found.to_json())
    else:
        print(printable(f"From {found.base} (the base) to {found.model}"))
        print(found.text())
