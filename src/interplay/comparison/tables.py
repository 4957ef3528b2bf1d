"""The figures of a comparison as tidy tables: curves on one axis, means over seeds, spread between them, paired differences.

The bootstrap over prompts estimates how far a figure would move with other prompts, the spread between seeds how far with
another training.
"""

import itertools
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pandas as pd

from interplay.comparison.runs import ComparedRun, ComparedRuns, Group, changed_keys, setting, shared_prompts
from interplay.dynamics.sets import MAIN_SETS
from interplay.dynamics.stats import generator, paired_interval
from interplay.task.metrics import METRICS

BY_SET = ("count", "strength", "rho", "gamma", "mean_order", "sufficiency")
WHOLE = ("l1_per_sd", "cancelled_per_sd", "walsh_high", "rho", "mean_order")
SHOWN = {(m, s) for m in BY_SET for s in MAIN_SETS} | {(m, "all") for m in WHOLE}
# What paired differences are made of: the figures a choice between two trainings would be argued with [ours].
MAIN = (
    *(("strength", name) for name in MAIN_SETS),
    *((measure, name) for measure in ("rho", "gamma") for name in ("preserved", "emerged")),
    *((measure, "all") for measure in ("l1_per_sd", "cancelled_per_sd", "walsh_high", "mean_order")),
)
# The last figures of each run in the overview.
LAST_TASK = ("eval_loss", "accuracy", "macro_f1", "kl_base", "retention_ppl", "ood_accuracy")
LAST_INTERACTIONS = (("cancelled_per_sd", "all"), ("rho", "all"), ("strength", "emerged"), ("strength", "removed"))
FIGURES = ["value", "lo", "hi", "null", "null_lo", "null_hi"]
CURVES = ["run", "group", "kind", "measure", "set", "step", "x", *FIGURES, "samples"]
MEANS = [*(c for c in CURVES if c not in ("run", "samples")), "sd", "lowest", "highest", "runs"]
SPREAD = ["group", "kind", "measure", "set", "step", "value", "lowest", "highest", "sd", "half_width", "ratio", "runs"]
PAIRED = [
    "first", "second", "measure", "set", "step", "difference", "lo", "hi", "prompts", "distinguishable", "seeds_apart",
]  # fmt: skip
ROUNDING = 1e-9  # relative: one base model measured twice is the same model
RESAMPLES = 2000  # of prompts, for the intervals of paired differences
ALL_PAIRS = 4  # groups up to which every pair is compared; beyond, each against the first [ours]


def setting_table(runs: Sequence[ComparedRun]) -> pd.DataFrame:
    """The settings in which the runs differ: one row a key, one column a run, values as text (an en dash: null)."""
    keys = {key for run in runs[1:] for key in changed_keys(runs[0].values, run.values)}
    rows = [{"setting": key, **{run.name: setting(run, key) for run in runs}} for key in sorted(keys)]
    return pd.DataFrame(rows, columns=["setting", *(run.name for run in runs)])


def overview(comparison: ComparedRuns) -> pd.DataFrame:
    """One row a run: its group, the checkpoint recommended, the best by eval loss and by accuracy, and its last figures."""
    rows = []
    for run in comparison.runs:
        last, task = max(run.steps), run.task.sort_values("step").set_index("step")
        group = next(group.name for group in comparison.groups if run.name in group.runs)
        row: dict[str, Any] = {"run": run.name, "group": group, "seed": run.seed, "last_step": last}
        row |= {"recommended": run.recorded["step"], "basis": run.recorded.get("basis")}
        for key in ("eval_loss", "accuracy"):
            known = task[key].dropna() if key in task else pd.Series(dtype=float)
            best = None if known.empty else METRICS[key].best(known)
            row |= {f"best_{key}_step": best, f"best_{key}": None if best is None else float(known[best])}
        figures = {key: task.get(key) for key in LAST_TASK}
        for measure, name in LAST_INTERACTIONS:
            figures[measure if name == "all" else f"{measure}_{name}"] = run.trajectory.get(measure, name)["value"]
        for key, curve in figures.items():
            value = None if curve is None else curve.get(last)
            row[f"last_{key}"] = None if value is None or np.isnan(value) else float(value)
        rows.append(row)
    return pd.DataFrame(rows)


