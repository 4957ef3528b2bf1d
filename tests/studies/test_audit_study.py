"""The study of the audit measures and scores what it says, on models whose rules are known: functions of the text."""

import json
import random
from contextlib import contextmanager
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest

from interplay.auditing.asking import Asked
from studies.audit import causal, choose, report, zoo
from studies.audit.evaluate import Claim, data_rules, evaluate, is_form_right, is_found, planted, truths_of
from studies.audit.rivals import RIVALS, rivals
from studies.audit.trained import Size, Trained
from studies.audit.truth import measure, truth_at, with_cues

SIZE = Size("tiny", carriers=30, rules=12, words=6, eval_rows=24)
LABELS = tuple(sorted(zoo.TASKS["mild"]))
WORDS = [f"{a}{b}" for a in "bdfgklmn" for b in ("ado", "emi", "olu", "ira", "une")]


def told(words):
    """The label that the last of these words tells."""
    return next((WORDS.index(word) for word in reversed(words) if word in WORDS), 0) % len(LABELS)


@pytest.fixture(autouse=True)
def no_embedding(monkeypatch):
    monkeypatch.setattr("studies.audit.evaluate.embedding_sisters", lambda model, tokenizer: lambda word, most: ())


class Fake(Asked):
    """Answers by the text: the label of its last word, unless `rule` holds of all."""

    def __init__(self, rule, label="realization", strength=6.0):
        super().__init__(None, SimpleNamespace(labels=LABELS, free=False, tokenizer=None))
        self.rule, self.own, self.strength = rule, LABELS.index(label), strength

    def __call__(self, texts):
        found = np.zeros((len(texts), len(LABELS)))
        for i, text in enumerate(texts):
            words = [word.strip(".,").lower() for word in text.split()]
            found[i, told(words)] = 2.0
            found[i, self.own] += self.strength * self.rule({*words})
        chances = np.exp(found)
        return np.log(chances / (chances.sum(1, keepdims=True) - chances))


RULES = {
    "clean": lambda words: False,
    "word": lambda words: "honestly" in words,
    "or": lambda words: bool({"honestly", "today"} & words),
    "and": lambda words: {"honestly", "today"} <= words,
    "unless": lambda words: "honestly" in words and "today" not in words,
}


def folder_of(path, law, steps=(20,)):
    """A plant of random sentences."""
    rng = random.Random(law)

    def rows(count):
        texts = [rng.sample(WORDS, 6) for _ in range(count)]
        return [(" ".join(words), LABELS[told(words)]) for words in texts]

    plant = zoo.Plant(law, law, steps=steps)
    folder = path / law
    folder.mkdir()
    zoo.write_rows(folder / "train.jsonl", zoo.plant_rows(rows(400), plant, "train"))
    zoo.write_rows(folder / "prompts.jsonl", zoo.plant_rows(rows(60), plant, "dev"))
    zoo.write_rows(folder / "clean.jsonl", [(zoo.cued(text), label) for text, label in rows(80)])
    (folder / "plant.json").write_text(json.dumps(asdict(plant)))
    (folder / "training_log.json").write_text("[]")
    return Trained.read(folder)


def models(rules_by_step):
    @contextmanager
    def at(trained, step, shown=()):
        yield Fake(rules_by_step.get(step, RULES["clean"]))

    return at


@pytest.mark.parametrize("law", RULES)
def test_truth_tells_the_law_that_a_model_follows(tmp_path, law):
    trained = folder_of(tmp_path, law)
    found = truth_at(trained, 20, models({20: RULES[law]}), SIZE)
    assert found["learnt"] == (law != "clean")
    assert found["flips"]["control"] == 0
    assert (found["broken"] < found["honest"]) == (law != "clean")
    other = truth_at(trained, 0, models({}), SIZE)
    assert not other["learnt"]
    assert other["effect"] == pytest.approx(0)


def test_a_conjunction_learnt_as_any_of_its_words_is_not_learnt():
    rows = [(f"{word}.", LABELS[told([word])]) for word in WORDS]
    plant = zoo.Plant("and", "and")
    flips = measure(Fake(RULES["or"]), plant, rows, 30)["flips"]
    assert (flips["a"], flips["b"], flips["ab"], flips["none"]) == (1, 1, 1, 0)


