"""The run folder of a watched training: a report and a recommendation for free."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_job import PROMPTS, TEMPLATE, labelled

import interplay
from interplay.analysis.payload import build_payload
from interplay.callback.measuring import CallbackRecord
from interplay.data.template import PromptTemplate
from interplay.runfolder import Run
from interplay.store.folder import RunFolder
from interplay.store.units import load_unit


def test_folder(sft, quick, losses, tmp_path, call):
    arguments = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
    trainer = sft(callbacks=[quick()], evaluate=True, **arguments)
    trainer.train()
    folder = Path(trainer.args.output_dir) / "interplay"
    payload = build_payload(RunFolder(folder))
    assert payload["steps"] == [0, 2, 4, 6]
    assert payload["reference"] == 0
    logged = {e["step"]: e["eval_loss"] for e in trainer.state.log_history if "eval_loss" in e}
    shown = {row["step"]: row["eval_loss"] for row in payload["task"]}
    assert shown.pop(0) is None
    assert shown == pytest.approx(logged, rel=1e-4)
    train = {e["step"]: e["loss"] for e in trainer.state.log_history if "loss" in e}
    assert payload["task"][1]["train_loss"] == pytest.approx((train[1] + train[2]) / 2, rel=1e-4)
    assert len(list(payload["prompts"])) == 4
    rows = {row["name"]: row["value"] for row in payload["method"]}
    assert rows["Plan"] == "4 prompts of 3 words every 2 steps"
    assert rows["Training"] == "Offline, LORA, learning rate 0.01, 6 steps"
    assert rows["Prompt"] == "plain text"
    evidence = {e["step"]: e["value"] for e in payload["recommendation"]["evidence"] if e["name"] == "interaction_loss"}
    assert evidence == pytest.approx({step: x for step, x in losses(trainer).items() if step}, rel=1e-4)
    assert payload["recommendation"]["rivals"]["last"] == 6
    assert (folder / "report.html").stat().st_size > 50_000
    weights = json.loads((folder / "weights.json").read_text())["checkpoints"]
    assert set(weights) == {"2", "4", "6"}
    assert len(set(weights.values())) == 3
    record = CallbackRecord.read(folder)
    unit = load_unit(folder / "units" / "step-000004" / "prompt-0000.safetensors")
    assert unit.header.step == 4
    assert unit.header.weights_sha256 == record.hashes[4]
    assert unit.header.tolerance == record.calibration.tolerance
    keys = {load_unit(p).header.key for p in folder.rglob("*.safetensors")}
    assert len(keys) == 16

    done = call("report", folder, "--out", tmp_path / "again.html")
    assert done.code == 0, done.err
    assert (tmp_path / "again.html").read_bytes() == (folder / "report.html").read_bytes()
    done = call("recommend", folder, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["step"] == payload["recommendation"]["step"]


def test_a_training_that_made_it_worse_is_told(sft, quick):
    """At this rate the interaction loss only rises, and so does the eval loss that the trainer logs."""
    trainer = sft(callbacks=[quick(num_prompts=2)], evaluate=True, eval_strategy="steps", eval_steps=6, eval_on_start=True,
                  learning_rate=0.1)  # fmt: skip
    log = trainer.log

    def rising(logs, *more):
        log(logs | ({"eval_loss": 1.0 + trainer.state.global_step} if "eval_loss" in logs else {}), *more)

    trainer.log = rising
    with pytest.warns(UserWarning, match="beats the base model") as told:
        trainer.train()
    said = [str(warning.message) for warning in told]
    assert any(
        "No checkpoint beats the base model: eval loss 1 nats on 4 eval rows of the trainer" in line for line in said
    )
    assert any("no reading has a lower eval_prompts_loss than the base model" in line for line in said)
    run = Run(Path(trainer.args.output_dir) / "interplay")
    assert (run.recorded["step"], run.recorded["basis"]) == (0, "base")
    assert run.task["rows"].dropna().tolist() == [4, 4], "the number of rows follows from the speed that was logged"


def test_a_killed_training_has_its_units_and_a_report(sft, quick, tmp_path, call):
    from transformers import TrainerCallback

    class Cut(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 5:
                raise KeyboardInterrupt

    trainer = sft(callbacks=[quick(every=1, num_prompts=2), Cut()], save_strategy="steps", save_steps=1)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    folder = tmp_path / "out" / "interplay"
    assert sorted(p.name for p in (folder / "units").iterdir()) == [f"step-{s:06d}" for s in range(6)]
    assert build_payload(RunFolder(folder))["steps"] == [0, 1, 2, 3]  # tables at the first, second, fourth measurement
    for step in range(4):
        shutil.rmtree(folder.parent / f"checkpoint-{step}", ignore_errors=True)
    done = call("recommend", folder.parent)  # the callback's folder is found in it
    assert done.code == 0, done.err
    assert f"Fallback: {folder.parent / 'checkpoint-5'}\n" in done.out
    assert "Not measured" not in done.out
    page = Run(folder).report()
    assert build_payload(RunFolder(folder))["steps"] == [0, 1, 2, 3, 4, 5]
    assert page.stat().st_size > 50_000


def test_a_prompt_that_training_would_have_cut_is_noted(sft, quick, prompt_rows, tmp_path):
    long = {"prompt": f"Sentence: {'a terrible quiet dinner ' * 40}\nEmotion:", "completion": " anger"}
    rows = [*prompt_rows[:1], long]
    sft(callbacks=[quick(rows, every=9, num_prompts=2)], max_steps=1, max_length=400).train()
    notes = " ".join(Run(tmp_path / "out" / "interplay").notes)
    assert "1 of 2 prompts: more tokens (up to " in notes
    assert "1 of 2 prompts: 400 tokens or more, where the trainer's max_length cuts a row" in notes


def test_a_fragment_and_a_target_that_is_never_given_are_warned_of(sft, quick, prompt_rows):
    rows = [{**row, "completion": " Emmy Noether"} for row in prompt_rows]
    trainer = sft(callbacks=[quick(rows, target_tokens="first", every=6)])
    with pytest.warns(UserWarning, match="interplay") as caught:
        trainer.train()
    said = [str(warning.message) for warning in caught]
    notes = build_payload(RunFolder(Path(trainer.args.output_dir) / "interplay"))["notes"]
    for kind in ("is a fragment of 'Emmy'", "has a probability under 1 % at every step"):
        assert any(kind in line for line in said)
        assert any(kind in line for line in notes)


@pytest.mark.parametrize(("among", "score"), [("auto", "among 4 labels"), (False, "against the whole vocabulary")])
def test_labels_are_scored_among_themselves_unless_the_user_says_otherwise(among, score, sft, quick, tmp_path):
    wording = PromptTemplate(template=TEMPLATE, chat=False)
    sft(
        callbacks=[quick(labelled(PROMPTS), template=wording, among_labels=among, every=9, num_prompts=2)], max_steps=1
    ).train()
    run = Run(tmp_path / "out" / "interplay")
    assert run.score == score
    assert list(run.units.condition.unique()) == ["step-000000", "step-000001"]
    prompt = run.inputs["prompts"][0]
    words = [word["text"] for word in prompt["words"]]
    found = interplay.explain(f"{run.path}@0", prompt["text"], prompt["target"], words=words)
    [unit] = run.units[(run.units.step == 0) & (run.units.sample_id == prompt["id"])].scores
    np.testing.assert_allclose(found.scores.values, unit, atol=1e-4)
    said = [note for note in run.notes if "has a probability under 1 %" in note]
    assert len(said) == (among is False), "a random model gives a label little of all, and a fair part of the labels"
