"""`interplay recommend`: of a run, among the checkpoints still on disk; of a folder of checkpoints, measured first."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from synthetic_runs import STEPS, synthetic_run
from tiny_job import PROMPTS, TEMPLATE, labelled, write_rows

from interplay.cli.run import answer_lines


def refused(done, says: str) -> None:
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
    assert done.err.startswith("interplay: ")
    assert says in done.err
    assert len(done.err) < 700


def adapter(folder: Path) -> None:
    """A file of weights as peft leaves it, of no model in particular."""
    import numpy as np
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    save_file({"lora_A": np.ones((4, 4), np.float32)}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text("{}")


@pytest.fixture
def run(tmp_path) -> Path:
    """A finished run without a model; it recommends step 2, and checkpoints 1, 2 and 4 are on disk."""
    folder = synthetic_run(tmp_path / "run")
    for step in STEPS[1:]:
        adapter(folder / "checkpoints" / f"checkpoint-{step}")
    kept = {"base": "b", "checkpoints": {str(step): f"sha {step}" for step in STEPS}}
    (folder / "weights.json").write_text(json.dumps(kept))
    return folder


# ---- of a run --------------------------------------------------------------------------------------------------------


def test_a_whole_run_says_what_it_recorded(run, call):
    done = call("recommend", run)
    assert (done.code, done.out, done.err) == (0, "step 2\nKeep step 2.\n", "")
    recorded = json.loads((run / "recommendation.json").read_text())
    assert json.loads(call("recommend", run, "--json").out) == recorded


def lose(path: Path, how: str) -> None:
    if how == "folder":
        shutil.rmtree(path)
    elif how == "weights":
        (path / "adapter_model.safetensors").unlink()
    else:
        (path / "adapter_model.safetensors").write_bytes((path / "adapter_model.safetensors").read_bytes()[:-8])


@pytest.mark.matrix(2)
@pytest.mark.parametrize("how", ["folder", "weights", "torn"])
@pytest.mark.parametrize("gone", [(2,), (2, 4), (1, 2)])
def test_a_lost_checkpoint_is_never_named(how, gone, run, call):
    for step in gone:
        lose(run / "checkpoints" / f"checkpoint-{step}", how)
    before = (run / "recommendation.json").read_bytes()
    done = call("recommend", run, "--json")
    assert done.code == 0, done.err
    verdict = json.loads(done.out)
    left = set(STEPS[1:]) - set(gone)
    assert verdict["step"] in left
    assert set(verdict["rivals"].values()) <= left
    assert verdict.keys() >= json.loads(before).keys()
    assert done.err.endswith(f": {', '.join(map(str, gone))}\n")
    assert done.err.count("\n") == 1
    assert (run / "recommendation.json").read_bytes() == before, "what the run said stays"


def test_a_run_without_checkpoints_has_none_to_keep(run, call):
    shutil.rmtree(run / "checkpoints")
    refused(call("recommend", run), "no checkpoints folder at")
    (run / "checkpoints").mkdir()
    refused(call("recommend", run), "steps 1, 2, 4")
    adapter(run / "checkpoints" / "checkpoint-3")
    refused(call("recommend", run), "copy one back")  # of a step that nobody measured


def test_the_base_is_never_named(run, call):
    (run / "weights.json").write_text(json.dumps({"base": "b", "checkpoints": {"0": "b"}}))
    refused(call("recommend", run), "measured the base model only")


def test_a_run_that_keeps_no_hashes_is_asked_for_its_steps(run, call):
    (run / "weights.json").unlink()
    assert call("recommend", run).out == "step 2\nKeep step 2.\n"


def test_a_base_model_that_nothing_beats_is_an_answer(run, call):
    recorded = json.loads((run / "recommendation.json").read_text())
    recorded |= {"basis": "base", "step": 0, "tied": [0], "sentence": "No checkpoint beats the base model: it is best."}
    (run / "recommendation.json").write_text(json.dumps(recorded))
    done = call("recommend", run)
    assert (done.code, done.out) == (0, "base model\nNo checkpoint beats the base model: it is best.\n")
    assert json.loads(call("recommend", run, "--json").out) == recorded
    # Again, among what is left: the base model is always there.
    task = pd.read_parquet(run / "task.parquet").assign(accuracy=[0.9, 0.5, 0.5, 0.5], rows=200.0)
    task.to_parquet(run / "task.parquet", index=False)
    lose(run / "checkpoints" / "checkpoint-2", "folder")
    again = json.loads(call("recommend", run, "--json").out)
    assert (again["step"], again["basis"], again["tied"]) == (0, "base", [0])
    assert again["sentence"].startswith("No checkpoint beats the base model: eval accuracy 0.9 on 200 eval rows")


def test_no_evidence_comes_first_and_the_fallback_apart(run, call):
    recorded = json.loads((run / "recommendation.json").read_text())
    recorded |= {"basis": "last", "step": 4, "sentence": "No evidence to choose: 8 prompts do not tell them apart."}
    (run / "recommendation.json").write_text(json.dumps(recorded))
    assert call("recommend", run).out.splitlines() == [
        "No evidence to choose: 8 prompts do not tell them apart.",
        "fallback: step 4 (the last checkpoint)",
    ]
    assert answer_lines(recorded | {"step": None}) == [recorded["sentence"]], "nothing is named without a step"
    assert answer_lines(recorded | {"sentence": "Two prompts.", "basis": "new"}) == [
        "No evidence to choose.",
        "Two prompts.",
        "fallback: step 4 (new)",
    ]


def test_a_run_needs_no_base(run, call):
    refused(call("recommend", run, "--base", "x"), "leave out --base")
    refused(call("recommend", run, "--prompts", "x"), "leave out --prompts")
    refused(call("recommend", run, "--set", "seed=1"), "leave out --set")


# ---- of a folder of checkpoints --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def left(tmp_path_factory, tiny_folder) -> Path:
    """What TRL leaves: adapters at steps 5, 10 and 20, other files, and the final weights again beside them."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("left") / "out"
    for step in (5, 10, 20):
        torch.manual_seed(step)
        model = AutoModelForCausalLM.from_pretrained(tiny_folder("llama"))
        config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
        get_peft_model(model, config).save_pretrained(folder / f"checkpoint-{step}")
    for file in (folder / "checkpoint-20").iterdir():
        shutil.copy(file, folder)
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 20}))
    (folder / "runs").mkdir()
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch, left) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(left, "out")
    write_rows(tmp_path / "held-out.jsonl", labelled(PROMPTS))
    return tmp_path


