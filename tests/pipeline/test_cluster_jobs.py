"""Who gets which job of a run on Ray: actors that start late, die, vanish or are silent, on a cluster that is only pretended."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from interplay.config.loading import load_settings
from interplay.errors import InterplayError
from interplay.parallel import cluster as cluster_module
from interplay.parallel.cluster import AHEAD, ROOM, SILENCE, Cluster, _cores_each

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")


def node(cpu: float, gpu: float = 0, *, alive: bool = True, name: str = "node") -> dict:
    return {"Alive": alive, "NodeID": name, "Resources": {"CPU": cpu, "GPU": gpu} if gpu else {"CPU": cpu}}


@pytest.mark.parametrize(
    ("nodes", "count", "per_gpu", "cores"),
    [
        ([node(4)], 1, 0, 4),
        ([node(4)], 3, 0, 1),
        ([node(1), node(3)], 2, 0, 1),
        ([node(0), node(8)], 1, 0, 8),  # a head that takes no work
        ([node(16), node(16), node(4)], 3, 0, 8),
        ([node(64), node(8, 4)], 4, 1, 2),  # a head without a GPU has no room
        ([node(64), node(8, 4)], 5, 2, 1),
        ([node(64, alive=False), node(2)], 2, 0, 1),
        ([node(2, 4)], 4, 1, 0),  # they share cores
        ([node(2)], 3, 0, 0),
        ([node(0)], 1, 0, 0),
        ([], 1, 0, 0),
    ],
)
def test_an_actor_asks_for_no_more_cores_than_all_find(nodes, count, per_gpu, cores):
    assert _cores_each(nodes, count, per_gpu) == cores


class Answer:
    """What a call of an actor gives once it is known: `value`, or an error to raise."""

    def __init__(self, actor=None, job=None) -> None:
        self.actor, self.job, self.value = actor, job, None


class Actor:
    """One whose answers the test gives: at once where it `works`."""

    def __init__(self, number: int, settings) -> None:
        self.number, self.settings, self.works = number, settings, False
        self.given: list[Answer] = []
        self.done: list[str] = []
        self.place = Answer(self)
        self.ready = SimpleNamespace(remote=self._ready)
        self.compute = SimpleNamespace(remote=self._compute)

    def _ready(self) -> Answer:
        self.place = Answer(self)
        return self.place

    def _compute(self, job) -> Answer:
        answer = Answer(self, job)
        self.given.append(answer)
        if self.works:
            self.answers()
        return answer

    def answers(self) -> None:
        """All it was given is done."""
        for answer in self.given:
            answer.value = ([self.number], None)
            self.done.append(answer.job.name)
        self.given.clear()

    def starts(self, on: str = "node") -> None:
        self.works, self.place.value = True, on

    def fails(self) -> None:
        self.place.value = ray.exceptions.RayActorError(error_msg="no module named\ninterplay")

    def dies(self) -> None:
        """It will not be started again: all it has to answer is that."""
        self.works = False
        for answer in self.given:
            answer.value = ray.exceptions.RayActorError()
        self.given.clear()
        self.ready = SimpleNamespace(remote=lambda: (self._ready(), self.fails()) and self.place)

    def cannot_be_reached(self) -> None:
        self.works = False
        for answer in [*self.given, self.place]:
            answer.value = ray.exceptions.ActorUnavailableError("socket closed", b"1" * 16)
        self.given.clear()


class Pretended:
    """What `Cluster` uses of Ray. When nothing has an answer the next of `meanwhile` happens, as if in those seconds."""

    exceptions = ray.exceptions

    def __init__(self, *nodes: dict) -> None:
        self.made, self.killed, self.asked, self.there, self.meanwhile = [], [], {}, list(nodes), []

    def is_initialized(self) -> bool:
        return True

    def nodes(self) -> list[dict]:
        return self.there

    def remote(self, **asked):
        self.asked = asked
        return lambda kind: SimpleNamespace(remote=self._make)

    def _make(self, settings) -> Actor:
        self.made.append(Actor(len(self.made), settings))
        return self.made[-1]

    def wait(self, answers, num_returns, timeout):
        assert num_returns == 1
        assert timeout == ROOM
        for answer in answers:
            if answer.value is not None:
                return [answer], []
        assert self.meanwhile, "it waits for ever"
        self.meanwhile.pop(0)()
        return [], answers

    def get(self, answer):
        if isinstance(answer.value, Exception):
            raise answer.value
        return answer.value

    def kill(self, actor) -> None:
        self.killed.append(actor)


@pytest.fixture
def pretended(finished, monkeypatch):
    """Opens a cluster on a pretended Ray: that Ray, its actors, the lines said, and what gives so many jobs' results."""
    monkeypatch.setattr(cluster_module, "_anywhere", lambda job: job)

    def opened(*nodes: dict, actors: int | None = None, **sections) -> SimpleNamespace:
        said: list[str] = []
        pulled: list[str] = []
        cluster = Cluster("auto", load_settings(finished.wanted | sections), said.append, actors=actors)
        cluster.ray = fake = Pretended(*nodes)
        cluster.__enter__()
        del said[:]

        def jobs(count: int):
            for name in map(str, range(count)):
                pulled.append(name)
                yield SimpleNamespace(name=name)

        def names(count: int) -> list[str]:
            return sorted(job.name for job, _ in cluster.results(jobs(count)))

        return SimpleNamespace(
            ray=fake, actors=list(fake.made), said=said, pulled=pulled, cluster=cluster, jobs=jobs, names=names
        )

    return opened


