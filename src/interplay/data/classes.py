"""Class names of a data set: an integer stands for a name, and the data set itself says for which.

`datasets` writes its features into the metadata of parquet and arrow files, and beside them into JSON files and a README.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Classes = dict[str, tuple[str, ...]]  # the names of each class column, by number

_BESIDE = ("dataset_info.json", "dataset_infos.json", "README.md")


def classes_in(document: Any) -> Classes:
    """The class columns in what `datasets` wrote down; a column that two configurations name differently has no names.

    >>> classes_in({"info": {"features": {"label": {"names": ["joy", "fear"], "_type": "ClassLabel"}}}})
    {'label': ('joy', 'fear')}
    """
    found: dict[str, set[tuple[str, ...]]] = {}
    for features in _features(document):
        for column, feature in features.items():
            if isinstance(column, str) and (names := _names(feature)):
                found.setdefault(column, set()).add(names)
    return {column: names.pop() for column, names in found.items() if len(names) == 1}


def classes_beside(path: Path) -> Classes:
    """The class columns that the folder of a file documents, or the folder above: a clone from the hub has its files in `data`."""
    for folder in (path.parent, path.parent.parent):
        for name in _BESIDE:
            try:
                text = (folder / name).read_text(encoding="utf-8")
                parts = text.split("---\n", 2)  # the front matter of a README
                document = (
                    json.loads(text) if name.endswith(".json") else yaml.safe_load(parts[1]) if parts[2:] else None
                )
                if found := classes_in(document):
                    return found
            except (OSError, ValueError, RecursionError, yaml.YAMLError):
                continue  # not there, or not of `datasets`
    return {}


def name_classes(record: dict[str, Any], classes: Classes) -> None:
    """Put names in the place of class numbers, and None in that of -1, which stands for "no label"."""
    for column, names in classes.items():
        if column in record:
            record[column] = _class_name(record[column], names)


def _class_name(value: Any, names: tuple[str, ...]) -> Any:
    if isinstance(value, list):
        return [_class_name(part, names) for part in value]
    if isinstance(value, str):  # CSV has no numbers
        if value in names or not value.strip().removeprefix("-").removesuffix(".0").isdecimal():
            return value
        value = float(value)
    # pandas makes floats of integers where a column has gaps; NaN is none of the names
    return names[int(value)] if isinstance(value, (int, float)) and 0 <= value < len(names) else None


def _features(document: Any) -> Iterator[dict[Any, Any]]:
    """Every `features` in a document: a mapping of columns in JSON, a list of named ones in a README."""
    if isinstance(document, list):
        for part in document:
            yield from _features(part)
    elif isinstance(document, dict):
        features = document.get("features")
        if isinstance(features, dict):
            yield features
        elif isinstance(features, list):
            yield {part.get("name"): part for part in features if isinstance(part, dict)}
        else:
            for part in document.values():
                yield from _features(part)


def _names(feature: Any) -> tuple[str, ...]:
    """The names of a class, or of the class that a list holds."""
    if isinstance(feature, list) and feature:
        feature = feature[0]
    if not isinstance(feature, dict):
        return ()
    names = feature.get("names")
    names = list(names.values()) if isinstance(names, dict) else names  # a README has {'0': neg, '1': pos}
    if isinstance(names, list):
        return tuple(map(str, names))
    inner = (feature.get(key) for key in ("class_label", "dtype", "feature", "sequence", "list"))
    return next((found for part in inner if (found := _names(part))), ())
