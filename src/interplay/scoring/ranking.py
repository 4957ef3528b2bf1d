"""Where answers stand after a prompt: a question whose result is each one's loss and rank."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from interplay.scoring.logodds import Question, Questions

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Ranking:
    """Loss in nats and rank of each answer, among these alone (`closed`) or among all texts, and what is likeliest."""

    each: tuple[tuple[int, ...], ...]
    closed: bool

    @property
    def prefixes(self) -> tuple[tuple[int, ...], ...]:
        return Questions(tuple(Question(ids) for ids in self.each)).prefixes

    def answer(self, logits: "torch.Tensor") -> "torch.Tensor":
        """[rows, answers, 3]: -log p, the rank, 1 for the likeliest, and which answer that is; of an open answer its first token.

        >>> import torch
        >>> Ranking(((0,), (1,)), closed=True).answer(torch.tensor([[[2.0, 0.0, 9.0]]])).round(decimals=2)[0].tolist()
        [[0.13, 1.0, 0.0], [2.13, 2.0, 0.0]]
        >>> Ranking(((0,),), closed=False).answer(torch.tensor([[[2.0, 0.0, 9.0]]])).round(decimals=2)[0].tolist()
        [[7.0, 2.0, 2.0]]
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
        first = pool.argmax(-1, keepdim=True).expand_as(total)
        return torch.stack([-total, 1.0 + torch.stack(above, -1), first], -1)
