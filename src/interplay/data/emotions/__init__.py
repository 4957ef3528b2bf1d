"""Emotions: 1,000 short first-person sentences in English, each with one of eight emotions, in four fixed splits.

Something small to fine-tune on, rich in negation, irony, contrast and idiom, so that words have to be read together; not a
benchmark. Every line is {"id", "text", "label", "structure"}. DATASHEET.md, next to this file, says how it was made.
"""

from pathlib import Path

from interplay.errors import InterplayError
from interplay.text import short

LABELS: tuple[str, ...] = ("anger", "disgust", "fear", "joy", "love", "pride", "sadness", "surprise")
SPLITS: tuple[str, ...] = ("train", "dev", "test", "ood")


def path(split: str) -> Path:
    """The JSONL file of `split`; InterplayError for any other than `SPLITS`."""
    if split not in SPLITS:
        raise InterplayError(f"emotions has the splits {', '.join(SPLITS)}; given {short(split)}")
    return Path(__file__).parent / f"{split}.jsonl"
