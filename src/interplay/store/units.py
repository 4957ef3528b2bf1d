"""Unit: one prompt under one condition, with its scores, its effects and their certificate, in one file.

Scores are used again only under the same `key`, and if arrays and header hash to what the file says. Effects are used again
only under the same `effects_key`; else they are solved from the scores. File names are counters, never ids in the data.
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from interplay.atomic import write_bytes
from interplay.effects import extract


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
    """`scores` [2^n] float64 nats, `effects` [2, 2^n] float64 (row 0 AND, row 1 OR)."""

    header: UnitHeader
    scores: np.ndarray
    effects: np.ndarray


def effects_key(tolerance: float, duality_gap: float) -> str:
    """Key of the effects under a tolerance and the duality gap that is asked for."""
    return f"tolerance {tolerance!r}, duality gap {duality_gap!r}"


def with_effects(unit: Unit, tolerance: float, duality_gap: float) -> Unit:
    """The unit with its effects under this tolerance and duality gap, solved (alone) from its scores unless it has them."""
    key = effects_key(tolerance, duality_gap)
    if unit.header.effects_key == key:
        return unit
    found = extract(unit.scores, tolerance=tolerance, duality_gap=duality_gap)
    header = replace(
        unit.header,
        tolerance=tolerance,
        objective=float(found.objective),
        duality_gap=float(found.duality_gap),
        residual=float(found.residual),
        iterations=int(found.iterations),
        converged=bool(found.converged),
        effects_key=key,
    )
    return Unit(header, unit.scores, np.stack([found.and_effects, found.or_effects]))


def unit_path(folder: Path, condition: str, index: int) -> Path:
    """Where the unit of the index-th prompt under a condition lies."""
    return folder / "units" / condition / f"prompt-{index:04d}.safetensors"


def _digest(scores: np.ndarray, effects: np.ndarray, header: object) -> str:
    said = json.dumps(header, sort_keys=True).encode()
    return hashlib.sha256(scores.tobytes() + effects.tobytes() + said).hexdigest()


def save_unit(path: Path, unit: Unit) -> None:
    """Write a unit whole or not at all; equal units give equal bytes."""
    scores = np.ascontiguousarray(unit.scores, dtype=np.float64)
    effects = np.ascontiguousarray(unit.effects, dtype=np.float64)
    header = asdict(unit.header)
    # One string, since the order of several metadata keys is not fixed in the format.
    said = json.dumps({"sha256": _digest(scores, effects, header), "header": header}, sort_keys=True)
    write_bytes(path, save({"scores": scores, "effects": effects}, {"interplay": said}), folders=2)


def load_unit(path: Path, key: str | None = None) -> Unit | None:
    """The unit in a file, or None when it is absent, damaged, or answers another question than `key`."""
    try:
        with safe_open(path, framework="numpy") as f:
            meta = json.loads((f.metadata() or {}).get("interplay", "{}"))
            scores, effects = f.get_tensor("scores"), f.get_tensor("effects")
        fields = meta["header"]
        if meta["sha256"] != _digest(scores, effects, fields):
            return None
        header = UnitHeader(**fields | {"words": tuple(fields["words"]), "target_ids": tuple(fields["target_ids"])})
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return Unit(header, scores, effects) if key in (None, header.key) else None
