"""`track`: checkpoints that other tools left, as adapters or as whole models."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from tiny_job import PROMPTS, TEMPLATE, labelled, run_here, write_rows

from interplay.config.settings import NO_CONTROLS
from interplay.errors import InterplayError


def tracking(folder: Path, base: Path, left: Path, **more) -> dict:
    write_rows(folder / "held-out.jsonl", labelled(PROMPTS))
    return {
        "name": "tracked",
        "model": {"name": str(base), "device": "cpu"},
        "data": {"prompts": str(folder / "held-out.jsonl"), "eval": str(folder / "held-out.jsonl")},
        "prompt": {"chat": False, "template": TEMPLATE},
        "prompts": {"count": 2, "n": 3},
        "checkpoints": {"folder": str(left)},
        "dynamics": {"draws": 10, "resamples": 20},
        "controls": NO_CONTROLS | {"both_scores": True},
    } | more


@pytest.fixture(scope="module")
def adapters(tmp_path_factory, tiny_folder) -> Path:
    """What peft's save_pretrained leaves, at steps 5, 10 and 20; 20 is 10 once more."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapters")
    for step in (5, 10):
        torch.manual_seed(step)
        model = AutoModelForCausalLM.from_pretrained(tiny_folder("llama"))
        config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
        get_peft_model(model, config).save_pretrained(folder / f"checkpoint-{step}")
    shutil.copytree(folder / "checkpoint-10", folder / "checkpoint-20")
    (folder / "runs").mkdir()  # a trainer leaves other things too
    (folder / "trainer_state.json").write_text("{}")
    return folder


def test_adapters_are_swapped_on_one_base_and_twins_flagged(tmp_path, tiny_folder, adapters, monkeypatch):
    from interplay.pipeline import states

    loads = []
    honest = states.load_model
    monkeypatch.setattr(states, "load_model", lambda *a, **k: loads.append(k["dtype"]) or honest(*a, **k))
    both = {"controls": NO_CONTROLS | {"precision": "bfloat16"}}
    result = run_here(tracking(tmp_path, tiny_folder("llama"), adapters, **both), tmp_path / "run")
    assert loads == ["float32", "bfloat16"], (
        "the base is loaded once in each precision, whatever the number of adapters"
    )
    assert [row["step"] for row in result.summary().rows] == [0, 5, 10, 20]
    assert any("Steps 10 and 20 have identical weights" in note for note in result.notes)
    units = pd.read_parquet(tmp_path / "run" / "units.parquet").set_index(["condition", "sample_id"])
    full = units["score_full"].unstack("sample_id")
    pd.testing.assert_series_equal(full.loc["step-000010"], full.loc["step-000020"], check_names=False)
    assert (full.loc["step-000005"] - full.loc["step-000000"]).abs().min() > 1e-3
    weights = json.loads((tmp_path / "run" / "weights.json").read_text())["checkpoints"]
    assert weights["10"] == weights["20"] != weights["5"]
    assert "identical weights" in (tmp_path / "run" / "report.html").read_text()
    assert not (tmp_path / "run" / "checkpoints").exists(), "nothing is trained"


