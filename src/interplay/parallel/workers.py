"""Helper processes on this machine: how they are started, what each may use, and that none outlives the one that started it."""

import contextlib
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Generator, Sequence
from typing import IO

PATIENCE = 10.0  # seconds a helper has to leave by itself when all work is done [ours]


@contextlib.contextmanager
def helpers(commands: Sequence[Sequence[str]], say: Callable[[str], None]) -> Generator[None]:
    """One process for each command, for the length of the block; each should call `leave_with_parent`. Failures are reported."""
    import torch

    count = len(commands)
    before = torch.get_num_threads()
    if "OMP_NUM_THREADS" not in os.environ:  # this process, too, takes its part of the cores
        torch.set_num_threads(max(1, cores() // (count + 1)))
    started: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = []
    try:
        for i, command in enumerate(commands, start=1):
            errors = tempfile.TemporaryFile()  # noqa: SIM115  (read when the process has ended)
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # closed when this process ends, however it ends
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=os.environ | helper_environment(i, count + 1),
            )
            started.append((process, errors))
        yield
    finally:
        for number, (process, errors) in enumerate(started, start=1):
            at_work = _end(process)
            errors.seek(0)
            said = errors.read().decode(errors="replace").strip()
            if not said and process.returncode < 0 and not at_work:  # not by us
                said = f"killed by signal {-process.returncode}" + " (out of memory?)" * (process.returncode == -9)
            if process.returncode and said:
                say(f"warning: helper {number} stopped, its work was done by others: {said.splitlines()[-1][:300]}")
            errors.close()
        torch.set_num_threads(before)


def _end(process: subprocess.Popen[bytes]) -> bool:
    """Close the helper's pipe, upon which it leaves; kill one that does not. Returns whether it was still at work."""
    assert process.stdin is not None
    at_work = True
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(0.5)
        at_work = False
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return at_work


def helper_environment(index: int, count: int, environment: dict[str, str] | None = None) -> dict[str, str]:
    """What the index-th of `count` processes may use: a part of the cores, and one GPU in turn; process 0 starts the others.

    >>> helper_environment(3, 4, {"CUDA_VISIBLE_DEVICES": "4,6", "OMP_NUM_THREADS": "2"})
    {'CUDA_VISIBLE_DEVICES': '6'}
    """
    import torch

    given = dict(os.environ) if environment is None else environment
    wanted = {}
    if "OMP_NUM_THREADS" not in given:  # else every process has as many as the user said
        wanted["OMP_NUM_THREADS"] = str(max(1, cores() // count))
    gpus = ",".join(map(str, range(torch.cuda.device_count())))
    if visible := [name for name in given.get("CUDA_VISIBLE_DEVICES", gpus).split(",") if name.strip()]:
        wanted["CUDA_VISIBLE_DEVICES"] = visible[index % len(visible)].strip()
    return wanted


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def leave_with_parent() -> None:
    """End when the pipe from the process that started this one is closed, which the kernel does when that process dies."""

    def watch() -> None:
        # Not through sys.stdin, whose lock a thread that still reads would hold when the interpreter ends.
        with contextlib.suppress(OSError):
            os.read(0, 1)
        os._exit(0)  # at any moment: files are written atomically

    threading.Thread(target=watch, daemon=True).start()
