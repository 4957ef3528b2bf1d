"""Splits: one file cut into rows to train on, to evaluate on and to prompt; and the three files of a folder found by name.

Knows rows and file names. Reading a file is `tables.py`, what its rows mean is `forms.py`; which rows are finally used is
decided where a run reads its data.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from interplay.data.rows import Row
from interplay.data.tables import kind_of, name_of, stem_of
from interplay.data.words import stable_hash
from interplay.errors import InterplayError

# 80 % to train on, 10 % to evaluate on, 10 % to choose prompts from [ours].
TRAIN, EVAL = 0.8, 0.1
# The names splits go by, the best first; the sources that a run knows are train, eval and prompts.
NAMES = {"train": ("train", "training"), "eval": ("dev", "validation", "valid", "val", "eval"), "test": ("test",)}


class Splits(NamedTuple):
    """The rows of one source in three parts, each in the order of the source; no text stands in two of them."""

    train: tuple[Row, ...]
    eval: tuple[Row, ...]
    prompts: tuple[Row, ...]


class Found(NamedTuple):
    """The files of a folder by what they are for; `prompts` is the test file, or `eval` once more where there is none."""

    train: Path
    eval: Path
    prompts: Path


def split_rows(rows: Iterable[Row], seed: int) -> Splits:
    """80 / 10 / 10 % of the rows by SHA-256 of (seed, text): a text stands on one side however often it occurs.

    The side of a text depends on nothing but itself and the seed, so a file that grows keeps its split, except that every
    part of a small file has one text at least.

    Errors: InterplayError for fewer than three different texts.

    >>> from interplay.data.rows import Message
    >>> rows = [Row(f"r{i}", (Message("user", t),), "x", t, 0) for i, t in enumerate(["one", "two", "three", "two"])]
    >>> [[row.id for row in part] for part in split_rows(rows, 0)]
    [['r1', 'r3'], ['r2'], ['r0']]
    """
    rows = tuple(rows)
    # Texts in the order of their shares; a cut between two neighbours is a cut at a share.
    shares = {row.text.strip(): 0.0 for row in rows}
    for text in shares:
        shares[text] = int(stable_hash(seed, "split", text)[:16], 16) / 16**16
    ranked = sorted(shares, key=lambda text: (shares[text], text))
    count = len(ranked)
    if count < 3:
        raise InterplayError(
            f"one file for train, eval and prompts needs rows of three different texts at least, found {count}: "
            "give more rows, or data.train, data.eval and data.prompts apart"
        )
    first = sum(share < TRAIN for share in shares.values())
    second = sum(share < TRAIN + EVAL for share in shares.values())
    first = min(max(first, 1), count - 2)
    second = min(max(second, first + 1), count - 1)
    side = {text: (i >= first) + (i >= second) for i, text in enumerate(ranked)}
    parts: tuple[list[Row], list[Row], list[Row]] = ([], [], [])
    for row in rows:
        parts[side[row.text.strip()]].append(row)
    return Splits(*map(tuple, parts))


def find_splits(folder: Path) -> Found:
    """The train, dev and test files of a folder, by name: `train.tsv`, `validation.jsonl`, `test-00000-of-00001.parquet`.

    One held-out file is enough: it then serves for eval and prompts.

    Errors: InterplayError listing what was found when a file is missing, or when two could be meant.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("train.csv", "validation.csv", "notes.txt"):
    ...     _ = (folder / name).write_text("text,label\\n")
    >>> [path.name for path in find_splits(folder)]
    ['train.csv', 'validation.csv', 'validation.csv']
    """
    try:
        files = sorted(path for path in folder.iterdir() if kind_of(path) and path.is_file())
    except OSError as error:
        raise InterplayError(f"{name_of(folder)}: cannot be listed: {error.strerror or error}") from None
    train, dev, test = (_one(folder, files, names) for names in NAMES.values())
    if train is None or (dev is None and test is None):
        missing = "a train file" if train is None else "a file of held-out rows (dev, validation or test)"
        raise InterplayError(
            f"{name_of(folder)}: no {missing.removeprefix('a ')} in the folder, found {_listed(files)}: "
            "name them train, dev (or validation) and test, or give one file"
        )
    held_out = dev or test
    assert held_out is not None
    return Found(train, held_out, test or held_out)


def data_settings(path: str) -> dict[str, str | None]:
    """Settings under `data` that point a run at `path`: a folder's three files, or one file that is split.

    Errors: as `find_splits`; InterplayError when there is nothing at `path`.

    >>> data_settings("hub:databricks/databricks-dolly-15k")
    {'file': 'hub:databricks/databricks-dolly-15k', 'train': None, 'eval': None, 'prompts': None}
    """
    if path.startswith("hub:"):
        return {"file": path, "train": None, "eval": None, "prompts": None}
    place = Path(path).expanduser()
    if place.is_dir():
        found = find_splits(place)
        return {"file": None, "train": str(found.train), "eval": str(found.eval), "prompts": str(found.prompts)}
    if not place.is_file():
        raise InterplayError(
            f"no data at {str(place)!r}: give a folder with train, dev and test files, one file, or hub:owner/name"
        )
    return {"file": str(place), "train": None, "eval": None, "prompts": None}


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
                f"{name_of(folder)}: {len(chosen)} files could be {name} ({_listed(chosen)}): keep one, or set data.train, "
                "data.eval and data.prompts"
            )
        if chosen:
            return chosen[0]
    return None


def _listed(files: list[Path]) -> str:
    names = ", ".join(name_of(Path(path.name)) for path in files[:8]) or "no data file"
    return names + (", ..." if len(files) > 8 else "")
