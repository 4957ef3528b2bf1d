"""Splits: one source cut into rows to train on, to evaluate on and to prompt, or the splits of a folder by name."""

import contextlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from interplay.data.rows import Row
from interplay.data.tables import SUFFIXES, data_files, kind_of, listed, name_of, stem_of
from interplay.errors import InterplayError
from interplay.text import spelt_alike, stable_hash

# 80 % to train on, 10 % to evaluate on, 10 % to choose prompts from [ours].
TRAIN, EVAL = 0.8, 0.1
# The names by which a split serves for a part of a run, the best first: one held-out split may serve for both.
_DEV, _TEST = ("dev", "validation", "valid", "val", "eval"), ("test",)
PARTS = {"train": ("train", "training"), "eval": _DEV + _TEST, "prompts": _TEST + _DEV}
# train-00001-of-00003, with a hash behind it from older versions of `datasets`; train-1; 0001
_SHARD = re.compile(r"(^|[-_.])\d{1,6}(-of-0*(?P<total>\d{1,6})(-[0-9a-f]{8,})?)?$")


class Splits(NamedTuple):
    """The rows of one source in three parts, each in the order of the source; no text stands in two, however it is spelt."""

    train: tuple[Row, ...]
    eval: tuple[Row, ...]
    prompts: tuple[Row, ...]


def split_rows(rows: Iterable[Row], seed: int) -> Splits:
    """80 / 10 / 10 % of the rows by SHA-256 of (seed, `spelt_alike`), so that a file that grows keeps its split.

    Every part of a small file has at least one text. Errors: InterplayError for fewer than three different texts.

    >>> from interplay.data.rows import Message
    >>> rows = [Row(f"r{i}", (Message("user", t),), "x", t, 0) for i, t in enumerate(["one", "two", "three", "two"])]
    >>> [[row.id for row in part] for part in split_rows(rows, 0)]
    [['r1', 'r3'], ['r2'], ['r0']]
    """
    rows = tuple(rows)
    # Each text gets a number in [0, 1) and the cuts are at 0.8 and 0.9.
    texts = {spelt_alike(row.text) for row in rows}
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
        parts[side[spelt_alike(row.text)]].append(row)
    return Splits(*map(tuple, parts))


def split_files(folder: Path) -> dict[str, list[Path]]:
    """The files of each split of a folder, in order, by the split's name or that of its file.

    What `save_to_disk` writes of a Dataset or a DatasetDict, a clone from the hub (`data/`), a folder for each split, and plain
    files; numbered files are one split. Errors: InterplayError where a shard is missing or two files have one name.
    """
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return {folder.name: [folder / Path(part["filename"]).name for part in state["_data_files"]]}
    found: dict[str, list[Path]] = {}
    for place in (path for path in (folder, folder / "data") if path.is_dir()):
        found = _series(place) | found
        for inner in sorted(path for path in place.iterdir() if path.is_dir()):
            if (inner / "state.json").is_file() or inner.name.lower() in sum(PARTS.values(), ()):
                files = [file for files in split_files(inner).values() for file in files]
                found |= {inner.name: files} if files else {}
    return found


def _series(folder: Path) -> dict[str, list[Path]]:
    """The data files of a folder, numbered ones of one name together."""
    series: dict[str, list[Path]] = {}
    where = name_of(folder)
    for path in sorted(data_files(folder), key=lambda path: (len(path.name), path.name)):
        series.setdefault(_SHARD.sub("", stem_of(path)) or folder.name, []).append(path)
    for name, files in series.items():
        shards = [_SHARD.search(stem_of(path)) for path in files]
        total = int((shards[0] and shards[0]["total"]) or len(files))
        if len(files) < total:
            raise InterplayError(f"{where}: {len(files)} of {total} files of {name!r} are there: add the rest")
        if files[1:] and (None in shards or len({kind_of(path) for path in files}) > 1 or len(files) > total):
            all_of_them = listed(path.name for path in files)
            raise InterplayError(f"{where}: {len(files)} files could be {name} ({all_of_them}): keep one, or give it")
    return series


def source_files(source: str, part: str | None = None) -> list[Path]:
    """The files of FILE, FOLDER:SPLIT or FOLDER: its only split, or the one that goes by the name of a `part` of a run.

    Errors: InterplayError where nothing is there, or no split or more than one could be meant.
    """
    path, split = Path(source), None
    if not path.exists() and ":" in source:
        path, split = Path(source.rpartition(":")[0]), source.rpartition(":")[2]
    if not path.is_dir():
        if path.is_file() and split is None:
            return [path]
        hint = f"give a file ending in {', '.join(SUFFIXES)}, a folder of them, 'emotions' or 'hub:owner/name'"
        raise InterplayError(f"{name_of(Path(source))}: no such file; {hint}")
    found = split_files(path)
    if split is None:
        split = next(iter(found)) if len(found) == 1 else _one(path, found, PARTS[part]) if part else None
    if split not in found:
        inner = sorted(p.name for p in path.iterdir() if p.is_dir() and split_files(p)) if not found else ()
        holds = f"found {listed(sorted(found)) or 'no data file'}{' but in its folders ' * bool(inner)}{listed(inner)}"
        wanted = f", none for {part} ({', '.join(PARTS[part])})" if part else ""
        raise InterplayError(f"{name_of(path)}: {holds}{wanted}: give FOLDER:SPLIT, or one file")
    return found[split]


def data_settings(path: str) -> dict[str, str | None]:
    """Settings under `data` that point a run at `path`: a folder of several splits, or one source, which is cut.

    Errors: as `source_files`.

    >>> data_settings("hub:databricks/databricks-dolly-15k")
    {'file': 'hub:databricks/databricks-dolly-15k', 'train': None, 'eval': None, 'prompts': None}
    """
    if not path.startswith("hub:"):
        path = str(Path(path).expanduser())
        if len({tuple(source_files(path, part)) for part in PARTS}) > 1:
            return {"file": None, **dict.fromkeys(PARTS, path)}
    return {"file": path, **dict.fromkeys(PARTS)}


def _one(folder: Path, found: Iterable[str], names: tuple[str, ...]) -> str | None:
    """The split that goes by one of these names; the first of them that any has."""
    for name in names:
        # "train", "train_extra", "goemotions_train": the name stands at the front or at the end, by itself
        pattern = re.compile(rf"({name}([-_.].*)?|.*[-_.]{name})", re.IGNORECASE)
        fitting = [split for split in found if pattern.fullmatch(split)]
        exact = [split for split in fitting if split.lower() == name]
        chosen = exact if len(exact) == 1 else fitting
        if len(chosen) > 1:
            both = f"{len(chosen)} splits could be {name} ({listed(chosen)})"
            raise InterplayError(f"{name_of(folder)}: {both}: keep one, or set data.train, data.eval and data.prompts")
        if chosen:
            return chosen[0]
    return None
