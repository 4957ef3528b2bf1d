"""Which process works on what, told by files in one folder: no server, no lock of the operating system, any file system.

Every process has a file of its own with who it is and a counter that a thread raises every few seconds. A claim is a hard
link to that file under the name of the work: making a link is atomic everywhere, network folders included, and whoever reads
the claim reads its owner's counter at once. Knows nothing of what is claimed. A claim is advice, not safety: results are
written whole or not at all and are the same whoever computes them, so that the worst a wrong guess costs is work done twice.
"""

import contextlib
import errno
import json
import os
import platform
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

from interplay.atomic import write_bytes
from interplay.errors import InterplayError

BEAT = 5.0  # seconds between two rises of the counter [ours]
LEASE = (
    60.0  # seconds without a rise after which a process elsewhere counts as dead; NFS may show a file this late [ours]
)
LOOK = 0.2  # seconds between two looks at what another process has [ours]
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)


@dataclass(frozen=True)
class Owner:
    """A process as others see it: an id nobody else has, and, where that can be known, where to ask whether it lives.

    place    machine and process namespace, the same only for processes that can see each other; empty: not known
    started  when the process began, in the kernel's ticks: a process id alone may be another's by now
    """

    id: str
    pid: int
    place: str
    started: str
    host: str

    def gone(self, place: str) -> bool:
        """Whether it is known to be dead: only a process at the same place can know."""
        return bool(place) and place == self.place and _started(self.pid) != self.started

    def is_child(self) -> bool:
        """Whether this process started it, and it is still there."""
        return self.place != "" and self.place == _place() and _stat(self.pid)[1:2] == [str(os.getpid())]

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _place() -> str:
    """This machine since it was started, and this process namespace: containers on one machine have numbers of their own."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""  # not Linux: only the counter tells


def _stat(pid: int) -> list[str]:
    """What the kernel says of a process of this place from its state on; nothing where there is none."""
    try:
        said = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return said.rpartition(")")[2].split()  # the name in brackets may hold anything


def _started(pid: int) -> str:
    """When a process of this place began; empty when there is none."""
    fields = _stat(pid)
    return "" if not fields or fields[0] in ("Z", "X") else fields[19]  # a zombie works no more


class Claims:
    """The claims of this process in one folder, a context: who enters is known to the others until it leaves.

    Args:
        folder: where the files are; removed by whoever leaves last.
        lease, beat: seconds, see LEASE and BEAT.
    """

    def __init__(self, folder: Path, *, lease: float = LEASE, beat: float = BEAT) -> None:
        self.folder, self.lease, self.beat = folder, lease, beat
        pid = os.getpid()
        self.me = Owner(uuid.uuid4().hex, pid, _place(), _started(pid), platform.node()[:64] or "this machine")
        # Of every other: its counter, for how long we saw it unchanged, and when we last looked.
        self._seen: dict[str, tuple[int, float, float]] = {}
        self._held: dict[str, Path] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    # ---- coming and going --------------------------------------------------------------------------------------------

    def __enter__(self) -> "Claims":
        self._arrive()
        self._thread = threading.Thread(target=self._beats, name="interplay-claims", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with contextlib.suppress(OSError):  # a folder that is gone is left as well
            for name in list(self._held):
                self.release(name)
            self._mine.unlink(missing_ok=True)
            self.forget_dead()
            if not self.others():
                shutil.rmtree(self.folder)  # whoever comes in this moment makes it anew, see `_arrive` and `_link`

    def _arrive(self) -> None:
        for left in reversed(range(100)):  # whoever leaves last clears up, perhaps under our feet
            try:
                self._workers.mkdir(parents=True, exist_ok=True)
                self._claims.mkdir(exist_ok=True)
                write_bytes(self._mine, self._said(0))
                return
            except (OSError, InterplayError) as error:
                # mkdir says that a folder exists which is gone when it looks again.
                if not left or not isinstance(error.__cause__ or error, FileNotFoundError | FileExistsError):
                    raise

    @property
    def _workers(self) -> Path:
        return self.folder / "workers"

    @property
    def _claims(self) -> Path:
        return self.folder / "claims"

    @property
    def _mine(self) -> Path:
        return self._workers / f"{self.me.id}.json"

    def _said(self, beats: int) -> bytes:
        return json.dumps(asdict(self.me) | {"beats": beats}).encode()

    def _count(self, beats: int) -> None:
        # In place, since claims are links to this very file; it grows by digits of the counter and never shrinks.
        handle = os.open(self._mine, os.O_WRONLY)
        try:
            os.pwrite(handle, self._said(beats), 0)
        finally:
            os.close(handle)

    def _beats(self) -> None:
        beats = 0
        while not self._stop.wait(self.beat):
            beats += 1
            with contextlib.suppress(OSError):  # a full disk: others may take our work over, which costs them time only
                self._count(beats)

    # ---- others ------------------------------------------------------------------------------------------------------

    def others(self) -> list[Owner]:
        """Processes in this folder that may be alive; one elsewhere counts as alive until it was seen silent for a lease."""
        found = (self._read(file) for file in sorted(self._workers.glob("*.json")))
        return [owner for owner in found if owner is not None and owner.id != self.me.id and not self._dead(owner)]

    def forget_dead(self) -> None:
        """Remove the files and the claims of processes that are known to be dead.

        Claims only where nobody else is alive: a dead one under a living one of a later generation holds its place, and
        where it went a third process could claim beside the second.
        """
        kinds = (
            [self._workers.glob("*.json")] if self.others() else [self._claims.glob("*"), self._workers.glob("*.json")]
        )
        for file in chain(*kinds):
            owner = self._read(file)
            if owner is not None and owner.id != self.me.id and self._dead(owner):
                file.unlink(missing_ok=True)

    def _read(self, file: Path) -> Owner | None:
        """Who a file is of; None where it is gone or not written to its end yet."""
        try:
            said = json.loads(file.read_bytes())
            return Owner(**{name: said[name] for name in Owner.__dataclass_fields__})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _dead(self, owner: Owner) -> bool:
        if owner.gone(self.me.place):
            return True
        if owner.place and owner.place == self.me.place:
            return False  # it is there, and slow or stopped: the kernel knows better than a counter
        try:
            beats = json.loads((self._workers / f"{owner.id}.json").read_bytes())["beats"]
        except FileNotFoundError:
            return True  # whoever leaves takes its claims along first
        except (OSError, ValueError, KeyError, TypeError):
            beats = -1
        return self._silent(owner.id, beats)

    def _silent(self, what: str, beats: int) -> bool:
        """Whether a counter was seen at one value for a lease, by this process's own clock: clocks elsewhere do not matter.

        Time in which we did not look counts for one beat at most: when a network folder hangs, it hangs for all.
        """
        now = time.monotonic()
        before, silent, looked = self._seen.get(what, (None, 0.0, now))
        silent = silent + min(now - looked, self.beat) if beats == before else 0.0
        self._seen[what] = (beats, silent, now)
        return silent > self.lease

    # ---- claims ------------------------------------------------------------------------------------------------------

    def take(self, name: str) -> bool:
        """Claim `name`, or False while a process that may be alive has it. Look for its result again before working on it.

        A dead owner's claim is not removed but followed by one of the next generation, since of two processes that remove
        and claim one would remove the other's.
        """
        generation = 0
        while True:
            path = self._claims / f"{name}.{generation}"
            if self._link(path):
                # Two may have claimed different generations while a third cleared up. Each looks after it has claimed, so
                # that one of them at least sees the other.
                if self._owner(name, path) is not None:
                    path.unlink(missing_ok=True)
                    return False
                self._held[name] = path
                return True
            if (owner := self._read(path)) is None:
                if path.exists() and not self._silent(path.name, 0):
                    return False
            elif owner.id == self.me.id or not self._dead(owner):
                return owner.id == self.me.id
            generation += 1

    def owner(self, name: str) -> Owner | None:
        """Who has `name`, if that process may be alive."""
        return self._owner(name, None)

    def _owner(self, name: str, beside: Path | None) -> Owner | None:
        """The same by another claim than `beside`."""
        for path in sorted(self._claims.glob(f"{name}.*")):
            if path == beside or path.name.rpartition(".")[0] != name:
                continue
            if (owner := self._read(path)) is not None and not self._dead(owner):
                return owner
        return None

    def lost(self, name: str) -> Owner | None:
        """Who has taken over what this process holds, because it was silent for a lease; None where nobody has."""
        return self._owner(name, self._held.get(name))

    def taken(self) -> set[str]:
        """The names that processes other than this one have claimed; a glance, some of them may be dead."""
        names = {path.name.rpartition(".")[0] for path in self._claims.glob("*")}
        return names - set(self._held)

    def release(self, name: str) -> None:
        """Give a claim back, its result written or not."""
        path = self._held.pop(name, None)
        if path is not None and (owner := self._read(path)) is not None and owner.id == self.me.id:
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def alone(self, name: str, waiting: Callable[[Owner], None] | None = None) -> Generator[None]:
        """Hold `name` for the block; while another process has it, wait (`waiting` is told once for whom)."""
        told = False
        while not self.take(name):
            if not told and waiting is not None and (owner := self.owner(name)) is not None:
                waiting(owner)
                told = True
            time.sleep(LOOK)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # the folder may be what was lost
                self.release(name)

    def _link(self, path: Path) -> bool:
        try:
            os.link(self._mine, path)
            return True
        except FileExistsError:
            return False
        except FileNotFoundError:  # somebody who thought to be the last one cleared up
            self._arrive()
            with contextlib.suppress(FileNotFoundError):  # and again: the next look tries anew
                return self._copy(path)
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return self._copy(path)

    def _copy(self, path: Path) -> bool:
        """The same in two steps, between which the claim is nobody's: for file systems without hard links."""
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return False
        try:
            os.write(handle, self._mine.read_bytes())
        finally:
            os.close(handle)
        return True
