"""Interplay inside a training with transformers' Trainer or TRL's SFTTrainer. Lazy: imports the trainer library on use."""

from typing import TYPE_CHECKING

__all__ = ["InteractionCallback"]

if TYPE_CHECKING:
    from interplay.callback.callback import InteractionCallback


def __getattr__(name: str):
    if name in __all__:
        from interplay.callback import callback

        return getattr(callback, name)
    raise AttributeError(f"module 'interplay.callback' has no attribute {name!r}")
