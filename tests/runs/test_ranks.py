"""One run made by two processes of torchrun that hold one model between them, over gloo: the numbers, the files, the deaths."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from tiny_job import contents, environment, run_here, settings, write_settings

from interplay.atomic import left_to_another, write_text
from interplay.errors import InterplayError
from interplay.runs.files import file_hashes
from interplay.runs.loading import load_settings
from interplay.runs.pipeline import run, run_share
from interplay.runs.units import load_unit
from interplay.scoring.placement import refuse_uncuttable
from interplay.sharing import ranks
from interplay.sharing.shares import Share

CUT_UP = "model.tensor_parallel=true"
ALIKE = ("-m", "interplay")
# Files that a process changes, by Python's own account of what it opens to write, renames, links and makes.
SPIED = """
import os, runpy, sys
said = open(os.environ["SPIED"] + os.environ["RANK"], "w", buffering=1)
CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
def heard(event, about):
    if event == "open" and isinstance(about[0], str) and about[2] & CHANGES or event in ("os.rename", "os.link", "os.mkdir"):
        said.write(os.fspath(about[1 if event in ("os.rename", "os.link") else 0]) + "\\n")
sys.addaudithook(heard)
runpy.run_module("interplay", run_name="__main__")
"""
# Each process in a folder of its own: the same command, with relative names, finds other files.
APART = """
import os, runpy
os.chdir(os.path.join(os.environ["APART"], os.environ["RANK"]))
runpy.run_module("interplay", run_name="__main__")
"""


@pytest.fixture(scope="module")
def tracking(finished, tiny_folder, tmp_path_factory):
    """Settings that track the LoRA checkpoints of the finished tiny run, with a baseline LLM; as `wanted` and as a file."""
    root = tmp_path_factory.mktemp("ranks")
    wanted = settings(root, tiny_folder("llama"), tiny_folder("qwen2"), training=None)
    wanted["model"] = {"name": str(tiny_folder("llama"))}
    wanted["checkpoints"] = {"folder": str(finished.folder / "checkpoints")}
    return SimpleNamespace(root=root, wanted=wanted, config=write_settings(root / "config.yaml", wanted))


def start(tracking, out: Path, *overrides: str, each: tuple[str, ...] = ALIKE, **more: str) -> subprocess.Popen:
    """torchrun with two processes; they are not in its process group, so that they outlive a SIGKILL of it.

    `each`: what every process runs, `more`: in which environment.
    """
    parts = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    parts += [*each, "run", str(tracking.config), "--out", str(out)]
    for override in (CUT_UP, *overrides):
        parts += ["--set", override]
    return subprocess.Popen(
        parts,
        env=environment(CUDA_VISIBLE_DEVICES="", **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def ended(process: subprocess.Popen) -> SimpleNamespace:
    out, err = process.communicate(timeout=90)
    lines = [line for line in err.splitlines() if line.startswith("interplay: ")]
    return SimpleNamespace(code=process.returncode, out=out, err=err, lines=lines)


def children(process: subprocess.Popen) -> dict[int, int]:
    """Process ids of the two by their rank."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            said = (entry / "environ").read_bytes().split(b"\0") if parent == process.pid else []
        except OSError:
            continue
        found |= {int(one[5:]): int(entry.name) for one in said if one.startswith(b"RANK=")}
    return found


def at_units(process: subprocess.Popen, out: Path, count: int) -> dict[int, int]:
    """Wait for so many units; the ids of the two processes that work."""
    while len(list(out.glob("units/*/*.safetensors"))) < count:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)
    return children(process)


@pytest.fixture(scope="module")
def whole(tracking):
    """An undisturbed run of two processes."""
    out, script, spied = tracking.root / "two", tracking.root / "spied.py", tracking.root / "changed-by-"
    script.write_text(SPIED)
    done = ended(start(tracking, out, each=(str(script),), SPIED=str(spied)))
    assert done.code == 0, done.err
    changed = [Path(f"{spied}{rank}").read_text().splitlines() for rank in range(2)]
    return SimpleNamespace(folder=out, done=done, files=contents(out), changed=changed)


def test_two_processes_make_the_run_of_one(tracking, whole):
    assert whole.done.out.count("Report: ") == 1
    assert whole.done.err.count("reading data ...") == 1
    assert whole.done.lines == []
    run_here(tracking.wanted, tracking.root / "one")
    one, two = (
        pd.read_parquet(folder / "units.parquet").set_index(["condition", "sample_id"])
        for folder in (tracking.root / "one", whole.folder)
    )
    assert list(one.index) == list(two.index)
    assert any("baseline" in condition for condition in one.index.unique("condition"))
    exact = [condition for condition in one.index.unique("condition") if not condition.endswith("bfloat16")]
    for column in ("scores", "and_effects", "or_effects"):
        ours, theirs = (np.concatenate(list(table.loc[exact, column])) for table in (one, two))
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-4)
    for name in ("trajectory", "task"):
        ours, theirs = (pd.read_parquet(f / f"{name}.parquet") for f in (tracking.root / "one", whole.folder))
        pd.testing.assert_frame_equal(theirs, ours, check_exact=False, rtol=0, atol=1e-3)
    assert (whole.folder / "weights.json").read_bytes() == (tracking.root / "one" / "weights.json").read_bytes()


def test_every_unit_is_whole_and_the_manifest_holds(whole):
    units = sorted(whole.folder.glob("units/*/*.safetensors"))
    assert len(units) > 30
    assert all(load_unit(unit) is not None for unit in units)
    manifest = json.loads(whole.files["manifest.json"])["files"]
    assert manifest == file_hashes(whole.folder, ("manifest.json", "times.json", "environment.json"))
    assert not (whole.folder / ".work").exists()


