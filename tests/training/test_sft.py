"""Training: which files it leaves, that it repeats itself bit by bit, also when it was cut off, and what it refuses."""

import json
import os
import shutil
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from interplay.errors import InterplayError, SkipSample
from interplay.models.checkpoints import checkpoint_hash, model_at
from interplay.models.layouts import find_layout
from interplay.models.loading import load_model
from interplay.models.weights import hash_tensors
from interplay.training.sft import RESUME_FILES, finetune, tokenise

WEIGHTS = {"lora": "adapter_model.safetensors", "full": "model.safetensors"}


@pytest.fixture
def train(tiny_folder, examples, plan):
    """`train(folder, architecture, **changes of the plan)`: the log of a training on a model of its own."""

    def run(folder, architecture="llama", on_step=None, rows=examples, **changes):
        base = load_model(str(tiny_folder(architecture)))
        return finetune(base, rows, plan(**changes), folder, on_step=on_step)

    return run


def weights(folder, step, method="lora") -> str:
    return hash_tensors(load_file(folder / f"checkpoint-{step}" / WEIGHTS[method]).items())


@pytest.mark.matrix(2)
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma3", "qwen3"])
def test_lora_leaves_the_scheduled_checkpoints(train, tiny_folder, tmp_path, architecture):
    seen = []
    log = train(tmp_path / "out", architecture, on_step=lambda *a: seen.append(a))
    assert [entry["step"] for entry in log] == [1, 2, 3]
    assert seen == [(e["step"], 3, e["loss"]) for e in log]
    assert all(np.isfinite(e["loss"]) and e["learning_rate"] >= 0 for e in log)
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"checkpoint-1", "checkpoint-3", "training_log.json"}
    files = {p.name for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert not files & set(RESUME_FILES)
    assert not [f for f in files if f.endswith((".bin", ".pt", ".pth", ".pkl"))]
    assert WEIGHTS["lora"] in files
    assert json.loads((tmp_path / "out" / "training_log.json").read_text()) == log
    # What scoring makes of it: both checkpoints fit the base, and the weights moved.
    base = load_model(str(tiny_folder(architecture)))
    found = find_layout(tmp_path / "out", [0, 1, 3]).checkpoints
    assert [c.kind for c in found] == ["base", "adapter", "adapter"]
    assert len({checkpoint_hash(c, base) for c in found}) == 3
    for checkpoint in found:
        with model_at(checkpoint, base) as model:
            assert torch.isfinite(model(torch.arange(5, 12)[None]).logits).all()


def test_the_same_seed_gives_the_same_bits_and_another_other_ones(train, tmp_path):
    torch.manual_seed(123)
    train(tmp_path / "a")
    torch.manual_seed(456)  # what was drawn before must not matter: LoRA's matrices are drawn with the plan's seed
    torch.rand(7)
    train(tmp_path / "b")
    train(tmp_path / "c", seed=1)
    for step in (1, 3):
        assert weights(tmp_path / "a", step) == weights(tmp_path / "b", step) != weights(tmp_path / "c", step)
    first = load_file(tmp_path / "a" / "checkpoint-1" / WEIGHTS["lora"])
    other = load_file(tmp_path / "c" / "checkpoint-1" / WEIGHTS["lora"])
    assert any(not torch.equal(first[n], other[n]) for n in first if "lora_A" in n)


@pytest.mark.soak
def test_the_loss_of_learnt_positions_alone_is_that_of_trl(train, examples, tmp_path, monkeypatch):
    """Responses of several tokens in rows of several lengths, micro-steps of uneven sizes."""
    uneven = [{**e, "labels": [-100] * i + e["labels"][i:]} for i, e in enumerate(examples)]
    how = {"rows": uneven, "batch_size": 2, "accumulation": 2}
    ours = train(tmp_path / "ours", **how)
    monkeypatch.setattr("interplay.training.sft._HELD", 0)
    trl = train(tmp_path / "trl", **how)
    assert [e["loss"] for e in ours] == pytest.approx([e["loss"] for e in trl], rel=1e-4)
    one, other = (load_file(tmp_path / name / "checkpoint-3" / WEIGHTS["lora"]) for name in ("ours", "trl"))
    assert all(torch.allclose(one[key], other[key], atol=1e-4) for key in one)


def test_lora_matrices_are_seeded_even_where_the_trainer_seeds_late(train, tmp_path, monkeypatch):
    """TRL seeds before it wraps the model; a version that does not must not change the result."""
    train(tmp_path / "a", save_at=(1,), steps=1)
    monkeypatch.setattr("trl.trainer.sft_trainer.set_seed", lambda seed: None)
    torch.manual_seed(99)
    train(tmp_path / "b", save_at=(1,), steps=1)
    assert weights(tmp_path / "a", 1) == weights(tmp_path / "b", 1)


def test_full_fine_tuning(train, tiny_folder, tmp_path):
    train(tmp_path / "a", "qwen2", method="full")
    train(tmp_path / "b", "qwen2", method="full")
    base = load_model(str(tiny_folder("qwen2")))
    found = find_layout(tmp_path / "a").checkpoints
    assert [(c.step, c.kind) for c in found] == [(0, "base"), (1, "full"), (3, "full")]
    assert weights(tmp_path / "a", 3, "full") == weights(tmp_path / "b", 3, "full")
    before = hash_tensors(base.model.state_dict().items())
    with model_at(found[2], base) as model:
        assert hash_tensors(model.state_dict().items()) != before
    assert hash_tensors(base.model.state_dict().items()) == before
    assert not list((tmp_path / "a").rglob("*.pt"))


class Cut(Exception):
    pass


def cut_at(step):
    def on_step(now, total, loss):
        if now == step:
            raise Cut

    return on_step


def cut_now(*args, **kwargs):
    raise Cut


@pytest.mark.matrix("lora-3")
@pytest.mark.parametrize(("method", "accumulation"), [("lora", 1), ("lora", 3), ("full", 1)])
def test_an_interrupted_training_ends_in_the_same_bits(train, tmp_path, method, accumulation):
    options = {"method": method, "accumulation": accumulation, "steps": 6, "save_at": (2, 4, 6)}
    whole = train(tmp_path / "whole", **options)
    cut = tmp_path / "cut"
    with pytest.raises(Cut):
        train(cut, on_step=cut_at(5), **options)  # checkpoints 2 and 4 are there
    assert not (cut / "training_log.json").exists()
    assert (cut / "checkpoint-4" / "optimizer.pt").exists()
    assert not (cut / "checkpoint-2" / "optimizer.pt").exists()  # of no use beside a newer one
    seen = []
    resumed = train(cut, on_step=lambda step, *rest: seen.append(step), **options)
    assert seen == [5, 6]
    assert resumed == whole
    for step in (2, 4, 6):
        assert weights(cut, step, method) == weights(tmp_path / "whole", step, method)
    assert not [p for p in cut.rglob("*") if p.name in RESUME_FILES]


@pytest.mark.matrix("torn weights")
@pytest.mark.parametrize(
    "damage",
    [
        "missing",
        "torn",
        "too deep",
        "empty folder",
        "empty optimizer",
        "torn optimizer",
        "flipped optimizer",
        "link",
        "torn weights",
        "no config",
        "no scheduler",
    ],
)
def test_a_torn_checkpoint_is_dropped(train, tmp_path, damage):
    options = {"steps": 4, "save_at": (2, 4)}
    train(tmp_path / "whole", **options)
    cut = tmp_path / "cut"
    with pytest.raises(Cut):
        train(cut, on_step=cut_at(3), **options)
    last = cut / "checkpoint-2"
    if damage == "missing":
        (last / "trainer_state.json").unlink()
    elif damage == "torn":
        (last / "trainer_state.json").write_text('{"global_step": 2')
    elif damage == "too deep":
        (last / "trainer_state.json").write_text("[" * 100_000)
    elif damage.endswith("optimizer"):
        data = bytearray((last / "optimizer.pt").read_bytes())
        with zipfile.ZipFile(last / "optimizer.pt") as archive:
            largest = max(archive.infolist(), key=lambda entry: entry.file_size)
        data[largest.header_offset + largest.file_size] ^= (
            1  # in its bytes, for the header before them is shorter than they
        )
        keep = {"empty": 0, "torn": len(data) // 2, "flipped": len(data)}[damage.split()[0]]
        (last / "optimizer.pt").write_bytes(data[:keep])
    elif damage == "torn weights":
        data = (last / "adapter_model.safetensors").read_bytes()
        (last / "adapter_model.safetensors").write_bytes(data[: len(data) // 2])
    elif damage == "no config":
        (last / "adapter_config.json").unlink()
    elif damage == "no scheduler":
        (last / "scheduler.pt").unlink()
    elif damage == "link":
        shutil.rmtree(last)
        (tmp_path / "mine").mkdir()
        last.symlink_to(tmp_path / "mine")
    else:
        shutil.rmtree(last)
        last.mkdir()
    seen = []
    train(cut, on_step=lambda step, *rest: seen.append(step), **options)
    assert seen == [1, 2, 3, 4]  # nothing whole was left, so from the start
    assert (damage == "link") == (tmp_path / "mine").exists()
    assert weights(cut, 4) == weights(tmp_path / "whole", 4)


@pytest.mark.soak
def test_cut_off_between_the_last_checkpoint_and_the_log(train, tmp_path, monkeypatch):
    whole = train(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr("interplay.training.sft.write_text", cut_now)
        with pytest.raises(Cut):
            train(tmp_path / "cut")
    (tmp_path / "cut" / "checkpoint-best").mkdir()  # the user's own
    assert train(tmp_path / "cut", on_step=lambda *a: pytest.fail("trained again")) == whole
    assert weights(tmp_path / "cut", 3) == weights(tmp_path / "whole", 3)
    assert (tmp_path / "cut" / "checkpoint-best").exists()


def test_a_whole_training_is_not_done_again(train, tmp_path):
    log = train(tmp_path / "a", steps=1, save_at=(1,))
    (tmp_path / "a" / "checkpoint-1" / "optimizer.pt").touch()  # as after a kill between the log and the cleaning
    again = train(tmp_path / "a", steps=1, save_at=(1,), on_step=lambda *a: pytest.fail("trained again"))
    assert again == log
    assert not list((tmp_path / "a").rglob("optimizer.pt"))


def one_line(error) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("targets", ["nowhere_proj", "lm_head"])
def test_target_modules_that_cannot_be_trained(train, tmp_path, targets):
    with pytest.raises(InterplayError, match=rf"training.targets '{targets}' cannot be trained") as error:
        train(tmp_path / "a", targets=targets)
    one_line(error)


def test_target_modules_by_name(train, tmp_path):
    train(tmp_path / "a", targets="q_proj, v_proj", steps=1, save_at=(1,))
    names = load_file(tmp_path / "a" / "checkpoint-1" / WEIGHTS["lora"])
    assert {n.split(".")[-3] for n in names} == {"q_proj", "v_proj"}


def test_nothing_to_train_on(train, examples, tmp_path):
    with pytest.raises(InterplayError, match="no training rows are left: none was given") as error:
        train(tmp_path / "a", rows=[])
    one_line(error)
    with pytest.raises(InterplayError, match=r"no response begins within training.max_length 8") as error:
        train(tmp_path / "a", rows=examples, max_length=8)
    one_line(error)


@pytest.mark.matrix(1)
@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_loss_that_is_not_finite_stops_the_training(train, tmp_path, method):
    seen = []
    for _ in range(2):  # the second time it finds the checkpoint of step 1
        with pytest.raises(InterplayError, match=r"not finite|training loss is .* at step .*learning_rate") as error:
            train(
                tmp_path / "a",
                method=method,
                learning_rate=1e30,
                scheduler="constant",
                warmup_steps=0,
                steps=50,
                save_at=(1, 50),
                on_step=lambda step, *rest: seen.append(step),
            )
        one_line(error)
    assert max(seen) < 5  # at once, not after all steps
    assert not (tmp_path / "a" / "training_log.json").exists()


def test_weights_that_are_not_finite_after_the_last_step(train, tmp_path, monkeypatch):
    def overflow(self, *args, **kwargs):
        next(p for group in self.param_groups for p in group["params"]).data.fill_(float("nan"))

    monkeypatch.setattr("torch.optim.AdamW.step", overflow)
    with pytest.raises(InterplayError, match="weights after step 1 are not finite"):
        train(tmp_path / "a", steps=1, save_at=(1,))


def test_the_tokenizer_stays_as_it_was(tiny_folder, examples, plan, tmp_path):
    base = load_model(str(tiny_folder("llama")))
    base.tokenizer.padding_side = "left"
    base.tokenizer.pad_token = None
    before = (
        base.tokenizer.backend_tokenizer.to_str(),
        base.tokenizer.special_tokens_map,
        base.tokenizer.chat_template,
    )
    finetune(base, examples, plan(steps=1, save_at=(1,)), tmp_path / "a")
    assert base.tokenizer.padding_side == "left"
    assert base.tokenizer.pad_token is None
    after = (base.tokenizer.backend_tokenizer.to_str(), base.tokenizer.special_tokens_map, base.tokenizer.chat_template)
    assert after == before


@pytest.mark.parametrize("method", ["lora", "full"])
def test_files_name_the_model_as_asked_for_and_nothing_of_this_machine(
    tiny_folder, examples, plan, tmp_path, monkeypatch, method
):
    shutil.copytree(tiny_folder("llama"), tmp_path / "models" / "tiny")
    monkeypatch.chdir(tmp_path)
    base = load_model("models/tiny")
    finetune(base, examples, plan(method=method, steps=1, save_at=(1,)), tmp_path / "a")
    checkpoint = tmp_path / "a" / "checkpoint-1"
    if method == "lora":
        assert json.loads((checkpoint / "adapter_config.json").read_text())["base_model_name_or_path"] == "models/tiny"
    secrets = [str(tmp_path).encode(), str(tiny_folder("llama")).encode(), tmp_path.home().as_posix().encode() + b"/"]
    for file in (p for p in (tmp_path / "a").rglob("*") if p.is_file()):
        content = file.read_bytes()
        assert not [s for s in secrets if s in content], file.name


def test_no_telemetry_and_no_look_up_on_a_hub(train, tmp_path, monkeypatch):
    def never(*args, **kwargs):
        pytest.fail("something was sent or looked up")

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr("trl.trainer.base_trainer.send_telemetry", never)
    monkeypatch.setattr("peft.utils.other.file_exists", never)
    monkeypatch.setattr("socket.socket.connect", never)
    train(tmp_path / "a", steps=1, save_at=(1,))
    assert "HF_HUB_OFFLINE" not in os.environ


def test_tokenise_marks_the_response_only(rows, template, tiny_tokenizer, examples):
    assert len(examples) == len(rows)
    for row, example in zip(rows, examples, strict=True):
        ids, labels = example["input_ids"], example["labels"]
        response = [i for i, label in enumerate(labels) if label != -100]
        assert response == list(range(response[0], len(ids)))
        assert [labels[i] for i in response] == [ids[i] for i in response]
        assert tiny_tokenizer.decode([ids[i] for i in response]) == f"{row.target}<|im_end|>"
        assert tiny_tokenizer.decode(ids[: response[0]]).endswith("<|im_start|>assistant\n")


def test_tokenise_names_the_rows_it_leaves_out(rows, template, tiny_tokenizer):
    from dataclasses import replace

    bad = replace(rows[0], id="bad", target="<|im_end|>")
    kept, skipped = tokenise([bad, *rows[1:3]], tiny_tokenizer, template)
    assert len(kept) == 2
    assert [i for i, _ in skipped] == ["bad"]
    assert "special token" in skipped[0][1]
    lengths = [len(e["input_ids"]) for e in kept]
    kept, skipped = tokenise(rows[1:3], tiny_tokenizer, template, max_length=min(lengths) - 20)
    assert kept == []
    assert "leaves none of max_length" in skipped[0][1]
    assert issubclass(SkipSample, InterplayError)


def test_what_a_job_system_left_in_the_environment_joins_no_group(train, tmp_path, monkeypatch):
    from accelerate.state import AcceleratorState
    from torch import distributed

    def join(*_, **__):
        raise AssertionError("it would wait for processes that never come")

    left = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "OMPI_COMM_WORLD_SIZE": "2"}
    for name, value in left.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(distributed, "init_process_group", join)
    AcceleratorState._reset_state(reset_partial_state=True)
    train(tmp_path, steps=1, save_at=(1,))
    assert {name: os.environ[name] for name in left} == left  # of the user's, so they come back
