"""All verbs of the command line, and the entry point, which turns an error into one line and an exit code.

The options of a verb become a call of the Python function of the same name. Heavy modules are imported inside the verbs, so
`interplay --help` needs neither numpy nor torch.
"""

import errno
import functools
import io
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import typer

from interplay.cli.audit import audit
from interplay.cli.diff import diff
from interplay.cli.explain import EXAMPLES, explain
from interplay.cli.outputs import card, compare, export, report
from interplay.cli.run import demo, init, presets, recommend, run, track
from interplay.cli.show import printable
from interplay.cli.test import test
from interplay.errors import InterplayError, reason_of
from interplay.process import silence, tell

# How OpenMP's threads wait where the user says nothing: asleep; GNU's, which stock PyTorch has, spin some microseconds before.
# Long spinning takes a core from what else runs, none makes small passes twice as slow (docs/evidence/log.md) [ours].
_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000"}
_LONGEST = 2000  # characters of an error: what was given may be a megabyte [ours]

# typer carries a click of its own since 0.20 and used the installed one before: the base of its errors is found either way.
_USAGE_ERROR: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

app = typer.Typer(
    name="interplay",
    help="See what supervised fine-tuning taught a language model, and which checkpoint to keep.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
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


class _Stopped(Exception):
    """Ctrl-C, which typer would make an exit code of; what is kept, and how to go on."""


def _stoppable(verb: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(verb)
    def run(**arguments: Any) -> None:
        try:
            verb(**arguments)
        except KeyboardInterrupt as stopped:
            raise _Stopped(*getattr(stopped, "__notes__", ())) from None

    return run


for _verb in (demo, init, run, track, audit, diff, explain, report, recommend, test, card, presets, compare, export):
    app.command(epilog=EXAMPLES if _verb is explain else None)(_stoppable(_verb))


def main() -> None:
    """Run a verb: one line on stderr and exit code 2 for an error that the user can correct, 130 when interrupted."""
    from interplay.secrets import redact

    def stop(message: str, code: int = 2) -> NoReturn:
        line = printable(redact(message))
        tell(f"interplay: {line[:_LONGEST] + ('…' if len(line) > _LONGEST else '')}")
        sys.exit(code)

    def traceback(*error: Any) -> None:
        """As Python's own, but nothing in a library's message reaches the terminal as an escape, nor a token the log."""
        from traceback import format_exception

        for line in "".join(format_exception(*error)).splitlines():
            tell(printable(redact(line)))

    if not {*_WAITING, "KMP_BLOCKTIME"} & os.environ.keys():
        os.environ |= _WAITING  # before torch is imported
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by `>&-`: a file would get its number, and errors would go to stdout
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  (open until the end)
    odd = next((a for a in sys.argv[1:] if any("\ud800" <= c <= "\udfff" for c in a)), None)
    if odd is not None:
        stop(f"the argument {odd!a} is not UTF-8 text: give it in UTF-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an ASCII terminal gets ? for what it cannot draw, not a traceback
    kept: tuple[str, ...] = ()
    try:
        # Without arguments, the help; as an exit code of ours, since typer calls it an error and has changed its mind before.
        code = app(["--help"] if len(sys.argv) == 1 else None, standalone_mode=False)
        sys.stdout.flush()
    except InterplayError as error:
        stop(str(error))
    except _USAGE_ERROR as error:
        stop(f"{error.format_message()} (see interplay --help)")
    except (KeyboardInterrupt, _Stopped) as interrupted:
        code, kept = 130, interrupted.args
    except typer.Abort as stopped:
        if isinstance(stopped.__cause__, EOFError):  # typer takes any EOFError for Ctrl-D at a question; we ask none
            raise stopped.__cause__ from None
        code = 130
    except SystemExit as stopped:  # 1 is typer's answer to a closed pipe, before it reaches us
        sys.exit(0 if stopped.code == 1 else stopped.code)
    except BrokenPipeError:  # the reader of stdout went away; what is still buffered must not fail again at exit
        silence(sys.stdout)
        sys.exit(0)
    except OSError as error:
        from interplay.atomic import LOST
        from interplay.text import short

        if error.errno not in (errno.ENAMETOOLONG, errno.ELOOP, *LOST):
            raise
        where = f": {short(error.filename)}" if error.filename else ""
        stop(f"{error.strerror}{where}; make room or choose another path")
    except BaseException as error:
        kind = type(error).__name__
        if kind == "PanicException":
            stop(f"a library failed, as by a damaged file: {reason_of(error)}")
        # torch's own types: one for a GPU, a plain RuntimeError for the CPU.
        if not (isinstance(error, MemoryError) or kind == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error)):
            raise
        if sys.argv[1:2] in (["report"], ["compare"], ["export"], ["card"]):  # which load no model
            stop("out of memory: this run folder does not fit into it")
        stop("out of memory: lower training.batch_size or scoring.batch_tokens, or take a smaller model")
    finally:
        sys.excepthook = traceback  # here, for typer puts in its own when it is called
    if code == 130:
        stop(f"stopped; {'; '.join(kept) or 'nothing new is kept, the same command starts over'}", 130)
    sys.exit(code if isinstance(code, int) else 0)
