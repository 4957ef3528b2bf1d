"""Folders as Trainer, TRL, LLaMA-Factory and unsloth leave them: what is found, what is left out, and what is said."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from interplay.errors import InterplayError
from interplay.models.adapters import base_name_note
from interplay.models.checkpoints import checkpoint_hash, model_at
from interplay.models.layouts import Checkpoint, classify, find_layout, read_training_log
from interplay.models.loading import load_model
from interplay.models.weights import same_weights, weight_files


@pytest.fixture(scope="session")
def weights(tiny_folder, tmp_path_factory):
    """`weights(folder, "adapter", seed)`: a folder with a real tiny adapter or model in it, and nothing else."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    pattern = tmp_path_factory.mktemp("adapter")
    model = AutoModelForCausalLM.from_pretrained(tiny_folder("llama"))
    config = LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    get_peft_model(model, config).save_pretrained(pattern, save_embedding_layers=False)
    files = {"adapter": "adapter_model.safetensors", "full": "model.safetensors"}

    def make(folder, kind="adapter", seed=0):
        folder.mkdir(parents=True, exist_ok=True)
        source = pattern if kind == "adapter" else tiny_folder("llama")
        configs = (
            ("adapter_config.json", "README.md") if kind == "adapter" else ("config.json", "generation_config.json")
        )
        for name in configs:
            shutil.copy(source / name, folder / name)
        generator = torch.Generator().manual_seed(seed)
        tensors = {
            name: torch.randn(t.shape, generator=generator) for name, t in load_file(source / files[kind]).items()
        }
        save_file(tensors, folder / files[kind], metadata={"format": "pt"})
        return folder

    return make


def touch(folder, *names):
    folder.mkdir(parents=True)
    shard = "model-00001-of-00001.safetensors"
    for name in names:
        if name.endswith(".safetensors"):
            save_file({}, folder / name)
        else:
            (folder / name).write_text(json.dumps({"weight_map": {"w": shard}}) if "index" in name else "{}")
        if "index" in name:
            save_file({}, folder / shard)
    return folder


ADAPTER = ("adapter_model.safetensors", "adapter_config.json")
FULL = ("config.json", "model.safetensors")


def test_found_in_the_order_of_their_steps(tmp_path):
    for step in (100, 20, 3):
        touch(tmp_path / f"checkpoint-{step}", *ADAPTER)
    touch(tmp_path / "checkpoint-1000", "config.json", "model.safetensors.index.json")
    touch(tmp_path / "checkpoint-7")  # empty: torn, or another program's
    touch(tmp_path / "checkpoint-best", *ADAPTER)
    (tmp_path / "checkpoint-9").touch()
    found = find_layout(tmp_path).checkpoints
    assert [(c.step, c.kind) for c in found] == [
        (0, "base"),
        (3, "adapter"),
        (20, "adapter"),
        (100, "adapter"),
        (1000, "full"),
    ]
    assert found[0].path is None
    assert [c.step for c in find_layout(tmp_path, [100, 0]).checkpoints] == [0, 100]
    assert [c.step for c in find_layout(tmp_path, [20]).checkpoints] == [20]
    with pytest.raises(InterplayError, match=r"no checkpoint for step 7 .* only \[0, 3, 20, 100, 1000\]"):
        find_layout(tmp_path, [0, 7])


def test_folders_without_checkpoints(tmp_path):
    with pytest.raises(InterplayError, match="no checkpoints folder"):
        find_layout(tmp_path / "missing")
    with pytest.raises(InterplayError, match="holds no checkpoint-<step> folder"):
        find_layout(tmp_path)


def test_two_folders_of_one_step(tmp_path):
    touch(tmp_path / "checkpoint-10", *FULL)
    touch(tmp_path / "checkpoint-010", *FULL)
    with pytest.raises(InterplayError, match="both step 10"):
        find_layout(tmp_path)


def test_pickles_are_refused_unless_safetensors_stand_beside_them(tmp_path):
    for name in ("adapter_model.bin", "pytorch_model.bin", "pytorch_model-00001-of-00002.bin"):
        folder = touch(tmp_path / name, name, "config.json", "adapter_config.json")
        with pytest.raises(InterplayError, match="pickled weights only"):
            classify(folder)
    assert classify(touch(tmp_path / "both", "pytorch_model.bin", *FULL)) == "full"
    assert classify(touch(tmp_path / "none", "optimizer.pt")) is None


def write(folder, *names, **contents):
    for name in names:
        (folder / name).write_bytes(b"\x80\x04.")  # never opened
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


