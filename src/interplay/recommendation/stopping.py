"""When to stop, and which checkpoint to keep: one rule for a training in progress and for a folder of checkpoints.

The interaction loss of a checkpoint is the loss on the prompts times the interaction strength per unit of spread, L1/sd(v):

    S_t = log mean_p loss_p,t + mean_p log(L1/sd)_p,t        interaction loss = exp S_t                              [ours]

The first factor says how wrong the answers are, the second of how much interaction, most of it cancelling, they are made.
Keep the checkpoint at which it is lowest; stop when `patience` measurements in a row bring no new low. Why these two and no other:
docs/design/stopping.md; how it does against other rules: docs/evidence/stopping.md. Arrays in, one judgement out; nothing is read or
written here.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from interplay.dynamics.stats import LEVEL, exchanged, generator, resample_counts
from interplay.errors import InterplayError
from interplay.recommendation import signals
from interplay.recommendation.measurements import Measurements

PATIENCE = 3  # measurements [ours; sensitivity in docs/evidence/stopping.md]
TINY = 1e-6  # nats: a prompt answered with certainty has no logarithm


class Point(NamedTuple):
    """A figure at one step with its 95 % interval."""

    step: int
    value: float
    lo: float
    hi: float


class Stage(NamedTuple):
    """The step that ends a stage, and the middle 95 % of that step over resampled prompts."""

    step: int
    lo: int
    hi: int


@dataclass(frozen=True)
class Judgement:
    """What the rule says after the measurements so far.

    step         the measured step to keep; None where none may be kept
    certain      whether any other candidate is distinguishable from it: else the measurements give no evidence to choose
    stop         whether to stop now: the last `patience` measurements brought no new low
    stop_step    the measurement at which stopping was first called for; None: it was not
    losses       [T] interaction loss, lower is better; that of a step never changes with later measurements
    values       interaction loss of every candidate, with its interval over prompts
    above_lowest log distance of every candidate to `step`, with intervals that hold for all pairs at once
    denoised     the step at which strength per spread was lowest: the end of the denoising stage, with the interval of that
                 step over resampled prompts; None with fewer than three measurements
    why          half a sentence: what the evidence is, or why there is none
    """

    step: int | None
    certain: bool
    stop: bool
    stop_step: int | None
    losses: tuple[float, ...]
    values: tuple[Point, ...]
    above_lowest: tuple[Point, ...]
    denoised: Stage | None
    why: str

    @property
    def sentence(self) -> str:
        """One line for a log."""
        if self.step is None:
            return f"No checkpoint to keep: {self.why}."
        return f"{'Keep' if self.certain else 'No evidence to choose; lowest so far is'} step {self.step}: {self.why}."


def interaction_loss(loss: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """exp S_t [T] from loss `[T, P]` in nats and L1/sd `[T, P]`; a prompt whose score is constant somewhere is left out there.

    >>> loss = np.array([[2.0, 4.0], [1.0, 1.0]]); strength = np.array([[10.0, 10.0], [8.0, 2.0]])
    >>> interaction_loss(loss, strength).round(9).tolist()  # 3 nats x 10, 1 nat x sqrt(16)
    [30.0, 4.0]
    """
    some = np.isfinite(strength) & (strength > 0)
    logs = np.log(np.where(some, strength, 1.0)).sum(axis=-1)
    mean = np.divide(logs, some.sum(axis=-1), out=np.full(len(strength), np.nan), where=some.any(axis=-1))
    return np.maximum(loss.mean(axis=-1), TINY) * np.exp(mean)


def judge(
    measurements: Measurements,
    *,
    patience: int = PATIENCE,
    existing: Collection[int] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Judgement:
    """The rule on measurements of a few prompts; see `decide`."""
    loss = np.stack([signals.loss(v) for v in measurements.scores], axis=-1)
    pairs = zip(measurements.scores, measurements.effects, strict=True)
    strength = np.stack([signals.strength_per_spread(v, w) for v, w in pairs], axis=-1)
    return decide(
        measurements.steps, loss, strength, patience=patience, existing=existing, resamples=resamples, seed=seed
    )


def decide(
    steps: Sequence[int],
    loss: np.ndarray,
    strength: np.ndarray,
    *,
    patience: int = PATIENCE,
    existing: Collection[int] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Judgement:
    """The rule on loss `[T, P]` in nats and L1/sd `[T, P]` of P prompts at T steps.

    Step 0 is read but never kept or waited for. `existing` are the steps that can be kept (None: all); patience counts every
    trained measurement all the same.

    Raises InterplayError where shapes do not fit or patience is under 1.

    >>> loss = np.array([[9.0] * 4, [2, 2.1, 1.9, 2], [1, 1.1, 0.9, 1], [2, 2.1, 1.9, 2], [3, 3.1, 2.9, 3]])
    >>> got = decide([0, 10, 20, 30, 40], loss, np.full((5, 4), 10.0), patience=2)
    >>> got.step, got.stop, got.stop_step, [round(x) for x in got.losses]
    (20, True, 40, [90, 20, 10, 20, 30])
    """
    loss, strength = np.asarray(loss, dtype=np.float64), np.asarray(strength, dtype=np.float64)
    if loss.shape != strength.shape or loss.ndim != 2 or len(loss) != len(steps):
        raise InterplayError(
            f"loss {loss.shape} and strength {strength.shape} of {len(steps)} steps: expected two tables [steps, prompts]"
        )
    if patience < 1:
        raise InterplayError(f"patience {patience}: expected 1 or more measurements without a new low")
    curve = interaction_loss(loss, strength)
    losses = tuple(float(x) for x in curve)
    trained = [t for t, step in enumerate(steps) if step > 0 and np.isfinite(curve[t])]
    stop_at = _stopped(curve, trained, patience)
    stop = stop_at is not None
    stop_step = None if stop_at is None else steps[stop_at]
    kept = [t for t in trained if existing is None or steps[t] in existing]
    denoised = _denoised(steps, strength, resamples, seed)
    if not kept:
        why = (
            "no trained checkpoint was measured" if not trained else "none of the measured checkpoints exists any more"
        )
        return Judgement(None, False, stop, stop_step, losses, (), (), denoised, why)
    best = kept[int(np.argmin(curve[kept]))]
    values, above, certain = _evidence(steps, loss, strength, kept, best, resamples, seed)
    return Judgement(
        steps[best],
        certain,
        stop,
        stop_step,
        losses,
        values,
        above,
        denoised,
        _why(loss, strength, best, certain, kept),
    )


def _stopped(curve: np.ndarray, trained: list[int], patience: int) -> int | None:
    """The measurement that is the `patience`-th in a row without a new low; the first such one."""
    low, since = np.inf, 0
    for t in trained:
        low, since = (curve[t], 0) if curve[t] < low else (low, since + 1)
        if since >= patience:
            return t
    return None


def _evidence(
    steps: Sequence[int], loss: np.ndarray, strength: np.ndarray, kept: list[int], best: int, resamples: int, seed: int
) -> tuple[tuple[Point, ...], tuple[Point, ...], bool]:
    """Interaction losses with intervals over resampled prompts, log distances to the lowest with `exchanged` intervals."""
    some = (np.isfinite(strength[kept]) & (strength[kept] > 0)).all(axis=0)
    curve = interaction_loss(loss, strength)
    if some.sum() < 2 or len(kept) < 2:
        none = tuple(Point(steps[t], float(curve[t]), float("nan"), float("nan")) for t in kept)
        return none, (), False
    made = np.log(strength[kept][:, some])
    s, at = np.log(curve[kept]), kept.index(best)
    own = loss[kept][:, some]
    half = exchanged((own, made), _log_product, at, s - s[at], resamples, generator(seed, "verdict"))
    above = tuple(
        Point(steps[t], float(d), float(d - h), float(d + h)) for t, d, h in zip(kept, s - s[at], half, strict=True)
    )
    counts = resample_counts(int(some.sum()), resamples, generator(seed, "bootstrap", int(some.sum())))
    weights = counts / counts.sum(axis=1, keepdims=True)
    drawn = np.log(np.maximum(weights @ own.T, TINY)) + weights @ made.T  # [resamples, candidates]
    tail = (1 - LEVEL) / 2
    lows, highs = np.exp(np.quantile(drawn, [tail, 1 - tail], axis=0))
    values = tuple(
        Point(steps[t], float(curve[t]), float(a), float(b)) for t, a, b in zip(kept, lows, highs, strict=True)
    )
    return values, above, any(point.lo > 0 for point in above)


def _log_product(own: np.ndarray, made: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(own.mean(axis=-1), TINY)) + made.mean(axis=-1)


def _denoised(steps: Sequence[int], strength: np.ndarray, resamples: int, seed: int) -> Stage | None:
    """Where mean log strength per spread is lowest, and the middle 95 % of that step over resampled prompts."""
    some = (np.isfinite(strength) & (strength > 0)).all(axis=0)
    if len(steps) < 3 or some.sum() < 2:
        return None
    logs = np.log(strength[:, some])
    counts = resample_counts(int(some.sum()), resamples, generator(seed, "denoised", int(some.sum())))
    found = np.asarray(steps)[(counts @ logs.T).argmin(axis=1)]
    lo, hi = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="nearest")
    return Stage(int(steps[int(logs.mean(axis=1).argmin())]), int(lo), int(hi))


def _why(loss: np.ndarray, strength: np.ndarray, best: int, certain: bool, kept: list[int]) -> str:
    prompts = strength.shape[1]
    if len(kept) == 1:
        return "it is the only trained checkpoint there is"
    if not certain:
        return f"{prompts} prompts do not tell the {len(kept)} checkpoints apart"
    with np.errstate(divide="ignore", invalid="ignore"):
        made = float(np.exp(np.nanmean(np.log(strength[best]))))
    return (
        f"its interaction loss is the lowest of {len(kept)} checkpoints ({prompts} prompts: loss "
        f"{loss[best].mean():.2f} nats, times {made:.1f} of interaction strength per unit of spread)"
    )
