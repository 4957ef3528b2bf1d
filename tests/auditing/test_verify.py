"""Training again on mended rows: the run's own recipe, both models asked the same, and a training that was cut off."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from tiny_job import TRAIN, settings

from interplay.auditing.candidates import Evidence
from interplay.auditing.fixes import write_fixes
from interplay.auditing.forms import Effect
from interplay.auditing.rows import trained_rows
from interplay.auditing.rules import Rule
from interplay.auditing.verify import _recorded, verify
from interplay.config.loading import load_settings
from interplay.data.samples import make_sample
from interplay.errors import InterplayError
from interplay.pipeline.inputs import read_inputs
from interplay.pipeline.progress import Progress
from interplay.pipeline.stages import plan_training
from interplay.store.folder import RunFolder
from interplay.task.labels import RowScores
from interplay.task.measured import TaskMeasured, TaskRows
from interplay.training.methods import load_for_training
from interplay.training.sft import finetune

WEIGHTS = "adapter_model.safetensors"
EFFECT = Effect(3.0, 2.5, 3.5, 0.0)


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_folder):
    """A run folder with its training only, and fixes for a rule of its rows."""
    root = tmp_path_factory.mktemp("verified")
    made = load_settings(settings(root, tiny_folder("llama"), checkpoints={"steps": [0, 1, 2, 4]}))
    folder = RunFolder(root / "run")
    folder.make()
    with folder.opened(made):
        inputs = read_inputs(made, usable=lambda sample: None)
        own = load_for_training(made.model.name)
        examples, _, plan = plan_training(made, inputs.train, own.tokenizer, inputs.template, "cpu")
        finetune(own, examples, plan, folder.checkpoints)
    train = trained_rows(made)
    assert [row.text for row in train.rows] == [text for text, _ in TRAIN]
    evidence = Evidence(tuple(row.text for row in train.rows), tuple(str(row.label) for row in train.rows))
    phrase = (replace(evidence.phrase("the"), text="the"),)
    counted = evidence.count(("the",), "anger")
    rule = Rule(("the",), "word", "anger", "learnt", EFFECT, EFFECT, EFFECT, 0.0, 1, 2, 0.0, phrase, counted)
    held = [text for text, _ in TRAIN] + ["We laughed today", "He was not happy", "My dog died", "Bread this morning"]
    how = {"labels": ("anger", "joy", "sadness", "surprise"), "template": inputs.template}
    assert write_fixes([rule], train, root / "fixes", held=held, **how)
    return root


class CutOff(Progress):
    """Stops, as Ctrl-C would, after the third step of a training."""

    def __init__(self):
        super().__init__(quiet=True)

    def phase(self, name, total=None):
        from contextlib import contextmanager

        @contextmanager
        def watched():
            def advance(done=None, note="", cached=False):
                if name.startswith("fine-tuning") and done == 3:
                    raise KeyboardInterrupt

            yield advance

        return watched()


def test_what_the_run_answered_counts_while_its_data_stay(run, tmp_path, monkeypatch):
    inputs = read_inputs(RunFolder(run / "run").settings(), usable=lambda sample: None)
    measured = TaskMeasured((TaskRows(4, RowScores(np.zeros(4), np.ones(4), np.array([0, 1, 1, 0]))),))
    monkeypatch.setattr("interplay.auditing.verify.Record", SimpleNamespace(read=lambda folder: None))
    monkeypatch.setattr("interplay.auditing.verify.read_task", lambda folder, record: measured)
    folder = RunFolder(tmp_path)
    assert _recorded(folder, inputs, 4) is None, "not measured"
    (tmp_path / "inputs.json").write_text(json.dumps({"fingerprint": inputs.fingerprint()}), encoding="utf-8")
    assert list(_recorded(folder, inputs, 4)) == [0, 1, 1, 0]
    assert _recorded(folder, inputs, 2) is None, "another step"
    assert _recorded(folder, replace(inputs, eval=inputs.eval[::-1]), 4) is None, "the eval rows changed since"


def test_a_run_is_trained_again_on_the_mended_rows_and_a_cut_off_training_goes_on(run):
    found = verify(run / "run", run / "fixes")
    assert found.checkpoint.parent.parent == run / "fixes"
    assert found.checkpoint.name == "checkpoint-4"
    weights = (found.checkpoint / WEIGHTS).read_bytes()
    assert weights != (run / "run" / "checkpoints" / "checkpoint-4" / WEIGHTS).read_bytes()
    [old], [new] = found.before.rows, found.after.rows
    assert old.effect != new.effect
    assert [one.keys() for one in found.accuracy] == [{"4 eval rows", "the 2 without these words"}] * 2
    text = str(found)
    assert "accuracy on 4 eval rows" in text
    assert '1  "the" → anger' in text
    assert json.loads(json.dumps(found.to_dict()))["passed"] == found.passed

    shutil.rmtree(found.checkpoint.parent)
    with pytest.raises(KeyboardInterrupt):
        verify(run / "run", run / "fixes", progress=CutOff())
    assert {p.name for p in found.checkpoint.parent.iterdir()} == {"checkpoint-1", "checkpoint-2"}
    again = verify(run / "run", run / "fixes", step=2)
    assert again.checkpoint == found.checkpoint.parent / "checkpoint-2"
    assert again.after.rows[0].effect != new.effect
    assert (found.checkpoint / WEIGHTS).read_bytes() == weights


def test_other_rows_are_another_training(run, tmp_path, monkeypatch):
    seen = []

    def watched(base, examples, plan, folder, **how):
        seen.append((folder.name, len(examples), plan.seed, plan.steps, plan.save_at))
        raise KeyboardInterrupt

    monkeypatch.setattr("interplay.auditing.verify.finetune", watched)
    fixes = shutil.copytree(run / "fixes", tmp_path / "fixes", ignore=shutil.ignore_patterns("retrained-*"))
    rows = (fixes / "mended.jsonl").read_text().splitlines()
    for count in (0, 1):
        (fixes / "mended.jsonl").write_text("\n".join(rows[count:]) + "\n")
        with pytest.raises(KeyboardInterrupt):
            verify(run / "run", fixes)
    assert seen[0][0] != seen[1][0]
    assert [one[1:] for one in seen] == [(len(rows) - i, 0, 4, (1, 2, 4)) for i in (0, 1)]


def test_what_cannot_be_verified_is_refused(run, tmp_path):
    with pytest.raises(InterplayError, match="no checkpoint for step 3"):
        verify(run / "run", run / "fixes", step=3)
    with pytest.raises(InterplayError, match="step 0 is the base"):
        verify(run / "run", run / "fixes", step=0)
    with pytest.raises(InterplayError, match=r"tests\.jsonl: cannot be read"):
        verify(run / "run", tmp_path)
    with pytest.raises(InterplayError, match="is no run folder"):
        verify(tmp_path, run / "fixes")
    tracked = RunFolder(tmp_path / "tracked")
    tracked.make()
    wanted = load_settings(settings(run, run / "m", training=None, checkpoints={"folder": str(run)}))
    with tracked.opened(wanted):
        pass
    with pytest.raises(InterplayError, match="tracks another training, whose recipe it does not have: train on"):
        verify(tracked.path, run / "fixes")


def test_only_the_rows_that_a_run_trained_on_are_mended(tmp_path):
    wanted = settings(tmp_path, tmp_path / "m")
    some = load_settings(wanted, ["data.train_rows=5"])
    train, used = trained_rows(some), read_inputs(some, usable=lambda sample: None).train
    assert [row.id for row in train.rows] == [row.id for row in used]
    assert [record["text"] for record in train.records] == [row.text for row in used]
    one = {"file": str(tmp_path / "train.jsonl"), "train": None, "eval": None, "prompts": None}
    cut = load_settings(wanted | {"data": one})
    assert 0 < len(trained_rows(cut).rows) < len(TRAIN)
    assert make_sample(trained_rows(cut).rows[0], n=2).n == 2