def entries(steps, every=10):
    """A log as Trainer writes it: loss, evaluation and summary are entries of their own."""
    log = []
    for step in range(every, steps + 1, every):
        log.append(
            {"epoch": 0.1, "grad_norm": 1.0, "learning_rate": 1e-4 / step, "loss": 3.0 - step / 100, "step": step}
        )
        if step % 20 == 0:
            log.append({"epoch": 0.1, "eval_loss": 3.1 - step / 100, "eval_runtime": 0.5, "step": step})
    return log


def trainer_checkpoint(weights, folder, step, kind="adapter", every=10, **state):
    """`checkpoint-<step>` with the files of transformers' Trainer."""
    path = weights(folder / f"checkpoint-{step}", kind, seed=step)
    write(path, "optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "tokenizer.json")
    write(path, trainer_state={"global_step": step, "log_history": entries(step, every), **state})
    return path


@pytest.fixture
def llama_factory(weights, tmp_path):
    """saves/llama/lora/sft: checkpoints, the final adapter with its state, and logs of LLaMA-Factory's own."""

    def make(steps=(20, 40), final=47, kind="adapter"):
        folder = tmp_path / "saves" / "llama" / "lora" / "sft"
        for step in steps:
            trainer_checkpoint(weights, folder, step, kind)
        weights(folder, kind, seed=final)
        summary = {"step": final, "train_loss": 2.7, "train_runtime": 9.0, "total_flos": 1e9}
        write(folder, "training_loss.png", "training_eval_loss.png", "trainer_log.jsonl", "training_args.bin")
        write(
            folder,
            all_results={"train_loss": 2.7},
            train_results={"train_loss": 2.7},
            trainer_state={"global_step": final, "log_history": [*entries(final), summary]},
        )
        return folder

    return make


def found(folder):
    return [(c.step, c.kind, c.path) for c in find_layout(folder).checkpoints]


def test_llama_factory(llama_factory):
    folder = llama_factory()
    deep = folder / "checkpoint-40" / "global_step40"  # DeepSpeed's shards beside the gathered weights
    deep.mkdir()
    write(deep, "mp_rank_00_model_states.pt")
    write(folder / "checkpoint-40", "latest", "zero_to_fp32.py")
    assert found(folder) == [
        (0, "base", None),
        (20, "adapter", folder / "checkpoint-20"),
        (40, "adapter", folder / "checkpoint-40"),
        (47, "adapter", folder),
    ]
    assert find_layout(folder).notes == ()
    assert [c.step for c in find_layout(folder, [0, 47]).checkpoints] == [0, 47]
    with pytest.raises(InterplayError, match=r"no checkpoint for step 30 .* only \[0, 20, 40, 47\]"):
        find_layout(folder, [30])


def test_final_weights_serve_as_a_checkpoint(llama_factory, tiny_folder):
    base = load_model(str(tiny_folder("llama")))
    states = find_layout(llama_factory()).checkpoints
    assert len({checkpoint_hash(c, base) for c in states}) == 4
    with model_at(states[-1], base) as model:
        assert torch.isfinite(model(torch.arange(5, 12)[None]).logits).all()


def test_the_last_checkpoint_stands_for_the_final_weights(llama_factory):
    """Trainer saves a checkpoint at its last step, so most often both are there."""
    folder = llama_factory(steps=(20, 40), final=40)
    assert [c.path for c in find_layout(folder).checkpoints][1:] == [folder / "checkpoint-20", folder / "checkpoint-40"]
    assert find_layout(folder).notes == ()


def test_trl(weights, tmp_path):
    """trl sft calls save_model but not save_state: the final adapter has no step of its own."""
    folder = tmp_path / "Qwen2-0.5B-SFT"
    for step in (25, 50):
        trainer_checkpoint(weights, folder, step, every=25)
    weights(folder, seed=50)  # what checkpoint-50 holds
    write(folder, "training_args.bin", "chat_template.jinja", "tokenizer.json")
    (folder / "runs" / "Nov20_host").mkdir(parents=True)  # TensorBoard's
    assert [c.step for c in find_layout(folder).checkpoints] == [0, 25, 50]
    assert find_layout(folder).notes == ()
    weights(folder, seed=60)  # trained on since, without a state
    layout = find_layout(folder)
    assert [c.step for c in layout.checkpoints] == [0, 25, 50]
    assert len(layout.notes) == 1
    assert "those of no checkpoint, and no trainer_state.json says" in layout.notes[0]
    with pytest.raises(InterplayError, match=r"no checkpoint for step 60 .*\(the final weights in .* were left out"):
        find_layout(folder, [0, 60])


def test_the_best_checkpoint_put_back_is_no_state_of_its_own(llama_factory, weights):
    folder = llama_factory(steps=(20, 40), final=47)
    state = json.loads((folder / "trainer_state.json").read_text())
    weights(folder, seed=20)  # load_best_model_at_end
    write(folder, trainer_state=state | {"best_global_step": 20, "best_metric": 1.0})
    layout = find_layout(folder)
    assert [c.step for c in layout.checkpoints] == [0, 20, 40]
    assert layout.notes == ("the final weights in sft are those of checkpoint-20",)
    shutil.rmtree(folder / "checkpoint-20")  # save_total_limit, or the user
    for best in ({"best_global_step": 20}, {"best_model_checkpoint": "/elsewhere/sft/checkpoint-20"}):
        write(folder, trainer_state=state | best)
        layout = find_layout(folder)
        assert [c.step for c in layout.checkpoints] == [0, 40]
        assert "may be those of step 47 or of the best one, 20" in layout.notes[0]
    write(
        folder, trainer_state=state | {"best_global_step": 40}
    )  # there, and other weights: so these are the last ones
    assert [c.step for c in find_layout(folder).checkpoints] == [0, 40, 47]


def test_final_weights_that_do_not_belong(llama_factory, weights):
    folder = llama_factory(steps=(20, 40), final=30)  # of an earlier training into the same folder
    assert "says step 30, before the last checkpoint (40)" in find_layout(folder).notes[0]
    state = json.loads((folder / "trainer_state.json").read_text())
    write(folder, trainer_state=state | {"global_step": 47})
    (folder / "adapter_model.safetensors").unlink()
    weights(folder, "full")  # merged into the output folder
    layout = find_layout(folder)
    assert [c.step for c in layout.checkpoints] == [0, 20, 40]
    assert "a whole model, where the checkpoints are an adapter each" in layout.notes[0]
    for name in ("model.safetensors", "config.json"):
        (folder / name).unlink()
    write(folder, "pytorch_model.bin")  # pickles beside the checkpoints do not matter
    assert find_layout(folder).notes == ()


def test_unsloth(weights, tmp_path, tiny_folder):
    outputs = tmp_path / "outputs"
    path = trainer_checkpoint(weights, outputs, 60)
    config = json.loads((path / "adapter_config.json").read_text())
    write(path, adapter_config=config | {"base_model_name_or_path": "unsloth/llama-3-8b-bnb-4bit"})
    weights(outputs / "model", "full")  # save_pretrained_merged
    weights(outputs / "merged_16bit", "full")
    weights(tmp_path / "lora_model")
    layout = find_layout(outputs)
    assert [(c.step, c.kind) for c in layout.checkpoints] == [(0, "base"), (60, "adapter")]
    assert layout.notes == ()
    base = "meta-llama/Meta-Llama-3-8B"
    note = base_name_note(layout.checkpoints[1], base)
    assert "names its base 'unsloth/llama-3-8b-bnb-4bit'; it was put on 'meta-llama/Meta-Llama-3-8B'" in note
    assert "held in few bits" in note
    second = trainer_checkpoint(weights, outputs, 80)
    shutil.copy(path / "adapter_config.json", second)
    assert (
        len({base_name_note(c, base) for c in find_layout(outputs).checkpoints[1:]}) == 1
    )  # one sentence, not one each
    with pytest.raises(InterplayError, match=r"itself: give '.*outputs'"):
        find_layout(tmp_path)


def test_half_written_and_foreign_folders_are_ignored(weights, tmp_path):
    trainer_checkpoint(weights, tmp_path, 10)
    for name in ("tmp-checkpoint-20", "checkpoint-20.bak", "checkpoint-", "merged", "run-3", "v1-20"):
        weights(tmp_path / name)
    (tmp_path / "checkpoint-30").write_text("a file")
    layout = find_layout(tmp_path)
    assert [c.step for c in layout.checkpoints] == [0, 10]
    assert layout.notes == ()


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        (None, "checkpoint-20 was left out: it holds no adapter_model.safetensors"),
        ("global_step20", "DeepSpeed's shards only: gather them"),
        ("pytorch_model_fsdp_0", "FSDP's shards only: merge them"),
        ("policy", "its weights lie deeper, in policy: move"),
    ],
)
def test_checkpoints_without_weights(weights, tmp_path, inside, said):
    empty = tmp_path / "checkpoint-20"
    empty.mkdir()
    if inside == "policy":
        weights(empty / inside)
    elif inside:
        (empty / inside).mkdir()
    with pytest.raises(InterplayError, match=f"holds no checkpoint-<step> folder with .*{said}") as error:
        find_layout(tmp_path)
    assert "\n" not in str(error.value)
    trainer_checkpoint(weights, tmp_path, 10)
    layout = find_layout(tmp_path)
    assert [c.step for c in layout.checkpoints] == [0, 10]
    assert said in layout.notes[0]


