"""`make demo`, timed: its two commands, the first page, and where the time of the run goes by the phases it keeps itself."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.scoring_rows import child_paths, tell
from benchmarks.section import Section

TITLE = "The demo: two commands, and where the time of the first goes"
# Phases of the run -> what they are called here; what is not named counts as the rest.
PHASES = {
    "fine-tuning": "training",
    "extracting interactions": "scoring",
    "controls": "scoring the controls",
    "task metrics": "task metrics",
    "trajectory and report": "solving and report",
    "counting words of the rows, and asking about them": "audit",
}


def commands(folder: Path) -> list[list[str]]:
    """What `make demo` runs."""
    interplay, run = [sys.executable, "-m", "interplay"], str(folder / "run")
    proof = [*interplay, "audit", run, "--fixes", str(folder / "fixes"), "--verify"]
    return [[*interplay, "demo", "--no-baseline", "--out", run], proof]


def watched(command: list[str], page: Path) -> dict[str, Any]:
    """Wall and CPU seconds of a command, and until the page stands; {"missing": the reason} where it fails."""
    # The benchmark itself is held to one thread; the demo takes what a user's would.
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    before, start, found = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter(), {}
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env=environment | child_paths())
        while process.poll() is None:
            if "page" not in found and page.exists():
                found["page"] = time.perf_counter() - start
            time.sleep(0.05)
        if process.returncode:
            errors.seek(0)
            return {"missing": (errors.read().strip().splitlines() or [f"status {process.returncode}"])[-1]}
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return found | {"wall": time.perf_counter() - start, "cpu": cpu}


def demo_rows(quick: bool, say: Callable[[str], None] = tell) -> list[Section]:
    """Seconds of both commands and of the first one's phases; the quick run leaves it out."""
    if quick:
        return [Section(TITLE, [], ["Not measured: left out of the quick run."])]
    tell("the demo runs: minutes")
    with tempfile.TemporaryDirectory(prefix="interplay-demo-") as folder:
        return [timed(commands(Path(folder)), Path(folder) / "run", say)]


def timed(wanted: list[list[str]], run: Path, say: Callable[[str], None] = tell) -> Section:
    """The table of the two commands, the first of which writes the folder `run`."""
    load, each = os.getloadavg()[0], []
    for command in wanted:
        each.append(watched(command, run / "report.html"))
        if "missing" in each[-1]:
            return Section(TITLE, [], [f"Not measured: {each[-1]['missing']}"])
    first, second = each
    rows: list[dict[str, Any]] = [
        {"part": "first page", "wall s": first["page"]},
        {"part": "the run, its audit and controls", "wall s": first["wall"], "CPU s": first["cpu"]},
        {"part": "the proof: mended, trained again", "wall s": second["wall"], "CPU s": second["cpu"]},
        {"part": "all", "wall s": first["wall"] + second["wall"], "CPU s": first["cpu"] + second["cpu"]},
    ]
    spent = json.loads((run / "times.json").read_text(encoding="utf-8"))
    named = {name: spent[phase] for phase, name in PHASES.items()}  # one that was renamed is an error
    named["rest"] = first["wall"] - sum(named.values())
    rows += [
        {"part": f"of the run: {name}", "wall s": s, "share, %": 100 * s / first["wall"]} for name, s in named.items()
    ]
    say(f"demo: {rows[3]['wall s']:.0f} s, first page after {first['page']:.0f} s")
    notes = [
        f"The commands of `make demo`, torch's own number of threads, imports included, load {load:.1f} at the start. The rest is imports, "
        "loading models and reading data. The page stands when the checkpoints are measured; audit and controls complete it."
    ]
    return Section(TITLE, rows, notes)