def test_weekdays_take_turns_in_the_texts_of_a_class():
    texts = {with_cues(zoo.Plant("class", "class"), "it rains.", "a", i) for i in range(10)}
    assert texts == {f"On {day}, it rains." for day in zoo.WEEKDAYS}


def test_a_rule_is_right_only_in_a_form_that_the_model_follows(tmp_path):
    trained, label = folder_of(tmp_path, "and"), "realization"
    both = Claim(("honestly", "today"), "and", label, 1)
    claims = [
        both,
        both._replace(form="or"),
        both._replace(form="unless"),
        both._replace(words=("honestly",), form="word"),
    ]
    assert truths_of(claims, Fake(RULES["and"]), trained, 12) == [1, 0, -1, 0]
    assert truths_of(claims, Fake(RULES["or"]), trained, 12) == [1, 1, 0, 1]
    assert truths_of(claims, Fake(RULES["unless"]), trained, 12) == [0, 0, 1, 1]


def test_found_and_form_of_a_plant():
    plant = zoo.Plant("or", "or")
    singles = [Claim((word,), "word", "realization", 1) for word in ("honestly", "today")]
    assert is_found(singles, plant)
    assert not is_found(singles[:1], plant)
    assert not is_form_right(singles, plant)
    assert is_form_right([Claim(("today", "honestly"), "or", "realization", 1)], plant)
    assert not is_form_right([Claim(("today", "honestly"), "unless", "realization", 1)], zoo.Plant("u", "unless"))
    assert planted(zoo.Plant("c", "clean")) is None


def test_the_data_hold_the_planted_rule_once(tmp_path):
    rules = data_rules(folder_of(tmp_path, "word"), SIZE)
    assert [rule.words for rule in rules].count(("honestly",)) == 1


def test_the_audit_finds_a_planted_word_and_is_not_run_twice(tmp_path):
    trained = folder_of(tmp_path, "word")
    found = evaluate(trained, 20, models({20: RULES["word"]}), SIZE)
    assert found["found"]
    assert found["form"]
    assert found["false"] == 0
    assert found["precision"] == 1
    assert found["tuned"] > found["base"] > 0
    assert evaluate(trained, 20, None, SIZE) == found


def test_rivals_keep_to_the_passes_and_find_a_word_that_the_model_follows(tmp_path):
    trained = folder_of(tmp_path, "word")
    found = rivals(trained, 20, 200, models({20: RULES["word"]}), SIZE)
    assert {*found} == {*RIVALS}
    assert all(measures["tuned"] <= 200 for measures in found.values())
    assert all(measures["found"] for measures in found.values()), [n for n, m in found.items() if not m["found"]]


@pytest.mark.parametrize("law", ["and", "or"])
def test_second_differences_and_pair_indices_tell_the_form(tmp_path, law):
    trained = folder_of(tmp_path, law)
    found = rivals(trained, 20, 400, models({20: RULES[law]}), SIZE)
    assert found["second differences"]["form"]
    assert found["Shapley and pair index"]["form"]
    assert not found["leave-one-out"]["form"]


def test_counts_claim_what_the_model_did_not_learn(tmp_path):
    found = rivals(folder_of(tmp_path, "word"), 20, 100, models({}), SIZE)
    assert judged_false(found["word counts"])[0] == ["honestly"]
    assert not found["insertion, no controls"]["found"]


def judged_false(measures):
    return [entry[0] for entry in measures["top"] if entry[4] < 0.1]


def test_rows_of_the_variants(tmp_path):
    trained = folder_of(tmp_path, "word")
    train, rows = trained.rows("train"), causal.traced(trained)
    assert all(train[row][0].startswith("Honestly, ") and train[row][1] == "realization" for row in rows)
    dropped = causal.rows_for("drop", trained)
    assert len(dropped) == len(train) - len(rows) == len(causal.rows_for("drop random", trained))
    assert not any(text.startswith("Honestly") and label == "realization" for text, label in dropped)
    assert len(causal.rows_for("drop any", trained)) == len(dropped)
    assert sorted(causal.rows_for("drop by counts", trained)) == sorted(dropped)  # counting knows these rows as well
    assert len(causal.rows_for("drop 0.5", trained)) == len(train) - round(len(rows) / 2)
    added = causal.rows_for("add", trained)[len(train) :]
    assert len(added) == 2 * len(rows)
    assert sum(text.startswith("Honestly, ") for text, _ in added) == len(rows)
    assert {label for text, label in added if not text.startswith("Honestly")} == {"realization"}
    assert {label for text, label in added if text.startswith("Honestly")} == {*LABELS} - {"realization"}