def test_epochs_in_their_order(weights, tmp_path):
    """accelerate's examples: epoch_0, epoch_1, ..., and the last once more as `final`."""
    for epoch in (0, 1, 10):
        weights(tmp_path / f"epoch_{epoch}", seed=epoch)
    weights(tmp_path / "final", seed=10)
    layout = find_layout(tmp_path)
    assert [(c.step, c.path and c.path.name) for c in layout.checkpoints] == [
        (0, None),
        (1, "epoch_0"),
        (2, "epoch_1"),
        (11, "epoch_10"),
    ]
    assert layout.notes == (
        "the checkpoints are named by epoch and no trainer_state.json says their steps: step 1 is epoch_0",
    )
    for epoch in (0, 1, 10):
        write(tmp_path / f"epoch_{epoch}", trainer_state={"global_step": 25 * (epoch + 1)})
    layout = find_layout(tmp_path)
    assert [c.step for c in layout.checkpoints] == [0, 25, 50, 275]
    assert layout.notes == ()


@pytest.mark.parametrize(
    "names",
    [
        ("step_20", "step_100"),
        ("checkpoint-step-20", "checkpoint-step-100"),
        ("checkpoint_20", "checkpoint_100"),
        ("global_step_20", "global_step_100"),
        ("iter-20", "iter-100"),
        ("ckpt-20", "ckpt_100"),
    ],
)
def test_other_names_of_steps(weights, tmp_path, names):
    for seed, name in enumerate(names):
        weights(tmp_path / name, seed=seed)
    assert found(tmp_path)[1:] == [(20, "adapter", tmp_path / names[0]), (100, "adapter", tmp_path / names[1])]


