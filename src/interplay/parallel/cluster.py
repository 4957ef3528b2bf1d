"""`--ray ADDRESS`: actors on an existing Ray cluster compute the units of a run; the process that asks writes them.

An actor needs the model and the checkpoints where it runs (a network folder or a hub), not the run folder. Ray restarts what
dies; a job may be done twice without harm.
"""

import contextlib
import logging
import os
import secrets
import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from interplay.config.settings import Settings
from interplay.errors import InterplayError, reason_of
from interplay.extras import require
from interplay.pipeline.jobs import Job, OpenModel
from interplay.pipeline.stages import models_of, quiet_libraries
from interplay.process import environment
from interplay.store.units import Unit

RESTARTS = 4  # of an actor that died; each costs it a model load [ours]
RETRIES = 4  # of a job whose actor died [ours]
KNOCK = 10.0  # seconds in which a cluster has to answer at all [ours]
ROOM = 30.0  # seconds without an answer before looking for what the cluster lacks [ours]
SILENCE = 600.0  # seconds without a unit before the user is told: Ray waits for room silently [ours]
AHEAD = 2  # jobs an actor has at a time, so that it never waits for the next one [ours]

_DIED = f"a Ray actor died more than {RESTARTS} times (out of memory?)"
_UNMADE = "a Ray actor could not be made"
_ANEW = "look at the cluster, then run the same command again; what is finished stays"

TOKENS = (2, 52)  # Ray's first version that asks for a token
# Of a cluster started here: it asks for a token, and listens on 127.0.0.1 alone. Ray reads both when it is imported.
_PRIVATE: dict[str, str | None] = {"RAY_AUTH_MODE": "token", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


def _ray(address: str) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # for a cluster started here
    require("ray", what="--ray")
    with environment(**(_PRIVATE if address == "local" else {})):
        import ray

    if address == "local" and tuple(map(int, ray.__version__.split(".")[:2])) < TOKENS:
        raise InterplayError(
            f"Ray {ray.__version__} would let anybody on the network run code here: pip install 'ray>=2.52', or use --workers"
        )
    return ray


@contextlib.contextmanager
def _connected(ray: Any, address: str) -> Generator[None]:
    """A connection for the length of a block. A cluster that is started here obeys only those who know its random token."""
    with environment(**(_PRIVATE | {"RAY_AUTH_TOKEN": secrets.token_hex(32)} if address == "local" else {})):
        host, colon, port = address.removeprefix("ray://").rpartition(":")
        try:
            if colon and port.isdigit():  # else Ray would try for two minutes and then end the process
                socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK).close()
            ray.init(
                address=address,
                namespace="interplay",
                logging_level=logging.ERROR,
                log_to_driver=False,
                **({"include_dashboard": False} if address == "local" else {}),
            )
        except Exception as error:  # Ray raises many types here; all mean that there is no cluster
            if address == "local":  # one reason is a Ray that this process started without a token before
                raise InterplayError(f"Ray cannot be started here: start Python anew; {reason_of(error)}") from error
            raise InterplayError(f"no Ray cluster at {address!r}: run ray start --head; {reason_of(error)}") from error
        try:
            yield
        finally:
            ray.shutdown()


def refuse_unreachable(address: str) -> None:
    """InterplayError where Ray is not installed or no cluster answers; for use before a training."""
    ray = _ray(address)
    if address != "local" and not ray.is_initialized():
        with _connected(ray, address):
            pass


def _absolute(name: str) -> str:
    """A model's name as an absolute path; hub names stay."""
    path = Path(name).expanduser()
    return str(path.absolute()) if path.exists() else name


def _anywhere(job: Job) -> Job:
    """The job with absolute paths: actors have other working directories."""
    state, checkpoint = job.state, job.state.checkpoint
    if checkpoint.path is not None:
        checkpoint = replace(checkpoint, path=checkpoint.path.absolute())
    moved = replace(state, base=replace(state.base, name=_absolute(state.base.name)), checkpoint=checkpoint)
    return replace(job, questions=tuple(replace(q, state=moved) for q in job.questions))


