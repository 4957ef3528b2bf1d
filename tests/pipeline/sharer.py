"""One process of several on a run: does it, tells which units it wrote and how many it computed, and dies where it is told to.

Used as a script: sharer.py SETTINGS.json FOLDER [--shard I/N] [--die-after K] [--ray ADDRESS] [--until FILE]
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("settings", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shard")
    parser.add_argument("--die-after", type=int, default=-1)
    parser.add_argument("--ray")
    parser.add_argument("--until", type=Path, help="say that everything is imported, and begin when this file is there")
    asked = parser.parse_args()

    import datasets  # noqa: F401
    import peft  # noqa: F401
    import trl  # noqa: F401

    from interplay.config.loading import load_settings
    from interplay.parallel.run import run
    from interplay.pipeline import jobs, measure, pipeline
    from interplay.pipeline.progress import Progress
    from interplay.pipeline.shards import parse_shard

    written: list[str] = []
    computed: list[str] = []
    save, compute = measure.save_unit, jobs.compute

    def counted(path: Path, unit) -> None:
        if len(written) == asked.die_after:
            os.kill(os.getpid(), signal.SIGKILL)
        written.append(path.relative_to(asked.folder).as_posix())
        save(path, unit)

    def noted(model, questions):
        computed.extend(f"{q.condition}-{q.index}" for q in questions)
        return compute(model, questions)

    measure.save_unit, jobs.compute = counted, noted
    if asked.until is not None:
        asked.until.with_name(f"{asked.until.name}.{os.getpid()}").touch()
        while not asked.until.exists():
            time.sleep(0.01)
    settings, quiet = load_settings(json.loads(asked.settings.read_text())), Progress(quiet=True)
    if asked.shard:
        result = pipeline.run(settings, asked.folder, quiet, shard=parse_shard(asked.shard))
    else:
        result = run(settings, asked.folder, quiet, ray=asked.ray)
    print(json.dumps({"written": written, "computed": len(computed), "missing": getattr(result, "missing", 0)}))


if __name__ == "__main__":
    main()