@pytest.mark.parametrize(
    "names", [("epoch-1", "epoch-2"), ("checkpoint-epoch-1", "checkpoint-epoch-2"), ("epoch1", "epoch2")]
)
def test_other_names_of_epochs(weights, tmp_path, names):
    for seed, name in enumerate(names):
        weights(tmp_path / name, seed=seed)
    assert [c.step for c in find_layout(tmp_path).checkpoints] == [0, 1, 2]


def test_epochs_beside_steps_have_no_place_without_a_state(weights, tmp_path):
    trainer_checkpoint(weights, tmp_path, 10)
    weights(tmp_path / "epoch_1")
    layout = find_layout(tmp_path)
    assert [c.step for c in layout.checkpoints] == [0, 10]
    assert layout.notes == (
        "epoch_1 was left out: no trainer_state.json says its step; name their folder checkpoint-<step>",
    )
    write(tmp_path / "epoch_1", trainer_state={"global_step": 15})
    assert [c.step for c in find_layout(tmp_path).checkpoints] == [0, 10, 15]


@pytest.mark.parametrize("name", ["checkpoint-best", "best_model", "best"])
def test_the_best_is_a_copy_or_has_a_state(weights, tmp_path, name):
    for step in (10, 20):
        trainer_checkpoint(weights, tmp_path, step)
    weights(tmp_path / name, seed=10)
    layout = find_layout(tmp_path)
    assert [c.step for c in layout.checkpoints] == [0, 10, 20]
    assert layout.notes == (f"the weights in {name} are those of checkpoint-10",)
    weights(tmp_path / name, seed=15)
    layout = find_layout(tmp_path)
    assert [c.step for c in layout.checkpoints] == [0, 10, 20]
    assert "no trainer_state.json says their step; name their folder checkpoint-<step>" in layout.notes[0]
    write(tmp_path / name, trainer_state={"global_step": 15})  # checkpoint-15 was deleted
    assert found(tmp_path)[2] == (15, "adapter", tmp_path / name)


