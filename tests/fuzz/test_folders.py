"""Checkpoints written half, and finished runs of which a file is damaged: left out or refused, in a line that names the file."""

import hashlib
import json
import os
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

import interplay.dynamics.result
import interplay.runs.payload
from interplay.hf.record import read_kept
from interplay.runs.comparison import read_run
from interplay.runs.files import kept_json, read_json, sha256_json, write_json
from interplay.runs.folder import RunFolder
from interplay.runs.intact import changed_file
from interplay.runs.payload import build_payload, read_table
from interplay.runs.units import load_unit
from interplay.scoring.checkpoints import Checkpoint, checkpoint_hash, model_at
from interplay.scoring.layouts import find_layout, read_training_log
from interplay.scoring.models import LoadedModel, load_model
from soak.patterns import adapter_folder, callback_file, model_folder, run_folder, training_folder, unit_file
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
    "a config nested too deeply": (2, write("adapter_config.json", "[" * 100_000), "nested too deeply"),
    "a header of 2^60 bytes": (2, header(1 << 60), ADAPTER),
    "a header of no bytes": (2, header(0), ADAPTER),
    "a whole model that breaks off": (3, lambda f: cut(f / WHOLE, 0.8), WHOLE),
    "a config before its weights": (3, remove(WHOLE), "holds no adapter_model.safetensors and no model.safetensors"),
    "weights before their config": (3, remove("config.json"), "weights without their config.json"),
    "an index before a shard": (4, remove(SHARD), f"lacks 1 of the 2 files its index names (first: {SHARD})"),
    "shards before their index": (4, remove(INDEX), f"weights without their {INDEX}"),
    "an index that breaks off": (4, lambda f: cut(f / INDEX), f"{INDEX} (JSONDecodeError)"),
    "a shard that breaks off": (4, lambda f: cut(f / SHARD, 0.8), SHARD),
    "an index that leads out": (4, write(INDEX, '{"weight_map": {"a": "../../x"}}'), "names no files beside it"),
    "an index of names that no file has": (4, write(INDEX, json.dumps({"weight_map": {"a": "x" * 5000}})), "lacks 1"),
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


@pytest.mark.parametrize("name", [ADAPTER, "adapter_config.json"])
def test_pipes_and_devices_in_a_checkpoint_are_not_waited_for(training, name):
    for step, put in ((1, os.mkfifo), (2, lambda path: path.symlink_to("/dev/zero"))):
        (training / f"checkpoint-{step}" / name).unlink()
        put(training / f"checkpoint-{step}" / name)
    assert [c.step for c in find_layout(training).checkpoints if c.step < 9] == [0, 3, 4]


def test_logs_with_numbers_beyond_all_bounds(training):
    state = '{"global_step": 1%s, "best_global_step": 1%s, "log_history": [{"step": 1%s, "loss": 1}, {"step": 5, "loss": 1%s}]}'
    (training / "trainer_state.json").write_text(state.replace("%s", "0" * 4000))
    for step in (1, 2, 3, 4):
        (training / f"checkpoint-{step}" / "trainer_state.json").unlink(missing_ok=True)
    assert read_training_log(training) == []


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
        ({"modules_to_save": 5}, "modules_to_save"),
        ({"modules_to_save": [None]}, "modules_to_save"),
        ({"modules_to_save": "norm"}, "modules_to_save"),
        ({"r": "two\nlines"}, "does not fit the base"),
        ({"target_modules": 7}, "does not fit the base"),
        ({"rank_pattern": [1]}, "does not fit the base"),
        ({"no_such_setting": {"a": "b\nc"}}, None),
        ({"r": 10**9}, "its config says '1000000000'"),
        ({"rank_pattern": {"q_proj": 10**9}}, "its config says '1000000000'"),
        *(({key: r"(([a-z0-9_.]+)+)+\!"}, "may take for ever") for key in ("target_modules", "exclude_modules")),
        *(({key: {r"(([a-z0-9_.]+)+)+\!": 2}}, "may take for ever") for key in ("rank_pattern", "alpha_pattern")),
        ({"target_modules": r".*.*.*.*.*.*.*\!"}, "may take for ever"),
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


def test_an_adapter_that_is_a_pipe_is_not_waited_for(adapter, base):
    (adapter / ADAPTER).unlink()
    os.mkfifo(adapter / ADAPTER)
    assert "is no file" in refused(lambda: put_on(adapter, base))
    assert "is no file" in refused(lambda: checkpoint_hash(Checkpoint(7, adapter, "adapter"), base))


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


@pytest.mark.parametrize("change", [{"step": ["a"]}, {"other": [1]}, {"step": [None]}])
def test_a_table_with_other_columns_is_refused_by_name(run, change):
    pd.DataFrame(change).to_parquet(run / "task.parquet")
    said = refused(lambda: read_table(RunFolder(run), "task.parquet"))
    assert "task.parquet' is no table that a run writes" in said


