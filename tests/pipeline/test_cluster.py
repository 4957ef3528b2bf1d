"""The units on a Ray cluster: the bytes of a run made here, whatever of the cluster, or of the asking process, dies."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from tiny_job import contents, environment, run_here

from interplay.config.loading import load_settings
from interplay.errors import InterplayError
from interplay.parallel import cluster as cluster_module
from interplay.parallel.cluster import Cluster, Scorer
from interplay.parallel.run import run
from interplay.pipeline import jobs as jobs_module
from interplay.pipeline import measure, states
from interplay.pipeline.progress import Progress

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

    monkeypatch.setattr(jobs_module.OpenModel, "units", here)
    assert run_on(address, finished, tmp_path / "run") is None
    assert contents(tmp_path / "run") == finished.files
    until = time.monotonic() + 30
    while actors():
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.soak
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


@pytest.mark.soak
def test_a_killed_actor_is_started_again_and_its_jobs_are_done(finished, address, tmp_path, parted, monkeypatch):
    saved, killed = [], []
    save = measure.save_unit

    def counted(path, unit):
        save(path, unit)
        saved.append(path)
        if len(saved) == 4:
            victim = actors()[0]
            killed.append(victim.pid)
            victim.kill()

    monkeypatch.setattr(measure, "save_unit", counted)
    run_on(address, finished, tmp_path / "run")
    assert len(killed) == 1
    assert len(saved) == len(set(saved))
    assert contents(tmp_path / "run") == finished.files


@pytest.mark.soak
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


@pytest.mark.soak
def test_what_an_actor_cannot_compute_is_told_in_one_line(finished, address, tmp_path, parted, monkeypatch):
    """The actor's own error, not a traceback from another machine."""
    honest = jobs_module.jobs_of

    def astray(asked):
        made = honest(asked)
        for job in made:
            for question in job.questions:
                unknown = replace(question.prepared.absence, fills=(((10**6,),) * 3,))  # no such embedding
                object.__setattr__(question.prepared, "absence", unknown)
        return made

    monkeypatch.setattr(jobs_module, "jobs_of", astray)
    with pytest.raises(InterplayError, match=r"gives token id 1000000, the model has \d+ embeddings"):
        run_on(address, finished, tmp_path / "run")


def test_no_cluster_is_told_in_one_line(finished, call, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.chdir(tmp_path)
    done = call("run", finished.config, "--out", "run", "--ray", "127.0.0.1:1", "-q")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert done.err.startswith("interplay: no Ray cluster at '127.0.0.1:1': run ray start --head")
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


@pytest.mark.soak
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


@pytest.mark.soak
def test_a_cluster_with_no_room_is_waited_for_and_named(finished, address, tmp_path, parted, monkeypatch):
    out = trained(finished, tmp_path / "run")
    monkeypatch.setattr(cluster_module, "ROOM", 0.5)
    ray.init(address=address, namespace="interplay", logging_level="ERROR", log_to_driver=False)
    other = ray.remote(num_cpus=2)(Scorer).remote(load_settings(finished.wanted))
    ray.get(other.ready.remote())

    class Makes(Said):
        def say(self, line):
            super().say(line)
            if "no actor has a place yet" in line:
                ray.kill(other)

    said = Makes()
    run(load_settings(finished.wanted), out, said, ray=address)
    assert len([line for line in said.lines if "no actor has a place yet" in line]) == 1
    assert contents(out) == finished.files


@pytest.mark.soak
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


@pytest.mark.soak
def test_a_node_that_vanishes_costs_nothing(finished, tmp_path, parted, monkeypatch):
    """There is no room on the other for the actor that was on it, whose jobs Ray gives up before it knows of the death."""
    from ray.cluster_utils import Cluster as Local

    small = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    local = Local(initialize_head=True, head_node_args={"include_dashboard": False, **small})
    engines, saved = [], []
    save, results = measure.save_unit, Cluster.results

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
    monkeypatch.setattr(measure, "save_unit", counted)
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


@pytest.mark.soak
def test_an_actor_loads_a_model_once(finished, tmp_path, monkeypatch):
    """All checkpoints of the main model on one load of it; and only one other model beside it."""
    taken = []
    honest = jobs_module.units_of

    def watched(folder, asked, *rest):
        taken.extend(jobs_module.jobs_of(asked))
        return honest(folder, asked, *rest)

    from interplay.pipeline import extraction

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
        units, problem = scorer.compute(job)
        assert problem is None
        saved = job.saved(tmp_path / "run")
        assert [u.header for u in units] == [u.header for u in saved]
    assert len({job.state for job in taken}) == 6  # four steps, the second precision, the baseline
    assert loads == [(model, "float32"), (model, "bfloat16"), (finished.wanted["baseline"]["name"], "float32")]
