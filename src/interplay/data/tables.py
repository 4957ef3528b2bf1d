"""Data files as records, each with its place ("line 17"): .jsonl, .json, .csv, .tsv (each also .gz), .parquet, .arrow, GoEmotions.

A file that cannot be read is an InterplayError; a broken line among good ones is `Unreadable`. No format can run code.
"""

import contextlib
import csv
import gzip
import io
import json
import re
import shlex
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from interplay.errors import InterplayError
from interplay.text import ascii_safe, short

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow")
_EXCEL = "pandas.read_excel(sys.argv[1]).to_json('rows.jsonl', orient='records', lines=True)"
_CONVERSIONS = {  # commands that make a file that is read of one that is not
    **dict.fromkeys((".xlsx", ".xls"), f'python -c "import pandas, sys; {_EXCEL}"'),
    **{".zst": "zstd -d", ".bz2": "bunzip2 -k", ".xz": "unxz -k", ".zip": "unzip"},
}
_METADATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")  # of `datasets`, no rows
_POINTER = b"version https://git-lfs"
_LABEL_IDS = re.compile(r"\d+(,\d+)*")
_CELL_LIMIT = 16 * 2**20  # characters in one CSV cell; the csv module's own 128 Ki is too little for a document


class Unreadable(NamedTuple):
    """A record that cannot be read, why, and its id if that could be read."""

    reason: str
    id: str | None = None


Record = dict[str, Any] | Unreadable
Classes = dict[str, tuple[str, ...]]  # the names of each class column, by number
Table = list[tuple[str, Record]]  # each record behind its place: "line 17"


def kind_of(path: Path) -> str:
    """The suffix that says how to read a file, without .gz; "" for other files."""
    name = path.name.lower().removesuffix(".gz")
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")


def stem_of(path: Path) -> str:
    """A file's name without the suffixes that say how to read it: train.v2 of train.v2.jsonl.gz."""
    return path.name[: path.name.lower().rindex(kind_of(path))] if kind_of(path) else path.stem


def name_of(path: Path) -> str:
    return ascii_safe(str(path))


def data_files(folder: Path) -> list[Path]:
    """The files of a folder that `read_table` reads, by name. Errors: InterplayError when the folder cannot be listed."""
    try:
        return sorted(p for p in folder.iterdir() if kind_of(p) and p.name not in _METADATA and p.is_file())
    except OSError as error:
        raise InterplayError(f"{name_of(folder)}: cannot be listed: {error.strerror or error}") from None


def listed(names: Iterable[str]) -> str:
    """Some names of files or splits for a message."""
    names = [ascii_safe(name) for name in names]
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def read_table(*paths: Path) -> tuple[Table, Classes]:
    """The records of a file, or of several one after another, classes by name; and the names of each class column.

    The place of a record among several files begins with its file's name: "train-1.csv: line 17". Errors: InterplayError for an
    unknown suffix, and an unreadable, undecodable or torn file, and where there are no rows.
    """
    readers = {".jsonl": _jsonl, ".ndjson": _jsonl, ".json": _json, ".csv": _csv, ".tsv": _csv}
    table: Table = []
    classes: Classes = {}
    for path in paths:
        _refuse_others(path)
        read = readers.get(kind_of(path))
        part, found = (list(read(path)), None) if read else _arrow(path)
        found = classes_beside(path) if found is None else found
        for record in (record for _, record in part if isinstance(record, dict)):
            record |= {column: class_name(record[column], names) for column, names in found.items() if column in record}
        file = f"{name_of(Path(path.name))}: " if paths[1:] else ""
        table += [(file + place, record) for place, record in part]
        classes = {**found, **classes}
    if not table:
        raise InterplayError(f"{name_of(paths[0])}: the file holds no rows")
    return table, classes


def _refuse_others(path: Path) -> None:
    """Refuse a file that cannot be read, with the command that helps."""
    if not kind_of(path):
        command = _CONVERSIONS.get(path.suffix.lower())
        how = f"; convert it: {command} {shlex.quote(name_of(path))}" if command else ", with columns of text"
        raise InterplayError(f"{name_of(path)}: expected a file ending in {', '.join(SUFFIXES)} (or .gz){how}")
    with contextlib.suppress(OSError), path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise InterplayError(f"{name_of(path)}: is a Git LFS pointer, not the data: run git lfs pull in its folder")


