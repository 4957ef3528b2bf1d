"""Answers of a model: log-odds as `score` gives them, each text asked once, kept over a kill."""

import numpy as np
import pytest

from interplay.auditing.asking import Asked, Wording, find_wording
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError, SkipSample

TEMPLATE = PromptTemplate(template="Sentence: {text}\nEmotion:", chat=False)
LABELS = ("anger", "joy", "love", "sadness")
TEXTS = ["we had to laugh", "not happy with the food", "I was happy", *(f"number {i} of the food" for i in range(12))]


@pytest.fixture
def asked(loaded):
    one = loaded("llama")
    return lambda **more: Asked(one.model, find_wording(TEXTS, LABELS, one.tokenizer, TEMPLATE), **more)


def test_log_odds_among_the_labels_from_the_logits(asked, loaded):
    import torch

    one, found = loaded("llama"), asked()(TEXTS)
    wording = asked().wording
    assert wording.labels == LABELS
    assert {len(question.target) for question in wording.questions.each} == {1}
    for text, scores in zip(TEXTS, found, strict=True):
        with torch.no_grad():
            logits = one.model(torch.tensor([wording.ids(text)])).logits[0, -1].double()
        some = logits[[question.target[0] for question in wording.questions.each]]
        rest = [float(some[i] - torch.logsumexp(some[torch.arange(4) != i], 0)) for i in range(4)]
        assert scores == pytest.approx(rest, abs=1e-3)
    odds = 1 / (1 + np.exp(-found))
    assert odds.sum(1) == pytest.approx(1, abs=1e-4)


def test_each_text_is_asked_once_and_in_any_company(asked):
    one, other = asked(), asked()
    together = one(TEXTS)
    assert one.passes == len(TEXTS)
    assert (one(TEXTS[::-1]) == together[::-1]).all()
    assert one.passes == len(TEXTS)
    alone = np.concatenate([other([text]) for text in TEXTS])
    assert alone == pytest.approx(together, abs=1e-4)
    assert one([]).shape == (0, 4)


def test_a_killed_audit_goes_on(asked, tmp_path):
    file, seen = tmp_path / "answers.jsonl", []
    first = asked(file=file, progress=lambda done, total: seen.append((done, total)))(TEXTS[:5])
    assert seen[-1] == (5, 5)
    file.write_text(file.read_text() + '["cut off by a k')
    again = asked(file=file)
    assert (again(TEXTS[:5]) == first).all()
    assert again.passes == 0


def test_a_text_that_cannot_be_asked_has_no_scores(asked, monkeypatch):
    def refuse(wording, text):
        if "laugh" in text:
            raise SkipSample("too long")
        return whole(wording, text)

    whole = Wording.ids
    monkeypatch.setattr(Wording, "ids", refuse)
    one = asked()
    found = one(TEXTS)
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1:]).all()
    assert one.passes == len(TEXTS) - 1


def test_a_broken_model_is_an_error(asked, loaded):
    import copy

    import torch

    one = asked()
    one.model = copy.deepcopy(one.model)
    with torch.no_grad():
        one.model.get_input_embeddings().weight[:] = float("nan")
    with pytest.raises(InterplayError, match="not finite"):
        one(TEXTS[:2])
