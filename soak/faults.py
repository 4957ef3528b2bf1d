"""Every event of a run: death before it, or in the middle of a write; and disk errors at a spread of them.

An undisturbed run is a list of events. A death behind one leaves the disk as a death before the next one does, so "before" each
is every moment; "torn" adds the writes that were half done. After each the same command must end in the same bytes. An errno
must end the command with one clear line, or be one that may pass unnoticed (a temporary file that could not be removed), and the
same command then ends in the same bytes all the same.
"""

import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple, TypeVar

from after import complaint
from shim import Event

from benchmarks.section import Section
from interplay.process import NAME
from interplay.store.files import WORK
from soak.job import Broken, Job, units_of

ERRORS = ("ENOSPC", "ENOSPC+", "EDQUOT+", "EROFS+", "EIO", "EIO+", "ESTALE+")  # with a plus: from there on
T = TypeVar("T")
_RANDOM = re.compile(  # names drawn anew by every process, with the process itself
    rf"(\.{NAME})?\.[a-z0-9_]{{8}}(?=\.tmp$)|(?<=/\.tmp)[A-Za-z0-9]{{6}}$|[0-9a-f]{{32}}(\.{NAME})?"
)


class Aim(NamedTuple):
    """An event as it can be found again in another process: the `at`-th such call of which either path fits `path`."""

    event: Event
    path: str
    at: int


def aims(events: Iterable[Event]) -> list[Aim]:
    """One for every event. A number among all would not do: a thread that counts now and then writes between them.

    >>> name = "units/.prompt-0000.safetensors.4711-120-0123abcd.ab12cd_9.tmp"
    >>> twice = [Event(7, n, "write", 8, name, "") for n in (3, 4)]
    >>> [(aim.path, aim.at) for aim in aims(twice)]
    [('units/.prompt-0000.safetensors*.tmp', 1), ('units/.prompt-0000.safetensors*.tmp', 2)]
    """
    before: dict[str, list[Event]] = defaultdict(list)
    found = []
    for event in events:
        path = _RANDOM.sub("*", event.path)
        before[event.call].append(event)
        at = sum(fnmatchcase(e.path, path) or fnmatchcase(e.other, path) for e in before[event.call])
        found.append(Aim(event, path, at))
    return found


def whole_by(job: Job, event: Event) -> int:
    """How many units an undisturbed run has finished before an event."""
    done = {e.other for e in job.events if e.call == "rename" and e.number < event.number}
    return len(set(job.units) & done)


def close(job: Job, folder: Path, event: Event, what: str) -> None:
    """After a fault at an event: the units finished by then are there, and the same command ends in the same bytes."""
    units = units_of(folder)
    if len(units) < (least := whole_by(job, event)):
        raise Broken(f"{what}: {least} units were finished, {len(units)} are whole; kept: {folder}")
    job.finish(folder, units, what)


def spread(things: Sequence[T], most: int, kind: Callable[[T], object]) -> list[T]:
    """About so many of them in their order: of each kind its share, rounded up, so that none is left out.

    Drawn (seeded), since every n-th would always meet the same call of the five that each file takes.

    >>> spread("aaaaaaaab", 4, kind=str), spread("ab", 4, kind=str)
    (['a', 'a', 'a', 'a', 'b'], ['a', 'b'])
    """
    groups: dict[object, list[int]] = defaultdict(list)
    for i, thing in enumerate(things):
        groups[kind(thing)].append(i)
    rng, chosen = random.Random(0), []
    for group in groups.values():
        chosen += rng.sample(group, min(len(group), math.ceil(most * len(group) / len(things))))
    return [things[i] for i in sorted(chosen)]


def deaths(job: Job, most: int | None = None) -> Section:
    """Death at every event, or at a spread of so many. Raises Broken at the first folder that differs."""
    orders = [(aim, how) for aim in aims(job.events) for how in ("before", "torn")[: 1 + (aim.event.call == "write")]]
    chosen = orders if most is None else spread(orders, most, kind=lambda order: (order[0].event.call, order[1]))
    done: Counter = Counter()
    for i, (aim, how) in enumerate(chosen):
        folder, event = job.root / "death", aim.event
        what = f"killed {how} event {event.number} ({event.call} {event.path})"
        ended = job.fork(folder, call=event.call, path=aim.path, at=aim.at, how=how)
        if not ended.killed:
            raise Broken(f"{what}: it did not die ({ended.code}); kept: {folder}")
        close(job, folder, event, what)
        done[event.call, how] += 1
        if i % 100 == 99:
            print(f"  {i + 1} of {len(chosen)} deaths", flush=True)
    events = Counter(event.call for event in job.events)
    rows = [
        {
            "call": call,
            "events in a run": number,
            "killed before": done[call, "before"],
            "killed half-way": done[call, "torn"],
        }
        | {"units lost": 0, "folders that differ": 0}
        for call, number in events.most_common()
    ]
    total = {"call": "all", "events in a run": len(job.events)}
    total |= {"killed before": sum(n for (_, how), n in done.items() if how == "before")}
    total |= {"killed half-way": sum(n for (_, how), n in done.items() if how == "torn")}
    rows.append(total | {"units lost": 0, "folders that differ": 0})
    return Section(
        "Death at every call to the disk",
        rows,
        [] if most is None else [f"A seeded draw of {len(chosen)} of {len(orders)}, some of every call."],
    )


def errors(job: Job, most: int = 40) -> Section:
    """Each errno at a spread of so many events. Raises Broken where a folder differs or an error is not one clear line."""
    found: dict[str, Counter] = defaultdict(Counter)
    for how in ERRORS:
        for event, path, at in spread(aims(job.events), most, kind=lambda aim: aim.event.call):
            folder = job.root / "error"
            what = f"{how} from event {event.number} ({event.call} {event.path})"
            ended = job.fork(folder, call=event.call, path=path, at=at, how=how)
            problem = complaint(ended) if ended.code else None
            if problem:
                raise Broken(f"{what}: {problem}; kept: {folder}")
            # Where the disk failed while the process left, its lock stays; the next to come removes it.
            different = [name for name in job.differing(folder) if not name.startswith(f"{WORK}/")]
            if ended.code == 0 and different:
                raise Broken(f"{what}: it said all was well, but {', '.join(different[:5])} differ; kept: {folder}")
            close(job, folder, event, what)
            found[how]["one clear line" if ended.code else "no harm done"] += 1
        print(f"  {how}: {dict(found[how])}", flush=True)
    rows = []
    for how, counts in found.items():
        stays = how.endswith("+")
        row = {"errno": how.rstrip("+"), "lasts": "from there on" if stays else "one call", "injected": counts.total()}
        row |= {
            "one clear line, exit code 2": counts["one clear line"],
            "no harm done, exit code 0": counts["no harm done"],
        }
        rows.append(row | {"units lost": 0, "folders that differ": 0})
    return Section("Errors of the disk", rows, [])
