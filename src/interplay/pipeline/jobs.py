"""The units of a run as jobs, plain data that can be sent to other processes, and how a process computes them."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interplay.pipeline.measure import Question, compute
from interplay.pipeline.shards import Shard, work_off
from interplay.pipeline.states import Models, ModelState
from interplay.store.conditions import Units
from interplay.store.units import Unit

# Conditions of one model state that one evaluation answers: name -> a question for each prompt, None where it cannot be served.
Asked = dict[str, list[Question | None]]


@dataclass(frozen=True, eq=False)
class Job:
    """Questions about one prompt under one model state, answered by one evaluation."""

    questions: tuple[Question, ...]

    @property
    def name(self) -> str:
        """Unique in the run, and a file name."""
        return f"{self.questions[0].condition}-prompt-{self.questions[0].index:04d}"

    @property
    def state(self) -> ModelState:
        """The model state, the same for all its questions."""
        state = self.questions[0].state
        assert state is not None
        return state

    def saved(self, folder: Path) -> list[Unit] | None:
        """Its units on disk, in the order of the questions; None unless all are there and valid."""
        units = [unit for question in self.questions if (unit := question.saved(folder)) is not None]
        return units if len(units) == len(self.questions) else None


# Computes jobs: pulls a job when it can start it, and yields its units in any order.
Engine = Callable[[Iterator[Job]], Iterator[tuple[Job, list[Unit]]]]


class OpenModel(contextlib.ExitStack):
    """Answers jobs one after the other; keeps a model state open while jobs of it follow each other. A context manager."""

    def __init__(self, models: Models) -> None:
        super().__init__()
        self.models = models
        self._state: ModelState | None = None
        self._model: Any = None

    def units(self, job: Job) -> list[Unit]:
        if job.state != self._state:
            self.close()
            self._state = None  # should opening fail
            self._model = self.enter_context(self.models.at(job.state))
            self._state = job.state
        return compute(self._model, job.questions)


def in_this_process(models: Models) -> Engine:
    """The engine that scores here, one job after the other."""

    def results(jobs: Iterator[Job]) -> Iterator[tuple[Job, list[Unit]]]:
        with OpenModel(models) as here:
            for job in jobs:
                yield job, here.units(job)

    return results


def jobs_of(asked: Sequence[Asked]) -> list[Job]:
    """All jobs, those of one model state together; a prompt that no condition can serve has none."""
    rows = (row for together in asked for row in zip(*together.values(), strict=True))
    return [Job(tuple(q for q in row if q is not None)) for row in rows if any(q is not None for q in row)]


def units_of(
    folder: Path, asked: Sequence[Asked], engine: Engine, shard: Shard, advance: Callable[..., None]
) -> tuple[Units, int]:
    """All units by condition, found or computed; and how many jobs of other shards are not done.

    `advance()` is called once a prompt. Units that were finished stay when it raises.
    """
    jobs = jobs_of(asked)

    def do(chosen: Iterator[Job]) -> Iterator[tuple[Job, bool]]:
        whole: dict[str, Job] = {}

        def parts() -> Iterator[Job]:
            for job in chosen:
                lacking = [q for q in job.questions if q.saved(folder) is None] or job.questions
                part = Job(tuple(lacking))
                whole[part.name] = job
                yield part

        for part, units in engine(parts()):
            job = whole.pop(part.name)
            new = job.saved(folder) is None  # else another process was quicker
            if new:
                for question, unit in zip(part.questions, units, strict=True):
                    question.save(folder, unit)
            yield job, new

    found = work_off(
        jobs,
        shard,
        saved=lambda job: job.saved(folder),
        do=do,
        advance=lambda job, before: advance(note=job.questions[0].condition, cached=before),
    )
    units: Units = {name: [None] * len(questions) for together in asked for name, questions in together.items()}
    for job in jobs:
        for question, unit in zip(job.questions, found.get(job.name, ()), strict=False):
            units[question.condition][question.index] = unit
    return units, len(jobs) - len(found)
