"""Reading files that somebody else may have written: regular files only, up to a size, JSON up to a depth, parquet up to
what it unfolds to.

What goes wrong is an OSError or a ValueError, as it is of any other file, so a reader has one list of exceptions to turn into
its own message. Writing is `atomic`. What the bytes mean is the reader's business.
"""

import errno
import json
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

# JSON takes some twenty times its size once it is read, so this is about a GiB of memory. The manifest of 10^5 units has
# 15 MB, the log of 500,000 training steps 60 MB. [ours]
JSON_BYTES = 1 << 26
# Of a table of a run. The longest, one row for an interaction that is salient, has some 5 * 10^6 rows of 10^5 units. [ours]
TABLE_BYTES = 1 << 32
TABLE_ROWS = 10**8


def read_bytes(path: Path, most: int) -> bytes:
    """The bytes of a regular file (or what a link to one leads to) of at most `most` bytes.

    Raises OSError for anything else: a pipe would wait for ever, /dev/zero never ends.

    >>> read_bytes(Path("/dev/zero"), 10)
    Traceback (most recent call last):
    OSError: [Errno 22] it is no regular file: '/dev/zero'
    """
    if not stat.S_ISREG(path.stat().st_mode):  # looked at before it is opened: opening a pipe waits already
        kind = errno.EISDIR if path.is_dir() else errno.EINVAL
        raise OSError(kind, "it is a folder" if path.is_dir() else "it is no regular file", str(path))
    with open(path, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most} bytes", str(path))
    return data


def read_json(path: Path, most: int = JSON_BYTES) -> Any:
    """The JSON in a file, UTF-8. Raises OSError, or ValueError for what is no JSON or nested too deeply to be read."""
    text = read_bytes(path, most).decode("utf-8")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def check_parquet(source: Any, most_bytes: int, most_rows: int) -> None:
    """Raise OSError for a parquet file that unfolds to more than it may.

    Run lengths make 10^9 numbers of a few bytes, and a dictionary a gigabyte of one long text that every row names; so the
    numbers are counted by the footer, and the texts as the dictionaries they are stored as, which are not unfolded for it. A
    footer that lies about its numbers is believed.

    Args:
        source: what `pyarrow.parquet.ParquetFile` takes: a path, or a reader (which is put back to its beginning).

    Raises what pyarrow raises for a file that is no parquet.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(source) as file:
        schema, groups, rows = file.metadata.schema, range(file.num_row_groups), file.metadata.num_rows
        leaves = [schema.column(c) for c in range(len(schema))]
    size, texts = 0, sorted({leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"})
    if rows <= most_rows and leaves:
        with pq.ParquetFile(_again(source), read_dictionary=texts) as file:
            for group in groups:
                # A row of it first: a damaged footer is an error there, and the end of the process below, in C++.
                next(file.iter_batches(1, row_groups=[group], use_threads=False), None)
                found = file.metadata.row_group(group)
                columns = [found.column(c) for c in range(len(leaves))]
                stored = sum(column.total_uncompressed_size for column in columns)
                size += max(stored, sum(c.num_values * _width(leaf) for c, leaf in zip(columns, leaves, strict=True)))
                if size <= most_bytes and texts:  # by groups, not batches: each would bring the dictionary of its group
                    table = file.read_row_group(group, use_threads=False)
                    size += sum(_unfolded(chunk) for column in table.columns for chunk in column.chunks)
                if size > most_bytes:
                    break
    _again(source)
    if rows > most_rows or size > most_bytes:
        raise OSError(errno.EFBIG, f"it holds more than {most_rows} rows or unfolds to more than {most_bytes} bytes")


def _again(source: Any) -> Any:
    if hasattr(source, "seek"):
        source.seek(0)
    return source


def _width(column: Any) -> int:
    """Bytes of one value in memory; of a text without its letters, which are counted one by one."""
    return max(8, column.length) if column.physical_type == "FIXED_LEN_BYTE_ARRAY" else 8


def _unfolded(array: "pa.Array") -> int:
    """Bytes of the texts in an array once each stands for itself."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(array, pa.DictionaryArray):
        if not (pa.types.is_string(array.dictionary.type) or pa.types.is_binary(array.dictionary.type)):
            return 0
        return pc.sum(pc.take(pc.binary_length(array.dictionary), array.indices)).as_py() or 0  # ty: ignore
    if isinstance(array, pa.StructArray | pa.MapArray):
        parts = [array.keys, array.items] if isinstance(array, pa.MapArray) else array.flatten()
        return sum(_unfolded(part) for part in parts)
    if isinstance(array, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        return _unfolded(array.flatten())
    return 0
