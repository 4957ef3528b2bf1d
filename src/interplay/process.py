"""A name for a process (number, start, machine) by which others can tell whether it has ended or is only slow; its environment."""

import contextlib
import functools
import hashlib
import os
import re
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TextIO

NAME = r"\d+-\d+-[0-9a-f]{8}"


@contextlib.contextmanager
def environment(**values: str | None) -> Generator[None]:
    """Environment variables as given for the length of a block, None: not set. Processes started meanwhile inherit them.

    >>> with environment(HOME=None):
    ...     "HOME" in os.environ
    False
    """
    before = {name: os.environ.pop(name, None) for name in values}
    os.environ.update({name: value for name, value in values.items() if value is not None})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def tell(line: str) -> None:
    """One line on stderr. Where nobody reads it any more (a closed pipe, a full disk) the work goes on without it."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """What is written to a stream, and what it still holds, leads nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def this_process() -> str:
    """`<pid>-<start>-<machine>`: the start in the kernel's ticks, since numbers are reused; the machine as a hash."""
    pid = os.getpid()
    return f"{pid}-{_start(pid) or 0}-{_machine()}"


def is_dead(process: str) -> bool | None:
    """Whether a process has ended; None where only its machine can tell.

    >>> is_dead("4711-12-00000000") is None    # another machine
    True
    """
    pid, start, machine = process.split("-") if re.fullmatch(NAME, process) else ("", "", "")
    if not pid or machine != _machine() or start == "0":
        return None
    return _start(int(pid)) != start


@functools.cache
def _machine() -> str:
    """Hash of this boot of this machine and of the process namespace: each container numbers its own processes."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return hashlib.sha256(f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}".encode()).hexdigest()[:8]
    except OSError:
        return "00000000"  # not Linux: `_start` knows nothing either


def _start(pid: int) -> str:
    """When a process of this machine began; empty where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()  # the name in brackets may hold anything
    return "" if not fields or fields[0] in ("Z", "X") else fields[19]  # a zombie has ended
