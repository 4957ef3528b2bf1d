"""`interplay test`: whether a rule that an audit found is back in a model."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from interplay import verbs
from interplay.cli.options import takes
from interplay.cli.show import printable
from interplay.process import tell


@takes(
    verbs.test,
    "as_json",
    model=Annotated[
        str, typer.Argument(metavar="MODEL", help="Hub name, local folder, GGUF file, adapter or RUN@STEP.")
    ],
    tests=Annotated[Path, typer.Argument(metavar="tests.jsonl", help="The tests of interplay audit --fixes.")],
    base=Annotated[
        str | None, typer.Option(help="Base model of an adapter or of RUN@STEP; default: the one it names.")
    ],
    dtype=Annotated[str, typer.Option(help="float32, float64, bfloat16x2, bfloat16 or float16.")],
    device=Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")],
)
def test(as_json: bool, **arguments: Any) -> None:
    """Ask a model the tests of an audit: exit code 1 when a rule is back, 0 when none is, 2 when it cannot be tested.

    For each rule, the fraction of held-out texts whose answer its words turn, with a Wilson interval.
    """
    found = verbs.test(**arguments)
    for note in found.notes:
        tell(printable(f"interplay: {note}"))
    print(json.dumps(found.to_dict(), ensure_ascii=False, allow_nan=False) if as_json else found)
    if not found.passed:
        raise typer.Exit(1)
