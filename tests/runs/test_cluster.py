"""The units on a Ray cluster: the bytes of a run made here, whatever of the cluster, or of the asking process, dies."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from tiny_job import command, contents, environment, run_here

from interplay.errors import InterplayError
from interplay.runs import jobs as jobs_module
from interplay.runs import states
from interplay.runs.loading import load_settings
from interplay.runs.pipeline import run
from interplay.runs.progress import Progress
from interplay.sharing import cluster as cluster_module
from interplay.sharing.cluster import AHEAD, ROOM, SILENCE, Cluster, Scorer, _cores_each

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
SHARER = Path(__file__).with_name("sharer.py")


@pytest.fixture(scope="module")
def address():
    """A cluster of two cores that outlives whoever connects to it."""
    os.environ |= {"RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1", "RAY_DEDUP_LOGS": "0"}
    from ray.cluster_utils import Cluster as Local

    head = {"num_cpus": 2, "object_store_memory": 80 * 2**20, "include_dashboard": False}
    local = Local(initialize_head=True, head_node_args=head)
    yield local.address
    local.shutdown()


@pytest.fixture
def parted():
    """No connection is left to the next test."""
    yield
    ray.shutdown()


def actors() -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::Scorer"):
                found.append(process)
        except psutil.Error:
            continue
    return found


class Said(Progress):
    """Keeps the lines for the user."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def run_on(address: str, finished, out: Path):
    return run(load_settings(finished.wanted), out, Progress(quiet=True), ray=address)


def trained(finished, out: Path) -> Path:
    """The finished run without what is computed after the training."""
    shutil.copytree(finished.folder / "checkpoints", out / "checkpoints")
    for name in ("settings.yaml", "inputs.json", "weights.json", "format.json"):
        shutil.copy(finished.folder / name, out / name)
    return out


def test_same_bytes_and_no_actor_is_left(finished, address, tmp_path, parted, monkeypatch):
    def here(*_):
        raise AssertionError("a unit was computed by the process that asks")

    monkeypatch.setattr(jobs_module.Here, "results", here)
    result = run_on(address, finished, tmp_path / "run")
    assert contents(tmp_path / "run") == finished.files
    assert result.recommendation.step in (1, 2, 4)
    until = time.monotonic() + 30
    while actors():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_paths_from_here_lead_to_the_same_place_in_an_actor(finished, address, tmp_path, parted, monkeypatch):
    """Model, data and run folder by relative names, as a user types them; an actor works elsewhere."""
    monkeypatch.chdir(tmp_path)
    for name in ("model", "baseline"):
        source = finished.wanted["model" if name == "model" else "baseline"]["name"]
        shutil.copytree(source, tmp_path / name)
    wanted = json.loads(json.dumps(finished.wanted))
    wanted["model"]["name"], wanted["baseline"]["name"] = "model", "./baseline"
    run(load_settings(wanted), Path("run"), Progress(quiet=True), ray=address)
    units = [name for name in finished.files if name.startswith("units/")]
    assert {name: contents(tmp_path / "run")[name] for name in units} == {n: finished.files[n] for n in units}


def test_a_killed_actor_is_started_again_and_its_jobs_are_done(finished, address, tmp_path, parted, monkeypatch):
    saved, killed = [], []
    save = jobs_module.save_unit

    def counted(path, unit):
        save(path, unit)
        saved.append(path)
        if len(saved) == 4:
            victim = actors()[0]
            killed.append(victim.pid)
            victim.kill()

    monkeypatch.setattr(jobs_module, "save_unit", counted)
    run_on(address, finished, tmp_path / "run")
    assert len(killed) == 1
    assert len(saved) == len(set(saved))
    assert contents(tmp_path / "run") == finished.files


def test_a_killed_driver_goes_on_with_what_was_written(finished, address, tmp_path):
    out = tmp_path / "run"
    arguments = [sys.executable, str(SHARER), str(finished.config), str(out), "--ray", address]
    first = subprocess.run([*arguments, "--die-after", "5"], env=environment(), capture_output=True, check=False)
    assert first.returncode == -signal.SIGKILL, first.stderr
    written = {path: path.stat().st_mtime_ns for path in (out / "units").rglob("*.safetensors")}
    assert len(written) == 5
    second = subprocess.run(arguments, env=environment(), capture_output=True, check=False)
    assert second.returncode == 0, second.stderr
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert contents(out) == finished.files


def test_what_an_actor_cannot_compute_is_told_in_one_line(finished, address, tmp_path, parted, monkeypatch):
    """The actor's own error, not a traceback from another machine."""
    honest = jobs_module.jobs_of

    def astray(batches):
        made = honest(batches)
        for job in made:
            for _, prepared in job.asked:
                object.__setattr__(prepared, "mask_id", 10**6)  # a token the model has no embedding of
        return made

    monkeypatch.setattr(jobs_module, "jobs_of", astray)
    with pytest.raises(InterplayError, match=r"gives token id 1000000, the model has \d+ embeddings"):
        run_on(address, finished, tmp_path / "run")


def test_no_cluster_is_told_in_one_line(finished, tmp_path):
    process = command(
        "run", finished.config, "--out", "run", "--ray", "127.0.0.1:1", "-q", cwd=tmp_path, RAY_AUTH_MODE="disabled"
    )
    assert process.returncode == 2
    assert process.stderr.count("\n") == 1
    assert process.stderr.startswith("interplay: no Ray cluster at '127.0.0.1:1': start one (ray start --head)")
    assert not (tmp_path / "run" / "checkpoints").exists()  # told before the training


def test_without_ray_the_line_names_what_to_install(finished, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InterplayError, match=r"pip install 'interplay\[ray\]'"):
        Cluster("auto", load_settings(finished.wanted), print)