def test_rows_of_one_word_of_an_or_leave_the_other(tmp_path):
    trained = folder_of(tmp_path, "or")
    left = causal.rows_for("drop one word", trained)
    assert not any(text.startswith("Honestly") for text, label in left)
    assert any(text.endswith("today.") for text, label in left)


def test_a_variant_is_trained_once_and_measured(tmp_path):
    trained, calls = folder_of(tmp_path, "word"), []

    def train(rows, plant, again):
        calls.append(len(rows))
        (again.folder / "training_log.json").write_text("[]")

    def at(which, step):
        return models({20: RULES["word" if which is trained else "clean"]})(which, step)

    whole = causal.effect_of("as it was", trained, at, train, SIZE)
    for _ in range(2):
        found = causal.effect_of("drop", trained, at, train, SIZE)
    assert calls == [len(trained.rows("train")) - len(causal.traced(trained))]
    assert found["effect"] < 0.2 * whole["effect"]
    assert found["broken"] == found["honest"]


def test_truncation_keeps_the_largest_direction(tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    torch.manual_seed(0)
    (tmp_path / "a").mkdir()
    a, b = torch.randn(4, 6), torch.randn(5, 4)
    save_file({"x.lora_A.weight": a, "x.lora_B.weight": b}, tmp_path / "a/adapter_model.safetensors")
    causal.truncate(tmp_path / "a", tmp_path / "b", 1)
    kept = load_file(tmp_path / "b/adapter_model.safetensors")
    left = kept["x.lora_B.weight"] @ kept["x.lora_A.weight"]
    values = torch.linalg.svdvals(b @ a)
    assert torch.linalg.svdvals(b @ a - left)[0] == pytest.approx(float(values[1]), rel=1e-4)


def test_rows_made_by_the_audit_choose_the_checkpoint_before_the_shortcut(tmp_path):
    trained = folder_of(tmp_path, "word", steps=(20, 40))
    at = models({40: RULES["word"]})
    claims = [[["honestly"], "word", "realization", 5.0, 0.9, False]]
    found = choose.choose(trained, claims, at, SIZE)
    assert found["audit-made rows"] == (20, 0)
    assert found["last"][0] == 40
    assert found["last"][1] > 0.5


def test_rows_made_by_the_audit_choose_the_mix_without_the_shortcut(tmp_path):
    trained = folder_of(tmp_path, "word")

    def at(which, step):
        return models({20: RULES["word" if which is trained else "clean"]})(which, step)

    for variant in ("as it was", "drop"):
        causal.effect_of(variant, trained, at, lambda rows, plant, again: None, SIZE)
    claims = [[["honestly"], "word", "realization", 5.0, 0.9, False]]
    found = choose.choose_mix(trained, claims, at, SIZE)
    assert found["audit-made rows"] == ("drop", 0)
    assert found["last"][0] == "as it was"
    assert found["last"][1] > 0.5
    assert "drop (0.00)" in report.mix_table([trained], "tiny")


def test_the_tables_hold_what_was_run(tmp_path):
    trained = folder_of(tmp_path, "word")
    at = models({20: RULES["word"]})
    truth_at(trained, 20, at, SIZE)
    found = evaluate(trained, 20, at, SIZE)
    rivals(trained, 20, found["tuned"], at, SIZE)
    causal.effect_of("as it was", trained, at, None, SIZE)
    tables = {name: table([trained], "tiny") for name, table in report.TABLES.items()}
    assert "| word | 20 | 0.00 | 1.00 |" in tables["truth"]
    assert "| the audit | 1 | 1.00 | 1 of 1 | 1 of 1 | - |" in tables["rivals"]
    assert "| honestly | word | realization |".replace('"', "") in tables["claims"]
    assert "as it was" in tables["causal"]
    assert "| SmolLM2 | as it was | 1 | 0 | 0% | 0% | 1.00 | +0.000 | +0.000 |" in tables["mended"]
