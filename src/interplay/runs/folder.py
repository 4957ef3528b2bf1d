"""The run folder: what it is for, what is in it, and the refusal to mix two runs in one.

settings.yaml       settings as used, every default written out
environment.json    versions of what computed it
inputs.json         fingerprint of the data, probes with their words, rows left out
weights.json        SHA-256 of the base's weights and of each checkpoint's
checkpoints/        checkpoint-<step> of the training, and its log
calibration.json    noise and tolerance, from step 0
units/              one file per sample and condition
task/               eval loss and accuracy per step
units.parquet, trajectory.parquet, trajectory_samples.parquet, trajectory_sets.parquet
views.parquet, views_samples.parquet, floors.parquet, multiples.parquet, baselines.parquet, controls.json: what it is held against
task.parquet, correlations.parquet
recommendation.json, report.json, report.html
callback.json       of a training that was watched by `interplay.hf`: its plan and the weights' hashes at each reading
times.json          seconds per phase: with environment.json the only files that may differ between equal runs
manifest.json       SHA-256 of the results; written last, so its existence means the run is whole
"""

import contextlib
import fcntl
import os
import platform
from collections.abc import Generator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

from interplay.atomic import write_text
from interplay.errors import InterplayError
from interplay.runs.files import file_hashes, read_json, sweep, write_json
from interplay.runs.loading import dump_settings, load_settings
from interplay.runs.reading import difference, parse_yaml
from interplay.runs.settings import Settings

PACKAGES = ("interplay", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "numpy", "pandas", "pyarrow")
_NO_RESULT = ("manifest.json", "times.json", "environment.json", ".lock")
_BEFORE_WORK = ("settings.yaml", "environment.json", "inputs.json", ".lock")


class RunFolder:
    """Paths of a run, and its settings once opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def manifest(self) -> Path:
        return self.path / "manifest.json"

    def settings(self) -> Settings:
        """The settings the run was made with."""
        file = self.path / "settings.yaml"
        if not file.exists():
            raise InterplayError(
                f"{str(self.path)!r} is no run folder (no settings.yaml): give the folder a run was written to"
            )
        return load_settings(file)

    @contextlib.contextmanager
    def opened(self, settings: Settings) -> Generator[None]:
        """Claim the folder for these settings; refuses another run's folder, a foreign one, and a second process.

        Settings under which nothing was computed yet give way: a mistake mended must not cost a folder.
        """
        file = self.path / "settings.yaml"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            names = [p.name for p in self.path.iterdir()]
            if not file.exists() and any(n != ".lock" and not n.endswith(".tmp") for n in names):
                raise InterplayError(f"{str(self.path)!r} is not empty and no run folder: choose another --out")
            lock = open(self.path / ".lock", "w")  # noqa: SIM115  (held until the block ends)
        except OSError as error:
            raise InterplayError(
                f"cannot write the run folder {str(self.path)!r}: {error.strerror}; choose another with --out"
            ) from error
        with lock:
            self._lock(lock)
            sweep(self.path)
            if file.exists() and any(p.is_file() and p.name not in _BEFORE_WORK for p in self.path.rglob("*")):
                self._refuse_changes(settings)
            else:
                write_text(file, dump_settings(settings))
                (self.path / "inputs.json").unlink(missing_ok=True)
            write_json(self.path / "environment.json", environment())
            yield

    def _lock(self, lock: TextIO) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InterplayError(
                f"another process is working on {str(self.path)!r}: wait for it, or choose another --out"
            ) from None
        except OSError as error:
            raise InterplayError(
                f"cannot lock the run folder {str(self.path)!r}: {error.strerror}; choose one on a local disk with --out"
            ) from error

    def _refuse_changes(self, settings: Settings) -> None:
        # Through the settings, so that a key that is new since then counts as its default.
        old = parse_yaml(dump_settings(self.settings()))
        changes = difference(old, parse_yaml(dump_settings(settings)))
        if changes:
            shown = "; ".join(changes[:6]) + (f"; and {len(changes) - 6} more" if len(changes) > 6 else "")
            raise InterplayError(
                f"{str(self.path)!r} holds a run with other settings ({shown}): choose another --out, or delete it"
            )

    def claim_data(self, fingerprint: str, description: dict[str, Any]) -> None:
        """Keep the fingerprint of the data; refuses to go on when the data changed under the run."""
        file = self.path / "inputs.json"
        if file.exists() and read_json(file).get("fingerprint") != fingerprint:
            raise InterplayError(
                f"the data changed since the run in {str(self.path)!r} began: choose another --out, or restore the data"
            )
        write_json(file, {"fingerprint": fingerprint, **description})

    def claim_weights(self, base: str, checkpoints: dict[int, str]) -> None:
        """Keep the hashes of all weights; refuses to go on when the base changed, since the checkpoints stand on it."""
        file = self.path / "weights.json"
        if file.exists() and read_json(file).get("base") != base:
            raise InterplayError(
                f"the model's weights changed since the run in {str(self.path)!r} began: choose another --out, or restore them"
            )
        write_json(file, {"base": base, "checkpoints": {str(step): sha for step, sha in checkpoints.items()}})

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
        write_json(self.manifest, {"files": file_hashes(self.path, leave_out=_NO_RESULT)})


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
