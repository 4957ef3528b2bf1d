"""The run with helpers on this machine (`--workers`) or with actors on a Ray cluster (`--ray`).

As a script it is a helper: `python -m interplay.parallel.run FOLDER I/N`.
"""

import contextlib
import sys
from collections.abc import Generator
from pathlib import Path

from interplay.config.settings import Settings
from interplay.errors import InterplayError
from interplay.parallel.cluster import Cluster, refuse_unreachable
from interplay.parallel.workers import helpers, leave_with_parent
from interplay.pipeline import pipeline
from interplay.pipeline.jobs import Engine, in_this_process
from interplay.pipeline.pipeline import Unfinished
from interplay.pipeline.progress import Progress
from interplay.pipeline.shards import EVERYTHING, Shard, parse_shard
from interplay.pipeline.stages import Context


def run(
    settings: Settings,
    path: Path,
    progress: Progress | None = None,
    *,
    workers: int | None = None,
    ray: str | None = None,
    shard: Shard = EVERYTHING,
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
        return pipeline.run(settings, path, progress, shard=shard)
    if ray is not None and settings.training is not None:
        refuse_unreachable(ray)
    return pipeline.run(settings, path, progress, scoring=scoring)


def helper_command(folder: Path, i: int, n: int) -> list[str]:
    """What starts the i-th of n processes on a run; the first makes it."""
    return [sys.executable, "-m", "interplay.parallel.run", str(folder), f"{i}/{n}"]


def main() -> None:
    """A helper."""
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
