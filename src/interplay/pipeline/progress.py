"""Progress and time left of every long phase, on stderr: a rich bar on a terminal, one line now and then elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Generator

from interplay.process import tell
from interplay.secrets import redact
from interplay.text import ascii_safe

Advance = Callable[..., None]


def _clock(seconds: float) -> str:
    """
    >>> _clock(75), _clock(3700)
    ('1:15', '1:01:40')
    """
    whole = round(max(0.0, seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress:
    """Reports phases, every `every` seconds in lines; `seconds`: how long each phase took."""

    def __init__(self, *, quiet: bool = False, every: float = 15.0) -> None:
        self.quiet, self.every = quiet, every
        self.seconds: dict[str, float] = {}

    def say(self, line: str) -> None:
        """One line for the user, on stderr."""
        if not self.quiet:
            tell(ascii_safe(redact(line)))

    @contextlib.contextmanager
    def phase(self, name: str, total: int | None = None) -> Generator[Advance]:
        """Time a phase. Yields `advance(done=None, note="", cached=False)`: without `done` it counts one up.

        cached: that it took no time, and says nothing about the time left.
        """
        start = time.monotonic()
        if self.quiet:
            yield lambda done=None, note="", cached=False: None
        elif sys.stderr.isatty() and total:
            with self._bar(name, total) as advance:
                yield advance
        else:
            yield self._lines(name, total, start)
        spent = time.monotonic() - start  # a phase that failed is not done
        self.seconds[name] = self.seconds.get(name, 0.0) + spent
        if total is not None:
            self.say(f"{name}: done in {_clock(spent)}")

    @contextlib.contextmanager
    def _bar(self, name: str, total: int) -> Generator[Advance]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left", markup=False),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(name, total=total, note="")

            def advance(done: int | None = None, note: str = "", cached: bool = False) -> None:
                bar.update(task, advance=1 if done is None else None, completed=done, note=ascii_safe(note))

            yield advance

    def _lines(self, name: str, total: int | None, start: float) -> Advance:
        self.say(f"{name} ...")
        state = {"done": 0, "cached": 0, "said": start}

        def advance(done: int | None = None, note: str = "", cached: bool = False) -> None:
            state["done"] = state["done"] + 1 if done is None else done
            state["cached"] += cached
            worked = state["done"] - state["cached"]
            now = time.monotonic()
            if not total or not worked or (now - state["said"] < self.every and worked != 1):
                return
            state["said"] = now
            spent = now - start
            left = spent / worked * (total - state["done"])
            tail = f"  {note}" if note else ""
            self.say(f"{name}: {state['done']}/{total}, {_clock(spent)} spent, about {_clock(left)} left{tail}")

        return advance
