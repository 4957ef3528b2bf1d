"""Fuzzing what parses, for minutes: every target of `targets.py`, by coverage where atheris is installed.

    python -m soak.fuzz [--minutes 10] [--engine atheris|hypothesis]

With atheris (`pip install atheris`) each group of targets is a process: libFuzzer mutates the seeds and keeps what reaches
new code of Interplay, under a limit of time and memory. Without it hypothesis mutates the same seeds, blindly, and the section
says so. A crash is told with its input, so that it can become a test; the exit code is 1 where there was one.
"""

import argparse
import base64
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SLOWEST = 60  # seconds of one input before libFuzzer calls it a hang [ours]
MEMORY = 4096  # MiB of a process; torch and transformers take 1000 of them [ours]
SHOWN = 20  # crashes told one by one


def section(minutes: float = 10.0, engine: str | None = None) -> Any:
    """The rows of docs/evidence/reliability.md: executions, seconds and crashes of each target. `minutes` are shared by the groups.

    engine: `atheris` or `hypothesis`; None takes atheris where it is installed.
    """
    from benchmarks.section import Section
    from soak.targets import targets

    chosen = engine or ("atheris" if importlib.util.find_spec("atheris") else "hypothesis")
    groups = list(dict.fromkeys(target.group for target in targets()))
    rows, notes = [], [f"Engine: {chosen}. Crash: anything but a result or one line of our own; see soak/watch.py."]
    if engine is None and chosen == "hypothesis":
        notes.append(
            "atheris is not installed (pip install atheris), so inputs are mutated without regard to coverage."
        )
    for group in groups:
        with tempfile.TemporaryDirectory(prefix="interplay-soak-") as folder:
            told = Path(folder) / "told.json"
            parts = [sys.executable, "-m", "soak.fuzz", "--group", group, "--engine", chosen, "--told", str(told)]
            seconds = 60 * minutes / len(groups)
            done = subprocess.run(
                [*parts, "--minutes", str(minutes / len(groups))],
                cwd=ROOT,
                env=_environment(folder),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds * 3 + 600,
                check=False,
            )
            found = json.loads(told.read_text()) if told.exists() else {"rows": [], "crashes": []}
        rows += found["rows"]
        notes += [f"Crash: {crash}" for crash in found["crashes"][:SHOWN]]
        if done.returncode not in (0, 1) or not found["rows"]:
            last = " ".join(done.stderr.split())[-300:]
            notes.append(f"The process of {group} died ({done.returncode}), out of memory or in native code: {last}")
    return Section("Hostile inputs", rows, notes)


def _environment(folder: str) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "critical", "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
    return os.environ | quiet | {"PYTHONPATH": path, "TMPDIR": folder, "PYTHONWARNINGS": "ignore"}


class Tally:
    """What came of each input, by target; a crash is kept once for each place in the code."""

    def __init__(self, group: str, told: Path) -> None:
        from soak.targets import targets

        self.targets = [target for target in targets() if target.group == group]
        self.told = told
        self.outcomes: dict[str, Counter[str]] = {target.name: Counter() for target in self.targets}
        self.seconds: Counter[str] = Counter()
        self.crashes: dict[tuple[str, str], str] = {}

    def run(self, at: int, data: bytes) -> None:
        """One input of the at-th target."""
        target = self.targets[at % len(self.targets)]
        start = time.perf_counter()
        try:
            outcome = "refused" if target(data) else "read"
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            outcome = "crashes"
            self.keep(target.name, error, data)
        self.seconds[target.name] += time.perf_counter() - start
        self.outcomes[target.name][outcome] += 1

    def keep(self, name: str, error: BaseException, data: bytes) -> None:
        """Keep a crash by the last line of ours that it went through."""
        frames = traceback.extract_tb(error.__traceback__)
        ours = [f for f in frames if f"{os.sep}interplay{os.sep}" in f.filename] or frames
        where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
        key = (name, f"{type(error).__name__} at {where}")
        said = " ".join(f"{key[1]}: {error}".split())[:300]
        self.crashes.setdefault(key, f"{name}: {said!a}; input (base64) {base64.b64encode(data[:600]).decode()}")

    def tell(self) -> None:
        """Write what is known so far; a process that dies later has told at least this."""
        rows = [
            {
                "target": target.name,
                "inputs": sum(self.outcomes[target.name].values()),
                "read": self.outcomes[target.name]["read"],
                "refused": self.outcomes[target.name]["refused"],
                "crashes": self.outcomes[target.name]["crashes"],
                "seconds": round(self.seconds[target.name], 1),
            }
            for target in self.targets
        ]
        self.told.write_text(json.dumps({"rows": rows, "crashes": list(self.crashes.values())}))


def _atheris(tally_of: Any, seconds: float) -> None:
    """libFuzzer over the targets of the group: the first byte chooses one. It ends the process itself."""
    import atheris  # ty: ignore[unresolved-import]  # an extra

    with atheris.instrument_imports(include=["interplay"]):
        tally = tally_of()
        for at, target in enumerate(tally.targets):  # imports happen inside the first calls: they must be instrumented
            for seed in target.seeds[:3]:
                tally.run(at, seed)
    with tempfile.TemporaryDirectory(prefix="corpus-") as corpus:
        for at, target in enumerate(tally.targets):
            for number, seed in enumerate(target.seeds):
                (Path(corpus) / f"{at}-{number}").write_bytes(bytes([at]) + seed)
        end, last = time.monotonic() + seconds, 0.0

        def one(data: bytes) -> None:
            nonlocal last
            if data:
                tally.run(data[0], data[1:])
            if (now := time.monotonic()) - last > 2 or now > end:
                last = now
                tally.tell()

        limits = [f"-max_total_time={int(seconds)}", f"-rss_limit_mb={MEMORY}", f"-timeout={SLOWEST}"]
        # Crashes are counted in `tally` and the search goes on, so libFuzzer itself sees none.
        atheris.Setup([sys.argv[0], *limits, "-max_len=8192", "-print_final_stats=0", corpus], one)
        atheris.Fuzz()


def _hypothesis(tally: Tally, seconds: float) -> None:
    """Rounds of random mutations of the seeds, every target in turn, until the time is over."""
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        for at in range(len(tally.targets)):
            number += 1
            _round(tally, at, number, end)
        tally.tell()


def _round(tally: Tally, at: int, number: int, end: float) -> None:
    """Some inputs of one target; `number` seeds them."""
    from hypothesis import HealthCheck, Phase, given, seed, settings

    from soak.strategies import inputs

    target = tally.targets[at]

    @seed(number)
    @settings(
        max_examples=5 if target.slow else 100,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs(target))
    def one(data: bytes) -> None:
        if time.monotonic() < end:
            tally.run(at, data)

    one()


def main() -> int:
    """The command; with `--group` one process of it."""
    parser = argparse.ArgumentParser(description="Fuzz everything that parses.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--engine", choices=("atheris", "hypothesis"))
    parser.add_argument("--group", help=argparse.SUPPRESS)
    parser.add_argument("--told", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.group is None:
        found = section(given.minutes, given.engine)
        print(json.dumps(found._asdict(), indent=1))
        return 1 if any(row["crashes"] for row in found.rows) or len(found.notes) > 2 else 0
    seconds = 60 * given.minutes
    if given.engine == "atheris":
        _atheris(lambda: Tally(given.group, given.told), seconds)
        return 0
    tally = Tally(given.group, given.told)
    with contextlib.suppress(KeyboardInterrupt):
        _hypothesis(tally, seconds)
    tally.tell()
    return 0


if __name__ == "__main__":
    sys.exit(main())