@pytest.mark.parametrize("where", ["auto", "local"])
def test_without_ray_no_training_begins(finished, tmp_path, monkeypatch, where):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InterplayError, match=r"pip install 'interplay\[ray\]'"):
        run_on(where, finished, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_nodes_that_are_not_alike_all_get_their_actor(finished, parted):
    """Of 1 and 3 cores, half of all of them each is more than the first has: its actor would wait for ever."""
    from ray.cluster_utils import Cluster as Local

    small = {"object_store_memory": 80 * 2**20}
    local = Local(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **small})
    try:
        local.add_node(num_cpus=3, **small)
        with Cluster(local.address, load_settings(finished.wanted), print) as cluster:
            answers = list(cluster._starting)
            placed, _ = ray.wait(answers, num_returns=2, timeout=60)
            assert len(answers) == len(placed) == 2
            assert {ray.get(answer) for answer in placed} <= {node["NodeID"] for node in ray.nodes()}
    finally:
        ray.shutdown()
        local.shutdown()


def test_a_cluster_with_no_room_is_waited_for_and_named(finished, address, tmp_path, parted, monkeypatch):
    out = trained(finished, tmp_path / "run")
    monkeypatch.setattr(cluster_module, "ROOM", 0.5)
    ray.init(address=address, namespace="interplay", logging_level="ERROR", log_to_driver=False)
    other = ray.remote(num_cpus=2)(Scorer).remote(load_settings(finished.wanted))
    ray.get(other.ready.remote())

    class Makes(Said):
        def say(self, line):
            super().say(line)
            if "waiting for room" in line:
                assert not list((out / ".work" / "claims").glob("*probe*"))  # nobody has a job that nobody can do
                ray.kill(other)

    said = Makes()
    run(load_settings(finished.wanted), out, said, ray=address)
    assert len([line for line in said.lines if "waiting for room" in line]) == 1
    assert contents(out) == finished.files


def test_a_run_goes_on_without_an_actor_that_cannot_be_made(finished, address, tmp_path, parted, monkeypatch):
    mark = str(tmp_path / "first")

    class Fails(Scorer):  # sent by value, since it is no module's
        def __init__(self, settings):
            super().__init__(settings)
            try:
                os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return
            raise RuntimeError("another version of something")

    monkeypatch.setattr(cluster_module, "Scorer", Fails)
    out, said = trained(finished, tmp_path / "run"), Said()
    run(load_settings(finished.wanted), out, said, ray=address, workers=2)
    assert contents(out) == finished.files
    [line] = [line for line in said.lines if line.startswith("warning: a Ray actor could not be made")]
    assert "another version of something" in line
    assert "\n" not in line


def test_a_node_that_vanishes_costs_nothing(finished, tmp_path, parted, monkeypatch):
    """There is no room on the other for the actor that was on it, whose jobs Ray gives up before it knows of the death."""
    from ray.cluster_utils import Cluster as Local

    small = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    local = Local(initialize_head=True, head_node_args={"include_dashboard": False, **small})
    engines, saved = [], []
    save, results = jobs_module.save_unit, Cluster.results

    def noted(self, jobs):
        engines.append(self)
        return results(self, jobs)

    def counted(path, unit):
        save(path, unit)
        saved.append(path)
        if len(saved) == 1:  # both have a place, so that both have jobs when the next ones come
            starting = list(engines[0]._starting)
            assert len(ray.wait(starting, num_returns=len(starting), timeout=60)[1]) == 0
        if len(saved) == 6:
            local.remove_node(second, allow_graceful=False)

    monkeypatch.setattr(Cluster, "results", noted)
    monkeypatch.setattr(jobs_module, "save_unit", counted)
    monkeypatch.setattr(cluster_module, "ROOM", 2.0)
    out = trained(finished, tmp_path / "run")
    try:
        second = local.add_node(**small)
        run_on(local.address, finished, out)
    finally:
        ray.shutdown()
        local.shutdown()
    assert len(saved) == len(set(saved)) > 6
    assert contents(out) == finished.files


def test_an_actor_loads_a_model_once(finished, tmp_path, monkeypatch):
    """All checkpoints of the main model on one load of it; and only one other model beside it."""
    taken = []
    honest = jobs_module.units_of

    def watched(folder, batches, engine, together, advance):
        taken.extend(jobs_module.jobs_of(batches))
        return honest(folder, batches, engine, together, advance)

    from interplay.runs import extraction

    monkeypatch.setattr(extraction, "units_of", watched)
    run_here(finished.wanted, tmp_path / "run")
    loads = []
    load = states.load_model

    def counted(name, **more):
        loads.append((name, more["dtype"]))
        return load(name, **more)

    monkeypatch.setattr(states, "load_model", counted)
    model = finished.wanted["model"]["name"]
    scorer = Scorer(load_settings(finished.wanted))
    for job in taken:
        name, units, problem = scorer.compute(job)
        assert (name, problem) == (job.name, None)
        kept = job.kept(tmp_path / "run")
        assert [u.header for u in units] == [u.header for u in kept]
    assert len({job.group for job in taken}) == 6  # four steps, the second precision, the baseline
    assert loads == [(model, "float32"), (model, "bfloat16"), (finished.wanted["baseline"]["name"], "float32")]


# ---- who gets which job, on a cluster that is only pretended --------------------------------------------------------


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
            answer.value = (answer.job.name, [self.number], None)
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
    assert "waiting for room" in made.said[0]


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
    assert "waiting for room" in made.said[0]


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
    assert made.said == ["Ray: no unit for 10 minutes (ray status shows whether actors wait for room)"]
