"""A finished run folder -> the payload of its page: the rows that the page draws, rounded to five significant digits."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from interplay.dynamics import Trajectory
from interplay.dynamics.fidelity import matching
from interplay.dynamics.sets import MAIN_DEFINITION
from interplay.effects.moebius import reconstruct
from interplay.effects.values import shapley
from interplay.errors import InterplayError
from interplay.report.audit import OF_AUDIT, OF_RULE
from interplay.report.controls import FIGURES
from interplay.store.folder import RunFolder
from interplay.store.reader import RunReader

VIEWED = [figure[:2] for figure in FIGURES]
SHOWN_POINTS = 40  # coalitions drawn of one prompt's scores [ours]


def build_payload(folder: RunFolder) -> dict[str, Any]:
    """Everything the page shows, from the files of a run (`interplay.report.page`); `prompts` is an iterator."""
    run = RunReader(folder.path)
    with run.intact():
        about, track, recorded = run.json("report.json"), run.trajectory, run.recorded
        keys = ("step", "sentence", "rule", "basis", "evidence", "rivals")
        return {
            **{key: about[key] for key in ("title", "subtitle", "version", "score", "method", "notes", "skipped")},
            "created": None,
            "recommendation": {key: recorded[key] for key in keys},
            "audit": _audit(run),
            "steps": list(track.steps),
            "reference": track.reference,
            "summary": _records(track.summary),
            "task": _records(run.task),
            **_controls(run),
            "fidelity": _fidelity(run, track, recorded["step"]),
            "prompts": _prompts(run, list(run.inputs["prompts"])),
            "settings": (run.path / "settings.yaml").read_text(encoding="utf-8"),
        }


def _plain(value: Any) -> Any:
    """A float rounded, None for NaN and infinities; any other value unchanged."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{k: _plain(v) for k, v in row.items()} for row in frame.to_dict("records")]


def _audit(run: RunReader) -> dict[str, Any] | None:
    """What the page says of an audit; None where the run has none. InterplayError for a file that no audit wrote."""
    if not run.has("audit.json"):
        return None
    found = run.json("audit.json")
    try:
        rules = [{key: rule[key] for key in OF_RULE} for rule in found["rules"]]
        return {key: found[key] for key in OF_AUDIT} | {"rules": rules}
    except (LookupError, TypeError) as error:
        name, again = str(run.path / "audit.json"), f"interplay audit {run.path}"
        raise InterplayError(
            f"{name!r} does not hold what an audit writes: delete it, and {again!r} writes it"
        ) from error


def _controls(run: RunReader) -> dict[str, Any]:
    """The tables beside the main trajectory, cut down to what is drawn, and what there is to say of them."""
    out: dict[str, Any] = {"controls": run.json("controls.json")}
    for name in ("views", "baselines", "floors", "multiples", "correlations"):
        frame = run.table(name)
        if "definition" in frame:
            frame = frame[frame["definition"] == MAIN_DEFINITION]
        if name == "views":
            pairs = pd.MultiIndex.from_frame(frame[["set", "measure"]])
            frame = frame[pairs.isin(VIEWED) & (frame["order"] == 0)]
        out[name] = _records(frame)
    return out


def _fidelity(run: RunReader, track: Trajectory, named: int | None) -> dict[str, Any]:
    """Matching error at every step, strength by rank at a few, and the scores of a typical prompt (`dynamics.fidelity`)."""
    table = run.table("fidelity")
    wanted = {track.steps[0], track.steps[len(track.steps) // 2], named, track.steps[-1]}
    by_rank = {step: rows for step, rows in table[table["rank"] > 0].groupby("step") if step in wanted}
    return {
        "rows": _records(table[table["rank"] == 0].drop(columns="rank")),
        "ranks": [int(r) for r in by_rank[track.steps[0]]["rank"]],
        "ratio": track.settings.get("ratio"),
        "curves": [
            {"step": step, **{end: _finite(by_rank[step][end].to_numpy()) for end in ("value", "lo", "hi")}}
            for step in track.steps
            if step in by_rank
        ],
        "matching": [
            one
            for step in sorted({track.steps[0], named if named in track.steps else track.steps[-1]})
            if (one := _typical(run, track, step))
        ],
    }


def _typical(run: RunReader, track: Trajectory, step: int) -> dict[str, Any] | None:
    """Scores of the prompt of median error at a step, ascending, and what the logical model says of the same coalitions."""
    errors = sorted((error, sample) for sample in track.sample_ids if math.isfinite(error := _error(run, sample, step)))
    if not errors:
        return None
    error, sample = errors[len(errors) // 2]
    effects, salient = run.effects(sample, step), track.membership(sample, step, "paper").all
    scores = run.unit(sample, step)["scores"]
    order = np.argsort(scores, kind="stable")
    shown = order[np.unique(np.linspace(0, len(order) - 1, SHOWN_POINTS).round().astype(np.int64))]
    model = {
        name: reconstruct(*some, scores[0])
        for name, some in (("salient", np.where(salient, effects, 0.0)), ("all", effects))
    }
    return {
        "prompt": sample,
        "step": step,
        "count": int(salient.sum()),
        "of": len(scores),
        "rms": _plain(error),
        "score": _finite(scores[shown]),
        **{name: _finite(values[shown]) for name, values in model.items()},
    }


def _error(run: RunReader, sample: str, step: int) -> float:
    """How far the salient interactions alone miss the scores, over their spread."""
    salient = run.trajectory.membership(sample, step, "paper").all
    return float(matching(run.effects(sample, step), run.unit(sample, step)["scores"], salient))


def _finite(values: np.ndarray) -> list[float | None]:
    return [_plain(float(v)) for v in values]


def _prompts(run: RunReader, prompts: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The prompts one by one: the interactions of all of them at once take hundreds of megabytes."""
    of = ["type", "mask", "before", "effect", "outcome", "certain", "instead"]
    with run.intact():
        for prompt in prompts:
            steps = []
            for step in run.trajectory.steps:
                unit = run.unit(prompt["id"], step)
                found = run.listed(prompt["id"], step).rename(columns={"kind": "type", "effect_reference": "before"})
                steps.append(
                    {
                        "step": step,
                        **{name: unit[name] for name in ("score_full", "score_empty", "duality_gap", "residual")},
                        "sigma": None if pd.isna(unit["noise_sigma"]) else unit["noise_sigma"],
                        "tau": float(found["tau"].iloc[0]) if len(found) else None,
                        "rms": _plain(_error(run, prompt["id"], step)),
                        "shapley": shapley(unit["scores"]).tolist(),
                        "interactions": [
                            row | {"certain": _plain(row["certain"])} for row in found[of].to_dict("records")
                        ],
                    }
                )
            target = str(run.unit(prompt["id"], run.trajectory.reference)["target"])
            floor = _plain(run.floor(prompt["id"]))
            yield {**prompt, "target": target, "n": len(prompt["words"]), "floor": floor, "steps": steps}
