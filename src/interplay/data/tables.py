"""Tables: a data file as plain records, each with its position in the file.

Reads .jsonl, .json, .csv, .tsv (each also .gz) and .parquet, and the files of GoEmotions. No format can run code (no pickle).
A file that cannot be read is an InterplayError; a broken line among good ones is `Unreadable`.
"""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from interplay.data.words import ascii_safe, short
from interplay.errors import InterplayError

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
_LABEL_IDS = re.compile(r"\d+(,\d+)*")
_CELL_LIMIT = 16 * 2**20  # characters in one CSV cell; the csv module's own 128 Ki is too little for a document


class Position(NamedTuple):
    """Where a record stands: "line 17" for people, 17 for ids."""

    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.kind} {self.number}"


class Unreadable(NamedTuple):
    """A record that cannot be read, why, and its id if that could be read."""

    reason: str
    id: str | None = None


Record = dict[str, Any] | Unreadable


class Table(NamedTuple):
    """The records of a file, each with its position, and the columns of all records together."""

    columns: tuple[str, ...]
    records: tuple[tuple[Position, Record], ...]


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


def name_of(path: Path) -> str:
    """A path fit for a message."""
    return ascii_safe(str(path))


def data_files(folder: Path) -> list[Path]:
    """The files of a folder that `read_table` reads, by name. Errors: InterplayError when the folder cannot be listed."""
    try:
        return sorted(path for path in folder.iterdir() if kind_of(path) and path.is_file())
    except OSError as error:
        raise InterplayError(f"{name_of(folder)}: cannot be listed: {error.strerror or error}") from None


def listed(files: list[Path]) -> str:
    """Some file names for a message."""
    names = ", ".join(name_of(Path(path.name)) for path in files[:8]) or "no data file"
    return names + (", ..." if len(files) > 8 else "")


def read_table(path: Path) -> Table:
    """The records of a file, by its suffix.

    Errors: InterplayError naming the file for an unknown suffix, and for an unreadable, undecodable, empty or torn file.
    """
    kind = kind_of(path)
    readers = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".tsv": _csv}
    if kind == ".parquet":
        table = _parquet(path)
    elif kind in readers:
        table = readers[kind](path, read_text(path))
    else:
        raise InterplayError(f"{name_of(path)}: expected a file ending in {', '.join(SUFFIXES)} (or .gz)")
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
        raise InterplayError(f"{name_of(path)}: cannot be read: {_message(error)}") from None
    if not text.strip():
        raise InterplayError(f"{name_of(path)}: the file is empty")
    return text


def _jsonl(path: Path, text: str) -> Table:
    records: list[tuple[Position, Record]] = []
    # Only "\n" ends a line: str.splitlines would also cut at U+2028, which JSON strings may hold.
    lines = ((number, line) for number, line in enumerate(io.StringIO(text, newline="\n"), start=1) if line.strip())
    for number, line in lines:
        records.append((Position("line", number), _object(line.removesuffix("\n"))))
    return _table(records)


def _object(line: str) -> Record:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Unreadable(f"broken JSON: {_message(error)}")
    return value if isinstance(value, dict) else Unreadable(f"expected a JSON object, found {type(value).__name__}")