def measuring(tiny_folder, *more: object) -> list[object]:
    given = ["recommend", "out", "--base", tiny_folder("llama"), "--prompts", "held-out.jsonl", "--template", TEMPLATE]
    return [*given, "--chat", "false", "--num-prompts", 3, "--n", 3, "--set", "dynamics.resamples=50", "--quiet", *more]


@pytest.mark.soak
def test_checkpoints_are_measured_and_one_is_named(place, call, tiny_folder):
    done = call(*measuring(tiny_folder))
    assert (done.code, done.err) == (0, ""), done.err
    [folder] = (place / "runs").iterdir()
    assert folder.name.startswith("out-on-llama-0-"), "where track would put it"
    recorded = json.loads((folder / "recommendation.json").read_text())
    assert recorded["step"] in (5, 10, 20)
    said = done.out.splitlines()
    assert said[: len(answer_lines(recorded))] == answer_lines(recorded)
    assert said[-3:] == [
        f"{'Checkpoint' if said[0].startswith('step') else 'Fallback'}: out/checkpoint-{recorded['step']}",
        said[-2],
        f"Report: runs/{folder.name}/report.html",
    ]
    assert said[-2].startswith("Not measured")
    # The run is one as any other, without what the rule does not read.
    assert {p.name for p in (folder / "units").iterdir()} == {f"step-{step:06d}" for step in (0, 5, 10, 20)}
    assert not list((folder / "task").iterdir()) if (folder / "task").exists() else True
    assert call("report", folder).code == call("card", folder).code == 0
    again = call("recommend", folder)
    assert again.out.splitlines() == said[:-3]

    lost = recorded["step"]
    shutil.rmtree(place / "out" / f"checkpoint-{lost}")
    (place / "out" / "adapter_model.safetensors").unlink()
    later = call("recommend", folder, "--json")
    assert json.loads(later.out)["step"] in {5, 10, 20} - {lost}
    # Measured anew, the folder has the two that are left.
    fewer = json.loads(call(*measuring(tiny_folder, "--json")).out)
    assert fewer["step"] in {5, 10, 20} - {lost}


