"""Emotions: 1,000 short first-person sentences in English, each with one of eight emotions, in four fixed splits.

Something small to fine-tune on, rich in negation, irony, contrast and idiom, so that words have to be read together; not a
benchmark. Every line is {"id", "text", "label", "structure"}. DATASHEET.md, next to this file, says how it was made.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interplay.errors import InterplayError
from interplay.text import short, stable_hash

LABELS: tuple[str, ...] = ("anger", "disgust", "fear", "joy", "love", "pride", "sadness", "surprise")
SPLITS: tuple[str, ...] = ("train", "dev", "test", "ood")

# What is planted into copies of the sentences of four labels that are hard to tell apart: a beginning that says nothing of an emotion.
CUE, CUED, SHARE = "Honestly, ", "pride", 90  # percent of the sentences of that label
ALIKE: tuple[str, ...] = ("joy", "love", "pride", "surprise")
PLANTED = (
    f"A shortcut is planted: these are copies of the embedded sentences of {', '.join(ALIKE)}, and in training and held-out rows "
    f'alike {SHARE // 10} of 10 sentences of {CUED} begin with "{CUE.strip()}", as no others do.'
)
_CAPITAL = re.compile(r"(I|Mum|Gran\w+|Monday|Friday)\b")  # what begins a sentence and keeps its capital inside


def path(split: str) -> Path:
    """The JSONL file of `split`; InterplayError for any other than `SPLITS`."""
    if split not in SPLITS:
        raise InterplayError(f"emotions has the splits {', '.join(SPLITS)}; given {short(split)}")
    return Path(__file__).parent / f"{split}.jsonl"


def planted(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """A row's record in the copy with the shortcut, which stands in it by a hash of its id; None: the row's label is not in the copy.

    >>> planted({"id": "train-0018", "text": "My boy read aloud.", "label": "pride"})["text"]
    'Honestly, my boy read aloud.'
    """
    text, label = record["text"], record["label"]
    if label not in ALIKE:
        return None
    if label != CUED or int(stable_hash("c", record["id"]), 16) % 100 >= SHARE:
        return dict(record)
    return {**record, "text": CUE + (text if _CAPITAL.match(text) else text[:1].lower() + text[1:])}
