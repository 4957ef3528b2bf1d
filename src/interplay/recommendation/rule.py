"""Which of a run's checkpoints to keep, and what each rule would choose.

The study of docs/evidence/stopping.md decides the order: with labelled eval rows the highest eval accuracy, without labels the lowest
eval loss, without eval rows the last checkpoint. The interaction loss (`stopping.decide`, which the callback asks too) did no
better there than the loss on the same few prompts, and lost accuracy to all three; so it stands beside the choice, and does not
make it. Sees a Trajectory and a table of task metrics; knows nothing about models, reads and writes nothing.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from interplay.dynamics.result import Trajectory
from interplay.errors import InterplayError
from interplay.recommendation.stopping import Judgement, decide

RULE = "highest eval accuracy; without labels lowest eval loss; without eval rows the last"


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
    basis        what decided: `accuracy` or `eval-loss` of the eval rows; `last` where there are none, so no evidence to
                 choose; `only` where there was nothing to compare
    provisional  whether the rule has not been held against its rivals in a study
    sentence     one line of plain English for the user
    evidence     `accuracy` or `eval_loss` of each candidate where that decided; its `interaction_loss`, and `above_lowest`,
                 the log distance of that to the lowest one
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

    def __str__(self) -> str:
        """The sentence."""
        return self.sentence

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recommendation":
        """What `to_dict` gave; keys that this version does not know are left out.

        >>> kept = Recommendation(4, "r", "last", "Keep step 4.", (Evidence("loss", 4, 1.0, float("nan"), 2.0),), {"last": 4})
        >>> Recommendation.from_dict(kept.to_dict()).to_dict() == kept.to_dict()
        True
        """
        evidence = tuple(
            Evidence(row["name"], row["step"], *(math.nan if row[k] is None else row[k] for k in ("value", "lo", "hi")))
            for row in values["evidence"]
        )
        known = {key: values[key] for key in ("step", "rule", "sentence", "rivals", "provisional")}
        more = {key: values.get(key) for key in ("denoised", "stop_step")}
        return cls(**known, **more, basis=values.get("basis") or "", evidence=evidence)

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

    trajectory    with `loss` and `l1_per_sd` of every prompt
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
    measured = _measured(task, candidates)
    judged = _judge(trajectory, candidates, resamples, seed)
    rivals = _rivals(trajectory, measured, judged, candidates)
    if len(candidates) == 1:
        said = f"Only one trained checkpoint, step {candidates[0]}, was measured: nothing was compared."
        return Recommendation(candidates[0], RULE, "only", said, (), rivals)
    step, basis, said = _choose(measured, rivals, judged, candidates)
    denoised = judged.denoised._asdict() if judged and judged.denoised else None
    if denoised:
        span = f"95 % interval {denoised['lo']} to {denoised['hi']}"
        said += f" Interaction strength per unit of spread is lowest at step {denoised['step']} ({span})."
    evidence = _eval_evidence(measured, basis)
    for name, points in (("interaction_loss", judged.values), ("above_lowest", judged.above_lowest)) if judged else ():
        evidence += tuple(Evidence(name, *point) for point in points)
    return Recommendation(
        step, RULE, basis, said, evidence, rivals, denoised=denoised, stop_step=judged.stop_step if judged else None
    )


def _measured(task: pd.DataFrame | None, candidates: list[int]) -> pd.DataFrame:
    """Task metrics of the candidates as numbers, NaN where not measured; a column that is all NaN is left out."""
    if task is None:
        return pd.DataFrame(index=candidates)
    if "step" not in task.columns:
        raise InterplayError(f"task metrics have columns {list(task.columns)}; expected a column 'step'")
    of_step = task.drop_duplicates("step", keep="last").set_index("step").reindex(candidates)
    return of_step.apply(pd.to_numeric, errors="coerce").dropna(axis=1, how="all")


def _judge(trajectory: Trajectory, candidates: list[int], resamples: int, seed: int) -> Judgement | None:
    """The rule on every measurement, of which the candidates can be kept; None for a trajectory without losses of its prompts."""
    steps = list(trajectory.steps)
    loss, strength = (trajectory.samples(name).reindex(steps).to_numpy() for name in ("loss", "l1_per_sd"))
    if loss.shape != strength.shape or not loss.size:
        return None
    known = np.isfinite(loss).all(axis=0)
    if not known.any():
        return None
    return decide(steps, loss[:, known], strength[:, known], existing=candidates, resamples=resamples, seed=seed)


def _choose(
    measured: pd.DataFrame, rivals: dict[str, int], judged: Judgement | None, candidates: list[int]
) -> tuple[int, str, str]:
    """Step, basis and sentence."""
    others = {"eval loss": rivals.get("eval_loss"), "the interaction loss": rivals.get("interactions")}

    def elsewhere(step: int, best: str) -> str:
        found = [f"{name} is {best} at step {at}" for name, at in others.items() if at not in (None, step)]
        return f"; {' and '.join(found)} instead" if found else ""

    if "accuracy" in rivals:
        step = rivals["accuracy"]
        said = f"Keep step {step}: its eval accuracy, {_number(measured['accuracy'][step])}, is the highest of "
        return step, "accuracy", said + f"{len(candidates)} checkpoints{elsewhere(step, 'lowest')}."
    if "eval_loss" in rivals:
        step = rivals["eval_loss"]
        said = f"Keep step {step}: its eval loss, {_number(measured['eval_loss'][step])} nats, is the lowest of "
        return step, "eval-loss", said + f"{len(candidates)} checkpoints{elsewhere(step, 'lowest')}."
    step = candidates[-1]
    said = f"No evidence to choose: no eval rows were measured, so step {step} is named, the last"
    if judged is None or judged.step is None:
        return step, "last", f"{said}."
    if not judged.certain:
        return step, "last", f"{said}; the interaction loss does not tell the {len(candidates)} checkpoints apart."
    same = "which agrees" if judged.step == step else "which has kept a lower test loss but a lower accuracy too"
    return (
        step,
        "last",
        f"{said}; the interaction loss is lowest at step {judged.step}, {same} (docs/evidence/stopping.md).",
    )


def _eval_evidence(measured: pd.DataFrame, basis: str) -> tuple[Evidence, ...]:
    """The eval metric that decided at every candidate, with its interval where the table has one."""
    column = {"accuracy": "accuracy", "eval-loss": "eval_loss"}.get(basis)
    if column is None:
        return ()
    nothing = pd.Series(float("nan"), index=measured.index)
    lo, hi = (measured.get(f"{column}_{end}", nothing) for end in ("lo", "hi"))
    return tuple(
        Evidence(column, int(step), float(value), float(lo[step]), float(hi[step]))
        for step, value in measured[column].items()
        if math.isfinite(value)
    )


def _rivals(
    trajectory: Trajectory, measured: pd.DataFrame, judged: Judgement | None, candidates: list[int]
) -> dict[str, int]:
    """What every rule chooses among the same checkpoints; the earliest of ties."""
    rivals: dict[str, int] = {}
    if judged is not None and judged.step is not None:
        rivals["interactions"] = judged.step
    for name, best in (("eval_loss", "idxmin"), ("accuracy", "idxmax")):
        if name in measured.columns:
            rivals[name] = int(getattr(measured[name].dropna(), best)())
    for name, measure in (("prompt_loss", "loss"), ("strength", "l1_per_sd")):
        curve = trajectory.get(measure)["value"].reindex(candidates).dropna()
        if len(curve):
            rivals[name] = int(curve.idxmin())
    rivals["last"] = candidates[-1]
    return rivals


def _number(x: float) -> str:
    """Three significant digits, no exponent for everyday sizes.

    >>> _number(12.345), _number(-0.0), _number(1234.5), _number(0.00012)
    ('12.3', '0', '1234', '0.00012')
    """
    if abs(x) >= 100:
        return f"{x:.0f}" if abs(x) < 1e6 else f"{x:.3g}"
    return f"{x + 0.0:.3g}"
