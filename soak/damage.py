"""From the bytes of a fuzzer to a damaged file: choices read off the bytes, and what they do to whole files.

It knows how files are built (JSON, safetensors, parquet, text), so that a damage lands where a reader looks; not what the
files are for. Equal bytes do equal damage.
"""

import json
import shutil
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
MOST = 3  # damages done to one folder [ours]

# What a careful reader has to expect in the place of any value.
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 7, 1 << 31, 0.5, 1e308, float("nan"), float("inf"), "", " ", "0",
    "-1", "nan", "null", "../../outside", "/etc/passwd", "two\nlines", "\x1b[2J", "\u2028", "\u202e",
    "<img src=x onerror=alert(1)>", "{{7*7}}", "x" * 5000, [], [[]], [None], [1, "a", {}], {}, {"": None}, {"a": {"b": []}},
    "step-000000", "checkpoint-2", [0], ["a"], [[1.0, 2.0]],
)  # fmt: skip
LENGTHS = (0, 1, 2, 1 << 20, 1 << 32, 1 << 60, (1 << 64) - 1)  # of a safetensors header


class Choices:
    """Bytes read as choices, from the front; when they have run out every choice is the first.

    Atheris has a reader like it, which the engine without atheris could not use.

    >>> take = Choices(bytes([1, 0, 3]))
    >>> take.pick("abc"), take.number(), take.rest()
    ('b', 3, b'')
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def byte(self) -> int:
        """The next byte, 0..255."""
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def number(self) -> int:
        """The next two bytes as a number, 0..65535."""
        return 256 * self.byte() + self.byte()

    def pick(self, among: Sequence[T]) -> T:
        """One of a sequence that is not empty."""
        return among[(self.byte() if len(among) <= 256 else self.number()) % len(among)]

    def rest(self) -> bytes:
        """All that is left."""
        left, self._at = self._data[self._at :], len(self._data)
        return left

    @property
    def more(self) -> bool:
        """Whether any byte is left."""
        return self._at < len(self._data)


def damage_folder(folder: Path, take: Choices) -> None:
    """Damage up to `MOST` files of a folder, as far as the bytes reach; none where there are no bytes."""
    for _ in range(MOST):
        files = sorted(p for p in folder.rglob("*") if p.is_file() or p.is_symlink())
        if not take.more or not files:
            return
        path = take.pick(files)
        take.pick(DAMAGES)(path, take)


def mutate_json(value: Any, take: Choices) -> Any:
    """`value` with one place of it, found by walking down, changed into something odd, taken away or doubled."""
    if isinstance(value, dict) and value and take.byte() % 8:
        key = take.pick(sorted(value, key=str))
        changed = dict(value)
        if (what := take.byte() % 8) == 0:
            del changed[key]
        elif what == 1:
            changed[take.pick(("", "x", "../../x", "__class__"))] = changed.pop(key)
        else:
            changed[key] = mutate_json(value[key], take)
        return changed
    if isinstance(value, list) and value and take.byte() % 8:
        at = take.number() % len(value)
        if (what := take.byte() % 8) == 0:
            return value[:at] + value[at + 1 :]
        if what == 1:
            return [*value, value[at]]
        return [*value[:at], mutate_json(value[at], take), *value[at + 1 :]]
    return take.pick(ODD)


# ---- one way to damage a file each ----------------------------------------------------------------------------------------


def _json(path: Path, take: Choices) -> None:
    """Change a value of a JSON file, or of the JSON header of a safetensors file."""
    data = _bytes(path)
    try:
        if path.suffix == ".safetensors":
            (length,) = struct.unpack("<Q", data[:8])
            header = _dumps(mutate_json(json.loads(data[8 : 8 + length]), take))
            path.write_bytes(struct.pack("<Q", len(header)) + header + data[8 + length :])
        else:
            path.write_bytes(_dumps(mutate_json(json.loads(data), take)))
    except (ValueError, RecursionError, struct.error):
        _flip(path, take)


def _dumps(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()  # NaN is written as NaN, which Python reads


def _cut(path: Path, take: Choices) -> None:
    data = _bytes(path)
    _fresh(path).write_bytes(data[: take.number() % (len(data) + 1)])


def _flip(path: Path, take: Choices) -> None:
    data = bytearray(_bytes(path))
    if data:
        # From the front or from the end, where parquet has its footer.
        at = take.number() % len(data)
        at = at if take.byte() % 2 else len(data) - 1 - at
        data[at] ^= 1 << take.byte() % 8
    _fresh(path).write_bytes(bytes(data))


def _gone(path: Path, take: Choices) -> None:
    path.unlink()


def _empty(path: Path, take: Choices) -> None:
    _fresh(path).write_bytes(b"")


def _other(path: Path, take: Choices) -> None:
    """The bytes themselves as the file."""
    _fresh(path).write_bytes(take.rest())


def _tail(path: Path, take: Choices) -> None:
    data = _bytes(path)
    _fresh(path).write_bytes(data + data[: take.byte()] + b"\n")


def _length(path: Path, take: Choices) -> None:
    """Another length of the header in front, as safetensors has it."""
    data = _bytes(path)
    _fresh(path).write_bytes(struct.pack("<Q", take.pick(LENGTHS)) + data[8:])


def _folder(path: Path, take: Choices) -> None:
    path.unlink()
    path.mkdir()


def _swap(path: Path, take: Choices) -> None:
    """The content of a file beside it."""
    beside = sorted(p for p in path.parent.iterdir() if p.is_file() and not p.is_symlink())
    if beside:
        data = take.pick(beside).read_bytes()
        _fresh(path).write_bytes(data)


def _columns(path: Path, take: Choices) -> None:
    """A parquet table with a column gone, of another name or type, without rows, or with rows doubled."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(_bytes(path)))
    except (OSError, pa.ArrowException):
        _flip(path, take)
        return
    what, column = take.byte() % 7, take.number() % max(1, table.num_columns)
    name = table.column_names[column]
    if what == 0:
        table = table.remove_column(column)
    elif what == 1:
        table = table.rename_columns([f"{c}x" if c == name else c for c in table.column_names])
    elif what == 2:
        table = table.slice(0, take.byte() % (table.num_rows + 1))
    elif what == 3:
        table = pa.concat_tables([table, table])
    elif what == 4:
        table = table.replace_schema_metadata({"interplay": _dumps(take.pick(ODD)), "pandas": _dumps(take.pick(ODD))})
    elif what == 5:
        meta = table.schema.metadata or {}
        about = json.loads(meta.get(b"interplay", b"{}"))
        table = table.replace_schema_metadata({"interplay": _dumps(mutate_json(about, take))})
    else:
        odd = take.pick((None, 1, -1, 1.5, float("nan"), "x", True, b"\xff", [1.0], 1 << 62))
        table = table.set_column(column, name, pa.array([odd] * table.num_rows))
    pq.write_table(table, path)


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() and not path.is_symlink() else b""


def _fresh(path: Path) -> Path:
    """The path free of whatever lies there, so that nothing is written through a link."""
    if path.is_symlink() or path.exists():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    return path


DAMAGES: tuple[Callable[[Path, Choices], None], ...] = (
    _json, _cut, _flip, _columns, _json, _gone, _empty, _other, _tail, _length, _folder, _swap,
    _columns, _json,
)  # fmt: skip
