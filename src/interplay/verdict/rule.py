"""Which checkpoint to keep: a first, provisional rule, and the rivals it has to be held against.

The rule looks at one measure, the interaction strength that cancels in units of the spread of v,
C = (sum |I| - |sum I|) / sd(v), and recommends the earliest checkpoint that is not distinguishably above the lowest. It
has won nothing yet: measures of its kind did no better than eval loss in a first reading, and it has itself been held
against no run. So every answer says that it is provisional, what eval loss would have picked where that differs, and,
where the probes cannot tell the checkpoints apart, that there is no evidence to choose.

It sees a Trajectory and a table of task metrics; it knows nothing about models, and reads and writes nothing.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from interplay.dynamics.bootstrap import LEVEL, interval, resample_counts
from interplay.dynamics.nulls import generator
from interplay.dynamics.result import Trajectory
from interplay.errors import InterplayError
from interplay.verdict.intervals import simultaneous

RULE = "close to the lowest eval loss, then least cancelled strength"
LOSS_SLACK = 0.05  # eval loss up to this share above the lowest counts as close to it [ours, provisional]
MEASURE = "cancelled_per_sd"
_NAME = "cancelled interaction strength per unit of spread"


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
    provisional  True as long as the rule has not beaten its rivals in a study
    sentence     one line of plain English for the user
    evidence     `cancelled_per_sd` of each compared checkpoint, and `above_lowest`, its distance to the lowest one
    rivals       what other rules choose among the same checkpoints, where their measure is there
    """

    step: int
    rule: str
    basis: str
    sentence: str
    evidence: tuple[Evidence, ...]
    rivals: dict[str, int]
    provisional: bool = True

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
        }


def recommend(
    trajectory: Trajectory,
    task: pd.DataFrame | None = None,
    *,
    minimum_step: int = 1,
    resamples: int = 1000,
    seed: int = 0,
) -> Recommendation:
    """Recommend one of the checkpoints after the reference [ours, provisional].

    trajectory    with `cancelled_per_sd`, which every trajectory has
    task          columns `step` and, where measured, `eval_loss`, `accuracy`; NaN is not measured
    minimum_step  earlier checkpoints are no candidates

    1. Where eval loss is measured, candidates are the checkpoints within 5 % of the lowest; if that leaves one, it is it.
    2. C of every candidate, mean over the samples where it is defined at all of them.
    3. Each candidate's distance to the lowest, paired by sample, with intervals that hold for all pairs of candidates at
       once (`simultaneous`), because the lowest was picked by looking.
    4. All intervals hold 0: no evidence to choose; the lowest eval loss if measured, else the last checkpoint.
    5. Otherwise the earliest candidate whose interval holds 0.

    Raises InterplayError where minimum_step leaves none of the trained checkpoints.

    >>> import numpy as np
    >>> from interplay.dynamics import trajectory as compute
    >>> e, v = np.zeros((1, 2, 4)), np.zeros((1, 4))
    >>> recommend(compute([0], [e], [v], ["a"])).sentence
    'Only the reference checkpoint, step 0, was measured: nothing was compared.'
    """
    trained = [step for step in trajectory.steps if step > trajectory.reference]
    if not trained:
        step = trajectory.reference
        return Recommendation(
            step,
            RULE,
            "only",
            f"Only the reference checkpoint, step {step}, was measured: nothing was compared.",
            (),
            {},
        )
    candidates = [step for step in trained if step >= minimum_step]
    if not candidates:
        raise InterplayError(
            f"minimum_step {minimum_step} leaves no checkpoint to choose from; the last is step {trained[-1]}: set it to that or less"
        )
    rivals = _rivals(trajectory, task, candidates)
    if len(candidates) == 1:
        sentence = f"Only one trained checkpoint, step {candidates[0]}, was measured: nothing was compared."
        return Recommendation(candidates[0], RULE, "only", sentence, (), rivals)
    everywhere = _by_interactions(trajectory, candidates, resamples, seed)
    if everywhere.step is not None:
        rivals["interactions"] = everywhere.step
    close = _close_to_lowest_loss(task, candidates)
    if len(close) == 1:
        alone = "choose the same" if everywhere.step == close[0] else f"choose step {everywhere.step}"
        if everywhere.step is None:
            alone = "give no evidence to choose"
        sentence = (
            f"Keep step {close[0]}: its eval loss is the lowest and no other checkpoint comes within "
            f"{LOSS_SLACK:.0%} of it; the interactions alone {'' if everywhere.step is None else 'would '}{alone}. "
            "This rule is provisional."
        )
        return Recommendation(close[0], RULE, "rule", sentence, everywhere.evidence, rivals)
    found = everywhere if close == candidates else _by_interactions(trajectory, close, resamples, seed)
    if found.step is None:
        return _no_evidence(rivals, close, found.evidence, found.why)
    among = (
        f"of the {len(close)} checkpoints within {LOSS_SLACK:.0%} of the lowest eval loss, "
        if close != candidates
        else ""
    )
    loss = ""
    if rivals.get("eval_loss", found.step) != found.step:
        loss = f"; eval loss is lowest at step {rivals['eval_loss']} instead"
    sentence = f"Keep step {found.step}: {among}{found.why}{loss}. This rule is provisional."
    return Recommendation(found.step, RULE, "rule", sentence, found.evidence, rivals)


