"""A finished run folder -> the payload of its page. Reads files only, so that the page can be rebuilt at any time.

Tables of controls (views, floors, baselines, correlations) may be missing: an older run has none. Only rows that the page
draws are handed on, rounded to five significant digits.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from interplay.dynamics import Trajectory
from interplay.dynamics.bootstrap import interval, resample_counts
from interplay.dynamics.fit import matching, reconstruct, sorted_strength
from interplay.dynamics.nulls import generator
from interplay.runs.conditions import step_name
from interplay.runs.folder import RunFolder
from interplay.runs.reader import RunReader

VIEWED = (("removed", "count_share"), ("emerged", "count_share"), ("all", "l1"), ("preserved", "gamma"),
          ("emerged", "gamma"), ("emerged", "rho"), ("all", "mean_order"))  # fmt: skip
SHOWN_POINTS = 40  # coalitions drawn of one prompt's scores [ours]
RANDOM_SETS = 10  # draws of the matching error's null, per prompt and step [ours]


def build_payload(folder: RunFolder) -> dict[str, Any]:
    """Everything the page shows, from the files of a run (schema: `interplay.report.payload`)."""
    run = RunReader(folder.path)
    with run.intact():
        return _payload(run)


def _payload(run: RunReader) -> dict[str, Any]:
    about, inputs, track, units = run.json("report.json"), run.inputs, run.trajectory, run.units
    verdict = verdict_part(run.recorded)
    return {
        **{key: about[key] for key in ("title", "subtitle", "version", "method", "notes", "skipped")},
        "created": None,
        "verdict": verdict,
        "steps": list(track.steps),
        "reference": track.reference,
        "summary": _records(track.summary),
        "task": _records(run.task),
        **_controls(run),
        "fidelity": _fidelity(track, units, verdict["step"]),
        "probes": [_probe(probe, track, units) for probe in inputs["probes"]],
        "settings": (run.path / "settings.yaml").read_text(encoding="utf-8"),
    }


def verdict_part(recommendation: Mapping[str, Any]) -> dict[str, Any]:
    """The recommendation in the page's terms."""
    keys = ("step", "sentence", "rule", "provisional", "basis", "evidence", "rivals")
    return {key: recommendation[key] for key in keys}


