"""A lock for what one process of a run must do alone, as one file in one folder on any file system; no server, no `flock`.

The file is called `free`, or `<random>.<process>` after the process that has it. Taking it, giving it back and taking it over
from a dead process are renames: of many that try, one finds the name. A name is never used twice, so a lock that another
process has taken meanwhile is never taken by mistake.
"""

import contextlib
import errno
import os
import platform
import random
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Generator
from pathlib import Path

from interplay.errors import InterplayError
from interplay.process import is_dead, this_process

BEAT = 5.0  # seconds between two rises of the counter in a lock that is held [ours]
LEASE = 60.0  # seconds without a rise after which an owner elsewhere is dead; NFS may show a file this late [ours]
LOOK = 0.2  # seconds between two looks at a lock that another process has [ours]
TELL = 2.0  # seconds of waiting after which the user is told for whom [ours]
FREE = "free"
_OTHERS = (errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY)  # another process made or removed the lock at this moment


class Lock:
    """The lock in `folder`, whose parent lies in the run folder and holds nothing else. For one thread."""

    def __init__(self, folder: Path, *, lease: float = LEASE, beat: float = BEAT) -> None:
        self.folder, self.lease, self.beat = folder, lease, beat
        self.process = this_process()
        self._mine = ""  # the lock's name while this process has it
        self._stop, self._thread = threading.Event(), threading.Thread()
        # Of every owner elsewhere: its counter, for how long we saw it unchanged, and when we last looked.
        self._seen: dict[str, tuple[str, float, float]] = {}

    @contextlib.contextmanager
    def held(self, waiting: Callable[[str], None] | None = None) -> Generator[None]:
        """Hold the lock; wait while another process has it (`waiting` is told once for whom)."""
        began = time.monotonic()
        while not self.take():
            if waiting is not None and time.monotonic() - began > TELL and (owner := self.owner()):
                waiting(owner)
                waiting = None
            time.sleep(LOOK * random.Random().uniform(0.5, 1.5))
        try:
            yield
        finally:
            self.release()

    def take(self) -> bool:
        """Take the lock where it is free or its process is dead; False while another process has it."""
        assert not self._thread.is_alive(), "this process has the lock already"
        for name in self._names():
            if not self._is_takable(name):
                continue
            mine = f"{uuid.uuid4().hex}.{self.process}"
            try:
                os.rename(self.folder / name, self.folder / mine)
            except FileNotFoundError:  # another process was quicker
                continue
            # Folders that were copied over each other may hold two. Of two that take both, each sees the other.
            if any(other != mine and not self._is_takable(other) for other in self._names()):
                os.rename(self.folder / mine, self.folder / FREE)
                return False
            self._mine = mine
            self._start()
            return True
        return False

    def release(self) -> None:
        """Give the lock back. Where the disk refuses, it stays ours and our next `take` finds it."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        with contextlib.suppress(OSError):
            os.rename(self.folder / self._mine, self.folder / FREE)

    def is_lost(self) -> bool:
        """Whether another process removed the lock, or took it over since this one was silent for a lease."""
        try:
            os.stat(self.folder / self._mine)
        except OSError as error:  # any other error says nothing: what is written next will tell
            return isinstance(error, FileNotFoundError)
        return False

    def owner(self) -> str:
        """Who has the lock, for a message; empty where it is free."""
        with contextlib.suppress(OSError):
            for name in os.listdir(self.folder):
                if not self._is_takable(name):
                    said = (self.folder / name).read_bytes().decode(errors="replace")
                    return f"process {name.partition('.')[2].partition('-')[0]} on {said[12:].strip()}"
        return ""

    def remove(self) -> None:
        """Remove the folder and its parent, unless another process has the lock."""
        if not self.folder.is_dir() or not self.take():
            return
        try:
            aside = self._aside()
            os.rename(self.folder, aside)
            shutil.rmtree(aside)
            for left in self.folder.parent.glob("*.tmp"):
                if is_dead(left.name[33:-4]):  # one that is being made is not ours to remove
                    shutil.rmtree(left)
            self.folder.parent.rmdir()
        except OSError:
            pass  # somebody made it anew
        finally:
            self.release()

    def _names(self) -> list[str]:
        """The names in the folder, one but for copied folders; it is made where it is missing or empty."""
        for _ in range(2):
            with contextlib.suppress(FileNotFoundError):
                if names := sorted(os.listdir(self.folder)):
                    return names
            self._make()
        return []  # others make and remove it at this moment

    def _make(self) -> None:
        aside = self._aside()
        try:
            self.folder.parent.mkdir(exist_ok=True)  # but never the run folder
            aside.mkdir()
            (aside / FREE).write_bytes(self._said(0))
            os.rename(aside, self.folder)  # refused where one is there; a lock is never empty
        except OSError as error:
            if not self.folder.parent.parent.is_dir():
                where = str(self.folder.parent.parent)
                raise InterplayError(
                    f"the run folder {where!r} is gone: give the command another --out, or put it back"
                ) from error
            shutil.rmtree(aside, ignore_errors=True)
            if self.folder.parent.is_file():
                raise InterplayError(f"{str(self.folder.parent)!r} is a file: remove it") from error
            if error.errno not in _OTHERS:
                raise

    def _aside(self) -> Path:
        return self.folder.with_name(f"{uuid.uuid4().hex}.{self.process}.tmp")

    def _is_takable(self, name: str) -> bool:
        if name in (FREE, self._mine):
            return True
        dead = is_dead(name.partition(".")[2])
        return self._is_silent(name) if dead is None else dead

    def _is_silent(self, name: str) -> bool:
        """Whether a counter stood still for a lease by this process's clock. Time without a look counts for one beat at most,
        since a network folder that hangs hangs for all."""
        try:
            said = (self.folder / name).read_bytes()[:12].decode(errors="replace")
        except OSError:
            return False
        now = time.monotonic()
        before, silent, looked = self._seen.get(name, ("", 0.0, now))
        silent = silent + min(now - looked, self.beat) if said == before else 0.0
        self._seen[name] = (said, silent, now)
        return silent > self.lease

    def _said(self, beats: int) -> bytes:
        """Always of one length, so that a full disk does not stop the counter."""
        host = (platform.node() or "this machine").encode(errors="replace")[:64]
        return b"%012d%-64b" % (beats, host)

    def _start(self) -> None:
        name = self._mine
        stop = self._stop = threading.Event()

        def count(beats: int) -> None:
            # The file is not made here, it may be another's by now. On an error others may take it over: `is_lost`.
            with contextlib.suppress(OSError), open(self.folder / name, "r+b", buffering=0) as file:
                file.write(self._said(beats))

        def beat() -> None:
            beats = 1
            while not stop.wait(self.beat):
                beats += 1
                count(beats)

        count(1)
        self._thread = threading.Thread(target=beat, name="interplay-lock", daemon=True)
        self._thread.start()
