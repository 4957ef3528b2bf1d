"""What may come of a hostile input: a result or one line of ours; and an alarm on everything that reaches further.

`fate` judges how a call ends. `enclosed` watches what the interpreter does meanwhile through its audit events: writing
outside the scratch folder, starting a process, opening a connection and finding a class for a pickle raise at once. Native
code is not watched, since it announces nothing; it is ours to choose libraries there.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from interplay.errors import InterplayError

LONGEST = 2000  # characters of a message; a path has up to 4096 bytes, but ours are short here [ours]

SECONDS = 60  # a call that takes longer hangs; the slowest that ends takes two on an idle machine [ours]

_NEVER = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "socket.connect", "socket.bind",
     "socket.getaddrinfo", "pickle.find_class", "webbrowser.open", "ctypes.dlopen"}
)  # fmt: skip
_CHANGES = frozenset(
    {
        "os.mkdir",
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.symlink",
        "os.link",
        "os.truncate",
        "os.chmod",
        "shutil.rmtree",
    }
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_scratch: str | None = None  # while not None, the hook is armed; a hook once added cannot be taken away
_hooked = False


class Escaped(BaseException):  # no Exception: a library that catches everything must not hide it
    """Something happened that no input may bring about."""


class Unfit(AssertionError):
    """An InterplayError whose message a user cannot be shown: several lines, or too long."""


def fate(call: Callable[[], object]) -> str | None:
    """None where the call ends well, the message where it ends in our own error; any other exception is let through.

    >>> def refuse(): raise InterplayError("n is 3, expected 4: give 4")
    >>> fate(lambda: 1), fate(refuse)
    (None, 'n is 3, expected 4: give 4')
    """
    try:
        call()
    except InterplayError as error:
        said = str(error)
        if len(said.splitlines()) != 1:
            raise Unfit(f"a message of {len(said.splitlines())} lines: {said[:300]!a}") from error
        if len(said) > LONGEST:
            raise Unfit(f"a message of {len(said)} characters: {said[:300]!a}") from error
        return said
    return None


@contextlib.contextmanager
def enclosed(scratch: Path) -> Generator[None]:
    """Raise Escaped when the block writes outside `scratch`, starts a process, connects, unpickles a class, or hangs.

    A hang is noticed in the main thread of a process only, where a signal can be handled.
    """
    global _scratch, _hooked
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked = True
    bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # a late import is no escape
    _scratch = os.path.realpath(scratch)
    try:
        with _alarm():
            yield
    finally:
        _scratch = None
        sys.dont_write_bytecode = bytecode


@contextlib.contextmanager
def unwatched() -> Generator[None]:
    """Lift the watch for what belongs to the fuzzer and not to the input: making a valid folder once a process."""
    global _scratch
    kept, _scratch = _scratch, None
    try:
        yield
    finally:
        _scratch = kept


@contextlib.contextmanager
def _alarm() -> Generator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: object) -> None:
        raise Escaped(f"no end after {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _opened_folder(arguments: tuple[Any, ...]) -> str:
    """The folder that a name is relative to, where a call gives one as a file descriptor."""
    last = arguments[-1]
    return os.readlink(f"/proc/self/fd/{last}") if type(last) is int and last >= 0 else ""


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _scratch is None:
        return
    if event in _NEVER:
        if event == "ctypes.dlopen" and not _foreign(arguments[0]):
            return
        raise Escaped(f"{event} {arguments!a}"[:500])
    if event == "open":
        path, mode, flags = arguments
        writes = bool(set(mode or "") & set("wax+")) or bool((flags or 0) & _WRITING)
        if writes and not _inside(path):
            raise Escaped(f"open for writing outside the scratch folder: {path!a} {mode!a}"[:500])
    elif event in _CHANGES and not all(
        # What a link points to is only a name; where it lies counts.
        _inside(os.path.join(_opened_folder(arguments), os.fsdecode(a)), follow=False)
        for a in arguments[event == "os.symlink" :]
        if isinstance(a, (str, bytes, os.PathLike))
    ):
        raise Escaped(f"{event} outside the scratch folder: {arguments!a}"[:500])


def _foreign(name: object) -> bool:
    """Whether a shared library lies in the scratch folder, where only the input can have put it."""
    return isinstance(name, str) and name.startswith("/") and _inside(name)


def _inside(path: object, follow: bool = True) -> bool:
    """Whether a path lies in the scratch folder. Not following: a link itself, which may be removed but not written through."""
    if isinstance(path, int):  # a descriptor that is open already
        return True
    name = os.fsdecode(path)  # ty: ignore[invalid-argument-type]
    if name == os.devnull:
        return True
    assert _scratch is not None
    if not follow:
        name = os.path.join(os.path.realpath(os.path.dirname(name)), os.path.basename(name))
    real = os.path.realpath(name) if follow else name
    return real == _scratch or real.startswith(_scratch + os.sep)