@pytest.mark.parametrize(
    ("nodes", "wanted", "count", "cores", "gpus"),
    [
        ([node(1), node(3)], None, 2, 1, 0),
        ([node(0), node(8)], None, 1, 8, 0),
        ([node(0.5)], None, 1, 0, 0),
        ([node(64), node(8, 1), node(8, 3)], None, 4, 2, 1),
        ([node(64), node(8, 1), node(8, 3)], 2, 2, 8, 1),
        ([node(8, 3)], 4, 4, 2, 0.5),  # 3/4 of a GPU each would leave room for three
        ([node(8, 1), node(8, 1)], 3, 3, 4, 0.5),
    ],
)
def test_actors_are_of_a_size_that_finds_room(pretended, nodes, wanted, count, cores, gpus):
    made = pretended(*nodes, actors=wanted)
    assert len(made.actors) == count
    assert (made.ray.asked["num_cpus"], made.ray.asked["num_gpus"]) == (cores, gpus)


def test_those_with_a_place_do_the_work_of_those_that_never_get_one(pretended):
    made = pretended(node(2), actors=3)
    made.actors[1].starts()
    for stage in (5, 4):  # the actors of one stage are those of the next
        assert made.names(stage) == [str(i) for i in range(stage)]
    assert len(made.actors[1].done) == 9
    assert made.said == []


def test_no_actor_is_left_on_a_connection_that_is_another_s(pretended):
    """There Ray does not end them with the connection."""
    made = pretended(node(2), actors=3)
    made.actors[0].fails()
    made.actors[1].starts()
    assert made.names(2) == ["0", "1"]
    made.cluster.__exit__(None, None, None)
    assert made.ray.killed == made.actors[1:]


def test_an_actor_is_told_the_model_s_place_from_the_root(finished, pretended, monkeypatch):
    """Else it would not know the jobs' base, named from the root, as the run's own model, and load it anew."""
    name = Path(finished.wanted["model"]["name"])
    monkeypatch.chdir(name.parent)
    made = pretended(node(1), model={**finished.wanted["model"], "name": name.name})
    assert made.actors[0].settings.model.name == str(name)


def test_no_job_is_pulled_before_there_is_room_for_it(pretended):
    made = pretended(node(2), actors=2)
    first = made.actors[0]

    def nothing():
        assert made.pulled == []

    made.ray.meanwhile = [nothing, nothing, first.starts]
    results = made.cluster.results(made.jobs(5))
    next(results)
    assert len(made.pulled) == AHEAD
    assert len(list(results)) == 4
    assert len(made.said) == 1
    assert "no actor has a place yet" in made.said[0]


def test_one_that_starts_late_is_given_jobs_however_busy_the_others_are(pretended):
    made = pretended(node(2), actors=2)
    early, late = made.actors
    early.starts()
    results = made.cluster.results(made.jobs(20))
    for _ in range(3):
        next(results)
    late.starts()
    assert len(list(results)) == 17
    assert len(late.done) > 5


def test_those_that_cannot_be_made_are_told_once_and_done_without(pretended):
    made = pretended(node(3), actors=3)
    made.actors[0].fails()
    made.actors[2].fails()
    made.actors[1].starts()
    assert len(made.names(3)) == len(made.names(3)) == 3
    assert len(made.said) == 1
    assert made.said[0].startswith(
        "warning: a Ray actor could not be made, the run goes on with the others. Is the same"
    )
    assert "no module named interplay" in made.said[0]


def test_one_that_cannot_be_made_is_no_error_while_another_may_start(pretended):
    made = pretended(node(2), actors=2)
    made.actors[0].fails()
    made.ray.meanwhile = [made.actors[1].starts]
    assert len(made.names(3)) == 3
    assert [line[:12] for line in made.said] == ["warning: a R", "Ray: no acto"]


def test_when_none_can_be_made_it_is_an_error(pretended):
    made = pretended(node(2), actors=2)
    for actor in made.actors:
        actor.fails()
    with pytest.raises(
        InterplayError, match=r"could not be made, and none is left: .*Is the same Interplay installed on every node"
    ):
        made.names(3)
    assert made.pulled == []


