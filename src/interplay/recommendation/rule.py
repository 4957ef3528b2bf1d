"""Recommend one of a run's checkpoints, and say what other rules would choose.

With labelled eval rows the highest eval accuracy decides, without labels (or where all checkpoints have the same accuracy) the
lowest eval loss, without eval rows the last checkpoint. In docs/evidence/stopping.md the interaction loss
(`stopping.recommend_stop`, which the callback uses) lost accuracy to all three, so it is reported but does not decide.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from interplay.dynamics.result import Trajectory
from interplay.errors import InterplayError
from interplay.recommendation.stopping import Evidence, StopRecommendation, recommend_stop

RULE = "highest eval accuracy; without labels, or where all have the same, lowest eval loss; without eval rows the last"


@dataclass(frozen=True)
class Recommendation:
    """Which checkpoint to keep, and why.

    step         the checkpoint
    rule         name of the rule
    basis        what decided: `accuracy` or `eval-loss` of the eval rows; `last` without eval rows, so without evidence;
                 `only` if there was nothing to compare
    sentence     one line of plain English for the user
    evidence     `accuracy` or `eval_loss` of each candidate if that decided; its `interaction_loss`, and `above_lowest`,
                 the log distance of that to the lowest one
    rivals       what other rules choose among the same checkpoints, if their measure is known
    denoised     the end of the denoising stage: {step, lo, hi}; None if unknown
    stop_step    where patience would have stopped the training; None: nowhere
    """

    step: int
    rule: str
    basis: str
    sentence: str
    evidence: tuple[Evidence, ...]
    rivals: dict[str, int]
    denoised: dict[str, int] | None = None
    stop_step: int | None = None

    def __str__(self) -> str:
        return self.sentence

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recommendation":
        """The inverse of `to_dict`; ignores unknown keys.

        >>> one = Recommendation(4, "r", "last", "Keep step 4.", (Evidence("loss", 4, 1.0, float("nan"), 2.0),), {"last": 4})
        >>> Recommendation.from_dict(one.to_dict()).to_dict() == one.to_dict()
        True
        """
        known: dict[str, Any] = {field.name: values[field.name] for field in fields(cls)}
        rows: list[Any] = [{k: math.nan if x is None else x for k, x in row.items()} for row in known["evidence"]]
        known["evidence"] = tuple(Evidence(**row) for row in rows)
        return cls(**known)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: NaN becomes None."""
        rows = [row._asdict().items() for row in self.evidence]
        plain = [{k: None if isinstance(x, float) and not math.isfinite(x) else x for k, x in row} for row in rows]
        return vars(self) | {"evidence": plain}


