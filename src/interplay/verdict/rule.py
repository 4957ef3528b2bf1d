"""Which of a run's checkpoints to keep: the stopping rule on a trajectory, and what its rivals would choose.

The rule is `stopping.decide`, the same that the callback asks. Where the run has an eval loss of more rows than it has probes,
that is the loss it weighs; else the loss on the probes. How it does against eval loss, patience, one epoch and others is in
docs/stopping.md. Sees a Trajectory and a table of task metrics; knows nothing about models, reads and writes nothing.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from interplay.dynamics.result import Trajectory
from interplay.errors import InterplayError
from interplay.verdict.stopping import Judgement, Point, decide

RULE = "lowest interaction loss: loss times interaction strength per unit of spread"


class Evidence(NamedTuple):
    """One figure behind the answer, at one step, with its interval."""

    name: str
    step: int
    value: float
    lo: float
    hi: float


@dataclass(frozen=True)
class Recommendation:
    """Which checkpoint to keep, and why.

    step         the checkpoint
    rule         name of the rule
    basis        what decided: `rule`; `eval-loss` or `last` where there is no evidence to choose; `only` where there was
                 nothing to compare
    provisional  whether the rule has not been held against its rivals in a study
    sentence     one line of plain English for the user
    evidence     `interaction_loss` of each candidate, and `above_lowest`, its log distance to the lowest one
    rivals       what other rules choose among the same checkpoints, where their measure is there
    denoised     the end of the denoising stage: {step, lo, hi}; None where it cannot be told
    stop_step    where patience would have stopped the training; None: nowhere
    """

    step: int
    rule: str
    basis: str
    sentence: str
    evidence: tuple[Evidence, ...]
    rivals: dict[str, int]
    provisional: bool = False
    denoised: dict[str, int] | None = None
    stop_step: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: NaN becomes None."""
        evidence = [
            {k: None if isinstance(x, float) and not math.isfinite(x) else x for k, x in item._asdict().items()}
            for item in self.evidence
        ]
        return {
            "step": self.step,
            "rule": self.rule,
            "basis": self.basis,
            "provisional": self.provisional,
            "sentence": self.sentence,
            "evidence": evidence,
            "rivals": dict(self.rivals),
            "denoised": self.denoised,
            "stop_step": self.stop_step,
        }


def recommend(
    trajectory: Trajectory,
    task: pd.DataFrame | None = None,
    *,
    existing: Collection[int] | None = None,
    minimum_step: int = 1,
    resamples: int = 1000,
    seed: int = 0,
) -> Recommendation:
    """Recommend one of the checkpoints after the reference.

    trajectory    with `loss` and `l1_per_sd` of every probe
    task          columns `step` and, where measured, `eval_loss`, `rows`, `accuracy`; NaN is not measured
    existing      the steps whose weights are there to be kept; None: all
    minimum_step  earlier checkpoints are no candidates

    Raises InterplayError where minimum_step or `existing` leaves none of the trained checkpoints.

    >>> import numpy as np
    >>> from interplay.dynamics import trajectory as compute
    >>> e, v = np.zeros((1, 2, 4)), np.zeros((1, 4))
    >>> recommend(compute([0], [e], [v], ["a"])).sentence
    'Only the reference checkpoint, step 0, was measured: nothing was compared.'
    """
    trained = [step for step in trajectory.steps if step > trajectory.reference]
    if not trained:
        step = trajectory.reference
        said = f"Only the reference checkpoint, step {step}, was measured: nothing was compared."
        return Recommendation(step, RULE, "only", said, (), {})
    candidates = [step for step in trained if step >= minimum_step and (existing is None or step in existing)]
    if not candidates:
        if existing is not None and any(step >= minimum_step for step in trained):
            raise InterplayError(
                f"none of the measured checkpoints ({', '.join(map(str, trained))}) exists any more: keep their weights, or "
                "measure those that are left"
            )
        raise InterplayError(
            f"minimum_step {minimum_step} leaves no checkpoint to choose from; the last is step {trained[-1]}: set it to that or less"
        )
    losses = _eval_losses(task, candidates, len(trajectory.samples("loss").columns))
    rivals = _rivals(trajectory, task, candidates)
    if len(candidates) == 1:
        said = f"Only one trained checkpoint, step {candidates[0]}, was measured: nothing was compared."
        return Recommendation(candidates[0], RULE, "only", said, (), rivals)
    judged = _judge(trajectory, candidates, losses, resamples, seed)
    if judged.step is not None:
        rivals = {"interactions": judged.step} | rivals
    evidence = tuple(
        Evidence(name, *point)
        for name, points in (("interaction_loss", judged.values), ("above_lowest", judged.above_lowest))
        for point in points
    )
    denoised = _stage(judged.denoised)
    also = (
        f" Strength per spread stops falling at step {denoised['step']} (95 % interval {denoised['lo']} to {denoised['hi']})."
        if denoised
        else ""
    )
    if judged.step is None or not judged.certain:
        step, basis, because = _fallback(rivals, candidates)
        said = f"No evidence to choose: {judged.why}; step {step} is named only because {because}.{also}"
        return Recommendation(step, RULE, basis, said, evidence, rivals, denoised=denoised, stop_step=judged.stop_step)
    other = ""
    if rivals.get("eval_loss", judged.step) != judged.step:
        other = f"; eval loss is lowest at step {rivals['eval_loss']} instead"
    said = f"Keep step {judged.step}: {judged.why}{other}.{also}"
    return Recommendation(
        judged.step, RULE, "rule", said, evidence, rivals, denoised=denoised, stop_step=judged.stop_step
    )


