"""Writing files so that one that exists is whole: temporary name, fsync, rename. Knows nothing of what is in them."""

import contextlib
import errno
import os
import re
import tempfile
from collections.abc import Generator
from pathlib import Path

from interplay.errors import InterplayError

# What a disk that is full, read-only or gone (a network folder) says; any other error is not the disk's.
LOST = frozenset(
    getattr(errno, name)
    for name in [
        "ENOSPC",
        "EDQUOT",
        "EROFS",
        "EACCES",
        "EPERM",
        "EIO",
        "ESTALE",
        "ENOTCONN",
        "ETIMEDOUT",
        "ENODEV",
        "EHOSTDOWN",
        "ENXIO",
        "EREMOTEIO",
    ]
    if hasattr(errno, name)  # not every system has all of them
)


def disk_error(error: BaseException) -> str | None:
    """What the disk said, where an exception is its doing; None where it is not.

    Not every library raises OSError for it. What is written in Rust (safetensors, tokenizers) raises types of its own that end
    in "(os error 28)"; torch's archive writer (C++) raises a RuntimeError that says where in its file it stood, never why.

    >>> disk_error(OSError(errno.ENOSPC, "No space left on device"))
    'No space left on device'
    >>> disk_error(Exception("Error while serializing: I/O error: No space left on device (os error 28)"))
    'No space left on device'
    >>> disk_error(RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"))
    'a file could not be written whole'
    >>> disk_error(OSError(errno.EISDIR, "Is a directory")), disk_error(ValueError("no"))
    (None, None)
    """
    if isinstance(error, OSError):
        return (error.strerror or str(error)) if error.errno in LOST else None
    if found := re.search(r"\(os error (\d+)\)", str(error)):
        return os.strerror(int(found[1])) if int(found[1]) in LOST else None
    writer = isinstance(error, RuntimeError) and re.search(r"inline_container|PytorchStreamWriter", str(error))
    return "a file could not be written whole" if writer else None


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
    except IsADirectoryError as error:
        raise InterplayError(f"cannot write {str(path)!r}: a folder lies there; remove it") from error
    except OSError as error:
        raise InterplayError(
            f"cannot write {str(path)!r}: {error.strerror or error}; choose another folder or make room"
        ) from error
    finally:
        if temporary is not None:
            # A lost folder cannot be tidied either, and that must not hide what was lost; the next run sweeps it.
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole or not at all."""
    write_bytes(path, text.encode("utf-8"))
