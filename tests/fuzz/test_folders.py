"""Checkpoints written half, and finished runs of which a file is damaged: left out or refused, in a line that names the file."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

from interplay.analysis.payload import build_payload
from interplay.callback.measuring import CallbackRecord
from interplay.comparison.runs import read_run
from interplay.models.checkpoints import checkpoint_hash, model_at
from interplay.models.layouts import Checkpoint, find_layout
from interplay.models.loading import LoadedModel, load_model
from interplay.store.files import cached_json, sha256_json, write_json
from interplay.store.folder import RunFolder
from interplay.store.reader import changed_file
from soak.patterns import adapter_folder, callback_file, model_folder, run_folder, training_folder
from soak.watch import fate


@pytest.fixture
def training(tmp_path):
    """Adapters at steps 1, 2 and 9 (the final weights), whole models at 3 (one file) and 4 (two shards)."""
    return training_folder(tmp_path / "out")


def refused(call) -> str:
    said = fate(call)
    assert said is not None
    return said


def cut(path, keep=0.5):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def remove(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def header(length):
    def write(folder):
        file = folder / "adapter_model.safetensors"
        file.write_bytes(length.to_bytes(8, "little") + file.read_bytes()[8:])

    return write


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


ADAPTER, WHOLE, INDEX = "adapter_model.safetensors", "model.safetensors", "model.safetensors.index.json"
SHARD = "model-00002-of-00002.safetensors"
# What a process that dies, or a copy that goes on, leaves of a checkpoint: step, what happened, what is said.
HALF = {
    "an adapter that breaks off in its tensors": (2, lambda f: cut(f / ADAPTER, 0.9), ADAPTER),
    "an adapter that breaks off in its header": (2, lambda f: cut(f / ADAPTER, 0.1), ADAPTER),
    "an empty adapter": (2, lambda f: cut(f / ADAPTER, 0), ADAPTER),
    "an adapter before its config": (2, remove("adapter_config.json"), "without its adapter_config.json"),
    "a config that breaks off": (2, lambda f: cut(f / "adapter_config.json"), "adapter_config.json cannot be read"),
    "a config that is no object": (2, write("adapter_config.json", "[]"), "not a JSON object"),
    "a header of 2^60 bytes": (2, header(1 << 60), ADAPTER),
    "a header of no bytes": (2, header(0), ADAPTER),
    "a whole model that breaks off": (3, lambda f: cut(f / WHOLE, 0.8), WHOLE),
    "a config before its weights": (3, remove(WHOLE), "holds no adapter_model.safetensors and no model.safetensors"),
    "weights before their config": (3, remove("config.json"), "weights without their config.json"),
    "an index before a shard": (4, remove(SHARD), f"lacks 1 of the 2 files its index names (first: {SHARD})"),
    "shards before their index": (4, remove(INDEX), f"weights without their {INDEX}"),
    "an index that breaks off": (4, lambda f: cut(f / INDEX), f"{INDEX} (JSONDecodeError)"),
    "a shard that breaks off": (4, lambda f: cut(f / SHARD, 0.8), SHARD),
}  # fmt: skip


@pytest.mark.parametrize("state", HALF)
def test_a_checkpoint_written_half_is_left_out_with_a_note(training, state):
    step, damage, said = HALF[state]
    damage(training / f"checkpoint-{step}")
    layout = find_layout(training)
    assert [c.step for c in layout.checkpoints if c.step < 9] == [s for s in (0, 1, 2, 3, 4) if s != step]
    (note,) = (note for note in layout.notes if note.startswith(f"checkpoint-{step} was left out: "))
    assert said in note
    assert "written half or damaged" in note or "no adapter_model.safetensors" in note
    asked = refused(lambda: find_layout(training, [0, step]))
    assert f"no checkpoint for step {step}" in asked
    assert said in asked
    assert [c.step for c in find_layout(training, [0, 1]).checkpoints] == [0, 1]


@pytest.mark.parametrize("name", ["trainer_state.json", "optimizer.pt"])
def test_a_checkpoint_whose_weights_are_whole_counts_though_the_rest_is_missing(training, name):
    """Trainer writes the weights first, then optimiser, scheduler and random states, its own state last."""
    (training / "checkpoint-2" / name).unlink(missing_ok=True)
    assert 2 in [c.step for c in find_layout(training).checkpoints]
    assert find_layout(training).notes == find_layout(training, None).notes


def test_final_weights_written_half_are_left_out_or_refused(training):
    for step in (3, 4):
        shutil.rmtree(training / f"checkpoint-{step}")  # the last one is an adapter, as the final weights are
    assert [c.step for c in find_layout(training).checkpoints] == [0, 1, 2, 9]
    cut(training / ADAPTER, 0.9)
    layout = find_layout(training)
    assert [c.step for c in layout.checkpoints] == [0, 1, 2]
    assert "the final weights in out were left out: adapter_model.safetensors cannot be read" in layout.notes[0]
    for step in (1, 2):
        shutil.rmtree(training / f"checkpoint-{step}")
    assert "an adapter that cannot be read: adapter_model.safetensors" in refused(lambda: find_layout(training))


def test_only_half_written_checkpoints_are_an_error_that_says_so(tmp_path):
    training = training_folder(tmp_path / "out")
    for name in (ADAPTER, "adapter_config.json"):
        (training / name).unlink()
    for step in (1, 2, 3, 4):
        for file in (training / f"checkpoint-{step}").glob("*.safetensors"):
            cut(file, 0.9)
    assert "checkpoint-1 was left out: adapter_model.safetensors cannot be read" in refused(
        lambda: find_layout(training)
    )


# ---- adapters and models put on a base ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return model_folder(tmp_path_factory.mktemp("model") / "base")


@pytest.fixture(scope="module")
def base(model):
    return load_model(str(model))


@pytest.fixture
def adapter(tmp_path, model):
    return adapter_folder(tmp_path / "checkpoint-7", model)


def put_on(folder, base, kind="adapter"):
    with model_at(Checkpoint(7, folder, kind), base):
        pass


def edit(folder, name, change):
    tensors = load_file(folder / name)
    change(tensors)
    save_file(tensors, folder / name, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"peft_type": ["LORA"]}, "is of type"),
        ({"peft_type": {"a": 1}}, "is of type"),
        ({"peft_type": "X" * 5000}, "is of type"),
        ({"init_lora_weights": "two\nlines"}, "was started by"),
        ({"init_lora_weights": {}}, "was started by"),
        ({"r": "two\nlines"}, "does not fit the base"),
        ({"target_modules": 7}, "does not fit the base"),
        ({"rank_pattern": [1]}, "does not fit the base"),
        ({"no_such_setting": {"a": "b\nc"}}, None),
        ({"target_modules": "(q_proj"}, "does not fit the base"),
    ],
)
def test_adapter_configs_of_the_wrong_type_name_the_step_in_one_line(adapter, base, changes, said):
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    told = fate(lambda: put_on(adapter, base))
    if said is None:
        assert told is None or "checkpoint-7" in told
    else:
        assert told is not None
        assert said in told
        assert "checkpoint-7" in told


def test_tensors_missing_mismatched_or_of_another_type_name_the_step(adapter, base, model, tmp_path):
    def narrower(tensors):
        name = next(name for name in tensors if "lora_A" in name)
        tensors[name] = tensors[name][:, :-1].copy()

    changes = (lambda t: t.pop(min(t)), narrower, lambda t: t.update(extra=np.zeros(1)), lambda t: t.clear())
    for number, change in enumerate(changes):
        copy = shutil.copytree(adapter, tmp_path / str(number) / "checkpoint-7")
        edit(copy, "adapter_model.safetensors", change)
        assert "checkpoint-7" in refused(lambda copy=copy: put_on(copy, base))
    whole = shutil.copytree(model, tmp_path / "full" / "checkpoint-7")
    for change in (lambda t: t.pop("model.norm.weight"), lambda t: t.update({"model.norm.weight": np.zeros(3)})):
        edit(whole, "model.safetensors", change)
        assert "checkpoint-7" in refused(lambda: put_on(whole, base, "full"))


def test_hashing_a_damaged_checkpoint_is_refused(training):
    cut(training / "checkpoint-1" / ADAPTER, 0.9)
    base = LoadedModel(None, None, "b", "0")
    said = refused(lambda: checkpoint_hash(Checkpoint(1, training / "checkpoint-1", "adapter"), base))
    assert "checkpoint-1" in said


# ---- files of a run -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run_folder(tmp_path_factory.mktemp("run") / "run")


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


TABLES = ("task.parquet", "units.parquet", "views.parquet", "multiples.parquet")


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("keep", [0, 0.5, 0.97])
def test_a_table_that_breaks_off_is_refused_by_name(run, name, keep):
    cut(run / name, keep)
    said = refused(lambda: build_payload(RunFolder(run)))
    assert name in said
    assert "delete it and run the same command again" in said


@pytest.mark.parametrize("name", ["inputs.json", "recommendation.json", "report.json", "controls.json"])
@pytest.mark.parametrize("text", ["null", "[]", "5", '"x"', "{", "\x00"])
def test_json_of_any_shape_is_refused_by_name(run, name, text):
    (run / name).write_text(text)
    said = refused(lambda: build_payload(RunFolder(run)))
    assert name in said
    assert "delete it and run the same command again" in said


def test_a_run_whose_files_do_not_belong_together_is_refused_and_the_changed_file_named(run):
    build_payload(RunFolder(run))
    units = pd.read_parquet(run / "units.parquet")
    assert changed_file(run) is None
    RunFolder(run).write_manifest()
    assert changed_file(run) is None
    units.assign(sample_id="another").to_parquet(run / "units.parquet", index=False)
    assert changed_file(run) == "units.parquet"
    said = refused(lambda: build_payload(RunFolder(run)))
    assert "units.parquet' is not as the run wrote it" in said
    RunFolder(run).write_manifest()  # forged throughout
    assert "is inconsistent (missing" in refused(lambda: build_payload(RunFolder(run)))


def test_a_trajectory_that_claims_the_impossible_is_refused(run):

    for name in ("trajectory.parquet", "trajectory_samples.parquet", "trajectory_sets.parquet"):
        table = pq.read_table(run / name)
        about = json.loads(table.schema.metadata[b"interplay"]) | {"steps": None}
        pq.write_table(table.replace_schema_metadata({"interplay": json.dumps(about)}), run / name)
    assert str(run) in refused(lambda: read_run(run))
    assert str(run) in refused(lambda: build_payload(RunFolder(run)))


def test_kept_results_of_any_shape_are_computed_anew(tmp_path):
    path = tmp_path / "kept.json"
    for value in (None, [], 5, "x"):
        write_json(path, {"key": "k", "sha256": sha256_json(value), "value": value})
        assert cached_json(path, "k") is None
    for text in ("[]", '{"key": "k"}', '{"key": "k", "sha256": [], "value": {}}'):
        path.write_text(text)
        assert cached_json(path, "k") is None


def test_what_a_callback_kept_is_of_the_types_it_was_written_with(tmp_path):
    file = callback_file(tmp_path / "callback.json")
    good = json.loads(file.read_text())
    assert CallbackRecord.read(tmp_path) is not None
    for change in (
        {"request": 5}, {"base": None}, {"saved": ["x"]}, {"saved": 5}, {"hashes": {"x": "a"}}, {"hashes": {"1": 5}},
        {"plan": []}, {"calibration": {**good["calibration"], "tolerance": "x"}}, {"calibration": [1]},
    ):  # fmt: skip
        file.write_text(json.dumps(good | change))
        assert CallbackRecord.read(tmp_path) is None, change
    for text in ("{", "null", "{}"):
        file.write_text(text)
        assert CallbackRecord.read(tmp_path) is None
