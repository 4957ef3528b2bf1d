"""A process in a name that others can judge: number, start and place, so that a dead one is told from a slow one."""

import functools
import hashlib
import os
import re
from pathlib import Path

NAME = r"\d+-\d+-[0-9a-f]{8}"


def this_process() -> str:
    """`<pid>-<start>-<place>`: the start in the kernel's ticks, since a number is used again; the place as a hash.

    >>> re.fullmatch(NAME, this_process()) is not None, is_dead(this_process()) is not True
    (True, True)
    """
    pid = os.getpid()
    return f"{pid}-{_start(pid) or 0}-{_place()}"


def is_dead(process: str) -> bool | None:
    """Whether a process has ended; None where only its own machine can tell.

    >>> is_dead("4711-12-00000000") is None    # another machine
    True
    """
    pid, start, place = process.split("-") if re.fullmatch(NAME, process) else ("", "", "")
    if not pid or place != _place() or start == "0":
        return None
    return _start(int(pid)) != start


@functools.cache
def _place() -> str:
    """This machine since it was started, and this process namespace: containers on one machine number their own."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return hashlib.sha256(f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}".encode()).hexdigest()[:8]
    except OSError:
        return "00000000"  # not Linux: `_start` knows nothing either


def _start(pid: int) -> str:
    """When a process of this place began; empty where there is none."""
    try:
        said = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = said.rpartition(")")[2].split()  # the name in brackets may hold anything
    return "" if not fields or fields[0] in ("Z", "X") else fields[19]  # a zombie works no more
