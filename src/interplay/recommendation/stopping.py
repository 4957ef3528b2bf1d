"""The stopping rule: when to stop training, and which checkpoint has the lowest interaction loss.

The interaction loss of a checkpoint is the loss on the prompts times the interaction strength per unit of spread, L1/sd(v):

    S_t = log mean_p loss_p,t + mean_p log(L1/sd)_p,t        interaction loss = exp S_t                              [ours]

The best checkpoint is the one where it is lowest; training stops after `patience` measurements in a row without a new low.
docs/design/stopping.md gives the reasons for the two factors, docs/evidence/stopping.md compares the rule with others.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from interplay.dynamics.stats import LEVEL, exchanged, generator, interval, resampled
from interplay.errors import InterplayError
from interplay.recommendation.result import Evidence

PATIENCE = 3  # measurements [ours; sensitivity in docs/stopping.md]
_TAILS = [(1 - LEVEL) / 2, 1 - (1 - LEVEL) / 2]
TINY = 1e-6  # nats: a prompt answered with certainty has no logarithm


@dataclass(frozen=True)
class StopRecommendation:
    """What the stopping rule recommends after the measurements so far.

    step       the checkpoint with the lowest interaction loss; None if there is no trained checkpoint
    certain    whether any other candidate can be told from it
    stop_step  the measurement at which to stop; None: go on
    losses     [T] interaction loss, lower is better; later measurements never change it
    evidence   `interaction_loss` of every candidate, with its interval over prompts; `above_lowest`, its log distance to
               `step`, with intervals that hold for all pairs at once
    denoised   end of the denoising stage, where strength per spread is lowest: {step, lo, hi}, the middle 95 % over resampled
               prompts; None with fewer than three measurements
    """

    step: int | None
    certain: bool
    stop_step: int | None
    losses: tuple[float, ...]
    evidence: tuple[Evidence, ...]
    denoised: dict[str, int] | None


def interaction_loss(loss: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """exp S_t [T] from loss `[T, P]` in nats and L1/sd `[T, P]`; a prompt whose score is constant somewhere is left out there.

    >>> loss = np.array([[2.0, 4.0], [1.0, 1.0]]); strength = np.array([[10.0, 10.0], [8.0, 2.0]])
    >>> interaction_loss(loss, strength).round(9).tolist()  # 3 nats x 10, 1 nat x sqrt(16)
    [30.0, 4.0]
    """
    usable = np.isfinite(strength) & (strength > 0)
    logs = np.log(np.where(usable, strength, 1.0)).sum(axis=-1)
    mean = np.divide(logs, usable.sum(axis=-1), out=np.full(len(strength), np.nan), where=usable.any(axis=-1))
    return np.maximum(loss.mean(axis=-1), TINY) * np.exp(mean)


def recommend_stop(
    steps: Sequence[int],
    loss: np.ndarray,
    strength: np.ndarray,
    *,
    patience: int = PATIENCE,
    existing: Collection[int] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> StopRecommendation:
    """Apply the rule to loss `[T, P]` in nats and L1/sd `[T, P]` of P prompts at T steps.

    Step 0 is measured but never recommended, and patience does not count it. `existing` are the steps that can be recommended
    (None: all); patience counts every trained measurement.

    Raises InterplayError if patience is under 1.

    >>> loss = np.array([[9.0] * 4, [2, 2.1, 1.9, 2], [1, 1.1, 0.9, 1], [2, 2.1, 1.9, 2], [3, 3.1, 2.9, 3]])
    >>> found = recommend_stop([0, 10, 20, 30, 40], loss, np.full((5, 4), 10.0), patience=2)
    >>> found.step, found.stop_step, [round(x) for x in found.losses]
    (20, 40, [90, 20, 10, 20, 30])
    """
    if patience < 1:
        raise InterplayError(f"patience is {patience}: give 1 or more measurements without a new low")
    curve = interaction_loss(loss, strength)
    trained = [t for t, step in enumerate(steps) if step > 0 and np.isfinite(curve[t])]
    candidates = [t for t in trained if existing is None or steps[t] in existing]
    best = min(candidates, key=lambda t: curve[t], default=None)
    evidence = _evidence([steps[t] for t in candidates], loss[candidates], strength[candidates], resamples, seed)
    return StopRecommendation(
        step=None if best is None else steps[best],
        certain=any(row.name == "above_lowest" and row.lo > 0 for row in evidence),
        stop_step=stop_step(steps, curve, patience),
        losses=tuple(float(x) for x in curve),
        evidence=evidence,
        denoised=_denoised(steps, strength, resamples, seed),
    )


def stop_step(steps: Sequence[int], curve: Sequence[float] | np.ndarray, patience: int) -> int | None:
    """The first measurement after step 0 that is the `patience`-th in a row without a new low; one without a number does not count.

    >>> stop_step([0, 10, 20, 30, 40], [1.0, 5.0, 4.0, 4.5, 4.2], 2)
    40
    """
    low, since = np.inf, 0
    for step, loss in zip(steps, curve, strict=True):
        if step > 0 and np.isfinite(loss):
            low, since = (loss, 0) if loss < low else (low, since + 1)
            if since >= patience:
                return step
    return None


def _evidence(at: list[int], loss: np.ndarray, strength: np.ndarray, resamples: int, seed: int) -> tuple[Evidence, ...]:
    """Interaction losses with intervals over prompts, log distances to the lowest with `exchanged` intervals."""
    values, usable = interaction_loss(loss, strength), _usable(strength)
    count = int(usable.sum())
    if count < 2 or len(at) < 2:
        return tuple(
            Evidence("interaction_loss", t, float(x), math.nan, math.nan) for t, x in zip(at, values, strict=True)
        )
    tables = loss[:, usable], np.log(strength[:, usable])
    half = exchanged(tables, _log_product, int(values.argmin()), resamples, generator(seed, "verdict"))
    figure, contributed = _log_product(*tables)
    found, distance = interval(contributed.T), np.log(values) - np.log(values.min())
    lows, highs = (np.exp(figure + end - found.value) for end in (found.lo, found.hi))
    rows = [("interaction_loss", *row) for row in zip(at, values, lows, highs, strict=True)]
    rows += [("above_lowest", *row) for row in zip(at, distance, distance - half, distance + half, strict=True)]
    return tuple(Evidence(name, step, float(x), float(lo), float(hi)) for name, step, x, lo, hi in rows)


def _usable(strength: np.ndarray) -> np.ndarray:
    """[P] whether a prompt's strength per spread is defined at every step."""
    return (np.isfinite(strength) & (strength > 0)).all(axis=0)


def _log_product(losses: np.ndarray, logs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log S [..., T] from tables [..., T, P], and what each prompt contributes to it (delta method) [..., T, P]."""
    mean = np.maximum(losses.mean(axis=-1, keepdims=True), TINY)
    return np.log(mean[..., 0]) + logs.mean(axis=-1), losses / mean + logs


def _denoised(steps: Sequence[int], strength: np.ndarray, resamples: int, seed: int) -> dict[str, int] | None:
    usable = _usable(strength)
    count = int(usable.sum())
    if len(steps) < 3 or count < 2:
        return None
    logs = np.log(strength[:, usable])
    curves = resampled(lambda counts: counts @ logs.T, count, resamples, generator(seed, "denoised", count))
    lowest = np.asarray(steps)[curves.argmin(axis=1)]
    lo, hi = np.quantile(lowest, _TAILS, method="nearest")
    return {"step": int(steps[int(logs.mean(axis=1).argmin())]), "lo": int(lo), "hi": int(hi)}
