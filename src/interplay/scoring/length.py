"""How many tokens a model has positions for. More cannot be read where positions are learnt; where they rotate, it is noted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from interplay.errors import SkipSample

SFT_LENGTH = 1024  # TRL's default `max_length`: SFTTrainer cuts longer rows
_RECURRENT = ("jamba", "kimi_linear", "nemotron_h", "rwkv", "zamba")  # without positions, whatever their config names


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
        if self.learnt and self.tokens is not None and tokens > self.tokens:
            raise SkipSample(
                f"{what} has {tokens:,} tokens, this model has {self.tokens:,} learnt positions: give shorter rows"
            )

    def notes(
        self,
        what: str,
        lengths: Sequence[int],
        cut: int | None = SFT_LENGTH,
        by: str = "SFTTrainer (its default max_length)",
    ) -> list[str]:
        """What a reader must know of prompts of these lengths; `cut`: tokens at which the training ended a row.

        >>> ContextLength(256).notes("prompt", [99, 300])
        ['1 of 2 prompts has more tokens (up to 300) than the 256 positions this model was made for: doubt its scores.']
        """

        def said(count: int, rest: str, doubt: str) -> list[str]:
            have, their = ("has", "its") if count == 1 else ("have", "their")
            subject = f"the {what}" if len(lengths) == 1 else f"{count} of {len(lengths)} {what}s"
            return [f"{subject} {have} {rest}: {doubt.format(their)}."] if count else []

        most, limit = max(lengths, default=0), self.tokens or max(lengths, default=0)
        over, ended = sum(n > limit for n in lengths), sum(n >= cut for n in lengths) if cut else 0
        positions = f"more tokens (up to {most:,}) than the {limit:,} positions this model was made for"
        trained = f"{cut or 0:,} tokens or more, where {by} cuts a row"
        return said(over, positions, "doubt {} scores") + said(ended, trained, "no training reached {} answer there")


UNKNOWN = ContextLength()


def context_length(config: Any) -> ContextLength:
    """The positions of a model, from its config. A rotary one may be scaled beyond what it was first trained for (YaRN)."""
    config = config.get_text_config()
    tokens, rope = getattr(config, "max_position_embeddings", None), getattr(config, "rope_parameters", None)
    if not isinstance(tokens, int) or tokens < 1 or config.model_type in _RECURRENT:
        return UNKNOWN
    if not rope:
        return ContextLength(tokens, learnt=True)
    return ContextLength(max(tokens, int(rope.get("original_max_position_embeddings", 0) * rope.get("factor", 1))))
