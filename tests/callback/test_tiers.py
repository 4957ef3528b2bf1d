"""Two tiers: the answers at every reading, their interactions at a few; and a page however the training ends."""

import json
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_job import PROMPTS, TEMPLATE, labelled
from transformers import EarlyStoppingCallback, TrainerCallback

from interplay import InteractionCallback, Run
from interplay.callback.answers import read_answers
from interplay.callback.options import check_options
from interplay.callback.prompts import choose_prompts, read_prompts
from interplay.data.template import PromptTemplate
from interplay.dynamics.measures import loss_of
from interplay.scoring import scores
from interplay.scoring.scores import Guard, score_prepared

FEW = {"full": 2, "stop": False}


@pytest.fixture
def falling(monkeypatch):
    """`falling({0: 5.0, 1: 4.0})`: losses of the answers by step."""

    def script(losses):
        told = iter(losses)
        monkeypatch.setattr(
            "interplay.callback.measuring.read_answers", lambda _, prepared: [(losses[next(told)], 2.0)] * len(prepared)
        )

    return script


@pytest.fixture
def registered(monkeypatch):
    """What would be called at the end of the process."""
    found = []
    patched = SimpleNamespace(register=found.append, unregister=lambda f: f in found and found.remove(f))
    monkeypatch.setattr("interplay.callback.callback.atexit", patched)
    return found


class Cut(TrainerCallback):
    def __init__(self, behind, error):
        self.behind, self.error = behind, error

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.behind:
            raise self.error


def entries(trainer, name):
    return {e["step"]: e[name] for e in trainer.state.log_history if name in e}


def test_a_loss_that_always_falls_is_read_in_full_four_times(sft, quick, falling, capsys, registered):
    falling({step: 9.0 - step for step in range(10)})
    trainer = sft(callbacks=[quick(every=1, **FEW)], max_steps=9, save_strategy="steps", save_steps=3)
    trainer.train()
    answers = entries(trainer, "eval_prompts_loss")
    assert answers == {step: 9.0 - step for step in range(10)}
    assert entries(trainer, "interplay/rank") == dict.fromkeys(range(10), 2.0)
    assert entries(trainer, "interplay/probability")[9] == pytest.approx(1.0)
    full = [0, 3, 6, 9]  # the first new low in the second and in the last third
    for name in ("removed", "preserved", "emerged", "rho", "score_full", "score_empty"):
        assert list(entries(trainer, f"interplay/{name}")) == full, name
    assert list(entries(trainer, "eval_interaction_loss")) == full
    assert trainer.state.best_metric is None
    assert trainer.state.best_global_step is None

    run = Run(Path(trainer.args.output_dir) / "interplay")
    assert run.finished
    assert list(run.trajectory.steps) == full
    assert entries(trainer, "interplay/removed")[9] == run.trajectory.get("count", "removed")["value"][9]
    assert entries(trainer, "interplay/rho")[9] == pytest.approx(run.trajectory.samples("rho").loc[9].mean())
    assert run.task["eval_prompts_loss"].tolist() == [9.0 - step for step in range(10)], "drawn as an eval set"
    assert run.recommendation.step == 9
    method = {row["name"]: row for row in run.json("report.json")["method"]}
    assert method["Readings"]["value"] == "10, 4 of them in full"
    assert method["Readings"]["note"] == "loss of the answers: lowest 0 nats at step 9"
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("interplay: ")]
    assert len(said) == 2
    assert said[0].startswith(
        "interplay: reading the answers to 4 prompts every 1 steps, the interactions of their 3 words at the first, the last "
        f"and at most 2 new lows; run folder '{run.path}'"
    )
    assert run.summary().change.partition(" No floor")[0] in said[1]
    assert said[1].endswith(f"Page: {run.path / 'report.html'}")
    assert registered == []


@pytest.mark.parametrize("evaluated", [True, False])
def test_every_saved_step_can_be_kept_whether_or_not_its_interactions_were_read(evaluated, sft, quick, falling, call):
    """The best step and the last one on disk were saved, and only their answers were read."""
    best = {1: 3.0, 2: 1.0, 3: 2.0, 4: 2.5, 5: 2.5, 6: 2.5}
    falling({step: 5.0 - step % 3 for step in range(7)})
    asked = {"evaluate": True, "eval_strategy": "steps", "eval_steps": 1} if evaluated else {}
    trainer = sft(callbacks=[quick(every=1, **FEW | {"full": 0})], save_strategy="steps", save_steps=1, **asked)
    log = trainer.log
    trainer.log = lambda logs, *more: log(
        logs | ({"eval_loss": best[trainer.state.global_step]} if "eval_loss" in logs else {}), *more
    )
    trainer.train()
    folder = Path(trainer.args.output_dir)
    run = Run(folder / "interplay")
    assert list(run.trajectory.steps) == [0, 6]
    assert run.task["step"].tolist() == [*range(7)]
    assert list(run.checkpoints.paths) == [1, 2, 3, 4, 5, 6]
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert f'class="keep-name mid">{"keep" if evaluated else "default"}</text>' in page, (
        "marked, though it has no interactions"
    )
    assert run.recorded["step"] == (2 if evaluated else 6)
    if evaluated:
        assert "the lowest of 6 checkpoints" in run.recorded["sentence"]
        shutil.rmtree(folder / "checkpoint-2")
        assert json.loads(call("recommend", folder, "--json").out)["step"] == 3
    else:
        assert "The loss of the prompts' answers is lowest at step 2." in run.recorded["sentence"]
        for step in (5, 6):
            shutil.rmtree(folder / f"checkpoint-{step}")
        assert json.loads(call("recommend", folder, "--json").out)["step"] == 4
    assert call("report", folder / "interplay").code == 0


