"""The run with helper processes on this machine (`--workers`) or with actors on a Ray cluster (`--ray`).

As a script it is a helper: `python -m interplay.parallel.run FOLDER I/N`. None outlives the process that started it.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import IO

from interplay.config.settings import Settings
from interplay.errors import InterplayError
from interplay.parallel.cluster import Cluster, refuse_unreachable
from interplay.pipeline import pipeline
from interplay.pipeline.jobs import Engine, in_this_process
from interplay.pipeline.pipeline import Unfinished
from interplay.pipeline.progress import Progress
from interplay.pipeline.shards import EVERYTHING, Shard, parse_shard
from interplay.pipeline.stages import Context

PATIENCE = 10.0  # seconds a helper has to leave by itself when all work is done [ours]


def run(
    settings: Settings,
    path: Path,
    progress: Progress | None = None,
    *,
    workers: int | None = None,
    ray: str | None = None,
    shard: Shard = EVERYTHING,
    early: pipeline.Early | None = None,
) -> Unfinished | None:
    """`pipeline.run` with `workers` processes on this machine, or so many actors on the Ray cluster at the address `ray`."""

    @contextlib.contextmanager
    def scoring(context: Context) -> Generator[Engine]:
        if ray is not None:
            with Cluster(ray, settings, context.progress.say, actors=workers) as cluster:
                yield cluster.results
        else:
            others = range(2, (workers or 1) + 1)
            with helpers([helper_command(path, i, len(others) + 1) for i in others], context.progress.say):
                yield in_this_process(context.models)

    if ray is None and (workers or 1) == 1:
        return pipeline.run(settings, path, progress, shard=shard, early=early)
    if ray is not None and settings.training is not None:
        refuse_unreachable(ray)
    return pipeline.run(settings, path, progress, scoring=scoring, early=early)


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


def helper_command(folder: Path, i: int, n: int) -> list[str]:
    """What starts the i-th of n processes on a run; the first makes it."""
    return [sys.executable, "-m", "interplay.parallel.run", str(folder), f"{i}/{n}"]


def main() -> None:
    leave_with_parent()
    try:
        pipeline.help_run(Path(sys.argv[1]), parse_shard(sys.argv[2], helps=True), Progress(quiet=True))
    except InterplayError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:  # a terminal sends it to all processes; the one that started us says so
        sys.exit(130)


if __name__ == "__main__":
    main()
