"""The run folder: what it is for, what is in it, and the refusal to mix two runs in one.

settings.yaml       settings as used, every default written out
environment.json    versions of what computed it
inputs.json         fingerprint of the data, probes with their words, rows left out
checkpoints/        checkpoint-<step> of the training, and its log
calibration.json    noise and tolerance, from step 0
units/              one file per sample and condition
task/               eval loss and accuracy per step
units.parquet, trajectory.parquet, trajectory_samples.parquet, task.parquet
recommendation.json, report.html
times.json          seconds per phase: with environment.json the only files that may differ between equal runs
manifest.json       SHA-256 of the results; written last, so its existence means the run is whole
"""

import contextlib
import fcntl
import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from interplay.errors import InterplayError
from interplay.runs.files import file_hashes, read_json, write_json, write_text
from interplay.runs.settings import Settings, difference, dump_settings, load_settings

PACKAGES = ("interplay", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "numpy", "pandas", "pyarrow")
_NO_RESULT = ("manifest.json", "times.json", "environment.json", ".lock")


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
    def opened(self, settings: Settings) -> Iterator[None]:
        """Claim the folder for these settings; refuses another run's folder, a foreign one, and a second process."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InterplayError(
                f"cannot write the run folder {str(self.path)!r}: {error.strerror}; choose another with --out"
            ) from error
        file = self.path / "settings.yaml"
        if file.exists():
            old = yaml.safe_load(file.read_text(encoding="utf-8"))
            changes = difference(old, yaml.safe_load(dump_settings(settings)))
            if changes:
                shown = "; ".join(changes[:6]) + (f"; and {len(changes) - 6} more" if len(changes) > 6 else "")
                raise InterplayError(
                    f"{str(self.path)!r} holds a run with other settings ({shown}): choose another --out, or delete it"
                )
        elif any(p.name != ".lock" for p in self.path.iterdir()):
            raise InterplayError(f"{str(self.path)!r} is not empty and no run folder: choose another --out")
        try:
            lock = open(self.path / ".lock", "w")  # noqa: SIM115  (held until the block ends)
        except OSError as error:
            raise InterplayError(
                f"cannot write the run folder {str(self.path)!r}: {error.strerror}; choose another with --out"
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise InterplayError(
                    f"another process is working on {str(self.path)!r}: wait for it, or choose another --out"
                ) from None
            if not file.exists():
                write_text(file, dump_settings(settings))
            write_json(self.path / "environment.json", environment())
            yield

    def claim_data(self, fingerprint: str, description: dict[str, Any]) -> None:
        """Keep the fingerprint of the data; refuses to go on when the data changed under the run."""
        file = self.path / "inputs.json"
        if file.exists() and read_json(file).get("fingerprint") != fingerprint:
            raise InterplayError(
                f"the data changed since the run in {str(self.path)!r} began: choose another --out, or restore the data"
            )
        write_json(file, {"fingerprint": fingerprint, **description})

    def finish(self, seconds: dict[str, float]) -> None:
        """Write the times and, last, the manifest."""
        write_json(self.path / "times.json", {name: round(value, 2) for name, value in seconds.items()})
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
