"""Going on: killed at any point, damaged in any way, or complete, the same command ends in the same bytes."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from tiny_job import TRAIN, contents, run_here, settings, write_rows

from interplay.config.loading import load_settings
from interplay.errors import InterplayError
from interplay.pipeline import measure, pipeline
from interplay.pipeline.identity import check_data
from interplay.process import this_process
from interplay.store.files import cache_json, cached_json
from interplay.store.folder import RunFolder
from interplay.store.units import load_unit


def modified(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_same_command_computes_nothing_again(finished, a_copy, no_forward):
    before = modified(a_copy)
    result = run_here(finished.wanted, a_copy)
    assert contents(a_copy) == finished.files
    after = modified(a_copy)
    kept = [name for name in before if name.startswith(("units/", "checkpoints/", "task/"))]
    assert len(kept) > 30
    assert [name for name in kept if after[name] != before[name]] == []
    assert [row["step"] for row in result.summary().rows] == [0, 1, 2, 4]


def test_a_bit_of_a_unit_flipped_anywhere_is_seen(finished, tmp_path):
    """Its words and its noise stand in the header, and go into the report as its arrays do."""
    unit = finished.folder / "units" / "step-000000" / "prompt-0000.safetensors"
    whole = load_unit(unit)
    data = unit.read_bytes()
    believed = []
    for at in range(8, len(data)):
        (tmp_path / "u").write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        if (found := load_unit(tmp_path / "u")) is not None and found.header.key == whole.header.key:
            believed.append((at, found.header == whole.header))
    assert [same for _, same in believed if not same] == []
    assert len(believed) < 10  # blanks between the header and the arrays


@pytest.mark.matrix(1)
@pytest.mark.parametrize("text", ["[]", "null", "{"])
def test_times_of_any_shape_cost_no_run(finished, a_copy, text):
    (a_copy / "times.json").write_text(text)
    run_here(finished.wanted, a_copy)
    assert contents(a_copy) == finished.files


@pytest.mark.soak
def test_times_stay_those_of_the_work(finished, a_copy):
    times = json.loads((a_copy / "times.json").read_text())
    times["fine-tuning"] = 3600.0
    (a_copy / "times.json").write_text(json.dumps(times))
    run_here(finished.wanted, a_copy)
    assert json.loads((a_copy / "times.json").read_text())["fine-tuning"] == 3600.0


def test_damaged_files_are_computed_again_and_no_other(finished, a_copy):
    unit = {i: a_copy / "units" / c for i, c in enumerate(["step-000000", "step-000001", "step-000002", "baseline"])}
    names = ["prompt-0000.safetensors", "prompt-0001.safetensors", "prompt-0002.safetensors"]
    truncated, flipped, header = (unit[0] / name for name in names)
    empty, gone, foreign = (unit[1] / name for name in names)
    truncated.write_bytes(truncated.read_bytes()[:-40])
    data = bytearray(flipped.read_bytes())
    data[-5] ^= 0x10  # one bit of one effect
    flipped.write_bytes(data)
    header.write_bytes(header.read_bytes().replace(b"objective", b"objectiwe"))
    empty.write_bytes(b"")
    gone.unlink()
    shutil.copy(unit[2] / names[2], foreign)  # whole, but another checkpoint's
    task = a_copy / "task" / "step-000002.json"
    task.write_text(task.read_text().replace("0.25", "0.75", 1).replace("0.0,", "0.5,", 1))
    damaged = {str(p.relative_to(a_copy)) for p in (truncated, flipped, header, empty, gone, foreign, task)}
    before = modified(a_copy)
    run_here(finished.wanted, a_copy)
    assert contents(a_copy) == finished.files
    after = modified(a_copy)
    computed = {n for n in after if after[n] != before.get(n) and n.startswith(("units/", "task/", "checkp"))}
    assert computed == damaged


@pytest.mark.soak
def test_nan_scores_never_become_a_unit(finished, tmp_path, monkeypatch):
    """A unit that cannot be scored stops the run; what was finished stays."""
    wanted = settings(finished.root, Path(finished.wanted["model"]["name"]), controls={"both_scores": False})
    seen = []
    honest = measure.score_together

    def third_fails(*args, **kwargs):
        seen.append(1)
        if len(seen) == 3:
            raise InterplayError("sample: the model gives a score of nan")
        return honest(*args, **kwargs)

    monkeypatch.setattr(measure, "score_together", third_fails)
    with pytest.raises(InterplayError, match="nan"):
        run_here(wanted, tmp_path / "run")
    assert len(list((tmp_path / "run" / "units").rglob("*.safetensors"))) == 2
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_changed_settings_are_refused_with_the_difference(finished, a_copy):
    with pytest.raises(InterplayError, match=r"other settings \(prompts\.count: 3 -> 2; seed: 0 -> 7\)"):
        run_here(finished.wanted, a_copy, "prompts.count=2", "seed=7")
    assert contents(a_copy) == finished.files


def test_settings_under_which_nothing_was_computed_give_way(finished, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(InterplayError, match="no model at"):
        run_here(finished.wanted, out, "model.name=./nowhere")
    with RunFolder(out).opened(load_settings(finished.wanted)):
        assert RunFolder(out).settings() == load_settings(finished.wanted)


def test_foreign_folder_is_refused_and_left_alone(finished, tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InterplayError, match="not empty and no run folder"):
        run_here(finished.wanted, tmp_path)
    assert contents(tmp_path) == {"thesis.tex": b"mine"}


@pytest.mark.parametrize("what", ["a text", "a label", "a turn before the last"])
def test_changed_data_are_refused(what, tmp_path, tiny_folder):
    """The conversation before the last turn trains as well, so it is data."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": "Hello there"},
                {"role": "assistant", "content": "Hello"},
                {"role": "user", "content": text},
                {"role": "assistant", "content": label},
            ]
        }
        for text, label in TRAIN
    ]
    write_rows(tmp_path / "train.jsonl", rows)
    write_rows(tmp_path / "prompts.jsonl", labelled_messages())
    wanted = settings(tmp_path, tiny_folder("llama"), data={"form": "messages"}, prompt={"template": "{text}"})
    out = tmp_path / "run"
    (tmp_path / "run").mkdir()
    check(wanted, out)
    turn = {"a text": 2, "a label": 3, "a turn before the last": 0}[what]
    rows[5]["messages"][turn]["content"] += " indeed"
    write_rows(tmp_path / "train.jsonl", rows)
    with pytest.raises(InterplayError, match=r"data changed since .* \(train: row 6 of 8 \('.*'\) is another\)"):
        check(wanted, out)