def _json(path: Path, text: str) -> Table:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InterplayError(
            f"{name_of(path)}: broken JSON: {_message(error)}; one object a line must be named .jsonl"
        ) from None
    if not isinstance(value, list):
        raise InterplayError(f"{name_of(path)}: expected a list of objects, found {type(value).__name__}")
    return _table(
        [
            (Position("item", i), v if isinstance(v, dict) else Unreadable(f"expected an object, found {type(v).__name__}"))
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
            raise InterplayError(f"{name_of(path)}: line 1: {_message(error)}") from None
        _refuse_twins(path, header)
        return Table(tuple(header), tuple(_csv_records(path, lines, header)))
    finally:
        csv.field_size_limit(limit)


def _csv_records(path: Path, lines: Any, header: list[str]) -> Iterator[tuple[Position, Record]]:
    while True:
        place = Position("line", lines.line_num + 1)
        try:
            cells = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            message = _message(error)
            # These two swallow an unknown number of rows; a stray quote only spoils its own.
            if "unexpected end" in message:
                raise InterplayError(f"{name_of(path)}: {place}: a quote is never closed") from None
            if "larger than field limit" in message:
                raise InterplayError(f"{name_of(path)}: {place}: a cell is over {_CELL_LIMIT} characters") from None
            yield place, Unreadable(f"broken CSV: {message}")
            continue
        if not cells:
            continue
        if len(cells) != len(header):
            yield place, Unreadable(f"{len(cells)} cells where the header has {len(header)}")
        else:
            yield place, dict(zip(header, cells, strict=True))


def _refuse_twins(path: Path, columns: Sequence[str]) -> None:
    if len(set(columns)) < len(columns):
        raise InterplayError(f"{name_of(path)}: two columns have the same name in {short(', '.join(columns))}")


def _parquet(path: Path) -> Table:
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, partitioning=None)  # no columns from folders that are called name=value
        columns, rows = tuple(table.column_names), table.to_pylist()
    # pyarrow's own errors are of these types, and so is what Python makes of a time zone or a date that it does not know.
    except (OSError, ValueError, TypeError, LookupError, ArithmeticError, NotImplementedError) as error:
        raise InterplayError(f"{name_of(path)}: cannot be read as parquet: {_message(error)}") from None
    _refuse_twins(path, columns)
    return Table(columns, tuple((Position("row", i), row) for i, row in enumerate(rows, start=1)))


def looks_like_goemotions(path: Path) -> bool:
    """Whether a file is in the published format of GoEmotions, with the label names beside it."""
    if kind_of(path) != ".tsv" or not (path.parent / "emotions.txt").is_file():
        return False
    cells = read_text(path).split("\n", 1)[0].rstrip("\r").split("\t")
    return len(cells) == 3 and _LABEL_IDS.fullmatch(cells[1]) is not None


def read_goemotions(path: Path) -> tuple[Table, tuple[str, ...]]:
    """The published files of GoEmotions: text, label ids, comment id; no header, no quoting. And the labels in order.

    The records have the columns text, labels (a list of names) and id.

    Errors: as `read_text`; InterplayError when emotions.txt, which names the labels, is missing.
    """
    names_path = path.parent / "emotions.txt"
    if not names_path.is_file():
        raise InterplayError(f"{name_of(path)}: form 'goemotions' needs the label names in emotions.txt next to it")
    names = tuple(line.strip() for line in read_text(names_path).split("\n") if line.strip())
    by_id = {str(i): name for i, name in enumerate(names)}

    def record(cells: list[str]) -> Record:
        if len(cells) != 3:
            return Unreadable(f"{len(cells)} cells, expected text, label ids, comment id")
        text, ids, comment = cells
        labels = [by_id.get(label) for label in ids.split(",")]
        if not _LABEL_IDS.fullmatch(ids) or labels == [None]:
            return Unreadable(f"label id {short(ids, 20)} is none of 0..{len(names) - 1}", comment)
        return {"text": text, "labels": labels, "id": comment}

    lines = enumerate(read_text(path).split("\n"), start=1)
    cells = [(Position("line", i), line.rstrip("\r").split("\t")) for i, line in lines if line.strip()]
    return Table(("text", "labels", "id"), tuple((position, record(row)) for position, row in cells)), names


def _table(records: list[tuple[Position, Record]]) -> Table:
    columns: dict[str, None] = {}
    for _, record in records:
        if isinstance(record, dict):
            columns.update(dict.fromkeys(record))
    return Table(tuple(columns), tuple(records))


def _message(error: BaseException) -> str:
    """The first line of an exception's message, fit for one line of ours."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return ascii_safe(text.strip().split("\n")[0])[:200]
