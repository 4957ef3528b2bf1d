"""The job that is killed and starved in the soak: a tiny run, the same run undisturbed, and ways to start it once more.

One `Job` holds the two tiny models, the settings, the undisturbed folder with the events that made it, and the fork server. It
knows nothing of which fault comes when: that is `kills` and `faults`.
"""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

from after import State, lost_units, whole_units
from shim import PACKAGE, Ended, Event, Fault, Server, build, missing, read_log
from tiny_job import SRC, contents, environment, settings, write_settings

Units = dict[str, State]


class Broken(Exception):
    """A promise does not hold; the message says which, and which folder shows it."""


class Job:
    """A tiny run that can be made again and again under faults, each time compared with the undisturbed one."""

    def __init__(self, root: Path) -> None:
        """Make the models, the settings and the undisturbed run below `root` (about 20 seconds)."""
        if reason := missing():
            raise SystemExit(f"no soak of faults here: {reason}")
        assert PACKAGE == SRC
        self.root = root
        self.config = write_settings(
            root / "config.yaml", settings(root, *(_model(root, a) for a in ("llama", "qwen2")))
        )
        (root / "said").mkdir()
        self.server = Server(build(root), root / "said", private=False)
        self.whole = root / "undisturbed"
        log = root / "events.log"
        self.server.command(
            "--help"
        )  # the server has imported everything when it answers: its clock starts behind that
        start = time.monotonic()
        ended = self.fork(self.whole, at=0, log=log)
        self.fork_seconds = time.monotonic() - start
        if ended.code:
            raise Broken(f"the undisturbed run failed: {ended.err}")
        # But for the counter in a lock that is held, which rises at its own time.
        self.events: list[Event] = [e for e in read_log(log) if not _is_beat(e)]
        self.files = contents(self.whole)
        self.units = units_of(self.whole)

    def fork(self, folder: Path, *more: str, seconds: float | None = None, **fault) -> Ended:
        """The command on a folder, in a fork of the server: under a fault, or killed after so many seconds."""
        order = Fault(folder, **fault) if fault else None
        return self.server.command("run", self.config, "--out", folder, "--quiet", *more, fault=order, seconds=seconds)

    def process(self, folder: Path, *more: str) -> subprocess.Popen:
        """The command on a folder as a fresh process, at the head of a group of its own."""
        parts = [sys.executable, "-m", "interplay", "run", str(self.config), "--out", str(folder), "--quiet", *more]
        with open(self.root / "said" / "fresh", "w") as said:
            return subprocess.Popen(
                parts, env=environment(), stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
            )

    def finish(self, folder: Path, units: Units, what: str) -> None:
        """The same command undisturbed: it must end well, in the same bytes, without computing a whole unit again."""
        ended = self.fork(folder)
        if ended.code:
            raise Broken(f"{what}: the same command then failed ({ended.err.strip()[-300:]}); kept: {folder}")
        self.refuse_loss(folder, units, what)
        if different := self.differing(folder):
            raise Broken(f"{what}: other bytes in {', '.join(different[:5])}; kept: {folder}")
        shutil.rmtree(folder)

    def refuse_loss(self, folder: Path, units: Units, what: str) -> None:
        """Every unit that was whole must still be the same file."""
        if lost := lost_units(units, folder):
            raise Broken(f"{what}: lost or computed again: {', '.join(lost[:5])}; kept: {folder}")

    def differing(self, folder: Path) -> list[str]:
        """Files that differ from the undisturbed run's, or are in one folder only."""
        now = contents(folder)
        return sorted(name for name in now.keys() | self.files.keys() if now.get(name) != self.files.get(name))

    def close(self) -> None:
        """End the server."""
        self.server.close()


@contextlib.contextmanager
def job(root: Path) -> Generator[Job]:
    """A job below `root`, its server ended afterwards."""
    made = Job(root)
    try:
        yield made
    finally:
        made.close()


def phase(folder: Path) -> str:
    """How far a run has come, by what is in its folder."""
    if (folder / "manifest.json").exists():
        return "whole"
    if (folder / "units.parquet").exists() or (folder / "trajectory.parquet").exists():
        return "tables and page"
    if (folder / "units").exists():
        return "extraction"
    if (folder / "checkpoints").exists():
        return "training"
    return "start"


def _is_beat(event: Event) -> bool:
    return event.path.startswith(".work/lock/") and event.call in ("open", "write")


PHASES = ("start", "training", "extraction", "tables and page", "whole")


def units_of(folder: Path) -> Units:
    """Units of a folder that are whole."""
    return whole_units(folder) if folder.exists() else {}


def end_group(process: subprocess.Popen) -> None:
    """Kill a process and whatever it started, and wait for it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _model(root: Path, architecture: str) -> Path:
    """The tiny random model of the tests, which their conftest makes for fixtures."""
    import torch
    from transformers import AutoModelForCausalLM

    file = SRC.parent / "tests" / "conftest.py"
    spec = importlib.util.spec_from_file_location("tiny_models", file)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    tokenizer = made._tokenizer()
    torch.manual_seed(0)
    folder = root / architecture
    AutoModelForCausalLM.from_config(made._config(architecture, len(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
