"""Names of classes: `datasets` writes them into parquet and arrow files, and beside any file into JSON or the README."""

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
    for column, feature in _features(document):
        if isinstance(column, str) and (names := _names(feature)):
            found.setdefault(column, set()).add(names)
    return {column: names.pop() for column, names in found.items() if len(names) == 1}


def classes_beside(path: Path) -> Classes:
    """The class columns that the folder of a file documents, or the one above: a clone from the hub has its files in `data`."""
    for folder in (path.parent, path.parent.parent):
        for name in ("dataset_info.json", "dataset_infos.json", "README.md"):
            try:
                text = (folder / name).read_text(encoding="utf-8")
                front = (text.split("---\n", 2) * 2)[1]  # a README holds YAML between two lines
                if found := classes_in(json.loads(text) if name.endswith("json") else yaml.safe_load(front)):
                    return found
            except (OSError, ValueError, RecursionError, yaml.YAMLError):
                continue  # not there, or of another program
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


def _features(document: Any, depth: int = 3) -> Iterator[tuple[Any, Any]]:
    """Every column with its feature: a mapping in JSON, a list of named ones in a README; `depth` bounds what YAML may nest."""
    features = document.get("features") if isinstance(document, dict) else None
    if isinstance(features, dict):
        yield from features.items()
    elif isinstance(features, list):
        yield from ((feature.get("name"), feature) for feature in features if isinstance(feature, dict))
    elif depth and isinstance(document, (dict, list)):
        for part in document.values() if isinstance(document, dict) else document:
            yield from _features(part, depth - 1)


def _names(feature: Any, depth: int = 3) -> tuple[str, ...]:
    """The names of a class, or of the class that a list holds."""
    feature = feature[0] if isinstance(feature, list) and feature else feature
    if not depth or not isinstance(feature, dict):
        return ()
    names = feature.get("names")
    if isinstance(names, (list, dict)):  # a README has {'0': neg, '1': pos}
        return tuple(map(str, names.values() if isinstance(names, dict) else names))
    inner = map(feature.get, ("class_label", "dtype", "feature", "sequence", "list"))
    return next((found for part in inner if (found := _names(part, depth - 1))), ())