@pytest.mark.usefixtures("no_tables")
@pytest.mark.parametrize(
    ("losses", "changes", "full"),
    [
        ([5, 4, 3, 3.5, 3.1, 3, 4], FEW, [0, 2, 6]),  # no new low after the second: none in full
        ([5, 4, 3, 3.5, 2, 1, 4], {"full": 0}, [0, 6]),
        ([5, 4, 3, 3.5, 2, 1, 4], {"full": "saved"}, [0, 2, 3, 4, 6]),
    ],
)
def test_which_readings_are_full(sft, quick, falling, losses, changes, full):
    falling(dict(enumerate(losses)))
    trainer = sft(callbacks=[quick(every=1, **FEW | changes)], save_strategy="steps", save_steps=3)
    trainer.train()
    assert list(entries(trainer, "eval_interaction_loss")) == full
    assert list(entries(trainer, "eval_prompts_loss")) == [*range(7)]


@pytest.mark.usefixtures("no_tables")
def test_the_best_model_by_the_answers(sft, quick, falling):
    falling({0: 5.0, 2: 4.0, 4: 3.0, 6: 3.5})
    asked = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
    trainer = sft(callbacks=[quick(full=0)], evaluate=True, **asked, metric_for_best_model="prompts_loss",
                  load_best_model_at_end=True)  # fmt: skip
    trainer.train()
    assert (trainer.state.best_global_step, trainer.state.best_metric) == (4, 3.0)
    assert list(entries(trainer, "eval_interaction_loss")) == [0, 6]


@pytest.mark.usefixtures("no_tables")
def test_what_stops_at_an_evaluation_is_read_in_full(sft, quick, falling):
    falling({0: 5.0, 2: 4.0, 4: 4.5})
    asked = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
    trainer = sft(callbacks=[quick(full=0), EarlyStoppingCallback(1)], evaluate=True, **asked,
                  metric_for_best_model="eval_prompts_loss", load_best_model_at_end=True)  # fmt: skip
    trainer.train()
    assert trainer.state.global_step == 4
    assert list(entries(trainer, "eval_interaction_loss")) == [0, 4]


@pytest.mark.parametrize("error", [RuntimeError("no memory"), KeyboardInterrupt()])
def test_a_training_that_breaks_off_leaves_its_page(sft, quick, registered, error, capsys):
    trainer = sft(callbacks=[quick(every=1, num_prompts=2, **FEW), Cut(3, error)])
    with pytest.raises(type(error)):
        trainer.train()
    folder = Path(trainer.args.output_dir) / "interplay"
    assert (folder / "report.html").exists(), "from the first full reading on"
    [finish] = registered
    finish()
    run = Run(folder)
    assert run.finished
    assert "The training ended at step 3 of 6." in run.notes
    assert sorted(map(int, json.loads((folder / "callback.json").read_text())["answers"])) == [0, 1, 2, 3]
    assert capsys.readouterr().err.rstrip().endswith(f"Page: {folder / 'report.html'}")
    assert registered == []


@pytest.mark.usefixtures("no_tables")
def test_answers_stand_where_the_interactions_fail(sft, quick, monkeypatch):
    def fail(*_):
        raise ValueError("broken")

    monkeypatch.setattr("interplay.callback.measuring.measure", fail)
    trainer = sft(callbacks=[quick(strict=False, **FEW)])
    with pytest.warns(UserWarning, match="a measurement failed"):
        trainer.train()
    assert list(entries(trainer, "eval_prompts_loss")) == [0, 2, 4, 6]
    assert entries(trainer, "eval_interaction_loss") == {}


def test_nothing_is_stopped_unless_asked():
    assert InteractionCallback(labelled(PROMPTS)).stop is False