def curves(comparison: ComparedRuns) -> pd.DataFrame:
    """Every curve of every run: one row a run x measure x set x step, with its position `x` on the axis.

    `kind` is `interactions`, `multiples` (measures `count` and `strength`, in churn floors of a rephrased prompt) or `task`.
    """
    out = pd.concat([_of_run(run, comparison) for run in comparison.runs], ignore_index=True)
    group = {name: group.name for group in comparison.groups for name in group.runs}
    return out.assign(group=out["run"].map(group))[CURVES]


def _of_run(run: ComparedRun, comparison: ComparedRuns) -> pd.DataFrame:
    table, definition = run.trajectory.summary, comparison.definition
    table = table[(table["definition"] == definition) & (table["order"] == 0)]
    frames = [table[pd.MultiIndex.from_frame(table[["measure", "set"]]).isin(SHOWN)].assign(kind="interactions")]
    m = run.table("multiples")
    m = m[(m["definition"] == definition) & (m["floor"] == "rephrased") & m["measure"].isin(["count", "strength"])]
    m = m[m["reference"] == run.trajectory.reference]
    frames.append(m.assign(kind="multiples", value=m["ratio"], null=1.0))
    for key in (key for key in METRICS if key in run.task):
        ends = {end: run.task[name] for end in ("lo", "hi") if (name := f"{key}_{end}") in run.task}
        frame = pd.DataFrame({"step": run.task["step"], "value": run.task[key], **ends})
        frames.append(frame.assign(kind="task", measure=key, set="all"))
    columns = ["kind", "measure", "set", "step", *FIGURES, "samples"]
    frame = pd.concat([f.reindex(columns=columns).astype({c: float for c in [*FIGURES, "samples"]}) for f in frames])
    frame = frame.assign(run=run.name, x=[run.x(int(step), comparison.axis) for step in frame["step"]])
    return frame.dropna(subset=["value"]).sort_values(["kind", "measure", "set", "step"], kind="stable")


def group_curves(comparison: ComparedRuns, table: pd.DataFrame) -> pd.DataFrame:
    """Means over the runs of each group that has several, where all of them that have the measure were measured.

    `lo` and `hi` are the means of the runs' own intervals over prompts; `sd`, `lowest` and `highest` are between the runs.
    """
    out = []
    for group in (group for group in comparison.groups if len(group.runs) > 1):
        ours = table[table["run"].isin(group.runs)]
        for key, curve in ours.groupby(["kind", "measure", "set"], sort=True):
            named = dict(zip(("kind", "measure", "set"), cast("tuple[str, str, str]", key), strict=True))
            wanted = curve["run"].nunique()
            for x, rows in curve.groupby("x", sort=True):
                if len(rows) < wanted:
                    continue
                sd, lowest, highest = (float(x) for x in rows["value"].agg(["std", "min", "max"]))
                if len(rows) > 1 and highest - lowest <= ROUNDING * max(abs(lowest), abs(highest)):
                    sd = 0.0
                at = {"group": group.name, **named, "step": int(rows["step"].iloc[0]), "x": x}
                spread = {"sd": sd, "lowest": lowest, "highest": highest, "runs": len(rows)}
                out.append({**at, **rows[FIGURES].mean(skipna=False).to_dict(), **spread})
    return pd.DataFrame(out, columns=MEANS)


def seed_spread(means: pd.DataFrame) -> pd.DataFrame:
    """At the last shared checkpoint of each group: spread between its runs and the interval over prompts.

    `half_width` is half of the mean interval over prompts, `ratio` = (highest - lowest) / 2 over it: over 1, another training
    moved the figure further than other prompts would.
    """
    if means.empty:
        return pd.DataFrame(columns=SPREAD)
    means = means[means["runs"] > 1]
    last = means.loc[means.groupby(["group", "kind", "measure", "set"], sort=False)["x"].idxmax()].copy()
    last["half_width"] = (last["hi"] - last["lo"]) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (last["highest"] - last["lowest"]) / 2 / last["half_width"]
    last["ratio"] = ratio.where(np.isfinite(ratio))
    return last[SPREAD].reset_index(drop=True)


