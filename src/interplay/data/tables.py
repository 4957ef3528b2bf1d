"""Tables: the files data sets come in, as plain records with the place each one stands at.

Reads .jsonl, .json, .csv, .tsv (each also .gz) and .parquet; nothing here can run code from a file (no pickle). What the
columns mean is `forms.py`. A file that cannot be read at all is an InterplayError; a broken line among good ones is a `Broken`.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from interplay.data.words import ascii_safe, short
from interplay.errors import InterplayError

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
_CELL_LIMIT = 16 * 2**20  # characters in one CSV cell; the csv module's own 128 Ki is too little for a document


class Place(NamedTuple):
    """Where a record stands: "line 17" for people, 17 for ids."""

    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.kind} {self.number}"


class Broken(NamedTuple):
    """A record that cannot be read, and why."""

    reason: str


class Table(NamedTuple):
    """The records of a file, each with its place, and the columns they have (of all records together)."""

    columns: tuple[str, ...]
    records: tuple[tuple[Place, dict[str, Any] | Broken], ...]


def kind_of(path: Path) -> str:
    """The suffix that says how to read a file, without .gz.

    >>> kind_of(Path("a/train.JSONL.gz")), kind_of(Path("weights.pkl"))
    ('.jsonl', '')
    """
    name = path.name.lower().removesuffix(".gz")
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")


def stem_of(path: Path) -> str:
    """A file's name without the suffixes that say how to read it.

    >>> stem_of(Path("a/train.v2.jsonl.gz")), stem_of(Path("notes.txt"))
    ('train.v2', 'notes')
    """
    return path.name[: path.name.lower().rindex(kind_of(path))] if kind_of(path) else path.stem


def read_table(path: Path) -> Table:
    """The records of a file, by its suffix.

    Errors: InterplayError naming the file for an unknown suffix, and for an unreadable, undecodable, empty or torn file.
    """
    kind = kind_of(path)
    if kind == ".parquet":
        return _parquet(path)
    readers = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".tsv": _csv}
    if kind not in readers:
        raise InterplayError(f"{name_of(path)}: expected a file ending in {', '.join(SUFFIXES)} (or .gz)")
    table = readers[kind](path, read_text(path))
    if not table.records:
        raise InterplayError(f"{name_of(path)}: the file holds no rows")
    return table


def read_text(path: Path) -> str:
    """A whole text file, UTF-8 with or without BOM, unpacked if it ends in .gz.

    Errors: InterplayError naming the file when it cannot be read, is not UTF-8 or is empty.
    """
    try:
        data = path.read_bytes()
        if path.name.lower().endswith(".gz"):
            data = gzip.decompress(data)
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InterplayError(f"{name_of(path)}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InterplayError(f"{name_of(path)}: cannot be read: {_said(error)}") from None
    if not text.strip():
        raise InterplayError(f"{name_of(path)}: the file is empty")
    return text


def name_of(path: Path) -> str:
    """A path fit for a message.

    >>> name_of(Path("a.csv"))
    'a.csv'
    """
    return ascii_safe(str(path))


def _jsonl(path: Path, text: str) -> Table:
    records: list[tuple[Place, dict[str, Any] | Broken]] = []
    # Only "\n" ends a line: str.splitlines would also cut at U+2028, which JSON strings may hold.
    lines = ((number, line) for number, line in enumerate(io.StringIO(text, newline="\n"), start=1) if line.strip())
    for number, line in lines:
        records.append((Place("line", number), _object(line.removesuffix("\n"))))
    return _table(records)


def _object(line: str) -> dict[str, Any] | Broken:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Broken(f"broken JSON: {_said(error)}")
    return value if isinstance(value, dict) else Broken(f"expected a JSON object, found {type(value).__name__}")


def _json(path: Path, text: str) -> Table:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InterplayError(
            f"{name_of(path)}: broken JSON: {_said(error)}; one object a line must be named .jsonl"
        ) from None
    if not isinstance(value, list):
        raise InterplayError(f"{name_of(path)}: expected a list of objects, found {type(value).__name__}")
    return _table(
        [
            (Place("item", i), v if isinstance(v, dict) else Broken(f"expected an object, found {type(v).__name__}"))
            for i, v in enumerate(value, start=1)
        ]
    )


def _csv(path: Path, text: str) -> Table:
    limit = csv.field_size_limit(_CELL_LIMIT)  # a global of the csv module: put back below
    try:
        delimiter = "\t" if kind_of(path) == ".tsv" else ","
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        try:
            header = next(lines, [])
        except csv.Error as error:
            raise InterplayError(f"{name_of(path)}: line 1: {_said(error)}") from None
        if len(set(header)) < len(header):
            raise InterplayError(f"{name_of(path)}: two columns have the same name in {short(', '.join(header))}")
        return Table(tuple(header), tuple(_csv_records(path, lines, header)))
    finally:
        csv.field_size_limit(limit)


def _csv_records(path: Path, lines: Any, header: list[str]) -> Iterator[tuple[Place, dict[str, Any] | Broken]]:
    while True:
        place = Place("line", lines.line_num + 1)
        try:
            cells = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            said = _said(error)
            # These two swallow an unknown number of rows; a stray quote only spoils its own.
            if "unexpected end" in said or "larger than field limit" in said:
                what = (
                    "a quote is never closed"
                    if "unexpected end" in said
                    else f"a cell is over {_CELL_LIMIT} characters"
                )
                raise InterplayError(f"{name_of(path)}: {place}: {what}") from None
            yield place, Broken(f"broken CSV: {said}")
            continue
        if not cells:
            continue
        if len(cells) != len(header):
            yield place, Broken(f"{len(cells)} cells where the header has {len(header)}")
        else:
            yield place, dict(zip(header, cells, strict=True))


def _parquet(path: Path) -> Table:
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, partitioning=None)  # no columns from folders that are called name=value
        columns, rows = tuple(table.column_names), table.to_pylist()
    # pyarrow's own errors are of these types, and so is what Python makes of a time zone or a date that it does not know.
    except (OSError, ValueError, TypeError, LookupError, ArithmeticError, NotImplementedError) as error:
        raise InterplayError(f"{name_of(path)}: cannot be read as parquet: {_said(error)}") from None
    if len(set(columns)) < len(columns):
        raise InterplayError(f"{name_of(path)}: two columns have the same name in {short(', '.join(columns))}")
    if not rows:
        raise InterplayError(f"{name_of(path)}: the file holds no rows")
    return Table(columns, tuple((Place("row", i), row) for i, row in enumerate(rows, start=1)))


def _table(records: list[tuple[Place, dict[str, Any] | Broken]]) -> Table:
    columns: dict[str, None] = {}
    for _, record in records:
        if isinstance(record, dict):
            columns.update(dict.fromkeys(record))
    return Table(tuple(columns), tuple(records))


def _said(error: BaseException) -> str:
    """The first line of an exception's message, fit for one line of ours."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return ascii_safe(text.strip().split("\n")[0])[:200]
