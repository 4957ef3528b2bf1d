"""What a run holds in memory at one time: of the weights, one copy."""

import gc
import weakref

import pytest
from tiny_job import BARE, run_here, settings

from interplay.pipeline import pipeline, stages


class Reached(Exception):
    pass


def test_the_trained_model_is_gone_before_the_base_is_measured(tiny_folder, tmp_path, monkeypatch):
    held, load = [], stages.load_for_training

    def loaded(*names, **options):
        own = load(*names, **options)
        held.append(weakref.ref(own.model.get_input_embeddings().weight))
        return own

    def reached(context):
        raise Reached

    monkeypatch.setattr(stages, "load_for_training", loaded)
    monkeypatch.setattr(pipeline, "find_states", reached)
    gc.disable()  # only what the run itself frees counts: when the collector runs is chance
    try:
        with pytest.raises(Reached):
            run_here(settings(tmp_path, tiny_folder(), **BARE), tmp_path / "run")
        assert [one() for one in held] == [None]
    finally:
        gc.enable()
