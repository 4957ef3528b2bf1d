"""All verbs of the command line, one module each: their options become a call of the Python function of the same name.

Heavy modules are imported inside the verbs, so `interplay --help` needs neither numpy nor torch.
"""

from typing import Annotated

import typer

from interplay.cli.card import card
from interplay.cli.compare import compare
from interplay.cli.explain import EXAMPLES, explain
from interplay.cli.export import export
from interplay.cli.presets import presets
from interplay.cli.recommend import recommend
from interplay.cli.report import report
from interplay.cli.run import demo, run, track

app = typer.Typer(
    name="interplay",
    help="See what supervised fine-tuning taught a language model, and which checkpoint to keep.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


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


for _verb in (demo, run, track):
    app.command()(_verb)
app.command(epilog=EXAMPLES)(explain)
for _verb in (report, recommend, card, presets, compare, export):
    app.command()(_verb)
