"""Reading files that somebody else may have written: regular files only, up to a size, JSON up to a depth.

What goes wrong is an OSError or a ValueError, as it is of any other file, so a reader has one list of exceptions to turn into
its own message. Writing is `atomic`. What the bytes mean is the reader's business.
"""

import errno
import json
import stat
from pathlib import Path
from typing import Any

# JSON takes some twenty times its size once it is read, so this is about a GiB of memory. The manifest of 10^5 units has
# 15 MB, the log of 500,000 training steps 60 MB. [ours]
JSON_BYTES = 1 << 26


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
