"""Options that several verbs share, with their help, and commands that take what a Python function takes."""

from collections.abc import Callable
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any

import typer

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override one setting; repeat for several.")
]
_WORKERS = "Number of scoring processes (Ray actors); each gets one GPU or an equal share of the CPU cores."
Workers = Annotated[int | None, typer.Option("--workers", "-j", min=1, max=256, help=_WORKERS)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
_OUT = "Run folder, continued if unfinished; default runs/NAME-HASH."
_SHARD = (
    "Do only part I of N, for job arrays. All parts may write to one folder; the last one finishes the run. Parts in "
    "separate folders: copy them together and run the same command again."
)
_RAY = "Score on a Ray cluster: auto, HOST:PORT, ray://HOST:PORT, or local to start one on this machine."
_N = "Words per prompt, 2 to 16, or fewer where a text has fewer; all 2^n combinations are scored."
SHARED = {
    "settings": Set,
    "out": Annotated[Path | None, typer.Option("--out", "-o", help=_OUT)],
    "shard": Annotated[str | None, typer.Option(metavar="I/N", help=_SHARD)],
    "workers": Workers,
    "ray": Annotated[str | None, typer.Option(metavar="ADDRESS", help=_RAY)],
    "form": Annotated[str, typer.Option(help="Form of the data; auto looks at the columns.")],
    "system": Annotated[str | None, typer.Option(help="System message used in training.")],
    "template": Annotated[str, typer.Option(help="User message used in training; {text} is the text of a row.")],
    "chat": Annotated[str, typer.Option(help="Use the chat template: auto, true or false.")],
    "n": Annotated[int, typer.Option(help=_N)],
    "num_prompts": Annotated[int, typer.Option(help="Number of prompts.")],
    "as_json": Json,
    "quiet": Quiet,
}


def takes(verb: Callable[..., Any], *flags: str, **own: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Makes a command that takes what `verb` takes, in its order and with its defaults, and then some flags.

    Each is one of the command's `own` options, else one of `SHARED`.
    """
    known = SHARED | own
    given = [p.replace(annotation=known[name]) for name, p in signature(verb).parameters.items()]
    given += [Parameter(name, Parameter.KEYWORD_ONLY, default=False, annotation=known[name]) for name in flags]

    def made(command: Callable[..., None]) -> Callable[..., None]:
        vars(command)["__signature__"] = Signature(given)
        command.__annotations__ = {p.name: p.annotation for p in given}
        return command

    return made
