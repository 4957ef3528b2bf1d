"""What a run folder may hold: files and folders of its own. Links that lead out of it, pipes and devices are refused.

A run folder travels: it is downloaded, unpacked, handed on. A link in one that came from elsewhere could have a run write,
truncate or delete a file of the user, or copy one into an export. So a folder is looked through before anything in it is
opened. It is no defence against another process that plants a link while a run works; such a process has the user's rights.

The folder itself may be a link, and links from one place inside it to another are let be, but never hashed or copied.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from interplay.data.words import short
from interplay.errors import InterplayError


def refuse_links(folder: Path) -> None:
    """Refuse a folder in which a link leads outside, or in which something is neither file nor folder nor link.

    A folder that does not exist is not refused here. Costs one directory entry a file, no file is opened.

    Raises InterplayError that names the entry.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "units").symlink_to("/tmp")
    >>> refuse_links(folder)
    Traceback (most recent call last):
    interplay.errors.InterplayError: 'units' in the run folder is a link that leads out of it: put the files themselves there
    """
    root = os.path.realpath(folder)
    for entry in _entries(root):
        name = short(os.path.relpath(entry.path, root), 120)
        if entry.is_symlink():
            if not _inside(os.path.realpath(entry.path), root):
                raise InterplayError(
                    f"{name} in the run folder is a link that leads out of it: put the files themselves there"
                )
        elif not entry.is_file(follow_symlinks=False) and not entry.is_dir(follow_symlinks=False):
            raise InterplayError(f"{name} in the run folder is no file and no folder (a pipe or device): remove it")


def plain_files(folder: Path) -> list[Path]:
    """Every file below a folder that is one itself, sorted by path; links are neither listed nor entered.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "a").mkdir()
    >>> _ = (folder / "a" / "b.json").write_text("{}", encoding="utf-8")
    >>> (folder / "c").symlink_to(folder / "a")
    >>> [path.relative_to(folder).as_posix() for path in plain_files(folder)]
    ['a/b.json']
    """
    return sorted(Path(entry.path) for entry in _entries(folder) if entry.is_file(follow_symlinks=False))


def _entries(folder: str | os.PathLike[str]) -> Iterator[os.DirEntry[str]]:
    """Everything below a folder; links are given, not entered. What goes away meanwhile is passed over: work may be shared."""
    waiting = [os.fspath(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as found:
                entries = list(found)
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)


def _inside(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)
