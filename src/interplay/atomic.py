"""Writing files so that a file that exists is whole: temporary name, fsync, rename."""

import contextlib
import errno
import os
import re
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

from interplay.errors import InterplayError
from interplay.process import is_dead, this_process

OLD = 3600.0  # seconds after which a temporary file of another machine is abandoned [ours]

# Errors of a disk that is full, read-only or gone (a network folder).
_LOST = "ENOSPC EDQUOT EROFS EACCES EPERM EIO ESTALE ENOTCONN ETIMEDOUT ENODEV EHOSTDOWN ENXIO EREMOTEIO"
LOST = frozenset(code for code, name in errno.errorcode.items() if name in _LOST.split())


def disk_error(error: BaseException) -> str | None:
    """The disk's message if the disk caused an exception; else None.

    Rust libraries (safetensors, tokenizers) raise their own types, which end in "(os error 28)"; torch's archive writer raises
    a RuntimeError that says where in its file it stood.

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
def replacing(path: Path, *, folders: int | None = 0) -> Generator[Path]:
    """A temporary path next to `path`; it replaces `path` when the block ends without an exception.

    folders: how many missing folders right above the file are made, None for all; a run folder that is gone stays gone.

    Raises InterplayError when the folder cannot be written, is gone or the disk is full; an older file at `path` then stays.
    """
    temporary = None
    try:
        if folders is None:
            path.parent.mkdir(parents=True, exist_ok=True)
        elif folders and not path.parent.is_dir():
            for folder in reversed(path.parents[:folders]):
                folder.mkdir(exist_ok=True)
        # The process in the name tells what a killed process left from what another one writes now.
        prefix = f".{path.name[:50]}.{this_process()}."
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=".tmp", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with open(temporary, "rb") as f:
            os.fsync(f.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes it private; results are to be shared like any other file
        os.replace(temporary, path)
    except OSError as error:
        reason = f"{error.strerror or error}; choose another folder or make room"
        if isinstance(error, FileNotFoundError):
            reason = "its folder is gone; give another folder, or put it back"
        elif isinstance(error, IsADirectoryError):
            reason = "a folder lies there; remove it"
        raise InterplayError(f"cannot write {str(path)!r}: {reason}") from error
    finally:
        if temporary is not None:
            # Must not hide the error; the next run sweeps the file.
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes, *, folders: int | None = 0) -> None:
    """Write bytes whole or not at all; `folders` as for `replacing`."""
    with replacing(path, folders=folders) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str, *, folders: int | None = 0) -> None:
    """Write UTF-8 text whole or not at all; `folders` as for `replacing`."""
    write_bytes(path, text.encode("utf-8"), folders=folders)


def is_left_over(path: Path) -> bool:
    """Whether a file is an abandoned temporary one: of a dead process, or of another machine and an hour old."""
    if not (path.name.startswith(".") and path.name.endswith(".tmp")):
        return False
    dead = is_dead(path.name.split(".")[-3:][0])
    if dead is None:
        with contextlib.suppress(FileNotFoundError):
            return time.time() - path.stat().st_mtime > OLD
    return bool(dead)
