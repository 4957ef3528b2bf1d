"""Splits: one file cut into rows to train on, to evaluate on and to prompt, or the three files of a folder by name."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from interplay.data.rows import Row
from interplay.data.tables import data_files, listed, name_of, stem_of
from interplay.errors import InterplayError
from interplay.text import stable_hash

# 80 % to train on, 10 % to evaluate on, 10 % to choose prompts from [ours].
TRAIN, EVAL = 0.8, 0.1
# The names splits go by, the best first; the sources that a run knows are train, eval and prompts.
NAMES = {"train": ("train", "training"), "eval": ("dev", "validation", "valid", "val", "eval"), "test": ("test",)}


class Splits(NamedTuple):
    """The rows of one source in three parts, each in the order of the source; no text stands in two of them."""

    train: tuple[Row, ...]
    eval: tuple[Row, ...]
    prompts: tuple[Row, ...]


def split_rows(rows: Iterable[Row], seed: int) -> Splits:
    """80 / 10 / 10 % of the rows by SHA-256 of (seed, text), so that a file that grows keeps its split.

    Every part of a small file has at least one text. Errors: InterplayError for fewer than three different texts.

    >>> from interplay.data.rows import Message
    >>> rows = [Row(f"r{i}", (Message("user", t),), "x", t, 0) for i, t in enumerate(["one", "two", "three", "two"])]
    >>> [[row.id for row in part] for part in split_rows(rows, 0)]
    [['r1', 'r3'], ['r2'], ['r0']]
    """
    rows = tuple(rows)
    # Each text gets a number in [0, 1) and the cuts are at 0.8 and 0.9.
    texts = {row.text.strip() for row in rows}
    places = {text: int(stable_hash(seed, "split", text)[:16], 16) / 16**16 for text in texts}
    ranked = sorted(texts, key=lambda text: (places[text], text))
    count = len(ranked)
    if count < 3:
        raise InterplayError(
            f"one file for train, eval and prompts needs rows of three different texts at least, found {count}: "
            "give more rows, or data.train, data.eval and data.prompts apart"
        )
    first = min(max(sum(place < TRAIN for place in places.values()), 1), count - 2)
    second = min(max(sum(place < TRAIN + EVAL for place in places.values()), first + 1), count - 1)
    side = {text: (i >= first) + (i >= second) for i, text in enumerate(ranked)}
    parts: tuple[list[Row], list[Row], list[Row]] = ([], [], [])
    for row in rows:
        parts[side[row.text.strip()]].append(row)
    return Splits(*map(tuple, parts))


def find_splits(folder: Path) -> dict[str, Path]:
    """The train, eval and prompts files of a folder, by name: `train.tsv`, `validation.jsonl`, `test-00000-of-00001.parquet`.

    One held-out file serves for eval and prompts. Errors: InterplayError when a file is missing, or when two could be meant.
    """
    files = data_files(folder)
    train, dev, test = (_one(folder, files, names) for names in NAMES.values())
    held_out = dev or test
    if train is None or held_out is None:
        missing = "file of held-out rows (dev, validation or test)" if train else "train file"
        raise InterplayError(
            f"{name_of(folder)}: no {missing} in the folder, found {listed(files)}: "
            "name them train, dev (or validation) and test, or give one file"
        )
    return {"train": train, "eval": held_out, "prompts": test or held_out}


def data_settings(path: str) -> dict[str, str | None]:
    """Settings under `data` that point a run at `path`: a folder's three files, or one file that is split.

    Errors: InterplayError when there is nothing at `path`, and as `find_splits`.

    >>> data_settings("hub:databricks/databricks-dolly-15k")
    {'file': 'hub:databricks/databricks-dolly-15k', 'train': None, 'eval': None, 'prompts': None}
    """
    local = Path(path).expanduser()
    if not path.startswith("hub:"):
        if local.is_dir():
            return {"file": None, **{part: str(file) for part, file in find_splits(local).items()}}
        if not local.is_file():
            raise InterplayError(
                f"no data at {str(local)!r}: give a folder with train, dev and test files, one file, or hub:owner/name"
            )
        path = str(local)
    return {"file": path, "train": None, "eval": None, "prompts": None}


def _one(folder: Path, files: list[Path], names: tuple[str, ...]) -> Path | None:
    """The file of a split; the first of its names that any file has."""
    for name in names:
        # "train", "train-00000-of-00001", "goemotions_train": the name stands at the front or at the end, by itself
        pattern = re.compile(rf"({name}([-_.].*)?|.*[-_.]{name})", re.IGNORECASE)
        fitting = [path for path in files if pattern.fullmatch(stem_of(path))]
        exact = [path for path in fitting if stem_of(path).lower() == name]
        chosen = exact if len(exact) == 1 else fitting
        if len(chosen) > 1:
            raise InterplayError(
                f"{name_of(folder)}: {len(chosen)} files could be {name} ({listed(chosen)}): keep one, or set data.train, "
                "data.eval and data.prompts"
            )
        if chosen:
            return chosen[0]
    return None
