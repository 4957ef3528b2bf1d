"""The run folder: what is in it, who works on it, and the refusal to mix two runs in one.

settings.yaml       settings as used, every default written out
format.json         the format of this folder
environment.json    versions of what computed it
inputs.json         fingerprints of the data and of the prompts, prompts with their words, rows left out
weights.json        SHA-256 of the base's weights and of each checkpoint's
identity/           SHA-256 of what else results come from: configs, baseline LLMs, further task data
checkpoints/        checkpoint-<step> of the training, and its log
units/              one file per sample and condition
task/               task metrics of each step, row by row
measured.json       what was measured and with what (`conditions.Record`); from here on no model is needed
units.parquet, trajectory.parquet, trajectory_samples.parquet, trajectory_sets.parquet
views.parquet, views_samples.parquet, floors.parquet, multiples.parquet, baselines.parquet, controls.json: what it is held against
task.parquet, correlations.parquet, fidelity.parquet
recommendation.json, report.json, report.html
callback.json       of a training that was watched by `interplay.callback`: its plan and the weights' hashes at each measurement
audit.json, audit/  what an audit found, and what the models answered it; it may be made anew, so no part of the manifest
times.json          seconds per phase: with environment.json and audit.json the only files that may differ between equal runs
manifest.json       SHA-256 of the results; written last, so its existence means the run is whole
.work/              the lock, while a process works on the run (`interplay.store.lock`)
"""

import contextlib
import json
import os
import platform
from collections.abc import Callable, Generator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from interplay.atomic import disk_error, write_text
from interplay.config.loading import difference, dump_settings, load_settings
from interplay.config.settings import Settings
from interplay.errors import InterplayError
from interplay.store.files import WORK, read_json, result_files, sha256_file, sweep, write_json
from interplay.store.lock import Lock
from interplay.text import short

FORMAT, FILE = 3, "format.json"
PACKAGES = ("interplay", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "numpy", "pandas", "pyarrow")
_NO_RESULT = ("manifest.json", "times.json", "environment.json", "audit.json")
_BEFORE_WORK = ("settings.yaml", "environment.json", "inputs.json", "format.json")