def _judge(
    trajectory: Trajectory, candidates: list[int], eval_losses: pd.Series | None, resamples: int, seed: int
) -> Judgement:
    """The rule on the reference and the candidates; on the eval loss where that is given."""
    steps = [step for step in trajectory.steps if step <= trajectory.reference or step in candidates]
    strength = trajectory.samples("l1_per_sd").reindex(steps).to_numpy()
    if eval_losses is None:
        loss = trajectory.samples("loss").reindex(steps).to_numpy()
        known = np.isfinite(loss).all(axis=0)
        loss, strength = loss[:, known], strength[:, known]
    else:
        loss = eval_losses.reindex(steps).to_numpy(dtype=float)
    return decide(steps, loss, strength, existing=candidates, resamples=resamples, seed=seed)


def _eval_losses(task: pd.DataFrame | None, candidates: list[int], probes: int) -> pd.Series | None:
    """Eval loss of the candidates where it is measured at all of them, on more rows than there are probes."""
    if task is None:
        return None
    if "step" not in task.columns:
        raise InterplayError(f"task metrics have columns {list(task.columns)}; expected a column 'step'")
    if "eval_loss" not in task.columns or "rows" not in task.columns:
        return None
    of_step = task.drop_duplicates("step", keep="last").set_index("step").reindex(candidates)
    losses = pd.to_numeric(of_step["eval_loss"])
    enough = bool((pd.to_numeric(of_step["rows"]) > probes).all())  # of unknown size is not
    return losses if enough and bool(losses.notna().all()) else None


def _stage(denoised: Point | None) -> dict[str, int] | None:
    return None if denoised is None else {"step": int(denoised.value), "lo": int(denoised.lo), "hi": int(denoised.hi)}


def _fallback(rivals: dict[str, int], candidates: list[int]) -> tuple[int, str, str]:
    """What is named where there is no evidence: step, basis, reason."""
    if "eval_loss" in rivals:
        return rivals["eval_loss"], "eval-loss", "its eval loss is the lowest"
    return candidates[-1], "last", "it is the last, and eval loss was not measured"


def _rivals(trajectory: Trajectory, task: pd.DataFrame | None, candidates: list[int]) -> dict[str, int]:
    """What simpler rules choose among the same checkpoints; the earliest of ties."""
    rivals: dict[str, int] = {}
    if task is not None:
        of_step = task.drop_duplicates("step", keep="last").set_index("step").reindex(candidates)
        for name, column, best in (("eval_loss", "eval_loss", "idxmin"), ("accuracy", "accuracy", "idxmax")):
            if column in of_step.columns:
                measured = pd.to_numeric(of_step[column]).dropna()
                if len(measured):
                    rivals[name] = int(getattr(measured, best)())
    for name, measure in (("probe_loss", "loss"), ("strength", "l1_per_sd")):
        curve = trajectory.get(measure)["value"].reindex(candidates).dropna()
        if len(curve):
            rivals[name] = int(curve.idxmin())
    rivals["last"] = candidates[-1]
    return rivals
