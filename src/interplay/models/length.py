"""How many tokens a model has positions for. More cannot be read where positions are learnt; where they rotate, it is noted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from interplay.errors import SkipSample

_RECURRENT = ("jamba", "kimi_linear", "nemotron_h", "rwkv", "zamba")  # without positions, whatever their config names
SFT = (1024, "SFTTrainer's default max_length")  # of TRL


@dataclass(frozen=True)
class ContextLength:
    """`tokens` that a model has positions for, None: no limit; `learnt`: it cannot read more at all."""

    tokens: int | None = None
    learnt: bool = False

    def refuse(self, tokens: int, what: str = "it") -> None:
        """Raise SkipSample for a row of more tokens than can be read.

        >>> ContextLength(64, learnt=True).refuse(65)
        Traceback (most recent call last):
        interplay.errors.SkipSample: it has 65 tokens, this model has 64 learnt positions: give shorter rows
        """
        if self.learnt and tokens > (self.tokens or tokens):
            has = f"{what} has {tokens:,} tokens, this model has {self.tokens:,} learnt positions"
            raise SkipSample(f"{has}: give shorter rows")

    def notes(self, what: str, lengths: Sequence[int], cut: tuple[int | None, str] = SFT) -> list[str]:
        """What to know of prompts of these lengths; `cut`: tokens at which the training ended a row, and what says so.

        >>> ContextLength(256).notes("prompts", [99, 300])
        ['1 of 2 prompts: more tokens (up to 300) than the 256 positions this model was made for, so doubt these scores']
        """
        over, ended = (sum(n > (most or n) for n in lengths) for most in (self.tokens, cut[0] and cut[0] - 1))
        beyond = f"than the {self.tokens} positions this model was made for, so doubt these scores"
        untrained = f"{cut[0]} tokens or more, where {cut[1]} cuts a row, so its answer was not trained"
        told = (over, f"more tokens (up to {max(lengths, default=0):,}) {beyond}"), (ended, untrained)
        return [f"{count} of {len(lengths)} {what}: {said}" for count, said in told if count]


def context_length(config: Any) -> ContextLength:
    """The positions of a model, from its config. A rotary one may be scaled beyond what it was first trained for (YaRN)."""
    config = config.get_text_config()
    tokens, rope = getattr(config, "max_position_embeddings", None), getattr(config, "rope_parameters", None)
    if not isinstance(tokens, int) or tokens < 1 or config.model_type in _RECURRENT:
        return ContextLength()
    if not rope:
        return ContextLength(tokens, learnt=True)
    return ContextLength(max(tokens, int(rope.get("original_max_position_embeddings", 0) * rope.get("factor", 1))))


def length_of(tokenizer: Any) -> ContextLength:
    """The positions of the model that a tokenizer was loaded for; no limit where only its model can say."""
    return getattr(tokenizer, "context_length", ContextLength())
