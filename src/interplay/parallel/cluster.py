"""`--ray ADDRESS`: the units of a run computed by actors on an existing Ray cluster, written by the process that asks.

An actor gets jobs as plain data and gives units back; it needs the model and the checkpoints where it runs (a network folder
or a hub), not the run folder. It loads a model once, whatever jobs come. What dies is started again by Ray, and a unit is the
same whoever computes it, so that a job may be done twice without harm. When the asking process dies, the same command goes
on with what was written.
"""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from interplay.errors import InterplayError
from interplay.extras import require

if TYPE_CHECKING:
    from interplay.config.settings import Settings
    from interplay.pipeline.jobs import Job
    from interplay.store.units import Unit

RESTARTS = 4  # of an actor that died; each costs it a model load [ours]
RETRIES = 4  # of a job whose actor died [ours]
KNOCK = 10.0  # seconds in which a cluster has to answer at all [ours]
ROOM = 30.0  # seconds without an answer after which it is asked what the cluster lacks [ours]
SILENCE = 600.0  # seconds without a unit after which the user is told, since Ray waits for room without a word [ours]
AHEAD = 2  # jobs an actor has at a time, so that it never waits for the next one [ours]

_DIED = f"a Ray actor died more than {RESTARTS} times (out of memory?)"
_UNMADE = "a Ray actor could not be made"
_ANEW = "look at the cluster, then run the same command again; what is finished stays"


def _knock(address: str) -> None:
    """OSError where nobody answers at HOST:PORT: Ray itself would try for two minutes and then end the process."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK).close()


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster started here reports to nobody
    require("ray", what="--ray")
    import ray

    return ray


def _connect(ray: Any, address: str) -> None:
    import logging

    try:
        _knock(address)
        ray.init(
            address=address,
            namespace="interplay",
            logging_level=logging.ERROR,
            log_to_driver=False,
            **({"include_dashboard": False} if address == "local" else {}),
        )
    except Exception as error:  # Ray raises many types here; all mean that there is no cluster to be had
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InterplayError(f"no Ray cluster at {address!r}: start one (ray start --head), {reason}") from error


def refuse_unreachable(address: str) -> None:
    """InterplayError where Ray is not installed or no cluster answers: asked before a training, not after it."""
    ray = _ray()
    if address != "local" and not ray.is_initialized():
        _connect(ray, address)
        ray.shutdown()


def _absolute(name: str) -> str:
    """A model's name with which another working directory finds the same folder or file; hub names stay as they are."""
    path = Path(name).expanduser()
    return str(path.absolute()) if path.exists() else name


def _anywhere(job: "Job") -> "Job":
    """The job with its paths from the root: actors work in folders of their own."""
    state = job.state
    checkpoint = state.checkpoint
    if checkpoint.path is not None:
        checkpoint = replace(checkpoint, path=checkpoint.path.absolute())
    moved = replace(state, base=replace(state.base, name=_absolute(state.base.name)), checkpoint=checkpoint)
    return replace(job, questions=tuple(replace(q, state=moved) for q in job.questions))


