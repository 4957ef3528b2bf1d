"""What more processes bring, and what many units cost: units per second of workers and Ray actors, manifests up to 10^5 units.

The units are SmolLM2's, of a short training made once; each way scores them in a folder of its own, through the command a user
would give. Every process has one thread, so that two of them have twice what one has.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.section import Section

ROWS = 12, 6  # prompts in a whole and in a quick run
SIZES = (1_000, 10_000, 100_000)
WAYS = {
    "1 process": (),
    "2 workers": ("--workers", "2"),
    "1 Ray actor": ("--ray", "local", "--workers", "1"),
    "2 Ray actors": ("--ray", "local", "--workers", "2"),
}


def sharing_rows(quick: bool) -> Section:
    """Units per second of each way, and the efficiency of two over one of the same kind."""
    prompts = ROWS[quick]
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        settings = _settings(root, prompts)
        _run(root, settings, root / "first")  # also warms the disk's cache of the model
        rows = [_row(root, settings, name, given) for name, given in WAYS.items()]
    for one, two in (rows[:2], rows[2:]):
        two["efficiency"] = two["units per second"] / (2 * one["units per second"])
    notes = [
        "SmolLM2-135M, n = 7, one thread a process; units per second over the second half of the units, when all processes are "
        "at work. Efficiency: two against twice one of the same kind. The seconds are of the whole scoring phase, in which a "
        "second process has first to start and to load the model.",
        "The folders are compared: each way leaves the same units, byte for byte.",
    ]
    if len({row.pop("bytes") for row in rows}) != 1:
        raise AssertionError("two ways to share the work left different units")
    return Section("Sharing the work", rows, notes)


def _settings(root: Path, prompts: int) -> Path:
    wanted = {
        "model": {"name": "HuggingFaceTB/SmolLM2-135M-Instruct", "device": "cpu"},
        "data": {"train": "emotions:train", "prompts": "emotions:test"},
        "prompt": {"chat": False, "template": "Sentence: {text}\nEmotion:", "rephrased": None},
        "prompts": {"count": prompts, "n": 7},
        "training": {"steps": 4, "bf16": False},
        "checkpoints": {"steps": [0, 1, 2, 3, 4]},
        "controls": {"precision": None, "mask": None, "reference": None, "draws": 1, "both_scores": False},
        "dynamics": {"draws": 20, "resamples": 50},
    }
    file = root / "settings.yaml"
    file.write_text(json.dumps(wanted), encoding="utf-8")
    return file


def _run(root: Path, settings: Path, out: Path, given: tuple[str, ...] = ()) -> None:
    subprocess.run(
        [sys.executable, "-m", "interplay", "run", str(settings), "--out", str(out), "--quiet", *given],
        env=os.environ | {"OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled"},
        cwd=root,
        check=True,
        capture_output=True,
    )


def _row(root: Path, settings: Path, name: str, given: tuple[str, ...]) -> dict[str, object]:
    out = root / name.replace(" ", "-")
    shutil.copytree(root / "first" / "checkpoints", out / "checkpoints")
    for file in ("settings.yaml", "inputs.json", "format.json"):
        shutil.copy(root / "first" / file, out / file)
    _run(root, settings, out, given)
    units = sorted((out / "units").rglob("*.safetensors"))
    written = sorted(path.stat().st_mtime for path in units)
    half = len(written) // 2
    times = json.loads((out / "times.json").read_text(encoding="utf-8"))
    return {
        "what": name,
        "units": len(units),
        "seconds": times["extracting interactions"],
        "units per second": (len(written) - half) / (written[-1] - written[half - 1]),
        "efficiency": 1.0,
        "bytes": b"".join(path.read_bytes() for path in units),
    }


def manifest_rows(quick: bool) -> Section:
    """Seconds and memory of a manifest, and of looking through the units as a run that goes on does, by number of units."""
    rows = []
    for size in SIZES[: 2 if quick else 3]:
        with tempfile.TemporaryDirectory() as place:
            _many_units(Path(place), size)
            said = subprocess.run(
                [sys.executable, "-m", "benchmarks.sharing", place],
                env=os.environ,
                check=True,
                capture_output=True,
                text=True,
            )
            rows.append({"units": size, **json.loads(said.stdout)})
    notes = [
        "Units of n = 4 (two arrays of 16 and 32 numbers), so that what is measured is the number of files. Memory is what the "
        "process grew by. Looked through: every unit read, its hash checked.",
    ]
    return Section("Many units", rows, notes)


def _many_units(folder: Path, size: int) -> None:
    """A folder of `size` units that differ in their numbers; without the fsync that a run gives each."""
    from interplay.store.units import Unit, UnitHeader, save_unit, unit_path

    header = UnitHeader(
        key="0" * 64, condition="step-000000", step=0, sample_id="a", words=("a", "b", "c", "d"), target="joy",
        target_ids=(7,), absent="_", absence_sigma=0.0, dtype="float32", noise_sigma=1e-6, weights_sha256="0" * 64, prompt_sha256="0" * 64,
        tolerance=0.1, objective=1.0, duality_gap=1e-4, residual=1e-3, iterations=10, converged=True,
    )  # fmt: skip
    real, os.fsync = os.fsync, lambda handle: None
    try:
        numbers = np.random.default_rng(0)
        for i in range(size):
            unit = Unit(header, numbers.normal(size=16), numbers.normal(size=(2, 16)), np.empty((0, 2, 16)))
            save_unit(unit_path(folder, f"step-{i // 1000:06d}", i % 1000), unit)
    finally:
        os.fsync = real


def _measure(folder: Path) -> dict[str, float]:
    from interplay.store.files import result_files
    from interplay.store.folder import RunFolder
    from interplay.store.units import load_unit

    load_unit(next(folder.rglob("*.safetensors")))  # what is imported on the way is not counted

    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak counts from here, not from the imports
    before, start = _kilobytes("VmRSS"), time.perf_counter()
    RunFolder(folder).write_manifest()
    manifest = time.perf_counter() - start
    memory = (_kilobytes("VmHWM") - before) / 1024
    start = time.perf_counter()
    whole = sum(load_unit(path) is not None for path in result_files(folder) if path.suffix == ".safetensors")
    looked = time.perf_counter() - start
    count = len(json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"])
    if whole != count:
        raise AssertionError(f"{whole} units are valid, the manifest lists {count}")
    return {
        "manifest, s": manifest,
        "ms a unit": 1e3 * manifest / count,
        "MB more": memory,
        "looked through, s": looked,
        "MB of manifest": (folder / "manifest.json").stat().st_size / 1e6,
    }


def _kilobytes(name: str) -> float:
    """A line of the kernel's account of this process."""
    said = Path("/proc/self/status").read_text(encoding="ascii")
    return float(said.split(f"{name}:", 1)[1].split()[0])


if __name__ == "__main__":
    print(json.dumps(_measure(Path(sys.argv[1]))))
