"""Where the time of one whole demo goes: training, scoring, solving, report. Wall time, with torch's own number of threads.

The demo runs as a process of its own, in a temporary folder, with its preset's own settings; that process times the phases of
the run and, within the extraction, the solver.

    python -m benchmarks.demo_shares SETTINGS.yaml FOLDER        (the child: prints one JSON object)
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.scoring_rows import child_paths, tell
from benchmarks.section import Section

TITLE = "One whole demo: where the time goes"
PHASES = {  # of the run's own progress -> the share it counts to; what is not named here counts as the rest
    "fine-tuning": "training",
    "calibrating": "scoring",
    "extracting interactions": "scoring",  # less the solver
    "controls": "scoring",  # also less the solver
    "trajectory and report": "report",
    "task metrics": "task metrics",
}
SHARES = ("training", "scoring", "solving", "task metrics", "report", "rest")


def child(settings: str, folder: str) -> dict[str, Any]:
    """In the child: run the settings whole and give wall seconds by share, of all, and the number of threads."""
    start = time.perf_counter()
    from interplay.config.loading import load_settings

    wanted = load_settings(Path(settings))
    import torch

    from interplay.pipeline.pipeline import run
    from interplay.pipeline.progress import Progress
    from interplay.store import units

    solving = 0.0
    solver = units.extract

    def watched(*arguments: Any, **options: Any) -> Any:
        nonlocal solving
        begun = time.perf_counter()
        try:
            return solver(*arguments, **options)
        finally:
            solving += time.perf_counter() - begun

    setattr(units, "extract", watched)  # noqa: B010
    progress = Progress(quiet=True)
    run(wanted, Path(folder), progress)
    total = time.perf_counter() - start
    return {"phases": progress.seconds, "solving": solving, "total": total, "threads": torch.get_num_threads()}


def shares(phases: dict[str, float], solving: float, total: float) -> dict[str, float]:
    """Seconds by share; they add up to the total.

    >>> phases = dict.fromkeys(PHASES, 1.0) | {"fine-tuning": 5.0, "extracting interactions": 3.0}
    >>> found = shares(phases, solving=0.5, total=13.0)
    >>> found["training"], found["scoring"], found["solving"], found["rest"]    # 3 + 1 + 1 - 0.5; 13 - (5 + 5 + 2)
    (5.0, 4.5, 0.5, 1.0)
    """
    if lacking := sorted(set(PHASES) - set(phases)):  # renamed, it would silently count to the rest
        raise ValueError(f"the run has no phase {lacking[0]!r}: it has {sorted(phases)}")
    found = dict.fromkeys(SHARES, 0.0)
    for phase, seconds in phases.items():
        if phase in PHASES:
            found[PHASES[phase]] += seconds
    found["scoring"] -= solving
    found["solving"] = solving
    found["rest"] = total - sum(found.values())
    return found


def run_apart(settings: Path, folder: Path) -> dict[str, Any]:
    """The child's figures, or {"missing": the reason}."""
    # The benchmark itself is held to one thread; the demo takes what a user's would.
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.demo_shares", str(settings), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env=environment | child_paths(),
    )
    if done.returncode:
        return {"missing": (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def demo_rows(quick: bool, say: Callable[[str], None] = tell) -> list[Section]:
    """One row per share of the demo's wall time; the quick run leaves it out."""
    if quick:
        return [Section(TITLE, [], ["Not measured: left out of the quick run."])]
    from interplay.presets import preset_path

    tell("the demo runs: minutes")
    with tempfile.TemporaryDirectory(prefix="interplay-demo-") as folder:
        return [share_section(run_apart(preset_path("demo"), Path(folder) / "run"), say)]


def share_section(found: dict[str, Any], say: Callable[[str], None] = tell) -> Section:
    """The table of what the child found."""
    if "missing" in found:
        return Section(TITLE, [], [f"Not measured: {found['missing']}"])
    seconds = shares(found["phases"], found["solving"], found["total"])
    rows = [{"part": name, "wall s": s, "share, %": 100 * s / found["total"]} for name, s in seconds.items()]
    both = seconds["solving"] + seconds["report"]
    rows.append({"part": "solving + report", "wall s": both, "share, %": 100 * both / found["total"]})
    rows.append({"part": "all", "wall s": found["total"], "share, %": 100.0})
    say(f"demo: {found['total']:.0f} s, solving + report {100 * both / found['total']:.1f} %")
    notes = [
        f"The preset `demo` with its own settings, {found['threads']} threads, in a process of its own, imports included. The "
        "report counts the trajectory, its nulls and the verdict; the rest is imports, loading models and reading data."
    ]
    return Section(TITLE, rows, notes)


if __name__ == "__main__":
    from interplay.errors import InterplayError

    try:
        print(json.dumps(child(sys.argv[1], sys.argv[2])))
    except InterplayError as error:
        sys.exit(str(error))