def test_scores_are_those_of_the_merged_model(tmp_path, tiny_folder, adapters):
    """Against peft's own merge, through transformers alone."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    wanted = tracking(tmp_path, tiny_folder("llama"), adapters, checkpoints={"folder": str(adapters), "steps": [5]})
    run_here(wanted, tmp_path / "run")
    model = AutoModelForCausalLM.from_pretrained(tiny_folder("llama"))
    merged = PeftModel.from_pretrained(model, adapters / "checkpoint-5").merge_and_unload()
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder("llama"))
    units = pd.read_parquet(tmp_path / "run" / "units.parquet")
    assert set(units["step"]) == {0, 5}
    texts = {p["id"]: p["text"] for p in json.loads((tmp_path / "run" / "inputs.json").read_text())["prompts"]}
    for unit in units[units["condition"] == "step-000005-vocabulary"].itertuples():
        ids = tokenizer(TEMPLATE.replace("{text}", texts[unit.sample_id]), return_tensors="pt")["input_ids"]
        logits = merged(ids).logits[0, -1].detach()
        gold = int(unit.target_ids[0])
        rest = torch.cat([logits[:gold], logits[gold + 1 :]])
        assert unit.score_full == pytest.approx(float(logits[gold] - torch.logsumexp(rest, 0)), abs=1e-4)


@pytest.mark.soak
def test_whole_models_left_by_a_plain_trainer(tmp_path, tiny_folder):
    """transformers.Trainer with its own saving, optimiser states and all."""
    import torch
    from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

    ids = list(range(5, 25))
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "out"),
        max_steps=2,
        save_steps=1,
        per_device_train_batch_size=1,
        learning_rate=0.01,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        save_strategy="steps",
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(tiny_folder("llama"))
    rows = [{"input_ids": ids, "labels": ids}] * 2
    Trainer(model=model, args=arguments, train_dataset=rows).train()
    result = run_here(tracking(tmp_path, tiny_folder("llama"), tmp_path / "out"), tmp_path / "run")
    assert [row["step"] for row in result.summary().rows] == [0, 1, 2]
    units = pd.read_parquet(tmp_path / "run" / "units.parquet")
    assert units.groupby("condition")["weights_sha256"].nunique().eq(1).all()
    assert units["weights_sha256"].nunique() == 3
    assert (units["residual"] <= units["tolerance"] + 1e-9).all()
    assert result.summary().rows[-1]["eval_loss"] != result.summary().rows[0]["eval_loss"]


def test_added_tokens_and_named_eval_sets(tmp_path, tiny_folder, capsys):
    """Epochs of a loop of one's own, with a token that only the checkpoints know, asked in every prompt."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base, out = tiny_folder("qwen2"), tmp_path / "out"
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens(["<ask>"], special_tokens=True)
    logits = {}
    for epoch in (0, 1):
        torch.manual_seed(epoch)
        model = AutoModelForCausalLM.from_pretrained(base)
        model.resize_token_embeddings(len(tokenizer))
        config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
        wrapped = get_peft_model(model, config).eval()
        wrapped.save_pretrained(out / f"epoch_{epoch}")
        tokenizer.save_pretrained(out / f"epoch_{epoch}")
        logits[epoch + 1] = wrapped
    log = [{"step": step, "eval_code_loss": 3.0 - step, "eval_chat_loss": 2.5} for step in (1, 2)]
    (out / "trainer_state.json").write_text(json.dumps({"global_step": 2, "log_history": log}))
    template = "<ask>Sentence: {text}\nEmotion:"
    wanted = tracking(tmp_path, base, out, prompt={"chat": False, "template": template})
    result = run_here(wanted, tmp_path / "run")
    assert [row["step"] for row in result.summary().rows] == [0, 1, 2]
    assert any("Training added tokens: the checkpoints' tokenizer is used" in note for note in result.notes)
    assert any("named by epoch" in note and "step 1 is epoch_0" in note for note in result.notes)
    units = pd.read_parquet(tmp_path / "run" / "units.parquet")
    assert units.groupby("step")["weights_sha256"].nunique().eq(1).all()
    texts = {p["id"]: p["text"] for p in json.loads((tmp_path / "run" / "inputs.json").read_text())["prompts"]}
    for unit in units[units["condition"] == "step-000002-vocabulary"].itertuples():
        ids = tokenizer(template.replace("{text}", texts[unit.sample_id]), return_tensors="pt")["input_ids"]
        assert 345 in ids
        scores, gold = logits[2](ids).logits[0, -1].detach(), int(unit.target_ids[0])
        rest = torch.cat([scores[:gold], scores[gold + 1 :]])
        assert unit.score_full == pytest.approx(float(scores[gold] - torch.logsumexp(rest, 0)), abs=1e-4)
    task = pd.read_parquet(tmp_path / "run" / "task.parquet")
    assert task["eval_code_loss"].tolist()[1:] == [2.0, 1.0]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "code, logged" in page
    assert "loss of eval set chat" in page


def test_adapter_of_another_base_is_refused_before_anything_is_computed(tmp_path, adapters, tiny_tokenizer):
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "other")
    tiny_tokenizer.save_pretrained(tmp_path / "other")
    with pytest.raises(InterplayError, match="does not fit the base"):
        run_here(tracking(tmp_path, tmp_path / "other", adapters), tmp_path / "run")
    assert not (tmp_path / "run" / "units").exists()


