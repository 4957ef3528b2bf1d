"""The two factors of the interaction loss, per step and prompt. Arrays in, arrays out; score v in nats of log-odds."""

import numpy as np

from interplay.dynamics.measures import loss_of, quotient, spread


def loss(scores: np.ndarray) -> np.ndarray:
    """-log sigmoid v(N) of scores `[..., 2^n]`: of one response token -log p(answer) behind the whole prompt, nats.

    >>> float(loss(np.array([0.0, 2.0, 0.0, 0.0])).round(3))  # p = 1/2
    0.693
    """
    return loss_of(scores[..., -1])


def strength_per_spread(scores: np.ndarray, effects: np.ndarray) -> np.ndarray:
    """sum |I| / sd(v) of scores `[..., 2^n]` and effects `[..., 2, 2^n]`: how much interaction a unit of spread of the score
    is made of [ours]; NaN where the score is constant.

    >>> float(strength_per_spread(np.array([0.0, 2.0, 0.0, 2.0]), np.array([[0, 2.0, 0, 0], [0, 0, 0, 0]])))
    2.0
    """
    return quotient(np.abs(effects).sum(axis=(-2, -1)), spread(scores))
