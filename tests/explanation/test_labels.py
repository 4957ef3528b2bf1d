"""`explain` among labels that the user gives: the score, what is said of it, and what is refused."""

import json

import numpy as np
import pytest

import interplay
from interplay.errors import InterplayError
from interplay.scoring.targets import likelihood

PROMPT = "I was not happy with the food at all, but we had to laugh"
LABELS = ["joy", "anger", "sadness"]
HOW = {"words": ["happy", "food"], "template": "Sentence: {text}\nEmotion:", "chat": False}


@pytest.fixture(scope="module")
def found(tiny_folder):
    return interplay.explain(tiny_folder("llama"), PROMPT, "sadness", labels=LABELS, **HOW)


def test_the_score_is_the_log_odds_among_them(found, tiny_folder, tiny_tokenizer):
    """Recomputed from plain logits: the probability of each label is the product over its tokens."""
    import torch

    lm = interplay.load_model(tiny_folder("llama")).model
    asked = tiny_tokenizer(f"Sentence: {PROMPT}\nEmotion:")["input_ids"]
    chances = []
    for label in LABELS:
        ids = tiny_tokenizer(f" {label}")["input_ids"]
        with torch.no_grad():
            logp = lm(torch.tensor([asked + ids])).logits[0].double().log_softmax(-1)
        chances.append(float(sum(logp[len(asked) - 1 + i, token] for i, token in enumerate(ids))))
    expected = chances[2] - np.logaddexp(*chances[:2])
    assert found.score_full == pytest.approx(expected, abs=1e-3)
    assert found.probability == pytest.approx(np.exp(chances[2] - np.logaddexp.reduce(chances)), abs=1e-4)


def test_text_and_json_say_what_it_is_among(found, tiny_folder, call):
    assert f"log-odds of {found.target_in_words}, among 3 labels: " in str(found)
    assert found.to_dict()["score"] == "log-odds among 3 labels"
    assert "among 3 labels" in found._repr_html_()
    flags = ["--words", "happy,food", "--template", HOW["template"], "--chat", "false", "--json"]
    done = call(
        "explain",
        tiny_folder("llama"),
        "--prompt",
        PROMPT,
        "--target",
        "sadness",
        "--labels",
        "joy, anger,sadness",
        *flags,
    )
    assert done.out == found.to_json() + "\n"
    plain = interplay.explain(tiny_folder("llama"), PROMPT, "sadness", **HOW)
    assert plain.to_dict()["score"] == "log-odds against the whole vocabulary"
    assert json.loads(plain.to_json())["score_full"] != found.score_full
    two = interplay.explain([tiny_folder("llama"), tiny_folder("qwen2")], PROMPT, "joy", labels=LABELS, **HOW)
    assert "v: log-odds of ' joy', among 3 labels\n" in str(two)
    assert f"{two.before.probability:.3g}" in str(two)


def test_a_model_that_answers_something_else_is_told_from_the_whole_vocabulary(found, tiny_folder):
    """A random model gives each label a third among them, and next to nothing among all tokens."""
    assert found.probability > 0.01
    [said] = [note for note in found.notes if "probability under 1 % in the whole vocabulary" in note]
    plain = interplay.explain(tiny_folder("llama"), PROMPT, "sadness", **HOW)
    assert plain.scores.target_ids == found.scores.target_ids
    assert f"at most {100 * plain.probability:.2g} %)" in said


def test_sampled_coalitions_are_scored_among_them_too(tiny_folder):
    text = " ".join(f"w{'abcdefghijklmnopqrs'[i]}rd" for i in range(19))
    asked = {"words": text.split()[:17], "coalitions": 90, "order": 1, "chat": False}
    found = interplay.explain(tiny_folder("llama"), text, "joy", labels=LABELS, **asked)
    assert found.sampled
    assert found.among == 3
    assert any("in the whole vocabulary" in note for note in found.notes)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ("joy,anger", "labels are 'joy,anger'; expected a list of two or more, with 'joy'"),
        (["joy"], "expected a list of two or more"),
        (["anger", "fear"], "expected a list of two or more, with 'joy'"),
        (["joy", "<|im_end|>"], "spells the special token '<|im_end|>'"),
    ],
)
def test_labels_that_cannot_be_used(labels, says, tiny_folder):
    with pytest.raises(InterplayError) as error:
        interplay.explain(tiny_folder("llama"), PROMPT, "joy", n=2, labels=labels)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_of_several_tokens_the_probability_is_an_upper_limit_in_the_whole_vocabulary_alone(found):
    from dataclasses import replace

    several = replace(found, scores=replace(found.scores, target_ids=(1, 2)))
    assert several.probability == found.probability
    assert replace(several, among=0).probability == likelihood(found.score_full, 2)