def test_steps_and_reference_are_those_asked_for(tmp_path, tiny_folder, adapters):
    base = tiny_folder("llama")
    some, later = {"folder": str(adapters), "steps": "0, 5"}, {"draws": 10, "resamples": 20, "reference": 5}
    rows = (
        run_here(tracking(tmp_path, base, adapters, checkpoints=some, dynamics=later), tmp_path / "run").summary().rows
    )
    assert [row["step"] for row in rows] == [0, 5]
    assert rows[1]["removed count"] == 0
    wrong = tracking(tmp_path, base, adapters, dynamics={"reference": 7})
    with pytest.raises(InterplayError, match=r"reference is 7, no measured step: choose one of \[0, 5, 10, 20\]"):
        run_here(wrong, tmp_path / "wrong")
    lacking = tracking(tmp_path, base, adapters, checkpoints={"folder": str(adapters), "steps": [15]})
    with pytest.raises(InterplayError, match="no checkpoint for step 15"):
        run_here(lacking, tmp_path / "lacking")


@pytest.mark.soak
def test_new_checkpoint_of_a_training_that_goes_on_is_added(tmp_path, tiny_folder, adapters):
    folder = tmp_path / "growing"
    shutil.copytree(adapters / "checkpoint-5", folder / "checkpoint-5")
    wanted = tracking(tmp_path, tiny_folder("llama"), folder)
    run_here(wanted, tmp_path / "run")
    unit = tmp_path / "run" / "units" / "step-000005" / "prompt-0000.safetensors"
    before = unit.stat().st_mtime_ns
    shutil.copytree(adapters / "checkpoint-10", folder / "checkpoint-10")
    assert [row["step"] for row in run_here(wanted, tmp_path / "run").summary().rows] == [0, 5, 10]
    assert unit.stat().st_mtime_ns == before


@pytest.mark.soak
def test_a_full_checkpoint_that_is_the_base_is_flagged(tmp_path, tiny_folder):
    """Suites have served final weights under early names; the base under a later name is the same lie."""
    folder = tmp_path / "out"
    shutil.copytree(tiny_folder("qwen2"), folder / "checkpoint-7")
    shutil.copytree(tiny_folder("qwen2", seed=1), folder / "checkpoint-9")
    result = run_here(tracking(tmp_path, tiny_folder("qwen2"), folder), tmp_path / "run")
    flagged = [note for note in result.notes if "identical weights" in note]
    assert len(flagged) == 1
    assert "Steps 0 and 7 " in flagged[0]


@pytest.mark.soak
def test_a_training_that_still_runs_is_followed_and_its_half_written_checkpoint_waits(tmp_path, tiny_folder, adapters):
    """Tracked while checkpoint-10 is being written, and again when it is there and another one is half."""
    left = tmp_path / "left"
    shutil.copytree(adapters / "checkpoint-5", left / "checkpoint-5")
    whole = adapters / "checkpoint-10" / "adapter_model.safetensors"

    def half(name: str) -> None:
        shutil.copytree(adapters / "checkpoint-10", left / name, dirs_exist_ok=True)
        (left / name / whole.name).write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])

    half("checkpoint-10")
    wanted = tracking(tmp_path, tiny_folder("llama"), left)
    first = run_here(wanted, tmp_path / "run")
    assert [row["step"] for row in first.summary().rows] == [0, 5]
    assert any("checkpoint-10 was left out" in note for note in first.notes)
    units = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "units").rglob("*.safetensors")}

    shutil.copy(whole, left / "checkpoint-10" / whole.name)
    half("checkpoint-20")
    second = run_here(wanted, tmp_path / "run")
    assert [row["step"] for row in second.summary().rows] == [0, 5, 10]
    assert {path: path.stat().st_mtime_ns for path in units} == units
    asked = wanted | {"checkpoints": {"folder": str(left), "steps": [0, 20]}}
    with pytest.raises(InterplayError, match=r"no checkpoint for step 20 .*checkpoint-20 was left out"):
        run_here(asked, tmp_path / "other")
