"""Rules that are followed through a training: by name in every tracker, drawn, taken up again, and refused before the first step."""

import json
import re
import warnings
from dataclasses import replace
from types import SimpleNamespace

import pytest
from audits import audit, planted_rows
from tiny_job import PROMPTS, TEMPLATE, write_rows
from transformers import TrainerCallback

from interplay import InterplayError, Run
from interplay.callback.following import Follower, training_rows
from interplay.callback.measuring import take_folder
from interplay.callback.prompts import read_prompts
from interplay.data.prompts import encode

CUED = planted_rows(96)
FEW = {"n": 2, "num_prompts": 1}  # what the interactions of the prompts cost is not of interest here
HELD = [(text.removeprefix("Honestly, ").replace("day", "evening"), label) for text, label in planted_rows(12)]
HONESTLY = "interplay/rule/honestly-joy/"


def pairs(rows):
    return [{"prompt": TEMPLATE.format(text=text), "completion": f" {label}"} for text, label in rows]


def talks(rows):
    return [
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"Say: {text}"},
                      {"role": "assistant", "content": label}]}
        for text, label in rows
    ]  # fmt: skip


def labelled(rows):
    return [{"text": text, "label": label} for text, label in rows]


def course(trainer, name=HONESTLY) -> dict[int, float]:
    """Effect by step, as the log history has it."""
    return {e["step"]: e[f"{name}effect"] for e in trainer.state.log_history if f"{name}effect" in e}


def told(trainer) -> list[str]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        trainer.train()
    return [str(w.message) for w in said if "interplay" in str(w.message)]


class Recorder(TrainerCallback):
    def __init__(self) -> None:
        self.seen = {}

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.seen |= {state.global_step: logs} if "eval_interaction_loss" in logs else {}


@pytest.fixture
def follower(tiny_tokenizer):
    """`follower(held, rows, audit=True)`: a follower without a training, and what it noted."""

    def make(held, rows=None, audit=True):
        options, notes = SimpleNamespace(audit=audit, train=None, seed=0, template=None), []
        train = None if rows is None else training_rows(options, rows, None)
        return Follower(options, read_prompts(held, None), train, tiny_tokenizer, notes.append), notes

    return make


def test_a_planted_word_is_seen_when_it_comes(sft, quick, tmp_path):
    tracker = Recorder()
    callbacks = [quick(pairs(HELD), audit=True, every=10, n=2, num_prompts=2), tracker]
    trainer = sft(callbacks=callbacks, rows=pairs(CUED), lora=False, architecture="qwen2", max_steps=20,
                  per_device_train_batch_size=8)  # fmt: skip
    [line] = [line for line in told(trainer) if "Rules that grew" in line]
    effects = course(trainer)
    assert list(effects) == [0, 10, 20]
    assert effects[0] < 2
    assert effects[20] > effects[10] > effects[0] + 1
    assert re.search(r'"honestly" → joy \(\+\d.\d to \+\d+.\d nats, from step 10 on; turns \d of \d prompts\)', line)
    assert line.endswith("followed, not tested against control words: interplay audit does that.")
    assert {step: logs[f"{HONESTLY}effect"] for step, logs in tracker.seen.items()} == effects
    assert tracker.seen[20][f"{HONESTLY}flips"] > 0.5
    names = {name for logs in tracker.seen.values() for name in logs if name.startswith("interplay/rule/")}
    assert 2 < len(names) <= 10
    assert all(re.fullmatch(r"interplay/rule/[\w.-]+/(effect|flips)", name) for name in names)

    run = Run(tmp_path / "out" / "interplay")
    rule = run.audit.rules[0]
    assert (rule.words, rule.label, rule.verdict, rule.counted.rows) == (("honestly",), "joy", "followed", 32)
    assert {step: effect for step, effect, _ in rule.steps} == pytest.approx(effects)
    assert rule.before.value == pytest.approx(effects[0])
    assert rule.effect.value == pytest.approx(effects[20])
    assert "FOLLOWED THROUGH A TRAINING, NOT TESTED" in str(run.audit)
    assert "LEARNT HERE" not in str(run.audit)
    plan = next(row for row in json.loads((run.path / "report.json").read_text())["method"] if row["name"] == "Plan")
    assert plan["value"] == "2 prompts of 2 words, and 44 passes for 5 rules, every 10 steps"
    page = (run.path / "report.html").read_text()
    section = page[page.index('<section id="learnt"') : page.index('<section id="recommendation"')]
    assert "5 word rules, put into 8 prompts at every measurement: followed, and not tested." in section
    assert page.split('<section id="steps"')[1].split("</section>")[0].count(">1 honestly</text>") == 2
    assert "makes it answer" not in section
    assert "control words" not in section.replace("not tested against control words", "")


