"""What is asked of a model after a prompt, and the answer from its logits."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def log_odds(logits: "torch.Tensor", target_ids: Sequence[int]) -> "torch.Tensor":
    """v [...] in nats from logits [..., m, V]: the sum over the m target tokens of log p(y) - log(1 - p(y)).

    As logit_y - logsumexp(all other logits), never through p, which saturates at 1 [paper eq 1; the form is ours]. Float32 at
    least.

    >>> import torch
    >>> round(float(log_odds(torch.tensor([[2.0, 0.0, 0.0]]), [0])), 4)   # 2 - log(e^0 + e^0)
    1.3069
    >>> round(float(log_odds(torch.tensor([[90.0, 0.0]]), [0])), 4)   # p rounds to 1, the log-odds does not
    90.0
    """
    import torch

    logits = _wide(logits)
    targets = torch.as_tensor(list(target_ids), device=logits.device)
    index = targets.view(*([1] * (logits.dim() - 2)), -1, 1).expand(*logits.shape[:-1], 1)
    picked = logits.gather(-1, index).squeeze(-1)
    rest = logits.scatter(-1, index, float("-inf")).logsumexp(-1)
    return (picked - rest).sum(-1)


@dataclass(frozen=True)
class Question:
    """The log-odds of one response, teacher-forced: against all else, token by token, or among a set of labels.

    The model must be run on the set of `prefixes`; labels share their common beginnings.

    >>> Question((5, 6)).prefixes                                   # predict 5 after the prompt, 6 after 5
    ((), (5,))
    >>> Question((5, 6), among=((5, 6), (5, 7), (8,))).prefixes     # 5 is shared; (8,) adds nothing
    ((), (5,))
    """

    target: tuple[int, ...]
    among: tuple[tuple[int, ...], ...] | None = None
    """Label sequences, the target and at least one other; None: the whole vocabulary [paper eq 1]."""

    def __post_init__(self) -> None:
        if not self.target:
            raise ValueError("a question needs at least one target token")
        if self.among is not None and (self.target not in self.among or len(set(self.among)) < 2):
            raise ValueError(f"`among` must hold the target {self.target} and another label, given {set(self.among)}")

    @cached_property
    def labels(self) -> tuple[tuple[int, ...], ...]:
        """The sequences scored; the target first."""
        return (self.target, *sorted(set(self.among or ()) - {self.target}))

    @cached_property
    def prefixes(self) -> tuple[tuple[int, ...], ...]:
        """The tokens behind the prompt wherever a token is predicted, the shortest (empty) first."""
        return _shortest_first(label[:i] for label in self.labels for i in range(len(label)))

    def answer(self, logits: "torch.Tensor") -> "torch.Tensor":
        """[...] in nats from logits [..., len(prefixes), V], those behind the prompt and each prefix.

        Among labels: log P(target) - log sum of P over the other labels, P the product over a label's tokens.

        >>> import torch
        >>> round(float(Question((0,), ((0,), (1,))).answer(torch.tensor([[2.0, 0.0, 9.0]]))), 4)   # 2 - log(e^0)
        2.0
        """
        import torch

        place = {prefix: i for i, prefix in enumerate(self.prefixes)}
        if self.among is None:
            return log_odds(logits, self.target)  # the prefixes of one sequence, in its own order
        logits = _wide(logits)
        # With one place the normaliser is the same for all labels and cancels; without it there is less rounding.
        norm = logits.logsumexp(-1) if len(place) > 1 else torch.zeros_like(logits[..., 0])
        chances = []
        for label in self.labels:
            steps = [(place[label[:i]], token) for i, token in enumerate(label)]
            chances.append(torch.stack([logits[..., at, token] - norm[..., at] for at, token in steps], -1).sum(-1))
        return chances[0] - torch.stack(chances[1:], -1).logsumexp(-1)


@dataclass(frozen=True)
class Questions:
    """Several questions behind one prompt, answered from the same forward passes: what is shared is run once."""

    each: tuple[Question, ...]

    @cached_property
    def prefixes(self) -> tuple[tuple[int, ...], ...]:
        """As of one `Question`, for all of them together."""
        return _shortest_first(prefix for question in self.each for prefix in question.prefixes)

    def answer(self, logits: "torch.Tensor") -> "torch.Tensor":
        """[..., questions] in nats from logits [..., len(prefixes), V].

        >>> import torch
        >>> both = Questions((Question((0,)), Question((0,), ((0,), (1,)))))
        >>> [round(float(x), 4) for x in both.answer(torch.tensor([[2.0, 0.0, 0.0]]))]  # 2 - log 2, 2 - log 1
        [1.3069, 2.0]
        """
        import torch

        place = {prefix: i for i, prefix in enumerate(self.prefixes)}
        answers = []
        for question in self.each:
            every = question.prefixes == self.prefixes  # as mostly: then the logits are not copied
            answers.append(question.answer(logits if every else logits[..., [place[p] for p in question.prefixes], :]))
        return torch.stack(answers, -1)


def _shortest_first(prefixes: Iterable[tuple[int, ...]]) -> tuple[tuple[int, ...], ...]:
    return tuple(sorted(set(prefixes), key=lambda prefix: (len(prefix), prefix)))


def _wide(logits: "torch.Tensor") -> "torch.Tensor":
    import torch

    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
