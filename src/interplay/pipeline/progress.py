"""Progress and time left of every long phase, on stderr: a rich bar on a terminal, one line now and then elsewhere."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from interplay.process import tell
from interplay.secrets import redact
from interplay.text import ascii_safe

SOON = 3.0  # seconds after which a wait is announced where most are shorter [ours]
Advance = Callable[..., None]
Kept = Callable[[int | None, int | None], str]


def _clock(seconds: float) -> str:
    """
    >>> _clock(75), _clock(3700)
    ('1:15', '1:01:40')
    """
    whole = round(max(0.0, seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextlib.contextmanager
def goes_on(where: Path | None) -> Generator[None]:
    """Around what Ctrl-C may stop: what is kept, and how to go on, becomes the note of the KeyboardInterrupt."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        kept = "; ".join(getattr(stopped, "__notes__", ())) or "what is finished"
        said = f"kept in {where}: {kept}; the same command goes on from there"
        stopped.__notes__ = [
            said if where else "nothing is kept, the same command starts over: --out DIR keeps answers"
        ]
        raise


class Progress:
    """Reports phases, every `every` seconds in lines, none of one that takes less than `after`; `seconds`: how long each took."""

    def __init__(self, *, quiet: bool = False, every: float = 15.0, after: float = 0.0) -> None:
        self.quiet, self.every, self.after = quiet, every, after
        self.seconds: dict[str, float] = {}
        self._bars: Any = None

    def say(self, line: str) -> None:
        """One line for the user, on stderr."""
        if not self.quiet:
            tell(ascii_safe(redact(line)))

    @contextlib.contextmanager
    def phase(self, name: str, total: int | None = None, kept: Kept | None = None) -> Generator[Advance]:
        """Time a phase. Yields `advance(done=None, total=None, note="", cached=False)`: without `done` it counts one up.

        total: where it is not known before. cached: that it took no time, and says nothing about the time left. kept: from (done,
        total), what is on disk when the user interrupts the phase.
        """
        start, state = time.monotonic(), {"done": 0, "total": total}
        shown = self._bar if sys.stderr.isatty() else self._lines
        with contextlib.nullcontext(lambda *_: None) if self.quiet else shown(name, total, start) as show:

            def advance(
                done: int | None = None, total: int | None = None, note: str = "", cached: bool = False
            ) -> None:
                state["done"] = (state["done"] or 0) + 1 if done is None else done
                state["total"] = total or state["total"]
                show(state["done"], state["total"], note, cached)

            try:
                yield advance
            except KeyboardInterrupt as stopped:
                if kept:
                    stopped.add_note(f"{name}, {kept(state['done'], state['total'])}")
                raise
        spent = time.monotonic() - start  # a phase that failed is not done
        self.seconds[name] = self.seconds.get(name, 0.0) + spent
        if total is not None and spent >= self.after:
            self.say(f"{name}: done in {_clock(spent)}")

    @contextlib.contextmanager
    def _bar(self, name: str, total: int | None, start: float) -> Generator[Callable[..., None]]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left", markup=False),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with contextlib.ExitStack() as outermost:
            if self._bars is None:  # a phase inside another has a bar under that one's
                self._bars = outermost.enter_context(Bars(*columns, console=Console(stderr=True), transient=True))
                outermost.callback(setattr, self, "_bars", None)
            bars = self._bars
            task = bars.add_task(name, total=total, note="")
            outermost.callback(bars.remove_task, task)
            yield lambda done, total, note, _: bars.update(task, completed=done, total=total, note=ascii_safe(note))

    @contextlib.contextmanager
    def _lines(self, name: str, total: int | None, start: float) -> Generator[Callable[..., None]]:
        first = threading.Timer(self.after, self.say, [f"{name} ..."])
        if self.after:
            first.daemon = True
            first.start()
        else:
            self.say(f"{name} ...")
        state = {"cached": 0, "said": start}

        def show(done: int, total: int | None, note: str, cached: bool) -> None:
            state["cached"] += cached
            worked, now = done - state["cached"], time.monotonic()
            if not total or not worked or (now - state["said"] < self.every and (worked != 1 or self.after)):
                return
            state["said"] = now
            left = (now - start) / worked * (total - done)
            tail = f"  {note}" if note else ""
            self.say(f"{name}: {done}/{total}, {_clock(now - start)} spent, about {_clock(left)} left{tail}")

        try:
            yield show
        finally:
            first.cancel()
