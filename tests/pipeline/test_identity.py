"""What a run stands on: whatever changes under it is refused, and the line says what is another now."""

import json
import shutil
from pathlib import Path

import pytest
from tiny_job import PROMPTS, contents, labelled, run_here, settings, write_rows

from interplay.errors import InterplayError
from interplay.pipeline.pipeline import run
from interplay.pipeline.progress import Progress
from interplay.store.folder import RunFolder


@pytest.fixture(scope="module")
def movable(tmp_path_factory, tiny_folder):
    """A whole run with a chat template whose model and data are its own, to be changed in copies: (folder, settings)."""
    root = tmp_path_factory.mktemp("movable")
    shutil.copytree(tiny_folder("llama"), root / "model")
    shutil.copytree(tiny_folder("qwen2"), root / "other")
    write_rows(root / "ood.jsonl", labelled(PROMPTS[:2]))
    (root / "old.txt").write_text("What it knew before, in some words of plain English. " * 8)
    wanted = settings(
        root,
        root / "model",
        root / "other",
        task={"ood": str(root / "ood.jsonl"), "retention": str(root / "old.txt"), "retention_tokens": 32},
        prompt={"chat": True, "rephrased": None},
        prompts={"count": 2, "n": 2},
        controls={"precision": None, "mask": None, "draws": 1, "both_scores": False},
        checkpoints={"steps": [0, 4]},
    )
    run_here(wanted, root / "run")
    return root


@pytest.fixture
def mine(movable, tmp_path, monkeypatch):
    """A copy of all of it; the settings' paths lead into the copy, the run believes nothing was moved."""
    root = Path(shutil.copytree(movable, tmp_path / "root"))
    text = (root / "run" / "settings.yaml").read_text().replace(str(movable), str(root))
    (root / "run" / "settings.yaml").write_text(text)
    return root


def again(root: Path) -> None:
    run(RunFolder(root / "run").settings(), root / "run", Progress(quiet=True))


def refused(root: Path, match: str) -> None:
    before = contents(root / "run")
    with pytest.raises(InterplayError, match=match):
        again(root)
    assert contents(root / "run") == before


def cut_tokenizer(model: Path) -> None:
    """The same words in other, shorter tokens."""
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    merges = tokenizer["model"]["merges"]
    del merges[len(merges) // 4 :]
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))


def test_unchanged_it_goes_on(mine, no_forward):
    again(mine)


def test_a_changed_chat_template(mine):
    file = mine / "model" / "chat_template.jinja"
    file.write_text(file.read_text().replace("<|im_start|>", "### "))
    refused(
        mine, r"the prompt changed since the run in .* \(chat template: '<\|im_start\|>.*' -> '### .*'\): .* restore"
    )


def test_renamed_labels(mine):
    text = (mine / "train.jsonl").read_text()
    (mine / "train.jsonl").write_text(text.replace('"joy"', '"bliss"'))
    refused(mine, r"the data changed since .* \(train: row 2 of 8 .* is another; labels: '.*joy.*' -> '.*bliss.*'\)")


def test_another_tokenizer_with_the_same_words(mine):
    cut_tokenizer(mine / "model")
    refused(mine, r"the prompt changed since .* \(tokenizer: the same prompts have other tokens\)")


def test_a_changed_base(mine, tiny_folder):
    shutil.copy(tiny_folder("llama", seed=1) / "model.safetensors", mine / "model" / "model.safetensors")
    refused(mine, r"the model's weights changed since .* \(the base: [0-9a-f]{8} -> [0-9a-f]{8}\)")


def test_a_changed_config_of_the_base(mine):
    file = mine / "model" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"rms_norm_eps": 0.1}))
    refused(mine, r"what the results come from changed since .* \(the base: .* -> .*\): .* restore that config.json")


def test_who_wrote_the_config_does_not_matter(mine, no_forward):
    file = mine / "model" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"transformers_version": "9.9", "_name_or_path": "x"}))
    again(mine)


def test_a_changed_baseline(mine, tiny_folder):
    shutil.copy(tiny_folder("qwen2", seed=1) / "model.safetensors", mine / "other" / "model.safetensors")
    refused(mine, r"\(its weights: .* -> .*\): .* restore the baseline")


def test_a_changed_tokenizer_of_the_baseline(mine):
    cut_tokenizer(mine / "other")
    refused(mine, r"\(its tokens: .* -> .*\): .* restore the baseline")


@pytest.mark.parametrize(("name", "file"), [("task.ood", "ood.jsonl"), ("task.retention", "old.txt")])
def test_changed_data_of_the_task(mine, name, file):
    text = (mine / file).read_text()
    (mine / file).write_text(text.replace("terrible", "horrible").replace("plain", "simple"))
    refused(mine, rf"\({name}: .* -> .*\): .* restore the file")


@pytest.mark.soak
def test_a_base_that_changes_while_it_trains(tmp_path, tiny_folder, monkeypatch):
    """No unit is there yet that would know the base: a training must not go on from another model."""
    shutil.copytree(tiny_folder("llama"), tmp_path / "model")
    wanted = settings(tmp_path, tmp_path / "model", prompt={"rephrased": None}, prompts={"count": 1, "n": 2})

    def cut(handler, args, state, control):
        if state.global_step == 3:
            raise KeyboardInterrupt
        return control

    with monkeypatch.context() as patch:
        patch.setattr("transformers.trainer_callback.CallbackHandler.on_step_begin", cut)
        with pytest.raises(KeyboardInterrupt):
            run_here(wanted, tmp_path / "run")
    assert (tmp_path / "run" / "checkpoints" / "checkpoint-2" / "trainer_state.json").exists()
    shutil.copy(tiny_folder("llama", seed=1) / "model.safetensors", tmp_path / "model" / "model.safetensors")
    with pytest.raises(InterplayError, match=r"what the results come from changed .*\(weights: .* -> .*\): .* restore"):
        run_here(wanted, tmp_path / "run")
    shutil.copy(tiny_folder("llama") / "model.safetensors", tmp_path / "model" / "model.safetensors")
    run_here(wanted, tmp_path / "run")
    run_here(wanted, tmp_path / "whole")
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_a_changed_checkpoint(mine):
    from safetensors.numpy import load_file, save_file

    file = mine / "run" / "checkpoints" / "checkpoint-4" / "adapter_model.safetensors"
    tensors = load_file(file)
    first = sorted(tensors)[0]
    tensors[first] = tensors[first] + 1
    save_file(tensors, file, metadata={"format": "pt"})
    refused(mine, r"the model's weights changed since .* \(step 4: [0-9a-f]{8} -> [0-9a-f]{8}\)")


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        (PROMPTS[:-1], r"eval: 4 rows -> 3"),
        (
            [*PROMPTS[:-1], ("A stranger kept my lost wallet yesterday", "surprise")],
            r"eval: row 4 of 4 \('A stranger kept",
        ),
        ([(text, label.replace("joy", "bliss")) for text, label in PROMPTS], r"eval: row 2 of 4"),
    ],
    ids=["one gone", "one changed", "another answer"],
)
def test_changed_rows(mine, rows, match):
    write_rows(mine / "prompts.jsonl", labelled(rows))
    refused(mine, rf"the data changed since .* \(.*{match}")
