"""The tests of an audit: what a model does with them, the verb `test` and its exit codes, and files that hold none."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import interplay
from interplay.auditing import checks
from interplay.auditing.counts import words_of
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError

LABELS = ("anger", "joy", "sadness")
TEMPLATE = PromptTemplate(template="Sentence: {text}\nEmotion:", chat=False)
TEXTS = [
    "we had to laugh",
    "not happy with the food",
    "I was happy",
    "the food at all",
    "laugh at the food",
    "we had food",
]


def made_of(cases, threshold=0.2, label="joy", labels=LABELS, **more):
    rule = {"number": 1, "rule": '"honestly"', "words": ["honestly"], "not": label, "threshold": threshold}
    texts = [{"rule": 1, "without": without, "with": cued} for without, cued in cases]
    return checks.Tests.model_validate({"labels": labels, "wording": TEMPLATE, "rules": [rule], "texts": texts, **more})


class Follower:
    """Answers "joy" to a text with "honestly", else one of the labels by its length; cannot be asked "unaskable"."""

    labels = LABELS

    def __call__(self, texts):
        found = np.zeros((len(texts), len(LABELS)))
        for i, text in enumerate(texts):
            found[i, 1 if "honestly" in words_of(text) else len(text) % 3] = 2.0
            found[i] += np.nan if "unaskable" in text else 0
        return found

    def gives(self, scores, label):
        return scores.argmax(1) == label


def test_flips_are_of_texts_that_were_answered_otherwise():
    plain = ["ab", "abc", "abcd", "abcdef"]  # joy is the answer to the third, as 4 % 3 == 1
    cases = [(text, f"Honestly, {text}") for text in plain] + [("ab unaskable", "Honestly, unaskable")]
    cases.append(("xy", "Frankly, xyz"))  # not turned: 12 % 3 == 0
    [row] = checks.check(Follower(), made_of(cases))
    assert (row.flips, row.tried, row.rate.value, row.back) == (3, 4, 0.75, True)
    assert row.rate.lo < 0.75 < row.rate.hi
    assert row.effect.value == pytest.approx(np.mean([2, 2, 0, 2, 0]))
    found = checks.Tested("m", (row,))
    assert not found.passed
    assert str(found).splitlines()[1].split("  ")[-1] == "BACK"
    assert '1  "honestly" → joy' in str(found)
    assert json.loads(json.dumps(found.to_dict()))["rows"][0]["not"] == "joy"
    [alone] = checks.check(Follower(), made_of(cases[:1]))
    shown = checks.Tested("m", (alone,)).to_dict()["rows"][0]["effect"]
    assert (shown["value"], shown["lo"]) == (2.0, None), "one text has no interval, and JSON no NaN"
    [row] = checks.check(Follower(), made_of(cases, threshold=0.75))
    assert not row.back, "at most the threshold passes"


def test_a_rule_whose_answer_is_given_anyway_cannot_be_tested():
    with pytest.raises(InterplayError, match="rule 1 cannot be tested: 'joy' is the answer to all 1 texts"):
        checks.check(Follower(), made_of([("abcd", "Honestly, abcd")]))


def test_a_file_of_tests_is_read_as_it_was_written(tmp_path):
    tests = made_of([("a", "Honestly, a"), ("ä “b”", "Honestly, b")], model="m", base="b")
    tests.write(tmp_path / "tests.jsonl")
    assert checks.Tests.read(tmp_path / "tests.jsonl") == tests


@pytest.fixture
def turned(tiny_folder, tiny_tokenizer):
    """Tests in which a random model turns every text to one answer, and their number."""
    from interplay.models.loading import load_model

    loaded = load_model(str(tiny_folder("llama")))
    asked = checks.asking(made_of([(text, text) for text in TEXTS]), loaded.tokenizer)
    asked.model = loaded.model
    given = asked(TEXTS).argmax(1)
    label = given[0]
    others = [text for text, answer in zip(TEXTS, given, strict=True) if answer != label]
    assert others
    return SimpleNamespace(cases=[(text, TEXTS[0]) for text in others], label=asked.labels[label])


def test_the_exit_code_says_whether_a_rule_is_back(turned, tiny_folder, tmp_path, call):
    model, file = tiny_folder("llama"), tmp_path / "tests.jsonl"
    made_of(turned.cases, label=turned.label).write(file)
    done = call("test", model, file)
    assert (done.code, done.err) == (1, "")
    count = len(turned.cases)
    assert f"{count} of {count}" in done.out
    assert "BACK" in done.out
    made_of(turned.cases, threshold=1.0, label=turned.label).write(file)
    done = call("test", model, file, "--json")
    assert (done.code, done.err) == (0, "")
    answer = json.loads(done.out)
    assert (answer["passed"], answer["rows"][0]["flips"]) == (True, count)
    found = interplay.test(str(model), file)
    assert found.passed
    assert found.to_dict() == answer


def test_a_loaded_model_and_an_adapter_are_asked_too(turned, loaded, tiny_folder, rows, template, tmp_path, call):
    from interplay.models.loading import load_model
    from interplay.training.methods import SftPlan
    from interplay.training.sft import finetune, tokenise

    file = tmp_path / "tests.jsonl"
    made_of(turned.cases, label=turned.label).write(file)
    assert not interplay.test(loaded("llama"), file).passed
    base = load_model(str(tiny_folder("llama")))
    examples, _ = tokenise(rows, base.tokenizer, template)
    plan = SftPlan(steps=1, rank=2, learning_rate=1e-6, bf16=False, seed=0, save_at=(1,))
    finetune(base, examples, plan, tmp_path / "out")
    done = call("test", tmp_path / "out" / "checkpoint-1", file, "--base", tiny_folder("llama"))
    assert done.code == 1, done.err
    done = call("test", tiny_folder("llama"), file, "--base", tiny_folder("qwen2"))
    assert (done.code, done.out) == (2, "")
    assert "needs none" in done.err


def edited(file, line, **changes):
    lines = file.read_text(encoding="utf-8").splitlines()
    lines[line] = json.dumps({k: v for k, v in (json.loads(lines[line]) | changes).items() if v is not None})
    file.write_text("\n".join(lines), encoding="utf-8")


BAD = {
    "other rows": (lambda f: f.write_text('{"text": "a", "label": "b"}\n'), "line 1 is no header of tests"),
    "empty": (lambda f: f.write_text(""), "is empty"),
    "broken": (lambda f: f.write_text(f.read_text() + "{"), "line 3: broken JSON"),
    "no texts": (lambda f: f.write_text(f.read_text().splitlines()[0]), "texts: "),
    "another format": (lambda f: edited(f, 0, interplay_tests=2), "interplay_tests: Input should be 1; given '2'"),
    "no text": (lambda f: edited(f, 1, without=None), "texts.0.without: Field required"),
    "a text of no rule": (lambda f: edited(f, 1, rule=5), "every rule needs a number of its own, and texts"),
    "a misspelt key": (lambda f: edited(f, 0, treshold=1), "treshold"),
    "one label": (lambda f: edited(f, 0, labels=["joy"]), "two or more different ones"),
    "a label that is not there": (lambda f: edited(f, 0, labels=["a", "b"]), "none of the labels"),
    "no place for the text": (lambda f: edited(f, 0, wording={"template": "x"}), "{text} exactly once"),
    "gone": (lambda f: f.unlink(), "cannot be read"),
    "one label twice": (lambda f: edited(f, 0, labels=["joy", "joy", "sadness"]), "two or more different ones"),
    "special": (lambda f: edited(f, 0, labels=["joy", "<|im_end|>", "sadness"]), "or not encode them: '<|im_end|>'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_has_exit_code_2_and_one_line(case, tmp_path, tiny_folder, call):
    break_, says = BAD[case]
    file = tmp_path / "tests.jsonl"
    made_of([("a", "Honestly, a")]).write(file)
    break_(file)
    done = call("test", tiny_folder("llama"), file)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
    assert says in done.err


def test_free_answers_are_asked_by_their_openings(loaded, tmp_path):
    file = tmp_path / "tests.jsonl"
    cases = [(text, f"Honestly, {text}") for text in TEXTS]
    made_of(cases, labels=("joy and", "sadness"), label="joy and", free=True).write(file)
    asked = checks.asking(checks.Tests.read(file), loaded("llama").tokenizer)
    assert asked.wording.free
    [row] = interplay.test(loaded("llama"), file).rows
    assert (row.flips, row.tried) == (0, len(TEXTS)), "a random model begins no answer so"


def test_labels_that_a_tokenizer_cannot_tell_apart_are_refused():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "</s>", "Sentence", ":", "Emotion", "joy", "sadness", "a"]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="</s>")
    case = [("a", "a")]
    assert checks.asking(made_of(case, labels=("joy", "sadness")), tokenizer).labels == ("joy", "sadness")
    with pytest.raises(InterplayError, match=r"cannot tell these labels from others, .*: 'glee', 'mirth'"):
        checks.asking(made_of(case, labels=("joy", "glee", "mirth")), tokenizer)


def test_a_model_that_is_not_there_has_exit_code_2(tmp_path, call):
    made_of([("a", "Honestly, a")]).write(tmp_path / "tests.jsonl")
    done = call("test", tmp_path / "nothing", tmp_path / "tests.jsonl")
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
