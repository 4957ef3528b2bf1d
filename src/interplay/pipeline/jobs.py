"""The units of a run as jobs: one prompt under the conditions that are asked together, and the engine that computes it here.

A job is plain data and can be sent to another process or machine, where `compute_job` needs nothing but it and a place to
load models. What is already on disk, and who does what, is told by `interplay.parallel`.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from interplay.config.settings import Settings
from interplay.errors import InterplayError
from interplay.pipeline.measure import Condition, cached_unit, compute
from interplay.pipeline.sharing import Together, work_off
from interplay.pipeline.states import Models, ModelState
from interplay.scoring.scores import Prepared
from interplay.store.conditions import Units
from interplay.store.units import Unit, save_unit, unit_path


@dataclass(frozen=True)
class Batch:
    """Conditions of one model state that differ in what is asked behind the prompt only, over all prompts."""

    conditions: tuple[Condition, ...]
    settings: Settings


@dataclass(frozen=True, eq=False)
class Job:
    """The index-th prompt under conditions of one model state; each condition's `prompts` is cut to that one.

    `name` is unique in the run and a file name.
    """

    name: str
    index: int
    conditions: tuple[Condition, ...]
    settings: Settings

    @property
    def group(self) -> ModelState:
        state = self.conditions[0].state
        assert state is not None
        return state

    @property
    def asked(self) -> list[tuple[Condition, Prepared]]:
        return [(c, p) for c in self.conditions if (p := c.prompts[0]) is not None]

    def kept(self, folder: Path) -> list[Unit] | None:
        """Its units on disk, in the order of the conditions; None unless all are there and valid."""
        units = [cached_unit(folder, c, self.index, p, self.settings) for c, p in self.asked]
        return [u for u in units if u is not None] if all(u is not None for u in units) else None

    def lacking(self, folder: Path) -> "Job":
        """The job without the conditions whose units are on disk."""
        left = [c for c, p in self.asked if cached_unit(folder, c, self.index, p, self.settings) is None]
        return replace(self, conditions=tuple(left))


def jobs_of(batches: Sequence[Batch]) -> list[Job]:
    """All jobs, those of one model state together; a prompt that no condition of a batch can serve has none."""
    jobs = []
    for batch in batches:
        for index in range(len(batch.conditions[0].prompts)):
            one = tuple(replace(c, prompts=(p,)) for c in batch.conditions if (p := c.prompts[index]) is not None)
            if one:
                jobs.append(Job(f"{batch.conditions[0].name}-prompt-{index:04d}", index, one, batch.settings))
    return jobs


class Engine(Protocol):
    """Computes jobs; `lacking` ones only are given. Pulls a job when it can start it, and gives its units when they are there."""

    def results(self, jobs: Iterator[Job]) -> Iterator[tuple[Job, list[Unit]]]: ...


class Here:
    """One job after the other in this process; a model state stays open as long as jobs of it follow each other."""

    def __init__(self, models: Models) -> None:
        self.models = models

    def results(self, jobs: Iterator[Job]) -> Iterator[tuple[Job, list[Unit]]]:
        with contextlib.ExitStack() as stack:
            state: ModelState | None = None
            model: Any = None
            for job in jobs:
                if job.group != state:
                    stack.close()
                    state = None  # should opening fail
                    model = stack.enter_context(self.models.at(job.group))
                    state = job.group
                yield job, compute(model, job.asked, job.settings)


def units_of(
    folder: Path, batches: Sequence[Batch], engine: Engine, together: Together, advance: Callable[..., None]
) -> tuple[Units, tuple[str, ...]]:
    """All units of some batches by condition, found or computed; and the names of jobs that are other shares' and not done.

    `advance()` is called once a prompt. Raises InterplayError for what a unit cannot be computed or written for; those that
    were finished stay.
    """
    jobs = jobs_of(batches)
    whole = {job.name: job for job in jobs}

    def results(claimed: Iterator[Job]) -> Iterator[tuple[Job, list[Unit]]]:
        for job, units in engine.results(job.lacking(folder) for job in claimed):
            if not (folder / "settings.yaml").exists():  # else it would be made anew, and be no run folder
                raise InterplayError(
                    f"the run folder {str(folder)!r} is gone: give the command another --out, or put it back"
                )
            for (condition, _), unit in zip(job.asked, units, strict=True):
                save_unit(unit_path(folder, condition.name, job.index), unit)
            kept = whole[job.name].kept(folder)
            if kept is None:
                raise InterplayError(
                    f"a unit just written in {str(folder / 'units')!r} cannot be read back: check the disk, then run the "
                    "same command again"
                )
            yield whole[job.name], kept

    done = work_off(
        jobs,
        together,
        kept=lambda job: job.kept(folder),
        results=results,
        advance=lambda job, kept: advance(note=job.conditions[0].name, kept=kept),
    )
    units: Units = {c.name: [None] * len(c.prompts) for batch in batches for c in batch.conditions}
    for job in jobs:
        for (condition, _), unit in zip(job.asked, done.results.get(job.name, ()), strict=False):
            units[condition.name][job.index] = unit
    return units, done.missing
