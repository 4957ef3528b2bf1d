"""Writing files so that one that exists is whole: temporary name, fsync, rename. Knows nothing of what is in them."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Generator
from pathlib import Path

from interplay.errors import InterplayError

# What a disk that is full, read-only or gone (a network folder) says; any other error is not the disk's.
LOST = frozenset(
    getattr(errno, name)
    for name in ["ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "EIO", "ESTALE", "ENOTCONN", "ETIMEDOUT", "ENODEV", "EHOSTDOWN", "ENXIO", "EREMOTEIO"]
    if hasattr(errno, name)  # not every system has all of them
)


@contextlib.contextmanager
def replacing(path: Path) -> Generator[Path]:
    """A temporary path beside `path`; what is written there takes its place when the block ends without an exception.

    Raises InterplayError when the folder cannot be written or the disk is full; an older file at `path` then stays.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with open(temporary, "rb") as f:
            os.fsync(f.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes it private; results are to be shared like any other file
        os.replace(temporary, path)
    except OSError as error:
        raise InterplayError(
            f"cannot write {str(path)!r}: {error.strerror or error}; choose another folder or make room"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all."""
    write_bytes(path, text.encode("utf-8"))
