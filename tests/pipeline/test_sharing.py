"""Several processes on one run: no unit is lost, hardly one is computed twice, and the folder is that of one process alone."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tiny_job import command, contents, environment, run_here

from interplay.analysis import results
from interplay.config.loading import load_settings
from interplay.errors import InterplayError
from interplay.parallel.run import helper_command, helpers
from interplay.pipeline import jobs, pipeline, stages
from interplay.pipeline.pipeline import Unfinished, run
from interplay.pipeline.progress import Progress
from interplay.pipeline.shards import Shard
from interplay.store.files import cache_json
from interplay.store.folder import RunFolder
from interplay.store.lock import Lock

SHARER = Path(__file__).with_name("sharer.py")


def start(finished, out: Path, *arguments: object, **more: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(SHARER), str(finished.config), str(out), *map(str, arguments)],
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def together(finished, out: Path, *each: tuple[object, ...]) -> list[subprocess.Popen]:
    """Processes that begin at one moment, when all have everything imported."""
    gate = out.with_name("go")
    processes = [start(finished, out, "--until", gate, *arguments) for arguments in each]
    while len(list(out.parent.glob("go.*"))) < len(processes):
        assert all(p.poll() is None for p in processes), [p.communicate()[1] for p in processes if p.poll() is not None]
        time.sleep(0.05)
    gate.touch()
    return processes


def said(process: subprocess.Popen) -> dict:
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def units(files: dict[str, bytes]) -> list[str]:
    return sorted(name for name in files if name.startswith("units/"))


def share(finished, out: Path, i: int, n: int) -> Unfinished | None:
    return run(load_settings(finished.wanted), out, Progress(quiet=True), shard=Shard(i, n))


STAGES = 5  # in which units are computed: checkpoints, controls, second reference, the baseline and its two wordings


@pytest.mark.soak
def test_two_processes_on_one_folder_do_no_unit_in_vain(finished, tmp_path):
    """Each computes a few that the other is at; most are computed once."""
    out = tmp_path / "run"
    both = [said(p) for p in together(finished, out, (), ())]
    assert {name for one in both for name in one["written"]} == set(units(finished.files))
    # The tiny run has three prompts, and all of a prompt's questions count.
    assert sum(one["computed"] for one in both) <= len(units(finished.files)) + 2 * 2 * 2 * STAGES
    assert all(one["written"] for one in both)
    assert contents(out) == finished.files


@pytest.mark.soak
def test_one_of_two_killed_at_work_leaves_nothing_undone(finished, tmp_path):
    out = tmp_path / "run"
    dying, living = together(finished, out, ("--die-after", 3), ())
    written = said(living)["written"]
    dying.communicate()
    assert dying.returncode == -9
    assert len(written) >= len(units(finished.files)) - 3
    assert contents(out) == finished.files


def test_workers_share_the_run_and_leave_the_same_bytes(finished, tmp_path):
    # In another process, with another hash seed: the order of a set must not reach a file.
    process = command("run", finished.config, "--out", "run", "--workers", 2, cwd=tmp_path, PYTHONHASHSEED="2")
    assert process.returncode == 0, process.stderr
    assert "warning: helper" not in process.stderr
    assert "Warning" not in process.stderr
    assert "Traceback" not in process.stderr
    assert contents(tmp_path / "run") == finished.files


def test_a_helper_that_fails_is_named_and_not_needed(tmp_path):
    lines = []
    before = psutil.Process().children()
    with helpers([helper_command(tmp_path, 2, 2)], lines.append):  # which is no run folder
        [child] = [process for process in psutil.Process().children() if process not in before]
        while (
            child.status() != psutil.STATUS_ZOMBIE
        ):  # not child.wait, which would take its exit code from whoever started it
            time.sleep(0.05)
    assert len(lines) == 1
    assert lines[0].startswith("warning: helper 1 stopped, its work was done by others: ")
    assert "is no run folder" in lines[0]


@pytest.mark.soak
def test_a_helper_that_finds_nothing_to_do_leaves_without_a_word(finished, tmp_path):
    run = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    lines = []
    before = psutil.Process().children()
    with helpers([helper_command(run, 2, 2)], lines.append):
        [child] = [process for process in psutil.Process().children() if process not in before]
        assert child.wait(120) == 0
    assert lines == []
    assert contents(run) == finished.files


@pytest.mark.soak
def test_helpers_leave_when_the_process_that_started_them_is_killed(finished, tmp_path):
    """It hangs on a pipe that the kernel closes with that process, which could not say anything."""
    code = (
        "import sys, time; from interplay.parallel.run import helper_command, helpers\n"
        "with helpers([helper_command(sys.argv[1], 2, 2)], print):\n    print('up', flush=True); time.sleep(300)"
    )
    run = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    with Lock(run / ".work" / "lock").held():  # so that the helper waits, for ever
        parent = subprocess.Popen([sys.executable, "-c", code, str(run)], env=environment(), stdout=subprocess.PIPE)
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        [child] = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        until = time.monotonic() + 60
        while "torch" not in Path(f"/proc/{child}/maps").read_text():  # it has come as far as its imports
            assert time.monotonic() < until
            time.sleep(0.05)
        parent.kill()
        parent.communicate()
        while Path(f"/proc/{child}").exists():
            assert time.monotonic() < until, "the helper outlived its parent"
            time.sleep(0.05)


def test_shares_of_one_folder_need_no_coordinator_and_the_last_finishes(finished, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(finished.folder / "checkpoints", out / "checkpoints")
    for name in ("settings.yaml", "inputs.json", "format.json"):
        shutil.copy(finished.folder / name, out / name)
    left = [share(finished, out, i, 3) for i in (3, 1)]
    assert all(isinstance(one, Unfinished) for one in left)
    assert left[0].missing > left[1].missing > 0
    assert not (out / "manifest.json").exists()
    done = share(finished, out, 2, 3)
    assert done is None
    assert contents(out) == finished.files


def test_a_share_does_its_share_and_no_more(finished, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(finished.folder, out)
    shutil.rmtree(out / "units")
    for i in (1, 2):
        before = {p for p in (out / "units").rglob("*.safetensors")}
        share(finished, out, i, 4)
        new = len({p for p in (out / "units").rglob("*.safetensors")} - before)
        assert 0 < new <= len(units(finished.files)) / 4 + 8  # each stage is shared out by itself


@pytest.fixture
def parts(finished, tmp_path):
    """Two folders with a share each, trained in the first and copied before the shares began."""
    folders = [begun(finished, tmp_path / f"part-{i}") for i in (1, 2)]
    for i, folder in enumerate(folders, start=1):
        assert isinstance(share(finished, folder, i, 2), Unfinished)
    return folders


def copied_together(parts: list[Path], whole: Path) -> Path:
    """What `cp -r part-1/. part-2/. whole/` does."""
    for part in parts:
        shutil.copytree(part, whole, dirs_exist_ok=True)
    return whole


@pytest.mark.soak
def test_shares_written_apart_and_copied_together_are_finished_by_the_same_command(finished, parts, tmp_path):
    whole = copied_together(parts, tmp_path / "whole")
    # Whatever is written is a new file.
    kept = {file: file.stat().st_ino for file in whole.glob("units/*/*.safetensors")}
    assert len(kept) > 0.8 * len(units(finished.files))
    damaged = next(iter(kept))
    damaged.write_bytes(damaged.read_bytes()[:-8])
    process = command("run", finished.config, "--out", "whole", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert contents(whole) == finished.files
    assert [file for file, inode in kept.items() if file.stat().st_ino != inode] == [damaged]


def test_shares_of_other_settings_or_data_are_refused_where_they_were_copied_together(finished, a_copy):
    whole = a_copy
    (whole / "manifest.json").unlink()
    text = (whole / "settings.yaml").read_text()
    (whole / "settings.yaml").write_text(text.replace("seed: 0", "seed: 1", 1))
    with pytest.raises(InterplayError, match=r"holds a run with other settings \(seed: 1 -> 0\)"):
        run_here(finished.wanted, whole)
    (whole / "settings.yaml").write_text(text)
    weights = json.loads((whole / "weights.json").read_text())
    (whole / "weights.json").write_text(json.dumps(weights | {"checkpoints": weights["checkpoints"] | {"2": "f" * 64}}))
    with pytest.raises(InterplayError, match="step 2"):
        run_here(finished.wanted, whole)


def test_settings_give_way_only_while_nothing_was_computed(finished, tmp_path):
    """The one whose settings were replaced notices at its next stage, and the folder belongs to the other."""
    out, wanted = tmp_path / "run", load_settings(finished.wanted)
    other = wanted.model_copy(update={"seed": 5})
    first, second = RunFolder(out), RunFolder(out)
    first.make()
    with first.opened(wanted), second.opened(other):
        assert RunFolder(out).settings().seed == 5
        with pytest.raises(InterplayError, match="another process has begun a run with other settings or data"):
            first.check()
        second.check()
        cache_json(out / "weights.json", "k", {})
        with (
            pytest.raises(InterplayError, match=r"other settings \(seed: 5 -> 0\)"),
            RunFolder(out).opened(wanted),
        ):
            pass
    assert RunFolder(out).settings().seed == 5


def test_a_run_whose_settings_were_replaced_ends_in_one_line(finished, tmp_path, monkeypatch):
    out, wanted = tmp_path / "run", load_settings(finished.wanted)
    honest = pipeline.read_inputs

    def meanwhile(*given, **more):
        with RunFolder(out).opened(wanted.model_copy(update={"seed": 5})):
            return honest(*given, **more)

    monkeypatch.setattr(pipeline, "read_inputs", meanwhile)
    with pytest.raises(InterplayError, match="another process has begun a run with other settings or data"):
        run_here(finished.wanted, out)
    assert sorted(os.listdir(out)) == ["environment.json", "format.json", "settings.yaml"]


def test_the_same_command_begun_twice_never_misses_what_the_first_recorded(finished, tmp_path):
    """Should the second die at once, the first goes on with its fingerprints of the data."""
    out, wanted = tmp_path / "run", load_settings(finished.wanted)
    first = RunFolder(out)
    first.make()
    with first.opened(wanted):
        shutil.copy(finished.folder / "inputs.json", out)
        first.stand_on("inputs.json")
        with RunFolder(out).opened(wanted):
            first.check()
        (out / "inputs.json").write_text("{}")  # by one that read other data, before anything was computed
        with pytest.raises(InterplayError, match="another process has begun a run with other settings or data"):
            first.check()


@pytest.mark.parametrize("when", ["training", "extraction", "tables"])
def test_a_folder_that_vanishes_ends_the_run_and_is_not_made_anew(finished, tmp_path, monkeypatch, when):
    out = tmp_path / "run"
    if when == "extraction":
        begun(finished, out)
    elif when == "tables":
        shutil.copytree(finished.folder, out)
        (out / "manifest.json").unlink()
    module, name = {
        "training": (stages, "tokenise"),
        "extraction": (jobs, "compute"),
        "tables": (results, "make_trajectory"),
    }[when]
    honest, calls = getattr(module, name), []

    def vanishes(*given):
        calls.append(name)
        if len(calls) == (3 if when == "extraction" else 1):
            shutil.rmtree(out)
        return honest(*given)

    monkeypatch.setattr(module, name, vanishes)
    with pytest.raises(InterplayError, match="is gone: give the command another --out, or put it back"):
        run_here(finished.wanted, out)
    assert os.listdir(tmp_path) == []


@pytest.mark.soak
def test_a_folder_that_vanishes_from_under_helpers_is_not_made_anew(finished, tmp_path):
    out = begun(finished, tmp_path / "run")
    process = subprocess.Popen(
        [sys.executable, "-m", "interplay", "run", finished.config, "--out", out, "--workers", "2", "--quiet"],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 120
    while not list(out.glob("units/*/*.safetensors")):
        assert time.monotonic() < until
        time.sleep(0.005)
    shutil.rmtree(out, ignore_errors=True)
    while out.exists():  # something was written while it was removed
        shutil.rmtree(out, ignore_errors=True)
    err = process.communicate(timeout=120)[1]
    assert process.returncode == 2
    assert err == (f"interplay: the run folder {str(out)!r} is gone: give the command another --out, or put it back\n")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("given", [("--workers", 2, "--shard", "1/2"), ("--shard", "1/2", "--ray", "local")])
def test_ways_to_share_exclude_each_other(finished, call, tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    done = call("run", finished.config, *given)
    assert done.code == 2
    assert done.err == (
        "interplay: --shard is one process of many: leave out --workers and --ray, or leave out --shard\n"
    )
    assert os.listdir(tmp_path) == []


def begun(finished, out: Path) -> Path:
    """The finished run as it was before its first unit."""
    shutil.copytree(finished.folder / "checkpoints", out / "checkpoints")
    for name in ("settings.yaml", "inputs.json", "format.json"):
        shutil.copy(finished.folder / name, out / name)
    return out


@pytest.mark.soak
def test_a_helper_computes_units(finished, tmp_path):
    run = begun(finished, tmp_path / "run")
    before = psutil.Process().children()
    with helpers([helper_command(run, 2, 2)], print):
        [child] = [process for process in psutil.Process().children() if process not in before]
        assert child.wait(120) == 0
    assert units(contents(run)) == units(finished.files)


def test_a_helper_that_was_killed_is_named(finished, tmp_path):
    run, lines = begun(finished, tmp_path / "run"), []
    before = psutil.Process().children()
    with helpers([helper_command(run, 2, 2)], lines.append):
        [child] = [process for process in psutil.Process().children() if process not in before]
        child.kill()
        while child.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.05)
    assert lines == ["warning: helper 1 stopped, its work was done by others: killed by signal 9 (out of memory?)"]


@pytest.mark.soak
def test_a_share_looks_again_at_what_others_did_meanwhile(finished, tmp_path, monkeypatch):
    out = begun(finished, tmp_path / "run")
    honest = pipeline.measure_tasks

    def meanwhile(*given):
        found = honest(*given)
        for kind in ("units", "task"):
            shutil.copytree(finished.folder / kind, out / kind, dirs_exist_ok=True)
        return found

    monkeypatch.setattr(pipeline, "measure_tasks", meanwhile)
    assert share(finished, out, 1, 2) is None


@pytest.mark.soak
def test_the_last_share_does_all_that_hangs_on_every_unit(finished, tmp_path):
    out, wanted = tmp_path / "run", load_settings(finished.wanted | {"controls": {"reference": 2}})
    first, last = (run(wanted, out, Progress(quiet=True), shard=Shard(i, 2)) for i in (1, 2))
    assert isinstance(first, Unfinished)
    assert last is None
    assert len(list((out / "units" / "step-000002-rephrased").iterdir())) == 3