class RunFolder:
    """Paths of a run, and its settings once opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints, self.manifest = path / "checkpoints", path / "manifest.json"
        self._taken: dict[str, str] = {}  # settings.yaml and inputs.json, once this process works under them

    def settings(self) -> Settings:
        """The settings the run was made with."""
        file = self.path / "settings.yaml"
        refuse_links(self.path)
        if not file.exists():
            raise InterplayError(
                f"{str(self.path)!r} is no run folder (no settings.yaml): give the folder a run was written to"
            )
        check_format(self.path)
        return load_settings(file)

    def make(self) -> None:
        """Make the folder where it is missing. A folder that vanishes later is not made again."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error

    @contextlib.contextmanager
    def opened(
        self, settings: Settings, waiting: Callable[[str], None] | None = None, *, measures: bool = True
    ) -> Generator[Lock]:
        """Work on the folder under these settings, as other processes may; yields its lock. Refuses another measurement's folder.

        waiting: told which process this one waits for; measures: False keeps `environment.json`.
        """
        try:
            names = [p.name for p in self.path.iterdir()]
        except OSError as error:
            raise self._unwritable(error) from error
        if not {"settings.yaml", FILE} & {*names} and any(n != WORK and not n.endswith(".tmp") for n in names):
            raise InterplayError(f"{str(self.path)!r} is not empty and no run folder: choose another --out")
        refuse_links(self.path)
        lock = Lock(self.path / WORK / "lock")
        try:
            with lock.held(waiting):
                self._take(settings)
                if measures:
                    write_json(self.path / "environment.json", environment())
            yield lock
            sweep(self.path)  # of those that died while we worked
        except Exception as error:
            if not self.path.exists():
                raise InterplayError(
                    f"the run folder {str(self.path)!r} is gone: give the command another --out, or put it back"
                ) from error
            # Those who write checkpoints raise types of their own for a full disk.
            if isinstance(error, InterplayError) or (reason := disk_error(error)) is None:
                raise
            raise InterplayError(
                f"cannot write the run folder {str(self.path)!r}: {reason}; make room, mount it again, or choose "
                "another with --out (what is finished stays)"
            ) from error
        finally:
            with contextlib.suppress(OSError, InterplayError):  # the folder may be what was lost
                lock.remove()

    def _unwritable(self, error: OSError) -> InterplayError:
        return InterplayError(
            f"cannot write the run folder {str(self.path)[:200]!r}: {error.strerror}; choose another with --out"
        )

    def _take(self, settings: Settings) -> None:
        """Under the lock."""
        file, text = self.path / "settings.yaml", dump_settings(settings)
        sweep(self.path)
        if old := file.exists():
            check_format(self.path)
        if old and not self.is_bare():
            self._adopt(settings)
        else:
            same = old and file.read_text(encoding="utf-8") == text
            write_format(self.path)
            write_text(file, text)
            for recorded in (self.path / "inputs.json", *(self.path / "identity").glob("*.json")):
                # What is recorded of the data is replaced, never missing: another process may work under it.
                if not same or recorded.name not in ("inputs.json", "task.json"):
                    recorded.unlink(missing_ok=True)
        self.stand_on("settings.yaml")

    def stand_on(self, name: str) -> None:
        """From here on `check` refuses to go on when this file changed."""
        self._taken[name] = (self.path / name).read_text(encoding="utf-8")

    def check(self) -> None:
        """Refuse to go on where another process began with other settings or data."""
        for name, text in self._taken.items():
            file = self.path / name
            if not file.exists() or file.read_text(encoding="utf-8") != text:
                raise InterplayError(
                    f"another process has begun a run with other settings or data in {str(self.path)!r}: give the command "
                    "another --out"
                )

    def is_bare(self) -> bool:
        """Whether nothing was computed in it yet."""
        files = (path.relative_to(self.path) for path in result_files(self.path))
        return all(file.name in _BEFORE_WORK or file.parts[0] == "identity" for file in files)

    def _adopt(self, settings: Settings) -> None:
        """Go on under settings that ask for another analysis; refuse those that ask for another measurement."""
        old = self.settings()
        if changes := difference(old.measurement(), settings.measurement()):
            shown = "; ".join(changes[:6]) + (f"; and {len(changes) - 6} more" if len(changes) > 6 else "")
            raise InterplayError(
                f"{str(self.path)!r} holds a run with other settings ({shown}): choose another --out, or delete it"
            )
        if settings != old:
            self.manifest.unlink(missing_ok=True)
            for index, baseline in enumerate(old.baseline):
                if settings.baseline[index : index + 1] != (baseline,):
                    (self.path / "identity" / f"baseline-{index}.json").unlink(missing_ok=True)
            write_text(self.path / "settings.yaml", dump_settings(settings))

    def finish(self, seconds: dict[str, float]) -> None:
        """Write the times and, last, the manifest. A phase that only found its results keeps the time they took."""
        file = self.path / "times.json"
        before: dict[str, float] = {}
        with contextlib.suppress(InterplayError):
            before = read_json(file)
        names = sorted({*before, *seconds})
        write_json(file, {name: round(max(before.get(name, 0.0), seconds.get(name, 0.0)), 2) for name in names})
        self.write_manifest()

    def write_manifest(self) -> None:
        """Hash everything that is a result."""
        found = {path.relative_to(self.path): path for path in result_files(self.path) if path.name not in _NO_RESULT}
        hashes = {at.as_posix(): sha256_file(path) for at, path in found.items() if at.parts[0] != "audit"}
        write_json(self.manifest, {"files": hashes})


def check_format(folder: Path) -> None:
    """Refuse a run folder of another format, or of none, with an InterplayError that says what to do."""
    file = folder / FILE
    try:
        number = json.loads(file.read_text(encoding="utf-8"))["format"] if file.exists() else 1
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InterplayError(f"cannot read {str(file)!r}: restore it, or choose another --out") from error
    if number != FORMAT:
        raise InterplayError(
            f"{str(folder)!r} has format {number!r:.20}, and this Interplay reads format {FORMAT}: "
            "choose another --out, or install the version that wrote it"
        )


def write_format(folder: Path) -> None:
    """Mark a folder as of this format, before anything else is written into it."""
    write_json(folder / FILE, {"format": FORMAT})


def refuse_links(folder: Path) -> None:
    """Raise InterplayError that names the entry. A folder that does not exist passes."""
    root = Path(os.path.realpath(folder))
    for place, folders, files in os.walk(root):  # links to folders are listed, not entered
        for entry in (Path(place, name) for name in (*folders, *files)):
            name = short(str(entry.relative_to(root)), 120)
            if entry.is_symlink():
                if not Path(os.path.realpath(entry)).is_relative_to(root):
                    raise InterplayError(
                        f"{name} in the run folder is a link that leads out of it: put the files themselves there"
                    )
            elif entry.exists() and not entry.is_file() and not entry.is_dir():
                raise InterplayError(f"{name} in the run folder is not a file or folder (a pipe or device): remove it")


def environment() -> dict[str, Any]:
    """Versions and machine, without names or paths of either."""
    import torch

    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": versions,
    }
