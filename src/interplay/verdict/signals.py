"""Scalars per step and probe that a rule may weigh, and the simpler ones each could be replaced by. Arrays in, arrays out.

Shapes: scores `[..., 2^n]`, effects `[..., 2, 2^n]`; results have the leading axes. Score v in nats of log-odds.
"""

import numpy as np

from interplay.dynamics.measures import quotient


def share(effects: np.ndarray) -> np.ndarray:
    """Share of the interaction strength that pushes towards the answer and is not cancelled: sum I / sum |I|, -1..1.

    Its size is the paper's uncancelled ratio rho of all effects [paper eq 10]; the sign is kept [ours].

    >>> float(share(np.array([[0, 3.0, -1.0, 0], [0, 0, 0, 0]])))  # (3 - 1) / 4
    0.5
    """
    return quotient(effects.sum(axis=(-2, -1)), np.abs(effects).sum(axis=(-2, -1)))


def strength_per_spread(scores: np.ndarray, effects: np.ndarray) -> np.ndarray:
    """sum |I| / sd(v): how much interaction a unit of spread of the score is made of [ours].

    >>> float(strength_per_spread(np.array([0.0, 2.0, 0.0, 2.0]), np.array([[0, 2.0, 0, 0], [0, 0, 0, 0]])))
    2.0
    """
    return quotient(np.abs(effects).sum(axis=(-2, -1)), spread(scores))


def spread(scores: np.ndarray) -> np.ndarray:
    """sd of v over coalitions, nats.

    >>> float(spread(np.array([0.0, 2.0, 0.0, 2.0])))
    1.0
    """
    return scores.std(axis=-1)


def gain(scores: np.ndarray) -> np.ndarray:
    """(v(N) - v(empty)) / sd(v): the share with its denominator replaced by what needs no interactions.

    >>> float(gain(np.array([0.0, 2.0, 0.0, 2.0])))
    2.0
    """
    return quotient(scores[..., -1] - scores[..., 0], spread(scores))


def loss(scores: np.ndarray) -> np.ndarray:
    """-log p of the answer behind the whole prompt, nats.

    >>> float(loss(np.array([0.0, 2.0, 0.0, 0.0])).round(3))  # p = 1/2
    0.693
    """
    return np.logaddexp(0.0, -scores[..., -1])