@pytest.mark.soak
def test_the_same_figures_as_track(place, call, tiny_folder):
    """Switching off what the rule does not read moves no figure that it reads."""
    import pandas as pd

    assert call(*measuring(tiny_folder, "--out", "quick")).code == 0
    given = ["track", "--base", tiny_folder("llama"), "--checkpoints", "out", "--data", "held-out.jsonl", "--quiet"]
    given += ["--template", TEMPLATE, "--chat", "false", "--num-prompts", 3, "--n", 3, "--out", "whole"]
    assert call(*given, "--set", "data.eval=null", "--set", "dynamics.resamples=50").code == 0
    quick, whole = (pd.read_parquet(place / name / "trajectory.parquet") for name in ("quick", "whole"))
    key = ["definition", "step", "set", "measure", "order"]
    both = quick.merge(whole, on=key, suffixes=("", "_whole"))
    assert len(both) == len(quick)
    for figure in ("value", "lo", "hi"):
        pd.testing.assert_series_equal(both[figure], both[f"{figure}_whole"], check_names=False)
    verdicts = [json.loads((place / name / "recommendation.json").read_text()) for name in ("quick", "whole")]
    assert verdicts[0] == verdicts[1]


def test_what_to_give_is_said(place, call):
    refused(call("recommend", "out"), "holds 3 checkpoints but no measured run: give --base MODEL")
    refused(call("recommend", "out", "--base", "x"), "give --prompts FILE (a dozen or more held-out rows")
    done = call("recommend", "out", "--prompts", "x")
    refused(done, "give --base MODEL")
    assert "--prompts FILE" not in done.err


def test_a_folder_of_nothing_is_refused(place, call, tiny_folder):
    refused(call("recommend", "nowhere"), "a run folder (no settings.yaml)")
    (place / "empty").mkdir()
    refused(call("recommend", "empty"), "a run folder (no settings.yaml)")
    refused(call("recommend", "."), "give 'out'")
    refused(call("recommend", "out/checkpoint-5"), "is one checkpoint of a training")
    refused(call("recommend", "held-out.jsonl"), "a run folder (no settings.yaml)")
    for given, says in (
        (["--n", 17], "prompts.n"),
        (["--num-prompts", 0], "prompts.count"),
        (["--set", "x=1"], "unknown"),
    ):
        refused(call(*measuring(tiny_folder, *given)), says)
    assert not (place / "runs").exists()


def test_interrupted_it_says_that_it_goes_on(place, call, tiny_folder, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("interplay.pipeline.pipeline.run", interrupt)
    done = call(*measuring(tiny_folder))
    assert (done.code, done.out) == (130, "")
    assert "the same command goes on from there" in done.err


def test_kept_checkpoints_of_a_sharded_model(run):
    """One shard missing is a checkpoint missing."""
    from interplay.runfolder import Run

    whole = run / "checkpoints" / "checkpoint-4"
    shutil.rmtree(whole)
    whole.mkdir()
    (whole / "config.json").write_text("{}")
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    index = {"weight_map": {"a": names[0], "b": names[1]}}
    (whole / "model.safetensors.index.json").write_text(json.dumps(index))
    for name in names:
        shutil.copy(run / "checkpoints" / "checkpoint-1" / "adapter_model.safetensors", whole / name)
    assert Run(run).checkpoints.gone == ()
    (whole / names[1]).unlink()
    kept = Run(run).checkpoints
    assert (kept.gone, sorted(kept.paths)) == ((4,), [1, 2])