def check(wanted: dict, out: Path) -> None:
    """Read the data of a run and hold them against what its folder was made from."""
    read = load_settings(wanted)
    inputs = pipeline.read_inputs(read, usable=lambda sample: None)
    tokenizer = pipeline.load_tokenizer(read.model.name)
    prepared = [*map(pipeline.preparing(read, tokenizer, inputs.template), inputs.prompts)]
    check_data(out, inputs, prepared)


def labelled_messages() -> list[dict]:
    text = "The terrible service ruined our whole dinner"
    return [{"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "anger"}]}]


def test_leftovers_of_a_killed_process_are_swept_and_no_others(finished, a_copy):
    """What a process of this machine is writing now stays, and so does, for an hour, what one elsewhere may be writing."""
    folder, me = a_copy / "units" / "step-000000", this_process()
    number, start, place = me.split("-")
    for writer in ("", f"{number}-1{start}-{place}", me, "1-2-0123abcd", "1-2-4567abcd"):
        (folder / f".prompt-0000.safetensors.{writer}.x1.tmp").write_bytes(b"half")
    for writer in ("", "1-2-4567abcd"):
        os.utime(folder / f".prompt-0000.safetensors.{writer}.x1.tmp", (0, time.time() - 3700))
    run_here(finished.wanted, a_copy)
    left = contents(a_copy)
    assert sorted(left.keys() - finished.files.keys()) == sorted(
        f"units/step-000000/.prompt-0000.safetensors.{writer}.x1.tmp" for writer in (me, "1-2-0123abcd")
    )
    assert {name: left[name] for name in finished.files} == finished.files


def test_kept_json_answers_only_its_question_and_only_whole(tmp_path):
    file = tmp_path / "kept.json"
    assert cached_json(file, "k") is None
    cache_json(file, "k", {"x": 0.125, "y": None})
    assert cached_json(file, "k") == {"x": 0.125, "y": None}
    assert cached_json(file, "other") is None
    for damaged in ("", "[]", "{}", file.read_text().replace("0.125", "0.126"), file.read_text()[:-9]):
        file.write_text(damaged)
        assert cached_json(file, "k") is None