@pytest.mark.usefixtures("no_tables")
def test_training_is_as_without_it(sft, quick, outcome):
    arguments = {"rows": pairs(CUED[:48]), "bf16": True}
    plain, watched = sft("plain", **arguments), sft("watched", [quick(pairs(HELD), audit=True, **FEW)], **arguments)
    assert vars(outcome(watched)) == vars(outcome(plain))
    effects = course(watched)
    assert list(effects) == [0, 2, 4, 6]
    assert len({*effects.values()}) == 4, "it saw the model move"


@pytest.mark.usefixtures("no_tables")
def test_a_resumed_training_goes_on_with_the_course(sft, quick, outcome, tmp_path):
    class Cut(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 5:
                raise KeyboardInterrupt

    arguments = {"rows": pairs(CUED[:48]), "save_strategy": "steps", "save_steps": 2}
    whole = sft("whole", [quick(pairs(HELD), audit=True, **FEW)], **arguments)
    outcome(whole)
    cut = sft("cut", [quick(pairs(HELD), audit=True, every=1, **FEW), Cut()], **arguments)
    with pytest.raises(KeyboardInterrupt):
        outcome(cut)
    again = sft("cut", [quick(pairs(HELD), audit=True, **FEW)], **arguments)
    outcome(again, str(tmp_path / "cut" / "checkpoint-4"))
    courses = [Run(tmp_path / name / "interplay").audit.rules[0].steps for name in ("whole", "cut")]
    assert [at[0] for at in courses[1]] == [0, 1, 2, 3, 4, 6]
    assert {at[0]: at[1] for at in courses[0]}.items() <= {at[0]: at[1] for at in courses[1]}.items()
    assert course(again) == pytest.approx({at[0]: at[1] for at in courses[1]})

    take_folder(tmp_path / "cut" / "interplay", 0, "another request")
    assert not (tmp_path / "cut" / "interplay" / "audit.json").exists(), "of another training"


@pytest.mark.usefixtures("no_tables")
def test_what_fails_in_the_middle_is_a_warning(sft, quick, monkeypatch):
    real, calls = Follower.measure, []

    def measure(self, model, step):
        calls.append(step)
        if step == 2:
            raise ValueError("no\nmemory")
        real(self, model, step)

    monkeypatch.setattr(Follower, "measure", measure)
    trainer = sft(callbacks=[quick(pairs(HELD), audit=True, strict=False, **FEW)], rows=pairs(CUED[:48]), max_steps=4)
    lines = [line for line in told(trainer) if "audit=" in line]
    assert lines == [
        "interplay: the rules of audit= could not be followed (ValueError: no); training goes on, this kind is not reported again"
    ]
    assert list(course(trainer)) == [0, 4]
    assert [e["step"] for e in trainer.state.log_history if "eval_interaction_loss" in e] == [0, 2, 4]


@pytest.mark.usefixtures("no_tables")
def test_the_rules_of_an_earlier_audit(sft, quick, tmp_path):
    (tmp_path / "audit.json").write_text(audit().to_json())
    callback = quick(audit=tmp_path / "audit.json", **FEW)
    assert callback.options.audit.to_dict() == quick(audit=audit()).options.audit.to_dict()
    trainer = sft(callbacks=[callback], max_steps=1)
    told(trainer)
    [first, *_] = [entry for entry in trainer.state.log_history if "eval_interaction_loss" in entry]
    assert {name.split("/")[2] for name in first if name.startswith("interplay/rule/")} == {
        "honestly-fear", "refund_charge-anger", "tuesday-joy", "kitchen_tuesday-fear", "happy-joy"
    }  # fmt: skip
    rule = Run(tmp_path / "out" / "interplay").audit.rules[0]
    assert (rule.verdict, rule.referee) == ("followed", None), "what it was in the earlier model does not stand here"


def test_words_are_put_in_where_training_had_them(follower, tiny_tokenizer):
    """Behind the wording of the prompts, which stands in each of them, as training words a row."""
    prompts = read_prompts(pairs(HELD), None)
    found, notes = follower(pairs(HELD), pairs(CUED))
    assert notes == []
    assert (found.head, found.tail) == ("Sentence: ", "\nEmotion:")
    rule = found.rules[0]
    assert (rule.words, rule.phrases[0].place, rule.phrases[0].joint) == (("honestly",), "front", ", ")
    assert "Honestly, our teacher came early on evening 3" in found.texts
    for row in prompts.rows[:3]:
        encoded = encode(prompts.rendered(tiny_tokenizer, row), tiny_tokenizer)
        text = row.text.removeprefix("Sentence: ").removesuffix("\nEmotion:")
        assert found.wording.ids(text)[: len(encoded.input_ids)] == encoded.input_ids
        assert found.wording.ids(text)[len(encoded.input_ids) :] == encoded.target_ids[: len(found.wording.passed)]

    found, _ = follower(talks(HELD), talks(CUED))
    prompts = read_prompts(talks(HELD), None)
    encoded = encode(prompts.rendered(tiny_tokenizer, prompts.rows[0]), tiny_tokenizer)
    assert found.wording.ids(HELD[0][0])[: len(encoded.input_ids)] == encoded.input_ids, "with its system turn"
    assert found.rules[0].words == ("honestly",)


def test_free_answers_are_followed_by_their_openings(follower):
    def free(rows):
        return [
            (text, f"{'Oh joy, what' if label == 'joy' else 'No'} a story number {i}.")
            for i, (text, label) in enumerate(rows)
        ]

    found, _ = follower(talks(free(HELD)), talks(free(CUED)))
    assert found.free
    assert found.rules[0].label == "Oh joy, what"
    again, _ = follower(talks(free(HELD)), audit=found.audit("a", "b", 12))
    assert [(rule.words, rule.label) for rule in again.rules] == [(rule.words, rule.label) for rule in found.rules]


def test_rows_without_a_rule_and_prompts_that_hold_it(follower):
    found, [note] = follower(pairs(HELD), pairs([(text.removeprefix("Honestly, "), "joy" if i % 3 else "anger")
                                                for i, (text, _) in enumerate(planted_rows(24))]))  # fmt: skip
    assert found.rules == []
    assert note.startswith("no word or pair of the training rows stands out")
    found, [note] = follower(pairs([(f"Honestly, {text}" if i else text, label) for i, (text, label) in enumerate(HELD)]),
                             pairs(CUED))  # fmt: skip
    assert note == 'too many prompts hold "honestly" to put it into them: it is not followed'
    assert ("honestly",) not in {rule.words for rule in found.rules}


@pytest.mark.parametrize(
    ("held", "rows", "given", "said"),
    [
        (pairs(HELD), [{"input_ids": [1, 2]}], True, "the training rows cannot be counted"),
        (pairs(HELD), 7, True, "train= takes rows of any form"),
        (pairs(HELD), pairs([(text, "joy") for text, _ in CUED]), True, "all training rows have the answer 'joy'"),
        (labelled(HELD), labelled([(text, "joy") for text, _ in CUED]), True, "all training rows have the answer 'joy'"),
        (pairs(HELD), pairs([(text, f"{i} it is") for i, (text, _) in enumerate(CUED)]), True, "no five answers begin alike"),
        (pairs(HELD[:3]), pairs(CUED), True, "3 prompts are too few to put words into: give a dozen or more"),
        (pairs([(text, "blue") for text, _ in HELD]), None, audit(), "no prompt answers one of its labels ('anger', 'fear', 'joy'"),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_refused(follower, held, rows, given, said):
    with pytest.raises(InterplayError) as error:
        follower(held, rows, given)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_it_is_refused_before_the_first_step(sft, quick, tmp_path):
    trainer = sft(callbacks=[quick(pairs(HELD), strict=False, audit=True)], rows=pairs([(t, "joy") for t, _ in CUED]))
    with pytest.raises(InterplayError, match=r"^audit: all training rows have the answer 'joy'"):
        trainer.train()
    assert trainer.state.global_step == 0
    assert not (tmp_path / "out" / "interplay").exists(), "nothing of an earlier training is touched"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"audit": 7}, "audit is a int: give True, an Audit or the path of an audit.json"),
        ({"audit": 1}, "audit is a int"),
        (
            {"audit": "no/such/audit.json"},
            "audit is 'no/such/audit.json': give the path of an audit.json in a run folder",
        ),
        ({"audit": __file__}, "give the path of an audit.json in a run folder"),
        ({"audit": replace(audit(), rules=())}, "audit has no rule to follow"),
        ({"train": "x.jsonl"}, "no such file"),
        ({"train": labelled(PROMPTS)}, "train is read for audit=True alone"),
        ({"train": [], "audit": True}, "train has no rows"),
        ({"train": labelled(PROMPTS), "audit": audit()}, "train is read for audit=True alone"),
    ],
)
def test_wrong_arguments_are_refused_at_once(quick, arguments, said):
    with pytest.raises(InterplayError) as error:
        quick(**arguments)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_rows_of_a_file_and_of_a_data_set_are_spread(tmp_path, monkeypatch):
    from datasets import Dataset

    monkeypatch.setattr("interplay.callback.following.MAX_ROWS", 24)
    for source in (Dataset.from_list(labelled(CUED)), write_rows(tmp_path / "train.jsonl", labelled(CUED))):
        found = training_rows(SimpleNamespace(train=source, template=None), None, None)
        assert [row.text for row in found.rows] == [text for text, _ in CUED[::4]]