def sides(comparison: ComparedRuns) -> list[tuple[Group, Group]]:
    """Which pairs are compared: groups, or the runs of the only group; all pairs if few, else each against the first."""
    groups: Sequence[Group] = comparison.groups
    if len(groups) == 1:
        groups = [Group(run.name, (run.name,)) for run in comparison.runs]
    if len(groups) <= ALL_PAIRS:
        return list(itertools.combinations(groups, 2))
    return [(groups[0], other) for other in groups[1:]]


def paired_differences(comparison: ComparedRuns) -> pd.DataFrame:
    """Second minus first, prompt by prompt, at the checkpoints both were measured at (columns: PAIRED).

    A side of several runs enters with its mean over them, on the prompts that every run of both sides measured with the same
    words. `distinguishable`: the interval, which holds for all checkpoints of its curve at once, excludes zero. `seeds_apart`:
    every run of one side lies above every run of the other; None unless both sides have several runs.
    """
    out, definition = [], comparison.definition
    for first, second in sides(comparison):
        both = [[comparison.run(name) for name in group.runs] for group in (first, second)]
        runs = [*both[0], *both[1]]
        prompts = shared_prompts(*runs)
        steps = sorted(set.intersection(*(set(run.trajectory.steps) for run in runs)))
        if not prompts or not steps:
            continue
        for measure, name in MAIN:
            a, b = (_values(side, measure, name, definition, steps, prompts) for side in both)
            d = b.mean(axis=0) - a.mean(axis=0)  # NaN where a run of a side has none
            d[np.abs(d) <= ROUNDING * np.maximum(np.abs(a).max(axis=0), np.abs(b).max(axis=0))] = 0.0
            kept = [i for i in range(len(steps)) if not np.isnan(d[:, i]).all()]
            if not kept:
                continue
            rng = generator(0, "paired", first.name, second.name, measure, name, definition)
            got = paired_interval(d[:, kept], RESAMPLES, rng)
            frame = pd.DataFrame(
                {"step": [steps[i] for i in kept], "difference": got.value, "lo": got.lo, "hi": got.hi}
            )
            frame = frame.assign(first=first.name, second=second.name, measure=measure, set=name, prompts=got.samples)
            frame["distinguishable"] = (got.lo > 0) | (got.hi < 0)
            frame["seeds_apart"] = pd.Series(_apart(a[:, :, kept], b[:, :, kept]), dtype=object)
            out.append(frame[PAIRED])
    return pd.concat(out, ignore_index=True) if out else pd.DataFrame(columns=PAIRED)


def _values(
    runs: Sequence[ComparedRun], measure: str, name: str, definition: str, steps: list[int], prompts: list[str]
) -> np.ndarray:
    """Value of each run, prompt and step: `[runs, prompts, steps]`, NaN where not defined."""
    tables = [run.trajectory.samples(measure, name, definition) for run in runs]
    return np.stack([table.reindex(index=steps, columns=prompts).to_numpy(float).T for table in tables])


def _apart(a: np.ndarray, b: np.ndarray) -> list[bool | None]:
    """Whether the runs' means of one side all lie above those of the other, per step."""
    if len(a) < 2 or len(b) < 2:
        return [None] * a.shape[-1]
    both = ~np.isnan(a).any(axis=0) & ~np.isnan(b).any(axis=0)
    weight = both / np.maximum(both.sum(axis=0), 1)
    first, second = (np.nansum(side * weight, axis=1) for side in (a, b))
    return [bool(x) for x in (first.min(axis=0) > second.max(axis=0)) | (second.min(axis=0) > first.max(axis=0))]