def _digits(x: float) -> float:
    return float(f"{x:.5g}")


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dicts, rounded, with NaN and infinities as None."""

    def plain(v: Any) -> Any:
        if not isinstance(v, float):
            return v
        return _digits(v) if math.isfinite(v) else None

    return [{k: plain(v) for k, v in row.items()} for row in frame.to_dict("records")]


def _controls(run: RunReader) -> dict[str, Any]:
    """The tables beside the main trajectory, cut down to what is drawn."""
    out: dict[str, Any] = {}
    for name in ("views", "baselines", "floors", "multiples", "correlations"):
        frame = run.optional_table(name)
        if frame is None:
            continue
        if "reading" in frame:
            frame = frame[frame["reading"] == "paper"]
        if name == "views":
            pairs = pd.MultiIndex.from_frame(frame[["set", "measure"]])
            frame = frame[pairs.isin(VIEWED) & (frame["order"] == 0)]
        out[name] = _records(frame)
    return {**out, "controls": run.json("controls.json")} if run.has("controls.json") else out


def _fidelity(track: Trajectory, units: pd.DataFrame, named: int | None) -> dict[str, Any]:
    """Matching error at every step, strength by rank and one prompt's scores at a few (`dynamics.fit`)."""
    resamples, seed = int(track.settings.get("resamples", 1000)), int(track.settings.get("seed", 0))
    by_unit = units.set_index(["condition", "sample_id"])[["and_effects", "or_effects", "scores"]]
    found: dict[int, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}  # step -> effects, scores, salient
    for step in track.steps:
        rows = [by_unit.loc[(step_name(step), sample)] for sample in track.sample_ids]
        found[step] = [
            (np.stack([row["and_effects"], row["or_effects"]]), row["scores"], track.membership(sample, step).all)
            for sample, row in zip(track.sample_ids, rows, strict=True)
        ]
    counts = resample_counts(len(track.sample_ids), resamples, generator(seed, "fidelity", len(track.sample_ids)))
    rows, errors = [], {}
    for step, samples in found.items():
        salient = [matching(e, v, m) for e, v, m in samples]
        nulls = [_random_sets(*one, seed, f"{step}-{i}") for i, one in enumerate(samples)]
        errors[step] = [float(one.rms) for one in salient]
        every = [matching(e, v) for e, v, _ in samples]
        for measure, values, null in (
            ("rms", [x.rms for x in salient], [x[0] for x in nulls]),
            ("r2", [x.r2 for x in salient], [x[1] for x in nulls]),
            ("rms_all", [x.rms for x in every], [math.nan] * len(every)),
        ):
            i = interval(np.column_stack([np.array(values, float), np.array(null, float)]), counts)
            figures = zip(("value", "lo", "hi", "null", "null_lo", "null_hi"), np.stack(i[:3]).T.ravel(), strict=True)
            rows.append({"step": step, "measure": measure, **dict(figures), "samples": int(i.samples[0])})
    wanted = {track.steps[0], track.steps[len(track.steps) // 2], named, track.steps[-1]}
    chosen = [step for step in track.steps if step in wanted]
    ranks = _ranks(max(e.size for e, _, _ in found[track.steps[0]]))
    curves = []
    for step in chosen:
        i = interval(np.stack([sorted_strength(e, ranks) for e, _, _ in found[step]]), counts)
        curves.append({"step": step, **{k: _finite(v) for k, v in zip(("value", "lo", "hi"), i[:3], strict=True)}})
    return {
        "rows": _records(pd.DataFrame(rows)),
        "ranks": [int(r) for r in ranks],
        "ratio": track.settings.get("ratio"),
        "curves": curves,
        "matching": [
            _matching(sample, step, *found[step][i], errors[step][i])
            for step in track.steps
            for i, sample in enumerate(track.sample_ids)
        ],
    }


def _finite(values: np.ndarray) -> list[float | None]:
    return [_digits(float(v)) if math.isfinite(v) else None for v in values]


def _ranks(most: int) -> np.ndarray:
    """About 40 ranks from 1 to `most`, evenly on a log axis."""
    return np.unique(np.geomspace(1, most, 40).round().astype(np.int64))


def _random_sets(effects: np.ndarray, scores: np.ndarray, salient: np.ndarray, seed: int, key: str) -> np.ndarray:
    """Null of rms and r2: as many interactions as are salient, drawn among all that are not zero. `[2]`."""
    rng = generator(seed, "fidelity", key)
    present = np.flatnonzero(effects)
    size = min(int(salient.sum()), len(present))
    masks = np.zeros((RANDOM_SETS, effects.size), dtype=bool)
    for mask in masks:
        mask[rng.choice(present, size=size, replace=False)] = True
    shape = (RANDOM_SETS, *effects.shape)
    drawn = matching(
        np.broadcast_to(effects, shape), np.broadcast_to(scores, (RANDOM_SETS, len(scores))), masks.reshape(shape)
    )
    return np.array([drawn.rms.mean(), drawn.r2.mean()])


def _matching(
    sample: str, step: int, effects: np.ndarray, scores: np.ndarray, salient: np.ndarray, error: float
) -> dict[str, Any]:
    """Scores of one prompt in ascending order, and what the logical model says of the same coalitions."""
    order = np.argsort(scores, kind="stable")
    shown = order[np.unique(np.linspace(0, len(order) - 1, SHOWN_POINTS).round().astype(np.int64))]
    model = {"salient": reconstruct(effects, scores[0], salient), "all": reconstruct(effects, scores[0])}
    return {
        "probe": sample,
        "step": step,
        "count": int(salient.sum()),
        "of": len(scores),
        "rms": _digits(error) if math.isfinite(error) else None,
        "score": _finite(scores[shown]),
        **{name: _finite(values[shown]) for name, values in model.items()},
    }


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