def read_text(path: Path) -> str:
    """A text file, unpacked if it ends in .gz. Errors: InterplayError when it cannot be read, is not UTF-8 or is empty."""
    try:
        data = path.read_bytes()
        if path.name.lower().endswith(".gz"):
            data = gzip.decompress(data)
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InterplayError(f"{name_of(path)}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InterplayError(f"{name_of(path)}: cannot be read: {_message(error)}") from None
    if not text.strip():
        raise InterplayError(f"{name_of(path)}: the file is empty")
    return text


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines with text in them and their places. str.splitlines would also cut at U+2028, which JSON strings may hold."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield f"line {number}", line.rstrip("\r")


def _jsonl(path: Path) -> Iterator[tuple[str, Record]]:
    for place, line in _lines(path):
        try:
            yield place, _object(json.loads(line))
        except (ValueError, RecursionError) as error:
            yield place, Unreadable(f"broken JSON: {_message(error)}")


def _object(value: Any) -> Record:
    return value if isinstance(value, dict) else Unreadable(f"expected a JSON object, found {type(value).__name__}")


def _json(path: Path) -> Iterator[tuple[str, Record]]:
    try:
        values = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        if "Extra data" in str(error):  # one object a line, under the other name
            yield from _jsonl(path)
            return
        raise InterplayError(f"{name_of(path)}: broken JSON: {_message(error)}") from None
    if not isinstance(values, list):
        raise InterplayError(f"{name_of(path)}: expected a list of objects, found {type(values).__name__}")
    for number, value in enumerate(values, start=1):
        yield f"item {number}", _object(value)


def _csv(path: Path) -> Iterator[tuple[str, Record]]:
    text, header = io.StringIO(read_text(path), newline=""), None
    limit = csv.field_size_limit(_CELL_LIMIT)  # a global of the csv module: put back below
    try:
        lines = csv.reader(text, delimiter="\t" if kind_of(path) == ".tsv" else ",", strict=True)
        while True:
            place = f"line {lines.line_num + 1}"
            try:
                cells = next(lines)
            except StopIteration:
                return
            except csv.Error as error:
                # An open quote or a huge cell swallows an unknown number of rows; a stray quote only spoils its own.
                message = _message(error)
                if "unexpected end" in message:
                    raise InterplayError(f"{name_of(path)}: {place}: a quote is never closed") from None
                if header is None or "larger than field limit" in message:
                    raise InterplayError(f"{name_of(path)}: {place}: {message}") from None
                yield place, Unreadable(f"broken CSV: {message}")
                continue
            if header is None:
                header = cells
                _refuse_twins(path, header)
            elif cells and len(cells) == len(header):
                yield place, dict(zip(header, cells, strict=True))
            elif cells:
                yield place, Unreadable(f"{len(cells)} cells where the header has {len(header)}")
    finally:
        csv.field_size_limit(limit)


def _arrow(path: Path) -> tuple[Table, Classes | None]:
    """The records of a parquet or arrow file, and the classes that its metadata name; None where it has none of `datasets`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if kind_of(path) == ".parquet":
            table = pq.read_table(path, partitioning=None)  # no columns from folders that are called name=value
        else:
            data = path.read_bytes()  # `datasets` writes streams, other programs files
            table = (pa.ipc.open_file if data.startswith(b"ARROW1") else pa.ipc.open_stream)(data).read_all()
        rows = table.to_pylist()
        written = (table.schema.metadata or {}).get(b"huggingface")
        classes = None if written is None else classes_in(json.loads(written))
    # pyarrow's own errors are of these types, and so is what Python makes of a time zone or a date that it does not know.
    except (OSError, ValueError, TypeError, LookupError, ArithmeticError, NotImplementedError, RecursionError) as error:
        raise InterplayError(f"{name_of(path)}: cannot be read as {kind_of(path)[1:]}: {_message(error)}") from None
    _refuse_twins(path, table.column_names)
    return [(f"row {number}", row) for number, row in enumerate(rows, start=1)], classes


def _refuse_twins(path: Path, columns: Sequence[str]) -> None:
    if len(set(columns)) < len(columns):
        raise InterplayError(f"{name_of(path)}: two columns have the same name in {short(', '.join(columns))}")


# Names of classes: `datasets` writes them into parquet and arrow files, and beside any file into JSON or the README.


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
        # Not there, or of another program.
        with contextlib.suppress(OSError, ValueError, RecursionError, yaml.YAMLError):
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
            listed = ((f.get("name"), f) for f in features if isinstance(f, dict))
            for name, feature in features.items() if isinstance(features, dict) else listed:
                yield from _named(feature, name, depth - 1)
        else:
            for inner in part.values():
                yield from _named(inner, column, depth - 1)


def looks_like_goemotions(path: Path) -> bool:
    """Whether a file is in the published format of GoEmotions, with the label names in emotions.txt next to it."""
    if kind_of(path) != ".tsv" or not (path.parent / "emotions.txt").is_file():
        return False
    cells = read_text(path).split("\n", 1)[0].rstrip("\r").split("\t")
    return len(cells) == 3 and _LABEL_IDS.fullmatch(cells[1]) is not None


def read_goemotions(path: Path) -> tuple[Table, tuple[str, ...]]:
    """The published files of GoEmotions (text, label ids, comment id; no header, no quoting), and the labels in order.

    The records have the columns text, labels (a list of names) and id. Errors: InterplayError without an emotions.txt.
    """
    if not (path.parent / "emotions.txt").is_file():
        raise InterplayError(f"{name_of(path)}: form 'goemotions' needs the label names in emotions.txt next to it")
    names = tuple(line.strip() for _, line in _lines(path.parent / "emotions.txt"))
    by_id = {str(i): name for i, name in enumerate(names)}

    def record(line: str) -> Record:
        cells = line.split("\t")
        if len(cells) != 3:
            return Unreadable(f"{len(cells)} cells, expected text, label ids, comment id")
        text, ids, comment = cells
        labels = [by_id.get(label) for label in ids.split(",")]
        if not _LABEL_IDS.fullmatch(ids) or labels == [None]:
            return Unreadable(f"label id {short(ids, 20)} is none of 0..{len(names) - 1}", comment)
        return {"text": text, "labels": labels, "id": comment}

    return [(place, record(line)) for place, line in _lines(path)], names


def _message(error: BaseException) -> str:
    """The first line of an exception's message, fit for one line of ours."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return ascii_safe(text.strip().split("\n")[0])[:200]
