"""Unit: one sample under one condition, with its scores, its effects and their certificate, in one file.

A file is used again only if it answers the same question (`key`) and its arrays and header hash to what it says; anything
else is computed anew. Names on disk come from our own counters, never from ids in the data.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from interplay.atomic import write_bytes

FORMAT = "interplay-unit-1"  # part of every question, so that a unit of another kind answers none
_HASHED = "interplay-unit-2"  # the same with a SHA-256 of arrays and header; that of "1" is of the arrays alone


@dataclass(frozen=True)
class UnitHeader:
    """Everything about a unit but its arrays; kept as JSON in the file's metadata."""

    key: str
    condition: str
    step: int
    sample_id: str
    words: tuple[str, ...]
    target: str
    target_ids: tuple[int, ...]
    mask_id: int
    dtype: str
    noise_sigma: float | None
    weights_sha256: str
    prompt_sha256: str
    tolerance: float
    objective: float
    gap: float
    residual: float
    iterations: int
    converged: bool


@dataclass(frozen=True)
class Unit:
    """`scores` [2^n] float64 nats, `effects` [2, 2^n] float64 (row 0 AND, row 1 OR)."""

    header: UnitHeader
    scores: np.ndarray
    effects: np.ndarray


def unit_path(folder: Path, condition: str, index: int) -> Path:
    """Where the unit of the index-th probe under a condition lies."""
    return folder / "units" / condition / f"probe-{index:04d}.safetensors"


def _digest(scores: np.ndarray, effects: np.ndarray, header: object = None) -> str:
    said = b"" if header is None else json.dumps(header, sort_keys=True, ensure_ascii=True).encode()
    return hashlib.sha256(scores.tobytes() + effects.tobytes() + said).hexdigest()


def save_unit(path: Path, unit: Unit) -> None:
    """Write a unit whole or not at all; equal units give equal bytes."""
    from safetensors.numpy import save

    scores = np.ascontiguousarray(unit.scores, dtype=np.float64)
    effects = np.ascontiguousarray(unit.effects, dtype=np.float64)
    header = asdict(unit.header)
    metadata = {
        # One string, since the order of several metadata keys is not fixed in the format.
        "interplay": json.dumps(
            {"format": _HASHED, "sha256": _digest(scores, effects, header), "header": header},
            sort_keys=True,
            ensure_ascii=True,
        )
    }
    write_bytes(path, save({"scores": scores, "effects": effects}, metadata), folders=2)


def load_unit(path: Path, key: str | None = None) -> Unit | None:
    """The unit in a file, or None when it is absent, damaged, of another format, or answers another question than `key`."""
    from safetensors import SafetensorError, safe_open

    try:
        if not path.is_file():  # a pipe in its place would be waited for
            return None
        with safe_open(path, framework="numpy") as f:
            meta = json.loads((f.metadata() or {}).get("interplay", "{}"))
            scores, effects = f.get_tensor("scores"), f.get_tensor("effects")
        if meta["format"] not in (FORMAT, _HASHED):
            return None
        if meta["sha256"] != _digest(scores, effects, meta["header"] if meta["format"] == _HASHED else None):
            return None
        header = _header(meta["header"])
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    if header is None or not _fits(header, scores, effects):
        return None
    if key is not None and header.key != key:
        return None
    return Unit(header, scores, effects)


def _header(given: object) -> UnitHeader | None:
    """The header of a file, or None where a field is missing, unknown, or of another type than it was written with."""
    fields = dict(given)  # ty: ignore[no-matching-overload]  # raises what load_unit expects for anything but an object
    fields |= {"words": tuple(fields["words"]), "target_ids": tuple(fields["target_ids"])}
    header = UnitHeader(**fields)
    numbers = (header.tolerance, header.objective, header.gap, header.residual)
    whole = (header.step, header.mask_id, header.iterations, *header.target_ids)
    names = (header.key, header.condition, header.sample_id, header.target, header.dtype, header.weights_sha256,
             header.prompt_sha256, *header.words)  # fmt: skip
    fine = (
        all(type(name) is str for name in names)
        and all(type(number) is int for number in whole)  # no booleans
        and all(type(number) in (int, float) for number in numbers)
        and type(header.noise_sigma) in (int, float, type(None))
        and type(header.converged) is bool
    )
    return header if fine else None


def _fits(header: UnitHeader, scores: np.ndarray, effects: np.ndarray) -> bool:
    """Whether the arrays are those of so many words."""
    size = 1 << len(header.words) if len(header.words) < 63 else 0
    shapes = scores.shape == (size,) and effects.shape == (2, size)
    return shapes and scores.dtype == effects.dtype == np.float64
