"""A finished run folder -> the payload of its page. Reads files only, so that the page can be rebuilt at any time."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from interplay.dynamics import Trajectory
from interplay.errors import InterplayError
from interplay.runs.files import read_json
from interplay.runs.folder import RunFolder
from interplay.runs.results import step_name


def read_table(folder: RunFolder, name: str) -> pd.DataFrame:
    """A parquet table of a run; InterplayError when the run has not come that far."""
    path = folder.path / name
    try:
        return pq.read_table(path).to_pandas()
    except FileNotFoundError:
        raise InterplayError(
            f"{str(folder.path)!r} has no {name}, the run is unfinished: run the same command again"
        ) from None
    except (OSError, ValueError) as error:
        raise InterplayError(f"cannot read {str(path)!r} ({error}): run the same command again") from error


def build_payload(folder: RunFolder) -> dict[str, Any]:
    """Everything the page shows, from the files of a run (schema: `interplay.report.payload`)."""
    folder.settings()  # refuses a folder that is no run, in words a user understands
    about = read_json(folder.path / "report.json")
    inputs = read_json(folder.path / "inputs.json")
    track = Trajectory.load(folder.path)
    task = read_table(folder, "task.parquet")
    units = read_table(folder, "units.parquet")
    return {
        **{key: about[key] for key in ("title", "subtitle", "version", "method", "notes", "skipped")},
        "created": None,
        "verdict": verdict_part(read_json(folder.path / "recommendation.json")),
        "steps": list(track.steps),
        "reference": track.reference,
        "summary": _records(track.summary),
        "task": _records(task.drop(columns="rows")),
        "probes": [_probe(probe, track, units) for probe in inputs["probes"]],
        "settings": (folder.path / "settings.yaml").read_text(encoding="utf-8"),
    }


def verdict_part(recommendation: dict[str, Any]) -> dict[str, Any]:
    """The recommendation in the page's terms."""
    keys = ("step", "sentence", "rule", "provisional", "basis", "evidence", "rivals")
    return {key: recommendation[key] for key in keys}


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dicts with NaN as None."""
    return [
        {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}
        for row in frame.to_dict("records")
    ]


def _probe(probe: dict[str, Any], track: Trajectory, units: pd.DataFrame) -> dict[str, Any]:
    of_probe = units[units["sample_id"] == probe["id"]].set_index("condition")
    reference = of_probe.loc[step_name(track.reference)]
    before = np.stack([reference["and_effects"], reference["or_effects"]])
    steps = []
    for step in track.steps:
        unit = of_probe.loc[step_name(step)]
        sets = track.membership(probe["id"], step)
        effects = np.stack([unit["and_effects"], unit["or_effects"]])
        states = {"preserved": sets.preserved, "reentered": sets.reentered, "emerged": sets.emerged & ~sets.reentered}
        if step <= track.reference:
            # Nothing is preserved or emerged before there is something to compare with.
            states = {"initial": sets.all}
        present: list[dict[str, Any]] = [
            {"type": kind, "mask": mask, "effect": effect, "state": state}
            for state, chosen in states.items()
            for kind, mask, effect in _listed(effects, chosen)
        ]
        removed: list[dict[str, Any]] = [
            {"type": k, "mask": m, "effect": e} for k, m, e in _listed(before, sets.removed)
        ]
        steps.append(
            {
                "step": step,
                "score_full": unit["score_full"],
                "score_empty": unit["score_empty"],
                "gap": unit["gap"],
                "residual": unit["residual"],
                "sigma": None if pd.isna(unit["noise_sigma"]) else unit["noise_sigma"],
                "tau": unit["tau"],
                "interactions": sorted(present, key=_strongest_first),
                "removed": sorted(removed, key=_strongest_first),
            }
        )
    target = str(reference["target"])
    return {**probe, "target": target, "n": len(probe["words"]), "steps": steps}


def _listed(effects: np.ndarray, chosen: np.ndarray) -> list[tuple[str, int, float]]:
    return [(("and", "or")[row], int(mask), float(effects[row, mask])) for row, mask in np.argwhere(chosen)]


def _strongest_first(row: dict[str, Any]) -> tuple[float, str, int]:
    return -abs(row["effect"]), row["type"], row["mask"]