def _cores_each(nodes: Sequence[dict[str, Any]], count: int, per_gpu: int) -> int:
    """The most cores an actor may ask for such that `count` of them find room; 0 where they must share cores.

    Actors do not span nodes, so what counts is what each node has.

    Args:
        nodes: as `ray.nodes` gives them; those that are not alive are left out.
        per_gpu: actors that share a GPU; only nodes with a GPU have room then. 0: actors need none.

    >>> def node(cpu, gpu=0): return {"Alive": True, "Resources": {"CPU": cpu, "GPU": gpu}}
    >>> _cores_each([node(1), node(3)], 2, 0), _cores_each([node(64), node(8, 4)], 4, 1), _cores_each([node(2)], 4, 0)
    (1, 2, 0)
    """
    here = [node["Resources"] for node in nodes if node["Alive"]]
    here = [(int(has.get("CPU", 0)), int(has.get("GPU", 0)) * per_gpu if per_gpu else count) for has in here]
    most = max((cores for cores, room in here if room), default=0)
    for each in range(most, 0, -1):
        if sum(min(cores // each, room) for cores, room in here) >= count:
            return each
    return 0


class Scorer:
    """What runs in an actor: a place to load models, and the state that is open there."""

    def __init__(self, settings: "Settings") -> None:
        from interplay.pipeline.jobs import OpenModel
        from interplay.pipeline.stages import models_of

        self._here = OpenModel(models_of(settings))

    def ready(self) -> str:
        """The node it has its place on; answered once there is one and the actor could be made there."""
        import ray

        return ray.get_runtime_context().get_node_id()

    def compute(self, job: "Job") -> "tuple[str, list[Unit] | None, str | None]":
        """The job's name with its units, or with what is wrong in a line: an error that the user can mend is no crash."""
        from interplay.pipeline.stages import quiet_libraries

        try:
            with quiet_libraries():
                return job.name, self._here.units(job), None
        except InterplayError as error:
            return job.name, None, str(error)


class Cluster:
    """Actors that share a cluster's cores and GPUs; `results` is an engine of `interplay.pipeline.jobs`. A context: on leaving, they
    are gone.

    Args:
        address: as `ray.init` takes it: "auto", "HOST:PORT", "ray://HOST:PORT", or "local" for one on this machine.
        actors: how many; None: one a GPU, or where there is none, one a node with cores, since each holds a model [ours].
    """

    def __init__(
        self, address: str, settings: "Settings", say: Callable[[str], None], *, actors: int | None = None
    ) -> None:
        self.ray: Any = _ray()
        self.address, self.settings, self.say, self.count = address, settings, say, actors
        self.actors: list[Any] = []
        self._starting: dict[Any, Any] = {}  # those that have no place on the cluster yet, by what they answer with
        self._node: dict[Any, str] = {}  # the others, with where they are
        self._had: list[Any] = []  # actors that had a place at some time
        self._warned: set[str] = set()
        self._ours = False  # whether this process connected, and so has to part

    def __enter__(self) -> "Cluster":
        ray = self.ray
        if not ray.is_initialized():
            _connect(ray, self.address)
            self._ours = True
        nodes = [node for node in ray.nodes() if node["Alive"]]
        gpus = sum(int(node["Resources"].get("GPU", 0)) for node in nodes)
        count = self.count or gpus or sum(node["Resources"].get("CPU", 0) >= 1 for node in nodes) or 1
        # A part of a GPU is a part of one GPU: so many actors to each, not the GPUs' sum among the actors.
        per_gpu = -(-count // gpus) if gpus else 0
        kind = ray.remote(
            num_cpus=_cores_each(nodes, count, per_gpu),  # which is also the threads Ray gives it
            num_gpus=1 / per_gpu if per_gpu else 0,
            max_restarts=RESTARTS,
            max_task_retries=RETRIES,
        )(Scorer)
        model = self.settings.model
        here = self.settings.model_copy(update={"model": model.model_copy(update={"name": _absolute(model.name)})})
        self.actors = [kind.remote(here) for _ in range(count)]
        self._starting = {actor.ready.remote(): actor for actor in self.actors}
        self.say(f"Ray: {count} actor{'s' if count > 1 else ''} on {len(nodes)} node{'s' if len(nodes) > 1 else ''}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for actor in self.actors:
            with contextlib.suppress(Exception):  # one that is dead already, or a cluster that is gone
                self.ray.kill(actor)
        self.actors, self._starting, self._node = [], {}, {}
        if self._ours:
            self.ray.shutdown()

    def results(self, jobs: "Iterator[Job]") -> "Iterator[tuple[Job, list[Unit]]]":
        """Units as they come. Raises InterplayError for what an actor reports, and when the cluster cannot go on.

        A job is pulled only when an actor that has its place can take it: another process leaves out what is done, and
        what was pulled long ago is not.
        """
        ray = self.ray
        free = [actor for _ in range(AHEAD) for actor in self._node]
        running: dict[Any, tuple[Job, Any]] = {}
        again: list[Job] = []  # of actors that were lost
        more = True
        silent = 0.0
        told: set[str] = set()
        died: list[str] = []  # names of jobs at which an actor died for good
        while True:
            while free and (again or more):
                if (job := again.pop(0) if again else next(jobs, None)) is None:
                    more = False
                else:
                    actor = free.pop(0)
                    running[actor.compute.remote(_anywhere(job))] = (job, actor)
            if not (more or again or running):
                return
            # Those that start come first: of several that have answered, Ray gives the first of the list.
            asked = [*(self._starting if more or again else ()), *running]
            found, _ = ray.wait(asked, num_returns=1, timeout=ROOM)
            if not found:
                silent += ROOM
                alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
                again += self._taken_back([a for a, node in self._node.items() if node not in alive], running, free)
                if line := self._lacking(silent):
                    if line not in told:
                        self.say(line)
                    told.add(line)
                continue
            [ready] = found
            if ready in self._starting:
                free += [actor for actor in self._placed(ready) for _ in range(AHEAD)]
                continue
            silent = 0.0
            job, actor = running.pop(ready)
            try:
                _, units, problem = ray.get(ready)
            except (ray.exceptions.ActorUnavailableError, ray.exceptions.ObjectLostError):
                again += [job, *self._taken_back([actor], running, free)]  # its node is gone, or cannot be reached
                continue
            except ray.exceptions.RayActorError as error:
                again += [job, *self._taken_back([actor], running, free)]
                died.append(job.name)
                if died.count(job.name) > 1:
                    raise InterplayError(f"{_DIED}: {_ANEW}") from error
                continue  # it does not start again either, which is told then
            except ray.exceptions.RayError as error:
                reason = " ".join(str(error).split())[-300:]
                raise InterplayError(f"Ray could not compute {job.name}: {reason}") from error
            free.append(actor)
            if problem is not None:
                raise InterplayError(problem)
            assert units is not None
            yield job, units

    def _placed(self, ready: Any) -> list[Any]:
        """The actor that answered, now one of those that work; none where it cannot be had and there are others."""
        actor = self._starting.pop(ready)
        try:
            self._node[actor] = self.ray.get(ready)
            self._had.append(actor)
            return [actor]
        except self.ray.exceptions.ActorUnavailableError:
            # Its node cannot be reached, and Ray does not hold it for dead yet. Ray tries for some seconds before it says so.
            self._starting[actor.ready.remote()] = actor
            return []
        except self.ray.exceptions.RayError as error:
            self.actors.remove(actor)
            what, why = _DIED, ""
            if actor not in self._had:
                reason = " ".join(str(error).split())[-300:]
                what, why = _UNMADE, f" Is the same Interplay installed on every node? {reason}"
            if not self.actors:
                raise InterplayError(f"{what}, and none is left: {_ANEW}.{why}") from error
            if what not in self._warned:
                self.say(f"warning: {what}, the run goes on with the others.{why}")
            self._warned.add(what)
            return []

    def _taken_back(self, lost: list[Any], running: "dict[Any, tuple[Job, Any]]", free: list[Any]) -> "list[Job]":
        """The jobs of actors that are lost; these leave `running` and `free`, and get work again once they answer.

        Ray keeps the jobs of an actor whose node is gone until there is room for it on another, which may be never.
        """
        for actor in lost:
            if self._node.pop(actor, None) is not None:
                self._starting[actor.ready.remote()] = actor
        free[:] = [actor for actor in free if actor not in lost]
        answers = [answer for answer, (_, actor) in running.items() if actor in lost]
        return [running.pop(answer)[0] for answer in answers]

    def _lacking(self, silent: float) -> str | None:
        """What to tell the user, who has seen nothing come back for so many seconds."""
        if not self._node:
            return (
                "Ray: no actor has a place on the cluster, waiting for room (ray status shows what is taken; --workers asks "
                "for more, smaller ones)"
            )
        if silent >= SILENCE:
            return f"Ray: no unit for {SILENCE / 60:.0f} minutes (ray status shows whether actors wait for room)"
        return None
