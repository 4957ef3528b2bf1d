"""Names of classes: `datasets` writes them into parquet and arrow files, and beside any file into JSON or the README."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Classes = dict[str, tuple[str, ...]]  # the names of each class column, by number


def classes_in(document: Any) -> Classes:
    """The class columns in what `datasets` wrote down; a column that two configurations name differently has no names.

    >>> classes_in({"info": {"features": {"label": {"names": ["joy", "fear"], "_type": "ClassLabel"}}}})
    {'label': ('joy', 'fear')}
    """
    found: dict[str, set[tuple[str, ...]]] = {}
    for column, names in _named(document):
        found.setdefault(column, set()).add(names)
    return {column: names.pop() for column, names in found.items() if len(names) == 1}


def classes_beside(path: Path) -> Classes:
    """The class columns that the folder of a file documents, or the one above: a clone from the hub has its files in `data`."""
    names = ("dataset_info.json", "dataset_infos.json", "README.md")
    for document in (folder / name for folder in (path.parent, path.parent.parent) for name in names):
        with contextlib.suppress(
            OSError, ValueError, RecursionError, yaml.YAMLError
        ):  # not there, or of another program
            text = document.read_text(encoding="utf-8")
            front = (text.split("---\n", 2) * 2)[1]  # a README holds YAML between two lines
            if found := classes_in(json.loads(text) if document.suffix == ".json" else yaml.safe_load(front)):
                return found
    return {}


def class_name(value: Any, names: tuple[str, ...]) -> Any:
    """The name of a class number, or of each of a list; None for -1, "no label". Numbers may be text or, of pandas, floats."""
    if isinstance(value, list):
        return [class_name(part, names) for part in value]
    if isinstance(value, str):
        if value in names or not value.strip().removeprefix("-").removesuffix(".0").isdecimal():
            return value
        value = float(value)
    return names[int(value)] if isinstance(value, (int, float)) and 0 <= value < len(names) else None


def _named(part: Any, column: Any = None, depth: int = 6) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every class column with its names, wherever its feature stands; `depth` bounds what YAML may nest."""
    if isinstance(part, list):  # of configurations; of features, in a README; or of classes
        for inner in part[:1] if column else part:
            yield from _named(inner, column, depth)
    elif isinstance(part, dict) and depth:
        names, features = part.get("names"), part.get("features")
        if isinstance(column, str) and isinstance(names, (list, dict)):  # a README has {'0': neg, '1': pos}
            yield column, tuple(map(str, names.values() if isinstance(names, dict) else names))
        elif isinstance(features, (list, dict)) and not column:
            columns = (
                features.items()
                if isinstance(features, dict)
                else ((f.get("name"), f) for f in features if isinstance(f, dict))
            )
            for name, feature in columns:
                yield from _named(feature, name, depth - 1)
        else:
            for inner in part.values():
                yield from _named(inner, column, depth - 1)
