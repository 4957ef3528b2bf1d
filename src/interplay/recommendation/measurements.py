"""What a stopping rule sees: scores and effects of a few prompts at the measured steps. No models, no labels beyond v's own.

The same measurements come from a run folder's units and from a training in progress, so the same rule serves both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interplay.errors import InterplayError


@dataclass(frozen=True, eq=False)
class Measurements:
    """Measurements at T steps of P prompts; n may differ between prompts.

    steps    T optimiser steps, ascending
    scores   one `[T, 2^n]` a prompt: v of the gold response over coalitions, nats
    effects  one `[T, 2, 2^n]` a prompt (row 0 AND, row 1 OR), nats
    """

    steps: tuple[int, ...]
    scores: tuple[np.ndarray, ...]
    effects: tuple[np.ndarray, ...]

    def __post_init__(self) -> None:
        if list(self.steps) != sorted(set(self.steps)):
            raise InterplayError(f"steps {list(self.steps)} must ascend: give each measured step once, in order")
        if len(self.scores) != len(self.effects) or not self.scores:
            raise InterplayError(
                f"{len(self.scores)} prompts have scores and {len(self.effects)} have effects: give both of at least one"
            )
        for v, w in zip(self.scores, self.effects, strict=True):
            if v.ndim != 2 or v.shape[0] != len(self.steps) or w.shape != (len(v), 2, v.shape[1]):
                raise InterplayError(
                    f"scores {v.shape} and effects {w.shape} of a prompt: expected [{len(self.steps)}, 2^n] and "
                    f"[{len(self.steps)}, 2, 2^n]"
                )

    def until(self, count: int) -> "Measurements":
        """The first `count` steps: what was known then."""
        return Measurements(
            self.steps[:count], tuple(v[:count] for v in self.scores), tuple(w[:count] for w in self.effects)
        )

    @classmethod
    def of_units(cls, steps: Sequence[int], scores: Sequence, effects: Sequence) -> "Measurements":
        """From `[T][P]` nested arrays, `scores[t][p]` `[2^n]` and `effects[t][p]` `[2, 2^n]`."""
        return cls(
            tuple(steps),
            tuple(np.stack(v) for v in zip(*scores, strict=True)),
            tuple(np.stack(w) for w in zip(*effects, strict=True)),
        )
