"""Recommend one of a run's checkpoints or the base model, and say what other rules would choose.

With labelled eval rows the highest eval accuracy decides; without labels, and among those that it cannot tell from the best
(`noise.py`), the lowest eval loss. Of what neither tells from the best the earliest is kept. The base model, step 0, is a
candidate. Without eval rows the last checkpoint is named. In docs/evidence/stopping.md the interaction loss
(`stopping.recommend_stop`) lost accuracy to eval accuracy and to the last checkpoint, so it is reported but does not decide.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from interplay.dynamics.result import Trajectory
from interplay.dynamics.stats import generator
from interplay.errors import InterplayError
from interplay.recommendation.logged import LOSS
from interplay.recommendation.noise import compare
from interplay.recommendation.result import RULE, Evidence, Recommendation
from interplay.recommendation.stopping import StopRecommendation, recommend_stop

# Column, name, what is best, 1 if higher is better, unit; each in turn narrows down what the one before left.
_METRICS = ("accuracy", "eval accuracy", "highest", 1, ""), ("eval_loss", "eval loss", "lowest", -1, " nats")


def recommend(
    trajectory: Trajectory,
    task: pd.DataFrame | None = None,
    *,
    rows: Mapping[str, pd.DataFrame] | None = None,
    source: str = "eval rows",
    existing: Collection[int] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Recommendation:
    """Recommend one of the checkpoints, or the base model (step 0).

    trajectory  with `loss` and `l1_per_sd` of every prompt
    task        columns `step` and, if measured, `eval_loss`, `rows`, `accuracy`; NaN is not measured
    rows        `accuracy` and `eval_loss` row by row, a table [steps, eval rows] each, whose mean over rows is the metric
    source      what the sentence calls the eval rows
    existing    the steps whose weights still exist; None: all

    Raises InterplayError if `existing` holds none of the trained checkpoints.

    >>> import numpy as np
    >>> from interplay.dynamics import trajectory as compute
    >>> e, v = np.zeros((1, 2, 4)), np.zeros((1, 4))
    >>> recommend(compute([0], [e], [v], ["a"])).sentence
    'Only the base model, step 0, was measured: nothing was compared.'
    """
    read = (
        () if task is None or existing is None else task.get("step", ())
    )  # steps of which only answers were read, too
    trained = sorted({*trajectory.steps, *map(int, read)} - {0})
    if not trained:
        sentence = "Only the base model, step 0, was measured: nothing was compared."
        return Recommendation(0, RULE, "only", sentence, (), {})
    candidates = [step for step in trained if existing is None or step in existing]
    if not candidates:
        raise InterplayError(
            f"none of the measured checkpoints ({', '.join(map(str, trained))}) exists any more: keep their weights, or "
            "measure those that are left"
        )
    metrics = _metrics(task, candidates)
    steps = list(trajectory.steps)
    loss, strength = (trajectory.samples(name).reindex(steps).to_numpy() for name in ("loss", "l1_per_sd"))
    known = np.isfinite(loss).all(axis=0)
    stop = recommend_stop(
        steps, loss[:, known], strength[:, known], existing=candidates, resamples=resamples, seed=seed
    )
    rivals = _rivals(trajectory, metrics.loc[candidates], stop, candidates)
    chosen, said = _by_eval_rows(metrics, rows or {}, source, rivals, resamples=resamples, seed=seed)
    if chosen is None and not said and len(candidates) == 1:
        sentence = f"Only one trained checkpoint, step {candidates[0]}, was measured: nothing was compared."
        return Recommendation(candidates[0], RULE, "only", sentence, (), rivals)
    chosen = chosen or _last(stop, candidates, said or "no eval set was given")
    if LOSS in metrics and chosen["step"] != (low := rivals["prompt_loss"]):
        chosen["sentence"] += f" The loss of the prompts' answers is lowest at step {low}."
    if (end := stop.denoised) is not None:
        interval = f"step {end['step']} (95 % interval {end['lo']} to {end['hi']})"
        chosen["sentence"] += f" Interaction strength per unit of spread is lowest at {interval}."
    chosen["evidence"] += stop.evidence
    return Recommendation(rule=RULE, rivals=rivals, denoised=end, stop_step=stop.stop_step, **chosen)


def _metrics(task: pd.DataFrame | None, candidates: list[int]) -> pd.DataFrame:
    """Metrics of the base model and the candidates as numbers, NaN if not measured; without columns that no candidate has."""
    if task is None:
        return pd.DataFrame(index=[0, *candidates])
    if "step" not in task.columns:
        raise InterplayError(f"task metrics have columns {list(task.columns)}; expected a column 'step'")
    of_step = task.drop_duplicates("step", keep="last").set_index("step").reindex([0, *candidates])
    numbers = of_step.apply(pd.to_numeric, errors="coerce")
    return numbers.loc[:, numbers.loc[candidates].notna().any()]


def _by_eval_rows(
    metrics: pd.DataFrame, rows: Mapping[str, pd.DataFrame], source: str, rivals: dict[str, int], **draws: int
) -> tuple[dict[str, Any] | None, str]:
    """The earliest of what no metric in turn tells from the best of what the one before left; and which show nothing."""
    chosen, before, left, evidence = None, "", metrics.index, ()
    for column, name, top, sign, unit in _METRICS:
        values = metrics[column].loc[left].dropna() if column in metrics else pd.Series()
        if len(values) < 2:
            continue
        table, base, evidence = rows.get(column), 0 in values, evidence + _eval_evidence(metrics, column)
        x = values.to_numpy()[:, None] if table is None else table.loc[values.index].to_numpy()
        count = metrics.get("rows", values * math.nan).max() if table is None else x.shape[1]
        rng = generator(draws["seed"], column)
        best, tied, least = compare(sign * x, math.nan if unit else count, draws["resamples"], rng)
        where = f"on {source}" if math.isnan(count) else f"on {count:.0f} {source}"
        everything = "the base model and " * base + f"{len(values) - base} checkpoint{'s' * (len(values) - base > 1)}"
        unseen = f"; a difference under {least:.2g}{unit} cannot be seen with these rows" * math.isfinite(least)
        if tied.all() and math.isinf(least):
            before += f"{name} cannot tell {everything} apart {where}, which are too few; "
            continue
        first, *others = map(int, values.index[tied])
        why = f"{name} {values[first]:.3g}{unit} {where}, "
        if others:
            highest = f" ({top}: {values.iloc[best]:.3g}{unit} at step {values.index[best]})"
            rest = f"step{'s' * (len(others) > 1)} {', '.join(map(str, others))}"
            rest += "" if values.iloc[best] == values[first] else highest
            alike = f"{name} cannot tell {f'step {first}' if first else 'the base model'} from {rest} {where}{unseen}; of these, "
            why += f"not to be told from {rest}; the earliest is kept{unseen}"
        else:
            why += f"the {top} of {everything}{'' if math.isnan(least) else ', beyond noise'}"
        lowest = {"eval loss": rivals.get("eval_loss"), "the interaction loss": rivals.get("interactions")}
        named = [f"{x} is lowest at step {at}" for x, at in lowest.items() if x != name and at not in (None, first)]
        why += f"; {' and '.join(named)} instead." if named else "."
        if 0 not in metrics[column].dropna():
            why += f" The base model's {name} is not known, so whether training helped is not."
        if table is None:
            known = "not known" if math.isnan(least) else "the binomial error of these rows, not paired"
            why += f" Noise is {known}: there are no figures of single rows."
        nothing = f"No checkpoint {'is shown to beat' if others else 'beats'} the base model"
        chosen = {
            "step": first,
            "basis": column.replace("_", "-") if first else "base",
            "sentence": f"{f'Keep step {first}' if first else nothing}: {before}{why}",
            "evidence": evidence,
            "tied": (first, *others),
            "detectable": least if others and math.isfinite(least) else None,
        }
        if not others:
            break
        before, left = before + alike, values.index[tied]
    return chosen, before.removesuffix("; ")


def _eval_evidence(metrics: pd.DataFrame, column: str) -> tuple[Evidence, ...]:
    """The eval metric that decided at every candidate, with its interval if the table has one."""
    figures = metrics.reindex(columns=[column, f"{column}_lo", f"{column}_hi"]).dropna(subset=[column])
    return tuple(Evidence(column, int(step), *row) for step, *row in figures.itertuples())


def _last(stop: StopRecommendation, candidates: list[int], why: str) -> dict[str, Any]:
    """The last checkpoint, where no eval metric can show a difference."""
    step = candidates[-1]
    sentence = f"No evidence to choose: {why}, so step {step} is simply the last checkpoint."
    if stop.step is not None and len(candidates) > 1:
        apart = f"is lowest at step {stop.step}" if stop.certain else f"cannot tell the {len(candidates)} apart"
        sentence += f" Interaction loss {apart}."
    return {"step": step, "basis": "last", "sentence": sentence, "evidence": ()}


def _rivals(
    trajectory: Trajectory, metrics: pd.DataFrame, stop: StopRecommendation, candidates: list[int]
) -> dict[str, int]:
    """What every rule chooses among the same checkpoints; the earliest of ties, none where all are the same."""
    rivals = {} if stop.step is None else {"interactions": stop.step}
    for name, *_, sign, _ in _METRICS:
        if name in metrics and (len(candidates) == 1 or metrics[name].nunique(dropna=False) > 1):
            rivals[name] = int((sign * metrics[name]).idxmax())
    for name, measure in (("prompt_loss", "loss"), ("strength", "l1_per_sd")):
        curve = metrics.get(LOSS if measure == "loss" else "", trajectory.get(measure)["value"])
        curve = curve.reindex(candidates).dropna()
        if len(curve):
            rivals[name] = int(curve.idxmin())
    return rivals | {"last": candidates[-1]}
