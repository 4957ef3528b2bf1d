"""The shim (`shim.c`) for Python: built, put under `interplay`, and what it put down read back. No test is in here.

Run as a script it is a server: a process with the shim preloaded that imports everything once and then runs each command in a
fork of its own, with the shim armed in the fork only. So a case costs its own work and not ten seconds of imports. A fork goes
through `interplay.cli.main` to its end, as the command does, and leaves stdout and stderr in files.
"""

import ctypes
import dataclasses
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterable
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")
PACKAGE = Path(__file__).resolve().parents[2] / "src"


def missing() -> str | None:
    """Why there can be no shim here, or None."""
    if not sys.platform.startswith("linux"):
        return "the fault shim watches libc's calls on Linux only"
    return None if shutil.which("cc") else "the fault shim needs a C compiler (cc)"


def build(folder: Path) -> Path:
    """Compile the shim into `folder`."""
    made = folder / "shim.so"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-U_FORTIFY_SOURCE"]
    subprocess.run(["cc", *flags, "-o", str(made), str(SOURCE), "-ldl"], check=True)
    return made


@dataclasses.dataclass(frozen=True)
class Fault:
    """What the shim is to do: `how` at the `at`-th event below `root`; at 0 nothing but `log` the events, if asked.

    `call` and `path` (a pattern): only events that fit both are counted.
    """

    root: Path
    at: int = 0
    how: str = "before"
    call: str = ""
    path: str = ""
    log: Path | None = None

    def environment(self, shim: Path) -> dict[str, str]:
        """The variables that put a new process under the shim."""
        variables = {"LD_PRELOAD": str(shim), "FAULT_ROOT": str(self.root), "FAULT_AT": str(self.at)}
        variables |= {"FAULT_HOW": self.how, "FAULT_CALL": self.call, "FAULT_PATH": self.path}
        return variables | ({"FAULT_LOG": str(self.log)} if self.log else {})


@dataclasses.dataclass(frozen=True)
class Event:
    """One line of the log: `path` and `other` are relative to the root, `bytes` is what was to be written."""

    process: int
    number: int
    call: str
    bytes: int
    path: str
    other: str


def read_log(path: Path) -> list[Event]:
    """The events of a log, in the order in which they were put down."""
    events = []
    for line in path.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        process, number, call, size, name, other = line.split("\t")
        events.append(Event(int(process), int(number), call, int(size), name, other))
    return events


def bytes_written(events: Iterable[Event]) -> dict[str, int]:
    """How many bytes the events leave in each file: writes follow a file through its renames; truncated, it starts anew.

    >>> temporary, kept = Event(1, 1, "write", 3, ".a.tmp", ""), Event(1, 2, "rename", 0, ".a.tmp", "a")
    >>> bytes_written([temporary, kept])
    {'a': 3}
    """
    sizes: dict[str, int] = {}
    for event in events:
        if event.call == "open" and (event.other == "truncated" or event.path not in sizes):
            sizes[event.path] = 0
        elif event.call == "write":
            sizes[event.path] = sizes.get(event.path, 0) + event.bytes
        elif event.call == "unlink":
            sizes.pop(event.path, None)
        elif event.call == "rename":
            inside = event.path + "/"
            for name in [n for n in sizes if n == event.path or n.startswith(inside)]:
                sizes[event.other + name[len(event.path) :]] = sizes.pop(name)
    return sizes


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code (minus the signal it died of), and what it said."""

    code: int
    out: str
    err: str

    @property
    def killed(self) -> bool:
        return self.code == -9


def private_mounts() -> bool:
    """Whether a process may mount here what nobody else sees (`unshare`): for disks that are really full or read-only."""
    return (
        shutil.which("unshare") is not None and subprocess.run([*_PRIVATE, "true"], capture_output=True).returncode == 0
    )


_PRIVATE = ("unshare", "--map-root-user", "--mount")


class Server:
    """Commands in forks of a process that has everything imported, each under a fault of its own."""

    def __init__(self, shim: Path, folder: Path, *, private: bool = False, **more: str) -> None:
        """`folder` keeps what the commands say, and lies outside of every run's folder. `private`: with mounts of its own."""
        self.folder, self.private = folder, private
        ours = {name: value for name, value in os.environ.items() if not name.startswith("FAULT_")}
        ours |= {"LD_PRELOAD": str(shim), "PYTHONPATH": str(PACKAGE), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self.process = subprocess.Popen(
            [*(_PRIVATE if private else ()), sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=ours | more,
            text=True,
        )

    def command(self, *arguments: object, fault: Fault | None = None, seconds: float | None = None) -> Ended:
        """`interplay ARGUMENTS` in a fork, under a fault; killed (SIGKILL) after so many seconds where they are given."""
        asked = None
        if fault is not None:
            asked = [str(fault.root), fault.at, fault.how, str(fault.log or ""), fault.call, fault.path]
        code = self._ask("interplay", list(map(str, arguments)), asked, seconds)
        out, err = ((self.folder / name).read_text(encoding="utf-8", errors="replace") for name in ("out", "err"))
        return Ended(code, out, err)

    def mount(self, *arguments: object) -> Path:
        """`mount ARGUMENTS` where only the commands see it; returns the path under which it can be seen from outside."""
        assert self.private
        if self._ask("mount", list(map(str, arguments))):
            raise RuntimeError((self.folder / "err").read_text(encoding="utf-8"))
        return Path(f"/proc/{self.process.pid}/root{arguments[-1]}")

    def _ask(self, *asked: object) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([str(self.folder), *asked]) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the fork server itself ended with {self.process.wait()}")
        return json.loads(answer)

    def close(self) -> None:
        """End the server."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=60)


def _become(
    folder: str, what: str, arguments: list[str], fault: list | None = None, seconds: float | None = None
) -> int:
    """In the fork: the command in place of the server; returns its exit code."""
    for fd, name in ((1, "out"), (2, "err")):
        file = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(file, fd)
        os.close(file)
    if what == "mount":
        os.execvp("mount", ["mount", *arguments])
    sys.argv = ["interplay", *arguments]
    from interplay.cli import main

    if fault is not None:
        root, at, how, *texts = fault
        arm = ctypes.CDLL(None).fault_arm
        arm.argtypes = [ctypes.c_char_p, ctypes.c_long, *[ctypes.c_char_p] * 4]
        if arm(os.fsencode(root), at, how.encode(), *map(os.fsencode, texts)):
            raise ValueError(f"the shim knows no {how!r}")
    try:
        main()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _serve() -> None:
    import datasets  # noqa: F401
    import peft  # noqa: F401
    import sklearn.base  # noqa: F401
    import trl  # noqa: F401

    import interplay.cli.show
    import interplay.pipeline.pipeline  # noqa: F401

    gc.freeze()  # a fork that never touches what was imported does not copy it
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            code = _become(*asked)
            gc.collect()  # what is closed late says its complaints before the end
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # the interpreter's own end takes a second
        print(_ended(child, asked[4] if len(asked) > 4 else None), flush=True)


def _ended(child: int, seconds: float | None) -> int:
    """Wait for a child, kill it when its time is over; its exit code."""
    end = None if seconds is None else time.monotonic() + seconds
    while end is not None and time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    if end is not None:
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    _serve()
