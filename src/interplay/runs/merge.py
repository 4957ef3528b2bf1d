"""Run folders that shares of one run were written to apart, put together in one. Copies and checks; computes nothing.

Folders are the same run when their settings, data, prompts, weights and tolerances are. What is damaged is left behind, as if
it had not been computed.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from interplay.atomic import write_bytes
from interplay.errors import InterplayError
from interplay.runs.files import read_json, result_files, sha256_json, write_json
from interplay.runs.folder import RunFolder
from interplay.runs.identity import IDENTITY
from interplay.runs.loading import dump_settings
from interplay.runs.reading import difference, parse_yaml
from interplay.runs.settings import Settings
from interplay.runs.units import load_unit


@dataclass(frozen=True)
class Merged:
    """What was put together: units and task files by how many were copied, found already, and left behind as damaged."""

    copied: int
    found: int
    damaged: tuple[Path, ...]


def merge(parts: Sequence[Path], out: Path) -> tuple[Settings, Merged]:
    """Copy what the folders `parts` hold of one run into the run folder `out`, which may be new, or have a part already.

    Raises InterplayError before anything is copied when a part is no run folder, or not of the same run as the others.
    """
    if len(parts) < 1:
        raise InterplayError("nothing to merge: give the run folders that the shares were written to")
    folders = [RunFolder(part) for part in parts]
    settings = folders[0].settings()
    for folder in folders:
        _same_run(folders[0], folder, settings)
    with RunFolder(out).opened(settings):
        _same_files(folders)
        if (out / "inputs.json").exists():
            _same_files([RunFolder(out), *folders])
        _copy_first(folders, out)
        return settings, _copy_results(folders, out)


def _same_run(first: RunFolder, other: RunFolder, settings: Settings) -> None:
    changes = difference(parse_yaml(dump_settings(settings)), parse_yaml(dump_settings(other.settings())))
    if changes:
        raise InterplayError(
            f"{str(other.path)!r} holds another run than {str(first.path)!r} ({'; '.join(changes[:4])}): merge shares of one run"
        )


def _same_files(folders: Sequence[RunFolder]) -> None:
    """Refuse folders that stand on other data, prompts, weights or tolerances than those before them."""
    known: dict[str, tuple[str, Path]] = {}  # what -> its value, and the folder that says so
    for folder in folders:
        for what, value in _stands_on(folder.path):
            if what in known and known[what][0] != value:
                before = known[what][1]
                raise InterplayError(
                    f"{what} of {str(folder.path)!r} is not that of {str(before)!r} ({known[what][0][:12]}, {value[:12]}): "
                    + _ADVICE.get(what.partition(" ")[0], "merge shares of one run")
                )
            known.setdefault(what, (value, folder.path))


# A tolerance is measured; on other hardware its last digits differ, and with it the question that every unit answers.
_ADVICE = {
    "tolerance": "shares written apart need machines of one kind, or a number as effects.tolerance",
    "weights": "train once and copy the checkpoints to every share's folder before it starts",
}


def _stands_on(folder: Path) -> Iterator[tuple[str, str]]:
    if (folder / "inputs.json").exists():
        inputs = read_json(folder / "inputs.json")
        yield "data", str(inputs.get("fingerprint"))
        if "prompt" in inputs:
            yield "prompts", sha256_json(inputs["prompt"])
    if (folder / "weights.json").exists():
        weights = read_json(folder / "weights.json")
        yield "weights of the base", weights["base"]
        for step, sha in weights["checkpoints"].items():
            yield f"weights of step {step}", sha
    for file in sorted((folder / IDENTITY).glob("*.json")):
        said = read_json(file)
        for what, sha in said.items() if isinstance(said, dict) else ():
            yield f"{what} ({IDENTITY}/{file.name})", str(sha)
    for file in sorted(folder.glob("calibration*.json")):
        yield f"tolerance in {file.name}", sha256_json(read_json(file)["value"])


def _copy_first(folders: Sequence[RunFolder], out: Path) -> None:
    """What every part has alike, from the first that has it; the checkpoints from one that holds the whole training."""
    patterns = ("inputs.json", "calibration*.json", f"{IDENTITY}/*.json")
    alike = {f.relative_to(folder.path) for folder in folders for p in patterns for f in folder.path.glob(p)}
    for name in sorted(alike):
        source = next((folder.path / name for folder in folders if (folder.path / name).exists()), None)
        if source is not None and not (out / name).exists():
            write_bytes(out / name, source.read_bytes())
    weights = [read_json(f.path / "weights.json") for f in folders if (f.path / "weights.json").exists()]
    if weights:
        both = {step: sha for said in weights for step, sha in said["checkpoints"].items()}
        ordered = {step: both[step] for step in sorted(both, key=int)}
        write_json(out / "weights.json", {"base": weights[0]["base"], "checkpoints": ordered})
    trained = next((f.checkpoints for f in folders if (f.checkpoints / "training_log.json").exists()), None)
    if trained is None or trained.resolve() == (out / "checkpoints").resolve():
        return
    if not (out / "checkpoints" / "training_log.json").exists():
        for file in result_files(trained):
            target = out / "checkpoints" / file.relative_to(trained)
            if file.name != "training_log.json":
                _copy(file, target)
        _copy(
            trained / "training_log.json", out / "checkpoints" / "training_log.json"
        )  # last: it says the rest is whole


def _copy(source: Path, target: Path) -> None:
    from interplay.atomic import replacing

    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)


def _copy_results(folders: Sequence[RunFolder], out: Path) -> Merged:
    copied = found = 0
    damaged = []
    for folder in folders:
        for kind in ("units", "task"):
            for file in result_files(folder.path / kind):
                target = out / kind / file.relative_to(folder.path / kind)
                if _is_whole(target):
                    found += folder.path.resolve() != out.resolve()
                elif _is_whole(file):
                    write_bytes(target, file.read_bytes())
                    copied += 1
                else:
                    damaged.append(file)
    return Merged(copied, found, tuple(damaged))


def _is_whole(file: Path) -> bool:
    """Whether a unit, or what a checkpoint said, hashes to what it says of itself."""
    if file.suffix == ".safetensors":
        return load_unit(file) is not None
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        return said["sha256"] == sha256_json(said["value"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