def test_jobs_on_a_node_that_is_gone_go_to_the_others(pretended):
    made = pretended(node(1, name="stays"), node(1, name="goes"))
    stays, goes = made.actors
    stays.starts("stays")
    goes.starts("goes")
    goes.works = False

    def goes_away():
        made.ray.there[1]["Alive"] = False

    made.ray.meanwhile = [goes_away]
    assert made.names(6) == [str(i) for i in range(6)]
    assert stays.done == ["0", "1", "4", "5", "2", "3"]  # 2 and 3 were with the other
    assert len(made.names(2)) == 2
    assert goes.done == []
    goes.starts("stays")
    assert len(made.names(4)) == 4
    assert goes.done != []


def test_an_idle_one_on_a_node_that_is_gone_is_given_nothing(pretended):
    made = pretended(node(1, name="stays"), node(2, name="goes"), actors=3)
    stays, idle, busy = made.actors
    stays.starts("stays")
    idle.starts("goes")
    busy.starts("goes")
    busy.works = False

    def goes_away():
        made.ray.there[1]["Alive"] = idle.works = False

    made.ray.meanwhile = [goes_away]
    assert made.names(8) == [str(i) for i in range(8)]
    assert made.said == []


def test_when_all_nodes_are_gone_room_is_waited_for(pretended):
    made = pretended(node(1))
    [only] = made.actors
    only.starts()
    only.works = False

    def goes_away():
        made.ray.there[0]["Alive"] = False

    made.ray.meanwhile = [goes_away, lambda: None, only.starts]
    assert made.names(3) == ["0", "1", "2"]
    assert len(made.said) == 1
    assert "no actor has a place yet" in made.said[0]


def test_one_that_died_for_good_is_done_without(pretended):
    made = pretended(node(2), actors=2)
    stays, dies = made.actors
    for actor in made.actors:
        actor.starts()
    dies.works = False
    made.ray.meanwhile = [dies.dies]
    assert made.names(6) == [str(i) for i in range(6)]
    assert len(made.names(2)) == 2
    assert len(stays.done) == 8
    assert made.said == [
        "warning: a Ray actor died more than 4 times (out of memory?), the run goes on with the others."
    ]


def test_a_job_at_which_two_died_is_an_error(pretended):
    """It would be the death of all of them, each at the cost of five model loads."""
    made = pretended(node(3), actors=3)
    for actor in made.actors:
        actor.starts()
        actor.works = False
    first, second, third = made.actors
    made.ray.meanwhile = [first.dies, second.answers, lambda: (third.answers(), second.dies(), third.dies())]
    with pytest.raises(InterplayError, match=r"died more than 4 times \(out of memory.*run the same command again"):
        made.names(20)


def test_when_the_last_one_dies_it_is_an_error(pretended):
    made = pretended(node(1))
    [only] = made.actors
    only.starts()
    only.works = False
    made.ray.meanwhile = [only.dies]
    with pytest.raises(InterplayError, match=r"died more than 4 times \(out of memory.*run the same command again"):
        made.names(2)


def test_one_that_cannot_be_reached_is_asked_again_and_the_others_do_its_jobs(pretended):
    made = pretended(node(2), actors=2)
    stays, other = made.actors
    for actor in made.actors:
        actor.starts()
    other.works = stays.works = False

    def back():
        stays.works = True
        stays.answers()
        other.cannot_be_reached()

    made.ray.meanwhile = [other.cannot_be_reached, other.cannot_be_reached, back]
    assert made.names(6) == [str(i) for i in range(6)]
    assert other.done == []
    other.starts()
    assert len(made.names(6)) == 6
    assert other.done != []
    assert made.said == []


def test_a_job_whose_actor_cannot_be_reached_is_not_held_for_its_death(pretended):
    made = pretended(node(1))
    [only] = made.actors

    def back():
        only.starts()
        only.works = False

    back()
    made.ray.meanwhile = [*[only.cannot_be_reached, back] * 3, only.answers]
    assert made.names(2) == ["0", "1"]


def test_silence_is_counted_from_the_last_unit(pretended):
    made = pretended(node(1))
    [only] = made.actors
    only.starts()
    only.works = False
    almost = [lambda: None] * (int(SILENCE / ROOM) - 2)
    made.ray.meanwhile = [*almost, only.answers, *almost, only.answers]
    assert len(made.names(4)) == 4
    assert made.said == []


def test_long_silence_is_named_once_and_no_error(pretended):
    """A job may take long, or Ray may wait for room to start its actor again: it does not say which."""
    made = pretended(node(1))
    [only] = made.actors
    only.starts()
    only.works = False
    told: list[int] = []
    waits = int(SILENCE / ROOM)

    def nothing():
        told.append(len(made.said))

    made.ray.meanwhile = [*[nothing] * 2 * waits, only.answers]
    assert made.names(2) == ["0", "1"]
    assert told == [0] * waits + [1] * waits
    assert made.said == ["Ray: no unit for 10 minutes (see ray status: do actors wait for room?)"]
