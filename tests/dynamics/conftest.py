"""Games for the tests: effects made directly, scores by brute force from the definition, never by the package's transforms."""

import numpy as np
import pytest


def scores_of(effects, v_empty=0.0):
    """v(T) = v(empty) + sum over S within T of I_and(S) + sum over S that meet T of I_or(S). effects [2, M] -> [M]."""
    size = effects.shape[-1]
    v = np.full(size, v_empty, dtype=float)
    for t in range(size):
        for s in range(1, size):
            if s & t == s:
                v[t] += effects[0, s]
            if s & t:
                v[t] += effects[1, s]
    return v


def game(rng, n, *lead, share=1.0):
    """Random effects [*lead, 2, 2^n]; order 0 and single-word OR are zero; about `share` of the others are not."""
    e = rng.normal(size=(*lead, 2, 1 << n))
    e *= rng.random(e.shape) < share
    e[..., 0] = 0.0
    e[..., 1, 1 << np.arange(n)] = 0.0
    return e


@pytest.fixture
def make_scores():
    return scores_of


@pytest.fixture
def make_game():
    return game
