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
Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="Run folder, continued if unfinished; default runs/NAME-HASH.")
]
Shard = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Do only part I of N, for job arrays. All parts may write to one folder; the last one finishes the run. Parts in "
        "separate folders: copy them together and run the same command again.",
    ),
]
_WORKERS = "Number of scoring processes (Ray actors); each gets one GPU or an equal share of the CPU cores."
Workers = Annotated[int | None, typer.Option("--workers", "-j", min=1, max=256, help=_WORKERS)]
_RAY = "Score on a Ray cluster: auto, HOST:PORT, ray://HOST:PORT, or local to start one on this machine."
Ray = Annotated[str | None, typer.Option(metavar="ADDRESS", help=_RAY)]
Form = Annotated[str, typer.Option(help="Form of the data; auto looks at the columns.")]
System = Annotated[str | None, typer.Option(help="System message used in training.")]
Template = Annotated[str, typer.Option(help="User message used in training; {text} is the text of a row.")]
Chat = Annotated[str, typer.Option(help="Use the chat template: auto, true or false.")]
WordCount = Annotated[
    int,
    typer.Option(help="Words per prompt, 2 to 16, or fewer where a text has fewer; all 2^n combinations are scored."),
]
NumPrompts = Annotated[int, typer.Option(help="Number of prompts.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
SHARED = {
    "settings": Set, "out": Out, "shard": Shard, "workers": Workers, "ray": Ray, "form": Form, "system": System, "template": Template,
    "chat": Chat, "n": WordCount, "num_prompts": NumPrompts, "as_json": Json, "quiet": Quiet,
}  # fmt: skip


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
