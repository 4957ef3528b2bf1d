"""The cheap reading: loss and rank of each prompt's answer, from one forward pass of the prompts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from interplay.errors import InterplayError
from interplay.scoring import precision
from interplay.scoring.forward import score_rows
from interplay.scoring.logodds import Question, Questions
from interplay.scoring.masking import LEFT_OUT
from interplay.scoring.scores import Prepared
from interplay.scoring.targets import alike

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Candidates:
    """Loss in nats and rank of each answer, of these alone (`closed`) or of all texts."""

    each: tuple[tuple[int, ...], ...]
    closed: bool

    @property
    def prefixes(self) -> tuple[tuple[int, ...], ...]:
        return Questions(tuple(Question(ids) for ids in self.each)).prefixes

    def answer(self, logits: "torch.Tensor") -> "torch.Tensor":
        """[rows, answers, 2]: -log p, and the rank, 1 for the likeliest; of an open answer that of its first token.

        >>> import torch
        >>> Candidates(((0,), (1,)), closed=True).answer(torch.tensor([[[2.0, 0.0, 9.0]]])).round(decimals=2)[0].tolist()
        [[0.13, 1.0], [2.13, 2.0]]
        >>> Candidates(((0,),), closed=False).answer(torch.tensor([[[2.0, 0.0, 9.0]]])).round(decimals=2)[0].tolist()
        [[7.0, 2.0]]
        """
        import torch

        place, chances = {prefix: i for i, prefix in enumerate(self.prefixes)}, logits.double().log_softmax(-1)
        at = [[(place[ids[:i]], token) for i, token in enumerate(ids)] for ids in self.each]
        total = torch.stack([torch.stack([chances[:, i, token] for i, token in one]).sum(0) for one in at], -1)
        if self.closed:
            total = total.log_softmax(-1)
        pool = total if self.closed else chances[:, 0]
        own = total if self.closed else chances[:, 0, [ids[0] for ids in self.each]]
        above = [(pool > own[:, [i]]).sum(-1) for i in range(len(self.each))]
        return torch.stack([-total, 1.0 + torch.stack(above, -1)], -1)


def read_answers(model: Any, prepared: Sequence[Prepared]) -> list[tuple[float, float]]:
    """(loss, rank) of the answer to each prompt, among its labels where it has them. InterplayError where a loss is not finite."""
    groups: dict[Any, list[int]] = {}
    for i, p in enumerate(prepared):  # of one group: the same tokens are fed behind the prompts
        groups.setdefault(("labels", *sorted(p.among)) if p.among else p.target_ids[:-1], []).append(i)
    found: dict[int, tuple[float, float]] = {}
    for group in groups.values():
        closed = prepared[group[0]].among
        each = tuple(sorted(set(closed or [prepared[i].target_ids for i in group])))
        asked = [prepared[i].input_ids for i in group]
        rows = np.full((len(group), max(map(len, asked))), LEFT_OUT, dtype=np.int64)
        for row, ids in zip(rows, asked, strict=True):
            row[: len(ids)] = ids
        with precision.fast_products(model), precision.wide_residual(model):
            shared = alike(asked) if len(group) > 1 else 0
            question: Any = Candidates(each, closed is not None)
            values = score_rows(model, rows, question, shared=shared)
        for i, value in zip(group, values, strict=True):
            loss, rank = value[each.index(prepared[i].target_ids)].tolist()
            if not np.isfinite(loss):
                said = f"the model gives the answer to prompt {prepared[i].sample.id!r} a loss of {loss}"
                raise InterplayError(f"{said}: check its weights for NaN or infinity, and the dtype")
            found[i] = (loss, rank)
    return [found[i] for i in range(len(prepared))]