def recommend(
    trajectory: Trajectory,
    task: pd.DataFrame | None = None,
    *,
    existing: Collection[int] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Recommendation:
    """Recommend one of the checkpoints after the reference.

    trajectory  with `loss` and `l1_per_sd` of every prompt
    task        columns `step` and, if measured, `eval_loss`, `rows`, `accuracy`; NaN is not measured
    existing    the steps whose weights still exist; None: all

    Raises InterplayError if `existing` holds none of the trained checkpoints.

    >>> import numpy as np
    >>> from interplay.dynamics import trajectory as compute
    >>> e, v = np.zeros((1, 2, 4)), np.zeros((1, 4))
    >>> recommend(compute([0], [e], [v], ["a"])).sentence
    'Only the reference checkpoint, step 0, was measured: nothing was compared.'
    """
    trained = [step for step in trajectory.steps if step > trajectory.reference]
    if not trained:
        step = trajectory.reference
        sentence = f"Only the reference checkpoint, step {step}, was measured: nothing was compared."
        return Recommendation(step, RULE, "only", sentence, (), {})
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
    rivals = _rivals(trajectory, metrics, stop, candidates)
    if len(candidates) == 1:
        sentence = f"Only one trained checkpoint, step {candidates[0]}, was measured: nothing was compared."
        return Recommendation(candidates[0], RULE, "only", sentence, (), rivals)
    step, basis, sentence = _choose(metrics, rivals, stop, candidates)
    if (end := stop.denoised) is not None:
        interval = f"step {end['step']} (95 % interval {end['lo']} to {end['hi']})"
        sentence += f" Interaction strength per unit of spread is lowest at {interval}."
    evidence = _eval_evidence(metrics, basis) + stop.evidence
    return Recommendation(step, RULE, basis, sentence, evidence, rivals, denoised=end, stop_step=stop.stop_step)


def _metrics(task: pd.DataFrame | None, candidates: list[int]) -> pd.DataFrame:
    """Task metrics of the candidates as numbers, NaN if not measured; a column that is all NaN is left out."""
    if task is None:
        return pd.DataFrame(index=candidates)
    if "step" not in task.columns:
        raise InterplayError(f"task metrics have columns {list(task.columns)}; expected a column 'step'")
    of_step = task.drop_duplicates("step", keep="last").set_index("step").reindex(candidates)
    return of_step.apply(pd.to_numeric, errors="coerce").dropna(axis=1, how="all")


def _choose(
    metrics: pd.DataFrame, rivals: dict[str, int], stop: StopRecommendation, candidates: list[int]
) -> tuple[int, str, str]:
    """Step, basis and sentence."""
    same = ""
    for column, basis, name, best, unit in (
        ("accuracy", "accuracy", "eval accuracy", "highest", ""),
        ("eval_loss", "eval-loss", "eval loss", "lowest", " nats"),
    ):
        if column in metrics and column not in rivals:
            same = f"all checkpoints have the same {name}, {metrics[column].max():.3g}{unit}"
        if column in rivals:
            step = rivals[column]
            others = {"eval loss": rivals.get("eval_loss"), "the interaction loss": rivals.get("interactions")}
            elsewhere = [f"{other} is lowest at step {at}" for other, at in others.items() if at not in (None, step)]
            instead = f"; {' and '.join(elsewhere)} instead" if elsewhere else ""
            value = f"{metrics[column][step]:.3g}{unit}"
            ties = [f"{at}" for at, x in metrics[column].items() if x == metrics[column][step] and at != step]
            tied = f" (as at step{'s' * (len(ties) > 1)} {', '.join(ties)}; the earliest is kept)" if ties else ""
            why = f"its {name}, {value}, is the {best} of {len(candidates)} checkpoints{tied}{instead}"
            return step, basis, f"Keep step {step}: {same and same + '; '}{why}."
    step = candidates[-1]
    why = same or "no eval set was given"
    sentence = f"No evidence to choose: {why}, so step {step} is simply the last checkpoint."
    if stop.step is not None and not stop.certain:
        sentence += f" Interaction loss cannot tell the {len(candidates)} checkpoints apart."
    elif stop.step is not None:
        study = "in our study that choice had lower test loss but also lower accuracy (docs/evidence/stopping.md)"
        sentence += f" Interaction loss is lowest at step {stop.step}{'' if stop.step == step else '; ' + study}."
    return step, "last", sentence


def _eval_evidence(metrics: pd.DataFrame, basis: str) -> tuple[Evidence, ...]:
    """The eval metric that decided at every candidate, with its interval if the table has one."""
    column = {"accuracy": "accuracy", "eval-loss": "eval_loss"}.get(basis)
    if column is None:
        return ()
    unknown = pd.Series(float("nan"), index=metrics.index)
    lo, hi = (metrics.get(f"{column}_{end}", unknown) for end in ("lo", "hi"))
    return tuple(
        Evidence(column, int(step), float(value), float(lo[step]), float(hi[step]))
        for step, value in metrics[column].items()
        if math.isfinite(value)
    )


def _rivals(
    trajectory: Trajectory, metrics: pd.DataFrame, stop: StopRecommendation, candidates: list[int]
) -> dict[str, int]:
    """What every rule chooses among the same checkpoints; the earliest of ties, none where all are the same."""
    rivals = {} if stop.step is None else {"interactions": stop.step}
    for name, lowest in (("eval_loss", True), ("accuracy", False)):
        if name in metrics and (len(candidates) == 1 or metrics[name].nunique(dropna=False) > 1):
            rivals[name] = int(metrics[name].idxmin() if lowest else metrics[name].idxmax())
    for name, measure in (("prompt_loss", "loss"), ("strength", "l1_per_sd")):
        curve = trajectory.get(measure)["value"].reindex(candidates).dropna()
        if len(curve):
            rivals[name] = int(curve.idxmin())
    return rivals | {"last": candidates[-1]}
