"""`interplay recommend`: of a run, among the checkpoints still on disk; of a folder of checkpoints, measured first."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from synthetic_runs import STEPS, synthetic_run
from tiny_job import PROMPTS, TEMPLATE, environment, labelled, write_rows

import interplay
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
    assert "on 4 eval rows of 'held-out.jsonl'" in recorded["sentence"], (
        "the answers to the rows are tested, the base model's too"
    )
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
    assert call(*given, "--set", "dynamics.resamples=50").code == 0
    quick, whole = (pd.read_parquet(place / name / "trajectory.parquet") for name in ("quick", "whole"))
    key = ["definition", "step", "set", "measure", "order"]
    both = quick.merge(whole, on=key, suffixes=("", "_whole"))
    assert len(both) == len(quick)
    for figure in ("value", "lo", "hi"):
        pd.testing.assert_series_equal(both[figure], both[f"{figure}_whole"], check_names=False)
    verdicts = [json.loads((place / name / "recommendation.json").read_text()) for name in ("quick", "whole")]
    assert verdicts[0] == verdicts[1]


def test_what_to_give_is_said(place, call):
    (place / "out" / "trainer_state.json").unlink()  # no log, no run
    refused(
        call("recommend", "out"),
        "holds 3 checkpoints but no measured run and no log that can be read: give --base MODEL",
    )
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


# ---- by the log of a training alone ----------------------------------------------------------------------------------


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """`trained({10: {"eval_loss": 2.0}}, on_disk=(10,), **state)`: the folder `out` as a Trainer leaves it, its state in each checkpoint."""
    monkeypatch.chdir(tmp_path)

    def make(evals, on_disk=None, **state) -> Path:
        log = [entry for step, one in evals.items() for entry in ({"step": step, "loss": 1.0}, {"step": step, **one})]
        for step in [step for step in evals if step] if on_disk is None else on_disk:
            adapter(tmp_path / "out" / f"checkpoint-{step}")
            seen = {
                "global_step": step,
                "log_history": [e for e in log if e["step"] <= step],
                "best_metric": None,
                **state,
            }
            (tmp_path / "out" / f"checkpoint-{step}" / "trainer_state.json").write_text(json.dumps(seen))
        return tmp_path / "out"

    return make


def losses(**by_step) -> dict:
    return {
        int(step[1:]): {"eval_loss": x, "eval_runtime": 2.0, "eval_samples_per_second": 100.0}
        for step, x in by_step.items()
    }


def test_a_training_of_which_there_is_only_a_log(trained, call):
    out = trained(losses(s10=2.0, s20=1.5, s30=1.7))
    done = call("recommend", "out")
    assert (done.code, done.err) == (0, "")
    answer, sentence, checkpoint, more = done.out.splitlines()
    assert (answer, checkpoint) == ("step 20", "Checkpoint: out/checkpoint-20")
    assert sentence == (
        "Keep step 20: eval loss 1.5, the lowest of 3 evaluated checkpoints on disk. The base model's eval loss is not known, so "
        "whether training helped is not. No lead can be tested: the log has one number a step, no answers to single rows."
    )
    assert "--base MODEL --prompts FILE" in more
    found = interplay.recommend(out)
    assert (str(found), found.step, found.basis) == (sentence, 20, "eval-loss")
    said = json.loads(call("recommend", "out", "--json").out)
    assert said == found.to_dict()
    assert said["rivals"] == {"last": 30, "eval_loss": 20}
    assert [(e["name"], e["step"], e["value"]) for e in said["evidence"]] == [
        ("eval_loss", s, x) for s, x in ((10, 2.0), (20, 1.5), (30, 1.7))
    ]


def test_it_loads_no_array_library(trained):
    """Half a second at the command line, start-up included: none of these can be imported in it."""
    trained(losses(s10=2.0, s20=1.5))
    heavy = ("numpy", "pandas", "torch", "transformers", "safetensors", "rich")
    code = f"import interplay, sys; print(interplay.recommend('out').step, [m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment())
    assert done.stdout == "20 []\n", done.stderr


@pytest.mark.parametrize(
    ("evals", "on_disk", "state", "step", "basis", "says"),
    [
        (losses(s10=1.5, s20=1.5), None, {}, 10, "eval-loss", "2 evaluated checkpoints on disk, as at step 20; the earliest is kept."),
        (losses(s0=1.0, s10=1.5, s20=1.2), None, {}, 0, "base", "No checkpoint on disk beats the base model: eval loss 1, the lowest"),
        (losses(s0=1.2, s10=1.5, s20=1.2), None, {}, 0, "base", "No checkpoint on disk is shown to beat the base model"),
        (losses(s10=1.0, s20=2.0, s30=1.5), (20, 30), {}, 30, "eval-loss", "Better was step 10 (1), which is not on disk: never saved"),
        (losses(s10=1.0, s20=2.0), (5, 10, 15, 20), {}, 10, "eval-loss", "Not evaluated: steps 5, 15."),
        (losses(s10=1.0, s20=2.0), (5, 15), {}, 15, "last", "of the steps with eval loss none is on disk, so step 15 is simply the last"),
        (losses(s10=1.0, s20=2.0), (15, 20), {}, 20, "last", "of the steps with eval loss step 20 is on disk"),
        (losses(s10=1.0, s20=2.0), (20,), {}, 20, "only", "Only one checkpoint, step 20, is on disk: nothing was compared. Better was step 10"),
        ({10: {}, 20: {}}, None, {}, 20, "last", "the log has no eval value, so step 20 is simply the last checkpoint. Training loss is no"),
        (losses(s10=float("nan"), s20=float("nan")), None, {}, 20, "last", "Eval loss is not a number at steps 10, 20."),
        (losses(s10=2.0, s20=float("nan"), s30=1.5), None, {}, 30, "eval-loss", "Eval loss is not a number at step 20. Not evaluated: step 20."),
        ({10: {"eval_loss": 1.0, "eval_accuracy": 0.5}, 20: {"eval_loss": 2.0, "eval_accuracy": 0.6}}, None, {},
         20, "accuracy", "eval accuracy 0.6, the highest of 2 evaluated checkpoints on disk. Eval loss is lowest at step 10."),
        ({10: {"eval_loss": 1.0, "eval_accuracy": 0.5}, 20: {"eval_loss": 2.0, "eval_accuracy": 0.6}}, None, {"best_metric": 1.0},
         10, "eval-loss", "Eval accuracy is highest at step 20."),  # the trainer's own metric, by its best value
        ({10: {"eval_loss": 2.0, "eval_accuracy": 0.6}, 20: {"eval_loss": 1.0, "eval_accuracy": 0.6}}, None, {},
         20, "accuracy", "eval accuracy 0.6, the highest of 2 evaluated checkpoints on disk, as at step 10; of these it has the lowest eval"),
        ({10: {"eval_loss": 1.0, "eval_wer": 0.5}, 20: {"eval_loss": 2.0, "eval_wer": 0.2}}, None, {"best_metric": 0.2},
         20, "metric", "eval_wer 0.2, the lowest"),
        ({10: {"eval_loss": 1.0, "eval_f1": 0.5}, 20: {"eval_loss": 2.0, "eval_f1": 0.2}}, None, {"best_metric": 0.5},
         10, "metric", "eval_f1 0.5, the highest"),
        ({10: {"eval_b_loss": 1.0, "eval_a_loss": 3.0}, 20: {"eval_b_loss": 2.0, "eval_a_loss": 2.0}}, None, {},
         10, "metric", "eval_b_loss 1, the lowest"),  # of several eval sets the first
        ({10: {"eval_mean_token_accuracy": 0.5, "eval_loss": 1.0}, 20: {"eval_mean_token_accuracy": 0.6, "eval_loss": 2.0}}, None, {},
         10, "eval-loss", "eval loss 1,"),
        ({10: {"eval_prompts_loss": 1.0}, 20: {"eval_prompts_loss": 2.0, "eval_interaction_loss": 9.0}}, None, {},
         20, "last", "The loss of the callback's prompts is lowest at step 10."),
    ],
)  # fmt: skip
def test_what_a_log_says(evals, on_disk, state, step, basis, says, trained):
    found = interplay.recommend(trained(evals, on_disk, **state))
    assert (found.step, found.basis) == (step, basis), found.sentence
    assert says in found.sentence


def test_the_log_that_reaches_furthest_is_read_and_a_damaged_one_is_said(trained, call):
    out = trained(losses(s10=2.0, s20=1.5, s30=1.0))
    (out / "trainer_state.json").write_text(json.dumps({"global_step": 10}))  # of an earlier training
    assert interplay.recommend(out).step == 30
    (out / "checkpoint-30" / "trainer_state.json").write_text('{"global_step": 30, "log_his')
    done = call("recommend", out)
    assert (done.code, done.out.splitlines()[0]) == (0, "step 20")
    assert "The trainer_state.json in checkpoint-30 cannot be read; it is written half or damaged." in done.out
    assert "The log ends at step 20, before step 30 on disk" in done.out
    assert "Not evaluated: step 30." in done.out
    for step in (10, 20):
        (out / f"checkpoint-{step}" / "trainer_state.json").write_text("[]")
    (out / "trainer_state.json").unlink()
    refused(call("recommend", out), "holds 3 checkpoints but no measured run and no log that can be read")
    for step in (10, 20, 30):
        lose(out / f"checkpoint-{step}", "torn")
    trained(losses(s10=2.0), (40,))
    lose(out / "checkpoint-40", "torn")
    refused(call("recommend", out), "it is written half or damaged")


def test_options_ask_for_a_measurement(trained, call):
    trained(losses(s10=2.0, s20=1.5))
    refused(call("recommend", "out", "--out", "x"), "give --base MODEL")


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
