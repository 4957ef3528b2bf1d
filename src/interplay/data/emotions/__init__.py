"""Emotions: 1,000 short first-person sentences in English, each with one of eight emotions, in four fixed splits.

What it is: something small to fine-tune on and to probe, rich in negation, irony, contrast, intensity and idiom, so that
words have to be read together. Every row is {"id", "text", "label", "structure"}, one JSON object a line.

What it is not: a benchmark, a sample of what people write, or fit for judging anybody's feelings. One hand wrote and
labelled it for this project; DATASHEET.md, next to this file, says how and with what limits.
"""

from pathlib import Path

LABELS: tuple[str, ...] = ("anger", "disgust", "fear", "joy", "love", "pride", "sadness", "surprise")
SPLITS: tuple[str, ...] = ("train", "dev", "test", "ood")


def path(split: str) -> Path:
    """The JSONL file of `split`.

    Errors: ValueError, naming the known splits, for any other.

    >>> path("dev").name
    'dev.jsonl'
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; the splits are {', '.join(SPLITS)}")
    return Path(__file__).parent / f"{split}.jsonl"
