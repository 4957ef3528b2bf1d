"""`--ray ADDRESS`: the units of a run computed by actors on an existing Ray cluster, written by the process that asks.

An actor gets jobs as plain data and gives units back; it needs the model and the checkpoints where it runs (a network folder
or a hub), not the run folder. It loads a model once, whatever jobs come. What dies is started again by Ray, and a unit is the
same whoever computes it, so that a job may be done twice without harm. When the asking process dies, the same command goes
on with what was written.
"""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from interplay.errors import InterplayError

if TYPE_CHECKING:
    from interplay.runs.jobs import Job
    from interplay.runs.settings import Settings
    from interplay.runs.units import Unit

RESTARTS = 4  # of an actor that died; each costs it a model load [ours]
RETRIES = 4  # of a job whose actor died [ours]
KNOCK = 10.0  # seconds in which a cluster has to answer at all [ours]
AHEAD = 2  # jobs an actor has at a time, so that it never waits for the next one [ours]


def _knock(address: str) -> None:
    """OSError where nobody answers at HOST:PORT: Ray itself would try for two minutes and then end the process."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK).close()


def _absolute(name: str) -> str:
    """A model's name with which another working directory finds the same folder or file; hub names stay as they are."""
    path = Path(name).expanduser()
    return str(path.absolute()) if path.exists() else name


def _anywhere(job: "Job") -> "Job":
    """The job with its paths from the root: actors work in folders of their own."""
    state = job.group
    checkpoint = state.checkpoint
    if checkpoint.path is not None:
        checkpoint = replace(checkpoint, path=checkpoint.path.absolute())
    moved = replace(state, base=replace(state.base, name=_absolute(state.base.name)), checkpoint=checkpoint)
    return replace(job, conditions=tuple(replace(c, state=moved) for c in job.conditions))


class Scorer:
    """What runs in an actor: a place to load models, and the state that is open there."""

    def __init__(self, settings: "Settings") -> None:
        from interplay.runs.stages import models_of

        self.models = models_of(settings)
        self._open = contextlib.ExitStack()
        self._state: Any = None
        self._model: Any = None

    def compute(self, job: "Job") -> "tuple[str, list[Unit] | None, str | None]":
        """The job's name with its units, or with what is wrong in a line: an error that the user can mend is no crash."""
        from interplay.runs.measure import compute
        from interplay.runs.stages import quiet_libraries

        try:
            with quiet_libraries():
                if job.group != self._state:
                    self._open.close()
                    self._state = None  # should opening fail
                    self._model = self._open.enter_context(self.models.at(job.group))
                    self._state = job.group
                return job.name, compute(self._model, job.asked, job.settings), None
        except InterplayError as error:
            return job.name, None, str(error)


class Cluster:
    """An engine of `interplay.runs.jobs`: actors that share the cluster's cores and GPUs. A context: on leaving, they are gone.

    Args:
        address: as `ray.init` takes it: "auto", "HOST:PORT", "ray://HOST:PORT", or "local" for one on this machine.
        actors: how many; None: one a GPU, or where there is none, one a node, since each holds a model [ours].
    """

    def __init__(
        self, address: str, settings: "Settings", say: Callable[[str], None], *, actors: int | None = None
    ) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster started here reports to nobody
        try:
            import ray
        except ImportError:
            raise InterplayError("--ray needs Ray, which is not here: pip install 'interplay[ray]'") from None
        self.ray: Any = ray
        self.address, self.settings, self.say, self.count = address, settings, say, actors
        self.actors: list[Any] = []
        self._ours = False  # whether this process connected, and so has to part

    def __enter__(self) -> "Cluster":
        import logging

        ray = self.ray
        if not ray.is_initialized():
            try:
                _knock(self.address)
                ray.init(
                    address=self.address,
                    namespace="interplay",
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                    **({"include_dashboard": False} if self.address == "local" else {}),
                )
            except Exception as error:  # Ray raises many types here; all mean that there is no cluster to be had
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                raise InterplayError(
                    f"no Ray cluster at {self.address!r}: start one (ray start --head), {reason}"
                ) from error
            self._ours = True
        resources = ray.cluster_resources()
        nodes = sum(bool(node["Alive"]) for node in ray.nodes())
        gpus, cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
        count = self.count or gpus or max(1, nodes)
        kind = ray.remote(
            num_cpus=cpus // count,  # which is also the threads Ray gives it; 0 where actors must share cores
            num_gpus=gpus / count if gpus < count else 1,
            max_restarts=RESTARTS,
            max_task_retries=RETRIES,
        )(Scorer)
        model = self.settings.model
        here = self.settings.model_copy(update={"model": model.model_copy(update={"name": _absolute(model.name)})})
        self.actors = [kind.remote(here) for _ in range(count)]
        self.say(f"Ray: {count} actor{'s' if count > 1 else ''} on {nodes} node{'s' if nodes > 1 else ''}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for actor in self.actors:
            with contextlib.suppress(Exception):  # one that is dead already, or a cluster that is gone
                self.ray.kill(actor)
        self.actors = []
        if self._ours:
            self.ray.shutdown()

    def results(self, jobs: "Iterator[Job]") -> "Iterator[tuple[Job, list[Unit]]]":
        """Units as they come. Raises InterplayError for what an actor reports, and when the cluster cannot go on."""
        ray = self.ray
        free = [actor for _ in range(AHEAD) for actor in self.actors]
        running: dict[Any, tuple[Job, Any]] = {}
        more = True
        while more or running:
            while more and free:
                if (job := next(jobs, None)) is None:
                    more = False
                else:
                    actor = free.pop(0)
                    running[actor.compute.remote(_anywhere(job))] = (job, actor)
            if not running:
                break
            [ready], _ = ray.wait(list(running), num_returns=1)
            job, actor = running.pop(ready)
            free.append(actor)
            try:
                _, units, problem = ray.get(ready)
            except ray.exceptions.RayActorError as error:
                raise InterplayError(
                    f"the Ray actors died more than {RESTARTS} times (out of memory?): look at the cluster, then run the same "
                    "command again; what is finished stays"
                ) from error
            except ray.exceptions.RayError as error:
                reason = " ".join(str(error).split())[-300:]
                raise InterplayError(f"Ray could not compute {job.name}: {reason}") from error
            if problem is not None:
                raise InterplayError(problem)
            assert units is not None
            yield job, units