@pytest.mark.parametrize("among", ["auto", False])
@pytest.mark.parametrize("tokens", ["auto", 1])
def test_answers_are_as_their_scores_say(tiny_folder, tiny_tokenizer, among, tokens):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_folder("llama"))
    rows = labelled([*PROMPTS, ("A longer text about the terrible weather of last week", "joyless")])
    options = check_options(
        prompts=rows, every=1, patience=1, max_overhead=None, n=2, num_prompts=5, template=None, seed=0, mask="auto",
        target_tokens=tokens, among_labels=among,
    )  # fmt: skip
    found = read_prompts(rows, PromptTemplate(template=TEMPLATE, chat=False))
    _, prepared = choose_prompts(found, tiny_tokenizer, options, 5, 2)
    read = read_answers(model, prepared)
    for p, (loss, rank) in zip(prepared, read, strict=True):
        ids = torch.tensor([[*p.input_ids, *p.target_ids]])
        logits = model(ids).logits[0, len(p.input_ids) - 1 : -1].double()
        if p.among is None:
            expected = -logits.log_softmax(-1)[range(len(p.target_ids)), list(p.target_ids)].sum()
            assert loss == pytest.approx(float(expected), rel=1e-4)
            assert rank == 1 + int((logits[0] > logits[0, p.target_ids[0]]).sum())
        if p.among is not None or len(p.target_ids) == 1:
            assert loss == pytest.approx(float(loss_of(score_prepared(model, p).values[-1])), rel=1e-4)
        assert p.among is None or 1 <= rank <= len(p.among)


def test_one_prompt_of_a_reading_is_compared_with_plain_passes(tiny_folder, tiny_tokenizer, monkeypatch):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_folder("llama"))
    found = read_prompts(labelled(PROMPTS), PromptTemplate(template=TEMPLATE, chat=False))
    options = check_options(
        prompts=[{}], every=1, patience=1, max_overhead=None, n=2, num_prompts=4, template=None, seed=0, mask="auto",
        target_tokens="auto",
    )  # fmt: skip
    _, prepared = choose_prompts(found, tiny_tokenizer, options, 4, 3)
    each = [score_prepared(model, p) for p in prepared]
    guard = Guard()
    once = [score_prepared(model, p, guard=guard) for p in prepared]
    assert [np.isfinite(unit.noise_sigma) for unit in once] == [True, False, False, False]
    assert all((a.values == b.values).all() for a, b in zip(each, once, strict=True))

    compared = []
    monkeypatch.setattr(scores, "_agrees", lambda *_: bool(compared.append(1)))
    guard = Guard()
    plain = [score_prepared(model, p, guard=guard) for p in prepared]
    assert len(compared) == 4, "where it does not agree every prompt is compared"
    assert not guard.agreed
    assert np.allclose([p.values for p in plain], [p.values for p in each], atol=1e-4)


def test_the_strongest_changes_go_to_trackers_as_a_table(sft, quick):
    said = []

    class Fake(
        TrainerCallback
    ):  # as WandbCallback and TrackioCallback hold their modules, and TensorBoardCallback its writer
        def __init__(self, **held):
            vars(self).update(held)

    class Table:
        def __init__(self, dataframe):
            self.dataframe = dataframe

    def keep(name):
        return SimpleNamespace(Table=Table, log=lambda logs: said.append((name, logs)))

    writer = SimpleNamespace(add_text=lambda *given: said.append(("text", given)))
    fakes = [Fake(_wandb=keep("wandb")), Fake(_trackio=keep("trackio")), Fake(tb_writer=writer), Fake(_wandb=None)]
    trainer = sft(callbacks=[*fakes, quick(every=6, num_prompts=2, **FEW)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.train()
    assert [name for name, _ in said] == ["wandb", "trackio", "text"]
    for _, logs in said[:2]:
        assert logs["train/global_step"] == 6
        table = logs["interplay/changes"].dataframe
        assert list(table) == ["step", "sample", "words", "kind", "effect_reference", "effect", "change", "outcome"]
        assert (table["change"].abs().diff().dropna() <= 0).all()
        assert all(isinstance(words, str) for words in table["words"])
    tag, text, step = said[2][1]
    assert (tag, step) == ("interplay/changes", 6)
    assert text.splitlines()[0].startswith("step | sample | words")
    run = Run(Path(trainer.args.output_dir) / "interplay")
    strongest = run.changes(6).iloc[0]
    assert table["change"][0] == pytest.approx(strongest["change"])
    assert table["words"][0] == " ".join(strongest["words"])


def test_a_folder_that_another_training_took_is_left_to_it(sft, quick, registered):
    with pytest.raises(KeyboardInterrupt):
        sft(callbacks=[quick(every=1, num_prompts=2, **FEW), Cut(3, KeyboardInterrupt())]).train()
    [finish] = registered
    again = sft(callbacks=[quick(every=6, num_prompts=2, **FEW)])
    again.train()
    page = (Path(again.args.output_dir) / "interplay" / "report.html").read_bytes()
    with pytest.warns(UserWarning, match="another training has taken"):
        finish()
    assert (Path(again.args.output_dir) / "interplay" / "report.html").read_bytes() == page
