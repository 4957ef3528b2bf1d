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
from interplay.text import stable_hash

# 80 % to train on, 10 % to evaluate on, 10 % to choose prompts from [ours].
TRAIN, EVAL = 0.8, 0.1
# The names by which a split serves for a part of a run, the best first: one held-out split may serve for both.
_DEV, _TEST = ("dev", "validation", "valid", "val", "eval"), ("test",)
PARTS = {"train": ("train", "training"), "eval": _DEV + _TEST, "prompts": _TEST + _DEV}
# train-00001-of-00003, with a hash behind it from older versions of `datasets`; train-1; 0001 in a folder train
_SHARD = re.compile(r"(?:(?P<name>.*?)[-_.])?(?P<number>\d{1,6})(?:-of-(?P<total>\d{1,6})(?:-[0-9a-f]{8,})?)?")


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


def split_files(folder: Path) -> dict[str, list[Path]]:
    """The files of each split of a folder, in order, by the split's name or that of its file.

    What `save_to_disk` writes of a Dataset or a DatasetDict, a clone from the hub (`data/`), a folder for each split, and plain
    files; numbered files are one split. Errors: InterplayError where a shard is missing or two files have one name.
    """
    if saved := _saved(folder):
        return {folder.name: saved}
    found: dict[str, list[Path]] = {}
    for place in (path for path in (folder, folder / "data") if path.is_dir()):
        found = _series(place) | found
        for inner in sorted(path for path in place.iterdir() if path.is_dir()):
            if files := _saved(inner) or (data_files(inner) if inner.name.lower() in sum(PARTS.values(), ()) else []):
                found.setdefault(inner.name, files)
    return found


def _saved(folder: Path) -> list[Path]:
    """The files that a `Dataset.save_to_disk` lists; none where it is no such folder."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return [folder / Path(part["filename"]).name for part in state["_data_files"]]
    return []


def _series(folder: Path) -> dict[str, list[Path]]:
    """The data files of a folder, numbered ones of one name together."""
    found: dict[tuple[str, str, str | None], dict[int, Path]] = {}
    for path in data_files(folder):
        shard = _SHARD.fullmatch(stem := stem_of(path))
        name, number, total = shard.group("name", "number", "total") if shard else (stem, 0, None)
        found.setdefault((name or "", kind_of(path), total), {})[int(number)] = path
    series: dict[str, list[Path]] = {}
    for (name, _, total), parts in found.items():
        files = [parts[number] for number in sorted(parts)]
        key = name if total or files[1:] else stem_of(files[0])
        if total and len(files) != int(total):
            raise InterplayError(
                f"{name_of(folder)}: {len(files)} of {int(total)} files of {name!r} are there: add the rest"
            )
        if key in series:
            both = listed(path.name for path in (*series[key], *files))
            raise InterplayError(f"{name_of(folder)}: 2 files could be {key} ({both}): keep one, or give one file")
        series[key] = files
    return series


def source_files(source: str, part: str | None = None) -> list[Path]:
    """The files of FILE, FOLDER:SPLIT or FOLDER: its only split, or the one that goes by the name of a `part` of a run.

    Errors: InterplayError where nothing is there, or no split or more than one could be meant.
    """
    folder, _, split = source.rpartition(":")
    path = Path(source)
    if folder and not path.exists() and Path(folder).is_dir():
        path = Path(folder)
    elif path.is_file():
        return [path]
    elif not path.is_dir():
        hint = f"give a file ending in {', '.join(SUFFIXES)}, a folder of them, 'emotions' or 'hub:owner/name'"
        raise InterplayError(f"{name_of(path)}: no such file; {hint}")
    else:
        split = None
    found = split_files(path)
    if split is None:
        split = next(iter(found)) if len(found) == 1 else _one(path, found, PARTS[part]) if part else None
    if split not in found:
        inner = [] if found else [inside.name for inside in path.iterdir() if inside.is_dir() and split_files(inside)]
        holds = f"found {listed(found) or 'no data file'}" + (
            f" but in its folders {listed(sorted(inner))}" if inner else ""
        )
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
            wanted = "keep one, or set data.train, data.eval and data.prompts"
            raise InterplayError(
                f"{name_of(folder)}: {len(chosen)} splits could be {name} ({listed(chosen)}): {wanted}"
            )
        if chosen:
            return chosen[0]
    return None
