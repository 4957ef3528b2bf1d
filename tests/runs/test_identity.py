"""What a run stands on: whatever changes under it is refused, and the line says what is another now."""

import json
import shutil
from pathlib import Path

import pytest
from tiny_job import PROBES, contents, labelled, run_here, settings, write_rows

from interplay.errors import InterplayError
from interplay.runs.folder import RunFolder
from interplay.runs.loading import load_settings
from interplay.runs.pipeline import run
from interplay.runs.progress import Progress
from interplay.runs.reading import parse_yaml


@pytest.fixture(scope="module")
def movable(tmp_path_factory, tiny_folder):
    """A whole run with a chat template whose model and data are its own, to be changed in copies: (folder, settings)."""
    root = tmp_path_factory.mktemp("movable")
    shutil.copytree(tiny_folder("llama"), root / "model")
    wanted = settings(
        root,
        root / "model",
        prompt={"chat": True, "rephrased": None},
        probes={"count": 2, "n": 2},
        controls={"precision": None, "draws": 1, "labels": False},
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
    file = mine / "model" / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    merges = tokenizer["model"]["merges"]
    del merges[len(merges) // 4 :]
    file.write_text(json.dumps(tokenizer))
    refused(mine, r"the prompt changed since .* \(tokenizer: the same prompts have other tokens\)")


def test_a_changed_base(mine, tiny_folder):
    shutil.copy(tiny_folder("llama", seed=1) / "model.safetensors", mine / "model" / "model.safetensors")
    refused(mine, r"the model's weights changed since .* \(the base: [0-9a-f]{8} -> [0-9a-f]{8}\)")


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
        (PROBES[:-1], r"eval: 4 rows -> 3"),
        (
            [*PROBES[:-1], ("A stranger kept my lost wallet yesterday", "surprise")],
            r"eval: row 4 of 4 \('A stranger kept",
        ),
        ([(text, label.replace("joy", "bliss")) for text, label in PROBES], r"eval: row 2 of 4"),
    ],
    ids=["one gone", "one changed", "another answer"],
)
def test_changed_rows(mine, rows, match):
    write_rows(mine / "probes.jsonl", labelled(rows))
    refused(mine, rf"the data changed since .* \(.*{match}")


def test_changed_settings_are_named(mine):
    text = (mine / "run" / "settings.yaml").read_text()
    with pytest.raises(InterplayError, match=r"other settings \(probes\.n: 2 -> 3\)"):
        run(load_settings(parse_yaml(text), ["probes.n=3"]), mine / "run")