def _cores_each(nodes: Sequence[dict[str, Any]], count: int, per_gpu: int) -> int:
    """The most cores each of `count` actors may ask for so that all find room on the nodes; 0 where they must share cores.

    `per_gpu` actors share a GPU, and only nodes with a GPU have room then; 0: actors need none.
    """
    resources = [node["Resources"] for node in nodes if node["Alive"]]
    here = [(int(has.get("CPU", 0)), int(has.get("GPU", 0)) * per_gpu if per_gpu else count) for has in resources]
    most = max((cores for cores, room in here if room), default=0)
    for each in range(most, 0, -1):
        if sum(min(cores // each, room) for cores, room in here) >= count:
            return each
    return 0


class Scorer:
    """What runs in an actor: it loads models and keeps the last state open."""

    def __init__(self, settings: Settings) -> None:
        self._model = OpenModel(models_of(settings))

    def ready(self) -> str:
        """The node it runs on; answered once it has a place there."""
        import ray

        return ray.get_runtime_context().get_node_id()

    def compute(self, job: Job) -> tuple[list[Unit] | None, str | None]:
        """The job's units, or one line about what the user has to mend."""
        try:
            with quiet_libraries():
                return self._model.units(job), None
        except InterplayError as error:
            return None, str(error)


class Cluster:
    """Actors that share a cluster's cores and GPUs, for the length of a `with` block; `results` is an `Engine` of jobs.

    Args:
        address: as `ray.init` takes it: "auto", "HOST:PORT", "ray://HOST:PORT", or "local".
        actors: how many; None: one a GPU, or without GPUs one a node with cores [ours].
    """

    def __init__(
        self, address: str, settings: Settings, say: Callable[[str], None], *, actors: int | None = None
    ) -> None:
        self.ray: Any = _ray(address)
        self.address, self.settings, self.say, self.count = address, settings, say, actors
        self.actors: list[Any] = []
        self._starting: dict[Any, Any] = {}  # answer to `ready` -> actor that has no place on the cluster yet
        self._node: dict[Any, str] = {}  # actor that has a place -> its node
        self._placed_once: list[Any] = []  # actors that had a place at some time
        self._said: set[str] = set()
        self._connection = contextlib.ExitStack()  # where this process made it

    def __enter__(self) -> "Cluster":
        ray = self.ray
        if not ray.is_initialized():
            self._connection.enter_context(_connected(ray, self.address))
        nodes = [node for node in ray.nodes() if node["Alive"]]
        gpus = sum(int(node["Resources"].get("GPU", 0)) for node in nodes)
        count = self.count or gpus or sum(node["Resources"].get("CPU", 0) >= 1 for node in nodes) or 1
        # An actor cannot have parts of two GPUs.
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

    def __exit__(self, *error: object) -> None:
        for actor in self.actors:
            with contextlib.suppress(Exception):  # dead already, or the cluster is gone
                self.ray.kill(actor)
        self._connection.close()

    def results(self, jobs: Iterator[Job]) -> Iterator[tuple[Job, list[Unit]]]:
        """Units as they come; a job is pulled when an actor with a place can take it.

        Raises InterplayError for what an actor reports, and when the cluster cannot go on.
        """
        ray = self.ray
        free = [actor for _ in range(AHEAD) for actor in self._node]
        running: dict[Any, tuple[Job, Any]] = {}
        again: list[Job] = []  # of actors that were lost
        more, silent = True, 0.0
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
            # Starting actors first: of several answers, Ray gives the first in the list.
            asked = [*(self._starting if more or again else ()), *running]
            found, _ = ray.wait(asked, num_returns=1, timeout=ROOM)
            if not found:
                silent += ROOM
                alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
                again += self._taken_back([a for a, node in self._node.items() if node not in alive], running, free)
                if not self._node:
                    self._say_once(
                        "Ray: no actor has a place yet (see ray status; --workers asks for more, smaller ones)"
                    )
                elif silent >= SILENCE:
                    self._say_once(
                        f"Ray: no unit for {SILENCE / 60:.0f} minutes (see ray status: do actors wait for room?)"
                    )
                continue
            [ready] = found
            if ready in self._starting:
                free += [actor for actor in self._placed(ready) for _ in range(AHEAD)]
                continue
            silent = 0.0
            job, actor = running.pop(ready)
            try:
                units, problem = ray.get(ready)
            except (ray.exceptions.ActorUnavailableError, ray.exceptions.ObjectLostError):
                again += [job, *self._taken_back([actor], running, free)]  # its node is gone, or cannot be reached
                continue
            except ray.exceptions.RayActorError as error:
                again += [job, *self._taken_back([actor], running, free)]
                died.append(job.name)
                if died.count(job.name) > 1:
                    raise InterplayError(f"{_DIED}: {_ANEW}") from error
                continue
            except ray.exceptions.RayError as error:
                raise InterplayError(
                    f"Ray could not compute {job.name}: {reason_of(error, 1_000_000)[-300:]}"
                ) from error
            free.append(actor)
            if problem is not None:
                raise InterplayError(problem)
            assert units is not None
            yield job, units

    def _placed(self, ready: Any) -> list[Any]:
        """The actor that answered, now with a place; [] where it cannot be had and there are others."""
        actor = self._starting.pop(ready)
        try:
            self._node[actor] = self.ray.get(ready)
            self._placed_once.append(actor)
            return [actor]
        except self.ray.exceptions.ActorUnavailableError:
            # Its node cannot be reached, but Ray does not take it for dead yet.
            self._starting[actor.ready.remote()] = actor
            return []
        except self.ray.exceptions.RayError as error:
            self.actors.remove(actor)
            what, why = _DIED, ""
            if actor not in self._placed_once:
                said = reason_of(error, 1_000_000)[-300:]  # the cause stands at the end
                what, why = _UNMADE, f" Is the same Interplay installed on every node? {said}"
            if not self.actors:
                raise InterplayError(f"{what}, and none is left: {_ANEW}.{why}") from error
            self._say_once(f"warning: {what}, the run goes on with the others.{why}", what)
            return []

    def _taken_back(self, lost: list[Any], running: dict[Any, tuple[Job, Any]], free: list[Any]) -> list[Job]:
        """The jobs of lost actors, which leave `running` and `free`; Ray would let them wait for room, perhaps for ever."""
        for actor in lost:
            if self._node.pop(actor, None) is not None:
                self._starting[actor.ready.remote()] = actor
        free[:] = [actor for actor in free if actor not in lost]
        answers = [answer for answer, (_, actor) in running.items() if actor in lost]
        return [running.pop(answer)[0] for answer in answers]

    def _say_once(self, line: str, kind: str | None = None) -> None:
        if (kind or line) not in self._said:
            self.say(line)
        self._said.add(kind or line)
