"""Unit: one prompt under one condition, with its scores, its effects and their certificate, in one file.

Scores are used again only under the same `key`, and if arrays and header hash to what the file says. Effects are solved when
all units are there, since they are fused with those of the checkpoint before, and used again only under the same `effects_key`.
File names are counters, never ids in the data.
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from interplay.atomic import write_bytes
from interplay.effects import Interactions, extract


@dataclass(frozen=True)
class UnitHeader:
    """A unit without its arrays, as JSON in the file's metadata. From `tolerance` on: of its effects."""

    key: str
    condition: str
    step: int
    sample_id: str
    words: tuple[str, ...]
    target: str
    target_ids: tuple[int, ...]
    absent: str
    dtype: str
    noise_sigma: float | None
    absence_sigma: float
    weights_sha256: str
    prompt_sha256: str
    tolerance: float = math.nan
    objective: float = math.nan
    duality_gap: float = math.nan
    residual: float = math.nan
    iterations: int = 0
    converged: bool = False
    effects_key: str = ""


@dataclass(frozen=True)
class Unit:
    """`scores` [2^n] float64 nats, `effects` [2, 2^n] float64 (row 0 AND, row 1 OR), and other splits, `alternatives` [K, 2, 2^n].

    Without rows of effects: not split yet.
    """

    header: UnitHeader
    scores: np.ndarray
    effects: np.ndarray
    alternatives: np.ndarray


_ARRAYS = ("scores", "effects", "alternatives")


def unsplit(header: UnitHeader, scores: np.ndarray) -> Unit:
    """A unit without effects."""
    return Unit(header, scores, np.empty((0, len(scores))), np.empty((0, 2, len(scores)), dtype=np.float32))


def _interactions(unit: Unit) -> Interactions:
    """Enough of the `Interactions` of a unit to fuse others with it."""
    header, (and_effects, or_effects) = unit.header, unit.effects
    names = ("objective", "duality_gap", "residual", "tolerance", "iterations", "converged")
    known: dict[str, Any] = {name: np.asarray(getattr(header, name)) for name in names}
    known |= {"error_bar": np.asarray(math.nan), "alternatives": unit.alternatives}
    return Interactions(len(header.words), and_effects, or_effects, unit.scores[0], **known)


def with_effects(
    unit: Unit, tolerance: float, duality_gap: float, before: Unit | None = None, *, certain: bool = True
) -> Unit:
    """The unit with its effects under this tolerance and duality gap, solved from its scores unless it has them.

    before: the unit of the same words whose effects these are fused with (`extract`, reference). certain: with other splits.
    """
    behind = (
        "" if before is None else hashlib.sha256(f"{before.header.key}{before.header.effects_key}".encode()).hexdigest()
    )
    key = f"tolerance {tolerance!r}, duality gap {duality_gap!r}, after {behind or 'nothing'}"
    if unit.header.effects_key == key:
        return unit
    reference = None if before is None else _interactions(before)
    found = extract(unit.scores, tolerance, duality_gap, reference=reference, certain=certain)
    header = replace(
        unit.header,
        tolerance=float(found.tolerance),
        objective=float(found.objective),
        duality_gap=float(found.duality_gap),
        residual=float(found.residual),
        iterations=int(found.iterations),
        converged=bool(found.converged),
        effects_key=key,
    )
    return Unit(header, unit.scores, found.effects, found.alternatives.astype(np.float32))


def unit_path(folder: Path, condition: str, index: int) -> Path:
    """Where the unit of the index-th prompt under a condition lies."""
    return folder / "units" / condition / f"prompt-{index:04d}.safetensors"


def _digest(arrays: dict[str, np.ndarray], header: object) -> str:
    said = json.dumps(header, sort_keys=True).encode()
    return hashlib.sha256(b"".join(arrays[name].tobytes() for name in sorted(arrays)) + said).hexdigest()


def save_unit(path: Path, unit: Unit) -> None:
    """Write a unit whole or not at all; equal units give equal bytes."""
    arrays = {name: np.ascontiguousarray(getattr(unit, name)) for name in _ARRAYS}
    header = asdict(unit.header)
    # One string, since the order of several metadata keys is not fixed in the format.
    said = json.dumps({"sha256": _digest(arrays, header), "header": header}, sort_keys=True)
    write_bytes(path, save(arrays, {"interplay": said}), folders=2)


def load_unit(path: Path, key: str | None = None) -> Unit | None:
    """The unit in a file, or None when it is absent, damaged, or answers another question than `key`."""
    try:
        with safe_open(path, framework="numpy") as f:
            meta = json.loads((f.metadata() or {}).get("interplay", "{}"))
            arrays = {name: f.get_tensor(name) for name in _ARRAYS}
        fields = meta["header"]
        if meta["sha256"] != _digest(arrays, fields):
            return None
        header = UnitHeader(**fields | {"words": tuple(fields["words"]), "target_ids": tuple(fields["target_ids"])})
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return Unit(header, **arrays) if key in (None, header.key) else None
