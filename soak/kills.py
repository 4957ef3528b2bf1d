"""Random kills: chains of SIGKILLs over one run, each chain ended by the same command and compared byte for byte.

A kill falls at a random moment of a fresh process, at a random moment of a fork that has everything imported (so that it falls
into the work, not into ten seconds of imports), or at a random event of the disk. Where it fell is read off the folder.
"""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from benchmarks.section import Section
from soak.job import PHASES, Broken, Job, end_group, phase, units_of

LONGEST = 6  # kills in one chain [ours]
CLOCK, FORK, EVENT, WORKERS = "fresh process, by the clock", "fork, by the clock", "at an event", "one of two workers"


class Kill(NamedTuple):
    """One death: the way it came, and how far the run had got."""

    way: str
    fell: str


def section(job: Job, wanted: int, *, seed: int = 0, workers: bool = False) -> Section:
    """At least `wanted` kills. Raises Broken at the first folder that differs or unit that is lost.

    workers: also kill one process of `--workers 2`.
    """
    rng = random.Random(seed)
    whole = _fresh_seconds(job)
    kills: list[Kill] = []
    chains = tries = watched = 0
    while len(kills) < wanted:
        chains += 1
        folder = job.root / f"chain-{chains:04d}"
        units = {}
        for _ in range(rng.randint(1, LONGEST)):
            tries += 1
            way = rng.choice([CLOCK, FORK, FORK, EVENT, EVENT, EVENT, *([WORKERS] if workers else [])])
            what = f"chain {chains} (seed {seed}), {way}"
            died = _kill(job, folder, way, rng, whole)
            job.refuse_loss(folder, units, what)
            units = units_of(folder)
            watched += len(units)
            if not died:
                break  # it was quicker than its death
            kills.append(Kill(way, phase(folder)))
        job.finish(folder, units, f"chain {chains} (seed {seed})")
        print(f"  {len(kills)} of {wanted} kills, {chains} chains", flush=True)
    return Section("Random kills", rows(kills), [notes(kills, chains, tries, watched, whole)])


def rows(kills: list[Kill]) -> list[dict]:
    """One row per phase in which kills fell, and their sum.

    >>> rows([Kill(EVENT, "training"), Kill(CLOCK, "start"), Kill(CLOCK, "start")])[0]
    {'the kill fell in': 'start', 'fresh process, by the clock': 2, 'at an event': 0, 'kills': 2, 'units lost': 0, 'folders that differ': 0}
    """
    ways = [way for way in (CLOCK, FORK, EVENT, WORKERS) if any(kill.way == way for kill in kills)]
    by = Counter(kills)
    table = []
    for name, fell in [*((p, (p,)) for p in PHASES), ("all", PHASES)]:
        counts = {way: sum(by[Kill(way, one)] for one in fell) for way in ways}
        if any(counts.values()):
            # Both are zero by construction: the soak stops at the first that is not.
            table.append({"the kill fell in": name} | counts | {"kills": sum(counts.values())} | dict(_NONE))
    return table


_NONE = {"units lost": 0, "folders that differ": 0}


def notes(kills: list[Kill], chains: int, tries: int, watched: int, whole: float) -> str:
    """What the table does not say."""
    return (
        f"{len(kills)} SIGKILLs in {chains} chains of up to {LONGEST}; every chain was ended by the same command and compared "
        f"byte for byte with an undisturbed run. {tries - len(kills)} times the run was quicker than its death. "
        f"{watched} times a whole unit lay on disk after a death; none was computed again. An undisturbed fresh process takes "
        f"{whole:.0f} s here."
    )


def _fresh_seconds(job: Job) -> float:
    """How long an undisturbed fresh process takes; it also shows that forks and fresh processes write the same bytes."""
    folder = job.root / "fresh"
    start = time.monotonic()
    process = job.process(folder)
    code = process.wait()
    seconds = time.monotonic() - start
    if code:
        raise Broken(f"the undisturbed fresh process failed: {(job.root / 'said' / 'fresh').read_text()}")
    job.finish(folder, units_of(folder), "a fresh process")
    return seconds


def _kill(job: Job, folder: Path, way: str, rng: random.Random, whole: float) -> bool:
    """One run that is to die; whether it did."""
    if way == EVENT:
        ended = job.fork(folder, at=rng.randint(1, len(job.events)), how=rng.choice(("before", "after", "torn")))
    elif way == FORK:
        ended = job.fork(folder, seconds=rng.uniform(0, job.fork_seconds))
    else:
        more = ("--workers", "2") if way == WORKERS else ()
        return _kill_process(job, job.process(folder, *more), rng.uniform(0, whole), rng if more else None)
    if ended.code not in (0, -9):
        raise Broken(f"{way}: neither dead nor done but {ended.code}: {ended.err[-300:]}; kept: {folder}")
    return ended.killed


def _kill_process(job: Job, process: subprocess.Popen, seconds: float, rng: random.Random | None) -> bool:
    """Kill a process after so many seconds; with `rng`, one of it and its workers, and then the rest a moment later."""
    try:
        code = process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        if rng is not None:
            victim = rng.choice([process.pid, *_children(process.pid)])
            os.kill(victim, signal.SIGKILL)
            time.sleep(rng.uniform(0, 2))  # what the others do meanwhile
        end_group(process)
        return True
    if code:
        raise Broken(f"a run that was not killed failed: {(job.root / 'said' / 'fresh').read_text()}")
    return False


def _children(parent: int) -> list[int]:
    """Processes that a process has started and that are still there."""
    found = []
    for task in Path(f"/proc/{parent}/task").glob("*/children"):
        found += [int(pid) for pid in task.read_text().split()]
    return found