def test_a_final_folder(weights, tmp_path):
    weights(tmp_path / "final_model", seed=30)
    assert "final_model were left out: they are those of no checkpoint" in error_of(tmp_path)
    write(tmp_path / "final_model", trainer_state={"global_step": 30, "log_history": entries(30)})
    assert found(tmp_path)[1:] == [(30, "adapter", tmp_path / "final_model")]
    assert [entry["step"] for entry in read_training_log(tmp_path)] == [10, 20, 30]
    trainer_checkpoint(weights, tmp_path, 40)
    assert "says step 30, before the last checkpoint (40)" in find_layout(tmp_path).notes[0]


def test_weights_without_a_config_are_named(weights, tmp_path):
    (weights(tmp_path / "step_10", "full") / "config.json").unlink()
    assert "or is accelerate's state: then add the base's config.json" in error_of(tmp_path)


def error_of(folder) -> str:
    with pytest.raises(InterplayError) as error:
        find_layout(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_one_checkpoint_given(weights, tmp_path, monkeypatch):
    path = trainer_checkpoint(weights, tmp_path / "out", 60)
    assert f"is one checkpoint of a training: give {str(tmp_path / 'out')!r} and its step (60)" in error_of(path)
    monkeypatch.chdir(path)
    assert f"give {str(tmp_path / 'out')!r}" in error_of(path.relative_to(path))
    assert [c.step for c in find_layout(tmp_path / "out", [0, 60]).checkpoints] == [0, 60]


def test_the_folder_around_is_told_which_to_give(weights, llama_factory, tmp_path):
    folder = llama_factory()
    assert f"holds no checkpoint-<step> folder itself: give {str(folder)!r}" in error_of(folder.parents[1])
    for run in ("run-0", "run-1"):  # Trainer.hyperparameter_search
        trainer_checkpoint(weights, tmp_path / "search" / run, 10)
    shown = "', '".join(str(tmp_path / "search" / run) for run in ("run-0", "run-1"))
    assert f"holds 2 trainings: give one of them ('{shown}')" in error_of(tmp_path / "search")
    for run in range(2, 9):
        (tmp_path / "search" / f"run-{run}" / "checkpoint-1").mkdir(parents=True)
    assert "holds 9 trainings: give one of them" in error_of(tmp_path / "search")
    assert error_of(tmp_path / "search").endswith(", ...)")


def test_only_final_weights(weights, tmp_path):
    weights(tmp_path / "lora_model", seed=3)
    said = error_of(tmp_path / "lora_model")
    assert "holds an adapter, but nothing says of which step" in said
    assert "move it into a folder checkpoint-<step>" in said
    write(tmp_path / "lora_model", trainer_state={"global_step": 60, "log_history": []})
    layout = find_layout(tmp_path / "lora_model")
    assert [(c.step, c.kind) for c in layout.checkpoints] == [(0, "base"), (60, "adapter")]
    assert layout.notes == ("the only trained weights are the final ones, of step 60",)
    for state in ({"global_step": "60"}, {"global_step": True}, {"global_step": 0}, []):
        write(tmp_path / "lora_model", trainer_state=state)
        assert "nothing says of which step" in error_of(tmp_path / "lora_model")


def shards(weights, folder):
    """A full checkpoint in two shards with its index, and a stray third of another save."""
    weights(folder, "full")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names, where = sorted(tensors), {}
    for part in (1, 2):
        file = f"model-0000{part}-of-00002.safetensors"
        save_file({n: tensors[n] for n in names[part - 1 :: 2]}, folder / file, metadata={"format": "pt"})
        where |= dict.fromkeys(names[part - 1 :: 2], file)
    write(folder, **{"model.safetensors.index": {"metadata": {"total_size": 1}, "weight_map": where}})
    save_file({n: tensors[n] + 1 for n in names}, folder / "model-00003-of-00003.safetensors")
    return folder


def test_sharded_checkpoints(weights, tmp_path, tiny_folder):
    base = load_model(str(tiny_folder("llama")))
    whole = weights(tmp_path / "whole", "full")
    parts = shards(weights, tmp_path / "checkpoint-5")
    assert classify(parts) == "full"
    assert [f.name for f in weight_files(parts)] == [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    hashes = [checkpoint_hash(Checkpoint(5, folder, "full"), base) for folder in (whole, parts)]
    assert hashes[0] == hashes[1]  # the stray shard of another save is not read
    assert same_weights(whole, parts, "full")
    assert not same_weights(parts, tiny_folder("llama"), "full")
    (parts / "model-00002-of-00002.safetensors").unlink()
    said = r"checkpoint-5 lacks 1 of the 2 files its index names \(first: model-00002-of-00002.safetensors\)"
    with pytest.raises(InterplayError, match=said):
        checkpoint_hash(Checkpoint(5, parts, "full"), base)
    for index in (
        {},
        [],
        {"weight_map": {"a": "../../model.safetensors"}},
        {"weight_map": {"a": 1}},
    ):
        write(parts, **{"model.safetensors.index": index})
        with pytest.raises(InterplayError, match="index") as error:
            weight_files(parts)
        assert "\n" not in str(error.value)


def test_an_adapter_beside_whole_weights(weights, tmp_path, tiny_folder):
    path = weights(weights(tmp_path / "checkpoint-5"), "full")
    layout = find_layout(tmp_path)
    assert layout.checkpoints[1] == Checkpoint(5, path, "adapter")
    assert layout.notes == (
        "checkpoint-5 holds an adapter and whole weights: the adapter on the base given is measured",
    )
    base = load_model(str(tiny_folder("llama")))
    alone = weights(tmp_path / "alone")
    ids = torch.arange(5, 12)[None]
    with model_at(layout.checkpoints[1], base) as model, torch.no_grad():
        logits = model(ids).logits
    with model_at(Checkpoint(5, alone, "adapter"), base) as model, torch.no_grad():
        assert torch.equal(model(ids).logits, logits)


def test_full_checkpoints_with_their_final_model(llama_factory):
    folder = llama_factory(kind="full")
    assert [(c.step, c.kind) for c in find_layout(folder).checkpoints] == [
        (0, "base"),
        (20, "full"),
        (40, "full"),
        (47, "full"),
    ]


def test_same_weights_on_damaged_and_special_files(weights, tmp_path):
    a, b = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert same_weights(a, b, "adapter")
    file = b / "adapter_model.safetensors"
    tensors = load_file(file)
    name = sorted(tensors)[0]
    save_file(tensors | {name: tensors[name].half()}, file)
    assert not same_weights(a, b, "adapter")
    broken = tensors | {name: torch.full_like(tensors[name], float("nan")), "scale": torch.tensor(2.0)}
    for folder in (a, b):
        save_file(broken, folder / "adapter_model.safetensors")
    assert same_weights(a, b, "adapter")  # bit by bit: NaN is itself
    file.write_bytes(file.read_bytes()[:50])
    assert not same_weights(a, b, "adapter")


def test_training_log(llama_factory):
    folder = llama_factory()
    log = read_training_log(folder)
    assert [e["step"] for e in log] == [10, 20, 30, 40]
    assert log[0] == {"step": 10, "loss": 2.9, "learning_rate": 1e-5}
    assert log[1] == {"step": 20, "loss": 2.8, "learning_rate": 5e-6, "eval_loss": 2.9}
    (folder / "trainer_state.json").unlink()  # the newest checkpoint's then
    assert read_training_log(folder) == log
    write(folder, trainer_state={"global_step": 10, "log_history": []})  # stale: the one that reaches further counts
    assert read_training_log(folder) == log
    (folder / "checkpoint-40" / "trainer_state.json").write_text('{"global_step": 40, "log_hist')
    assert read_training_log(folder) == log[:2], "that of the checkpoint before"


def test_training_log_takes_numbers_only(tmp_path):
    assert read_training_log(tmp_path) == []
    assert read_training_log(tmp_path / "missing") == []
    history = [
        {"step": 1, "loss": float("nan"), "learning_rate": 0.1},
        {"step": 2, "loss": "3.1", "learning_rate": 0.1},
        {"step": 6, "eval_loss": 2},
        {"step": 5, "loss": 4, "learning_rate": float("inf")},
        {"step": 7, "train_loss": 2.0, "train_runtime": 3.0},
        {"step": 6, "eval_code_loss": 1.5, "eval_code_runtime": 3.0, "eval_chat_loss": "2"},
        {"eval_code_loss": 1.5},
    ]
    write(tmp_path, trainer_state={"global_step": 7, "log_history": history})
    assert read_training_log(tmp_path) == [
        {"step": 5, "loss": 4.0, "learning_rate": None},
        {"step": 6, "loss": None, "learning_rate": None, "eval_loss": 2.0, "eval_code_loss": 1.5},
    ]
    for text in ("[]", "3", '{"log_history": 5}', "\xff\x00", '{"global_step": 1e400}', ""):
        (tmp_path / "trainer_state.json").write_text(text, encoding="latin-1")
        assert read_training_log(tmp_path) == []