class _Found(NamedTuple):
    """What the interactions say: a step with the reason, or None with the reason why not."""

    step: int | None
    why: str
    evidence: tuple[Evidence, ...]


def _by_interactions(trajectory: Trajectory, candidates: list[int], resamples: int, seed: int) -> _Found:
    """The earliest candidate whose C is not distinguishably above the lowest; None where nothing can be told apart."""
    table = trajectory.samples(MEASURE).reindex(candidates)
    compared = [step for step in candidates if table.loc[step].notna().any()]
    c = table.loc[compared].dropna(axis=1).to_numpy().T  # [samples, steps]
    if len(compared) < 2 or len(c) < 2:
        return _Found(None, f"fewer than two prompts measure {_NAME} at the checkpoints", ())

    lowest = int(c.mean(axis=0).argmin())  # the earliest of ties
    distance = simultaneous(c, lowest, resamples, generator(seed, "verdict"))
    mean = interval(c, resample_counts(len(c), resamples, generator(seed, "bootstrap", len(c))))
    evidence = tuple(
        Evidence(name, step, *(float(x[i]) for x in of))
        for name, of in ((MEASURE, mean[:3]), ("above_lowest", distance))
        for i, step in enumerate(compared)
    )
    value, lo, hi = distance
    near = lo <= 0
    if near.all() and not np.isfinite(distance).all():
        return _Found(None, f"{len(c)} prompts are too few to tell checkpoints apart", evidence)
    if near.all():
        worst = int(value.argmax())
        why = (
            f"the {_NAME} of {len(c)} prompts does not tell the {len(compared)} checkpoints apart (largest difference "
            f"{_number(value[worst])}, 95 % interval {_number(lo[worst])} to {_number(hi[worst])})"
        )
        return _Found(None, why, evidence)
    chosen = int(near.argmax())
    return _Found(compared[chosen], _reason(compared, chosen, lowest, mean[:3], distance, len(c)), evidence)


def _close_to_lowest_loss(task: pd.DataFrame | None, candidates: list[int]) -> list[int]:
    """Candidates whose eval loss is at most LOSS_SLACK above the lowest; all of them where eval loss is not measured."""
    if task is None or "eval_loss" not in task.columns:
        return candidates
    of_step = task.drop_duplicates("step", keep="last").set_index("step")["eval_loss"].reindex(candidates)
    losses = pd.to_numeric(of_step).dropna()
    if losses.empty:
        return candidates
    return [int(step) for step in losses.index[losses <= losses.min() + LOSS_SLACK * abs(losses.min())]]


def _rivals(trajectory: Trajectory, task: pd.DataFrame | None, candidates: list[int]) -> dict[str, int]:
    """What simpler rules choose among the same checkpoints; the earliest of ties."""
    rivals: dict[str, int] = {}
    if task is not None:
        if "step" not in task.columns:
            raise InterplayError(f"task metrics have columns {list(task.columns)}; expected a column 'step'")
        of_step = task.drop_duplicates("step", keep="last").set_index("step").reindex(candidates)
        for name, column, best in (("eval_loss", "eval_loss", "idxmin"), ("accuracy", "accuracy", "idxmax")):
            if column in of_step.columns:
                measured = pd.to_numeric(of_step[column]).dropna()
                if len(measured):
                    rivals[name] = int(getattr(measured, best)())
    l1 = trajectory.get("l1")["value"].reindex(candidates).dropna()
    if len(l1):
        rivals["l1"] = int(l1.idxmin())
    rivals["last"] = candidates[-1]
    return rivals


def _no_evidence(
    rivals: dict[str, int], candidates: list[int], evidence: tuple[Evidence, ...], why: str
) -> Recommendation:
    if "eval_loss" in rivals:
        step, basis, because = rivals["eval_loss"], "eval-loss", "its eval loss is the lowest"
    else:
        step, basis, because = candidates[-1], "last", "it is the last, and eval loss was not measured"
    sentence = f"No evidence to choose: {why}; step {step} is named only because {because} (provisional rule)."
    return Recommendation(step, RULE, basis, sentence, evidence, rivals)


def _reason(
    compared: list[int],
    chosen: int,
    lowest: int,
    mean: tuple[np.ndarray, ...],
    distance: tuple[np.ndarray, ...],
    prompts: int,
) -> str:
    value, lo, hi = (_number(x[chosen]) for x in mean)
    own = f"{value}, 95 % interval {lo} to {hi}, {prompts} prompts"
    if chosen == lowest:
        earlier = ", distinguishably below every earlier one" if chosen > 0 else ""
        return f"it has the lowest {_NAME} ({own}){earlier}"
    d, d_lo, d_hi = (_number(x[chosen]) for x in distance)
    return (
        f"it is the earliest whose {_NAME} ({own}) is not distinguishably above the lowest, at step {compared[lowest]} "
        f"(difference {d}, 95 % interval {d_lo} to {d_hi})"
    )


def _number(x: float) -> str:
    """Three significant digits, no exponent for everyday sizes.

    >>> _number(12.345), _number(-0.0), _number(1234.5), _number(0.00012)
    ('12.3', '0', '1234', '0.00012')
    """
    if abs(x) >= 100:
        return f"{x:.0f}" if abs(x) < 1e6 else f"{x:.3g}"
    return f"{x + 0.0:.3g}"