def test_the_process_that_follows_changes_nothing_in_the_folder(whole):
    """It would write the same bytes, and at the same moment as the first."""
    first, follows = ([name for name in names if name.startswith(str(whole.folder))] for names in whole.changed)
    assert {str(unit) for unit in whole.folder.glob("units/*/*.safetensors")} <= set(first)
    assert follows == []
    assert whole.changed[1] != []  # it was listened to


def test_the_same_command_again_computes_nothing(tracking, whole, tmp_path):
    out = Path(shutil.copytree(whole.folder, tmp_path / "run"))
    kept = [*out.glob("units/*/*"), *out.glob("task/*"), *out.glob("calibration*.json")]
    before = {path: path.stat().st_ino for path in kept}  # whatever is written is a new file
    done = ended(start(tracking, out))
    assert done.code == 0, done.err
    assert {path: path.stat().st_ino for path in kept} == before
    assert contents(out) == whole.files


def test_killed_processes_cost_no_unit_and_change_no_byte(tracking, whole, tmp_path):
    out = tmp_path / "run"
    process = start(tracking, out)
    os.kill(
        at_units(process, out, 4)[1], signal.SIGKILL
    )  # the one that follows: the first may not wait for it for ever
    done = ended(process)
    assert done.code != 0
    # torchrun may end the other one before it has said so.
    assert [line for line in done.lines if "another process of this run has ended without a word" not in line] == []
    assert len(done.lines) <= 1
    early = {path: path.stat().st_ino for path in out.glob("units/*/*.safetensors")}

    process = start(tracking, out)
    working = at_units(process, out, 15)
    for pid in (process.pid, *working.values()):
        os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert len(working) == 2

    done = ended(start(tracking, out))
    assert done.code == 0, done.err
    assert {path: path.stat().st_ino for path in early} == early
    assert contents(out) == whole.files


def test_a_refusal_ends_both_in_one_line(tracking, whole):
    done = ended(start(tracking, whole.folder, "seed=5"))
    assert done.code != 0
    assert done.out == ""
    assert len(done.lines) == 1
    assert "holds a run with other settings (seed: 0 -> 5)" in done.lines[0]
    assert contents(whole.folder) == whole.files


def test_processes_that_were_given_other_data_are_refused(tracking, tmp_path):
    """One command, whose relative names lead to other rows in the second process's working directory."""
    named = Path(tracking.wanted["data"]["probes"]).name
    for rank in ("0", "1"):
        (tmp_path / rank).mkdir()
        rows = Path(tracking.wanted["data"]["probes"]).read_text()
        (tmp_path / rank / named).write_text(rows if rank == "0" else rows.replace("dinner", "supper"))
    (tmp_path / "apart.py").write_text(APART)
    process = start(
        tracking, tmp_path / "run", f"data.probes={named}", each=(str(tmp_path / "apart.py"),), APART=str(tmp_path)
    )
    try:
        done = ended(process)
    finally:
        process.kill()
    assert done.code != 0
    assert len(done.lines) == 1
    assert "process 1 has another data than the first" in done.lines[0]
    assert not (tmp_path / "run" / "units").exists()


# ---- one process -----------------------------------------------------------------------------------------------------


def test_without_torchrun_one_process_holds_the_model(tracking, tmp_path, capsys):
    from interplay.runs.pipeline import run_in_step

    result = run_in_step(load_settings(tracking.wanted, [CUT_UP]), tmp_path / "run")
    assert result is not None
    assert "without torchrun" in capsys.readouterr().err
    assert (
        contents(tmp_path / "run")["units/step-000000/probe-0000.safetensors"]
        == (tracking.root / "one" / "units" / "step-000000" / "probe-0000.safetensors").read_bytes()
    )


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.device=cpu", "set model.device to auto"),
        ("model.device_map=auto", "exclude each other"),
        ("training.steps=4", "model.tensor_parallel is for scoring"),
    ],
)
def test_settings_that_cannot_be_cut_up_are_refused(tracking, override, said):
    wanted = tracking.wanted
    if override.startswith("training"):
        wanted = wanted | {"checkpoints": {"steps": [0, 4]}}
    with pytest.raises(InterplayError, match=said):
        load_settings(wanted, [CUT_UP, override])


def test_what_knows_nothing_of_the_other_processes_is_refused_before_it_waits_for_them(tracking, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    cut_up = load_settings(tracking.wanted, [CUT_UP])
    for call in (
        lambda: run(cut_up, tmp_path / "run"),
        lambda: run(cut_up, tmp_path / "run", workers=2),
        lambda: run_share(cut_up, tmp_path / "run", Share(1, 2)),
    ):
        with pytest.raises(InterplayError, match="without --workers, --shard and --ray"):
            call()
    assert not (tmp_path / "run").exists()


def test_a_baseline_whose_heads_do_not_divide_is_refused_by_its_config(tiny_folder, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    refuse_uncuttable(str(tiny_folder("qwen2")))
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(InterplayError, match="4 num_attention_heads, which do not divide by 3 processes"):
        refuse_uncuttable(str(tiny_folder("qwen2")))


def test_what_is_left_to_another_is_not_written(tmp_path):
    with left_to_another(tmp_path / "run"):
        write_text(tmp_path / "run" / "units" / "a.json", "1")
        write_text(tmp_path / "run-2" / "a.json", "2")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["run-2", "run-2/a.json"]
    write_text(tmp_path / "run" / "units" / "a.json", "3")
    assert (tmp_path / "run" / "units" / "a.json").read_text() == "3"


def test_one_process_decides_by_itself(tmp_path):
    looks = []
    with ranks.in_step(tmp_path, "settings"):
        assert ranks.agreed(lambda: looks.append(1)) is None
        assert ranks.agreed(lambda: "found") == "found"
        assert not ranks.follows()
    assert looks == [1]
