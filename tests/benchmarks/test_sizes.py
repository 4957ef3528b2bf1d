"""Models of the true size, made small: that the folders load whole, and that what is not run is said."""

import doctest
import math

import pytest

from benchmarks import bench, needs, sizes
from benchmarks.needs import Shape


def test_examples():
    failed, tried = doctest.testmod(sizes)
    assert tried > 0
    assert failed == 0


@pytest.mark.parametrize("name", sizes.SIZES)
def test_a_folder_loads_as_the_model_it_describes(name, tmp_path, monkeypatch):
    from interplay.errors import InterplayError
    from interplay.models.loading import load_model

    true = sizes.SIZES[name]
    shape = Shape(32, 48, 2, 4, 2, 8, 50_021, tied=true.shape.tied)
    monkeypatch.setitem(needs.SHAPES, true.model, shape)
    monkeypatch.setattr(sizes, "SHARD", 1 << 20)
    try:
        sizes.write_model(true, tmp_path / "model")
    except InterplayError as missing:  # the tokenizer that is padded
        pytest.skip(str(missing))
    loaded = load_model(tmp_path / "model", device="cpu")
    assert len(loaded.tokenizer) == shape.vocabulary == loaded.model.get_input_embeddings().weight.shape[0]
    assert len(list((tmp_path / "model").glob("*.safetensors"))) > 1
    matrices = sum(p.numel() for p in loaded.model.parameters() if p.dim() > 1)
    assert matrices == needs.parameters(shape)
    rows = loaded.model.get_input_embeddings().weight[:100]
    assert len(rows.unique(dim=0)) == 100
    assert rows.std().item() == pytest.approx(0.02, rel=0.1)
    assert loaded.tokenizer("anger ")["input_ids"], "a text has tokens"


@pytest.mark.parametrize("name", [name for name, size in sizes.SIZES.items() if size.trained])
def test_the_rows_serve_the_preset(name, tmp_path, tiny_folder):
    from interplay.config.loading import load_settings
    from interplay.pipeline.inputs import read_inputs
    from interplay.presets import preset_path
    from interplay.verbs import copies

    size = sizes.SIZES[name]
    (tmp_path / "data").mkdir()
    data = copies(str(tiny_folder()), str(sizes.write_data(size, tmp_path / "data")))
    found = read_inputs(load_settings(preset_path(size.preset), [*data, *sizes.SMALL]), usable=lambda sample: sample)
    assert [sample.n for sample in found.prompts] == [6, 6]
    assert len(found.train) == 2


def test_what_is_not_run_is_said(monkeypatch):
    [quick] = sizes.size_rows(quick=True)
    assert (quick.rows, quick.notes) == ([], ["Not run: left out of a quick run."])
    monkeypatch.setattr(sizes, "available", lambda: 9e9)
    [short] = sizes.size_rows(quick=False, say=lambda text: None)
    assert short.rows == []
    assert "Not run: Qwen2.5-3B (float32): 15 GB of memory are needed and 9 GB are free." in short.notes
    assert len(short.notes) == 1 + len(sizes.SIZES)
    assert bench.lines_of(short)[0] == f"## {sizes.TITLE}"


def test_a_size_is_a_row_for_every_phase(monkeypatch):
    phases = {
        sizes.TRAINING: {"cpu": 5.0, "wall": 9.0, "peak": 14e9},
        "reading data": {"cpu": 0.1, "wall": 0.1, "peak": 1e9},
    }
    monkeypatch.setattr(sizes, "shortage", lambda *_: None)
    monkeypatch.setattr(sizes, "write_model", lambda *_: None)
    monkeypatch.setattr(sizes, "ask", lambda *_: {"libraries": 0.5e9, "phases": phases})
    [section] = sizes.size_rows(False, ("Qwen2.5-3B",), lambda text: None)
    trained, read = section.rows
    assert trained["predicted, GB"] == pytest.approx(
        0.5 + sizes.expected(sizes.SIZES["Qwen2.5-3B"], sizes.TRAINING) / 1e9
    )
    assert math.isnan(read["predicted, GB"])
    assert trained["peak, GB"] == 14