@pytest.mark.parametrize(
    ("name", "reader"),
    [("views.parquet", interplay.runs.payload), ("trajectory_sets.parquet", interplay.dynamics.result)],
)
@pytest.mark.parametrize(("limit", "most"), [("TABLE_ROWS", 100_000), ("TABLE_BYTES", 1 << 20)])
def test_a_table_that_unfolds_to_too_much_is_refused(run, monkeypatch, name, reader, limit, most):
    row = pq.read_table(run / name).slice(0, 1)
    pq.write_table(pa.concat_tables([row] * 100_001), run / name, compression="zstd")
    assert (run / name).stat().st_size < 100_000
    monkeypatch.setattr(reader, limit, most)
    said = refused(lambda: build_payload(RunFolder(run)))
    assert name in said


def test_a_pipe_in_the_place_of_a_table_is_not_waited_for(run):
    (run / "task.parquet").unlink()
    os.mkfifo(run / "task.parquet")
    assert "no regular file" in refused(lambda: read_table(RunFolder(run), "task.parquet"))


@pytest.mark.parametrize("name", ["inputs.json", "recommendation.json", "report.json", "controls.json"])
@pytest.mark.parametrize("text", ["null", "[]", "5", '"x"', "{", "[" * 100_000, '{"probes": [{}]}', "\x00"])
def test_json_of_any_shape_is_refused_by_name(run, name, text):
    if name == "controls.json" and text.startswith('{"probes'):
        text = '{"views": [{}]}'
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
    assert "do not belong together (KeyError" in refused(lambda: build_payload(RunFolder(run)))


def test_a_trajectory_that_claims_the_impossible_is_refused(run):
    import pyarrow.parquet as pq

    for name in ("trajectory.parquet", "trajectory_samples.parquet", "trajectory_sets.parquet"):
        table = pq.read_table(run / name)
        about = json.loads(table.schema.metadata[b"interplay"]) | {"steps": None}
        pq.write_table(table.replace_schema_metadata({"interplay": json.dumps(about)}), run / name)
    assert str(run) in refused(lambda: read_run(run))
    assert str(run) in refused(lambda: build_payload(RunFolder(run)))


@pytest.mark.parametrize("name", ["trajectory.parquet", "trajectory_samples.parquet"])
def test_a_trajectory_with_a_row_twice_is_refused(run, name):
    """Found by the fuzzer: one flipped digit makes two rows of one key, which no curve can have."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(run / name)
    pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), run / name)
    assert "a key that stands twice" in refused(lambda: read_run(run))


def test_units_of_any_shape_are_computed_anew(tmp_path):
    from safetensors.numpy import save

    path = unit_file(tmp_path / "u.safetensors")
    whole = load_unit(path)
    assert whole is not None
    tensors = {"scores": whole.scores, "effects": whole.effects}
    digest = hashlib.sha256(whole.scores.tobytes() + whole.effects.tobytes()).hexdigest()
    good = {**whole.header.__dict__, "words": list(whole.header.words), "target_ids": list(whole.header.target_ids)}

    def put(header, **more):
        meta = {"format": "interplay-unit-1", "sha256": digest, "header": header, **more}
        path.write_bytes(save(tensors, {"interplay": json.dumps(meta)}))
        return load_unit(path)

    assert put(good) is not None
    for odd in ([], None, "x", {}, {**good, "words": 5}, {**good, "words": ["a"]}, {**good, "words": [None, None]},
                {**good, "step": True}, {**good, "gap": "0"}, {**good, "more": 1}, {**good, "words": ["a"] * 9000}):  # fmt: skip
        assert put(odd) is None
    assert put(good, format=[]) is None
    for text in ("[]", "null", "[" * 100_000, "5"):
        path.write_bytes(save(tensors, {"interplay": text}))
        assert load_unit(path) is None
    path.unlink()
    os.mkfifo(path)
    assert load_unit(path) is None


def test_kept_results_of_any_shape_are_computed_anew(tmp_path):
    path = tmp_path / "kept.json"
    for value in (None, [], 5, "x"):
        write_json(path, {"key": "k", "sha256": sha256_json(value), "value": value})
        assert kept_json(path, "k") is None
    for text in ("[" * 100_000, "[]", '{"key": "k"}', '{"key": "k", "sha256": [], "value": {}}'):
        path.write_text(text)
        assert kept_json(path, "k") is None
    path.write_text("[" * 100_000)
    assert "nested too deeply" in refused(lambda: read_json(path))


def test_what_a_callback_kept_is_of_the_types_it_was_written_with(tmp_path):
    file = callback_file(tmp_path / "callback.json")
    good = json.loads(file.read_text())
    assert read_kept(tmp_path) is not None
    for change in (
        {"request": 5}, {"base": None}, {"saved": ["2"]}, {"saved": [True]}, {"saved": 5}, {"hashes": {"x": "a"}},
        {"hashes": {"-1": "a"}}, {"hashes": {"1": 5}}, {"plan": []}, {"plan": {"probes": 1, "n": 1, "every": "1"}},
        {"calibration": {**good["calibration"], "tolerance": "x"}}, {"calibration": [1]}, {"format": 7},
    ):  # fmt: skip
        file.write_text(json.dumps(good | change))
        assert read_kept(tmp_path) is None, change
    for text in ("[" * 100_000, "null", '{"format": "interplay-callback-1"}'):
        file.write_text(text)
        assert read_kept(tmp_path) is None
    file.write_text(json.dumps(good | {"calibration": {**good["calibration"], "tolerance": float("inf")}}))
    assert read_kept(tmp_path) is None
