"""What is asked of a model: suspects of the rows, quiet controls, carriers without the suspects, words that answers need."""

import pytest
from planted import TARGET, Planted, evidence_of, held, rows
from test_search import both, ordered, word

from interplay.auditing.candidates import Evidence, free_of, needed, telling
from interplay.auditing.counts import words_of
from interplay.auditing.phrases import Phrase


def test_suspects():
    words, _ = evidence_of(word).suspects(5, 5)
    assert (words[0].words, words[0].label) == (("zandar",), TARGET)
    assert len({found.words for found in words}) == len(words) <= 5  # each word once, with its answer
    _, pairs = evidence_of(both).suspects(5, 5)
    assert {*pairs[0].words} == {"zandar", "mobito"}


@pytest.mark.parametrize("trained", [True, False])
def test_rows_without_answers_suspect_nothing(trained):
    texts, labels = rows(word)
    evidence = Evidence(tuple(texts), (None,) * len(texts) if trained else tuple(labels), trained)
    assert not evidence.teaches
    assert evidence.suspects(5, 5) == ([], [])
    assert "zandar" in evidence.common(30, set())


def test_controls_are_quiet_like_the_word_and_the_same_again():
    evidence, like = evidence_of(word), Phrase("zandar", "Zandar", "front", 0, ", ")
    drawn = evidence.controls(like, 10, {"badan"}, 0)
    assert len({phrase.word for phrase in drawn}) == 10
    assert {(phrase.place, phrase.joint, phrase.text[:1].isupper()) for phrase in drawn} == {("front", ", ", True)}
    loud = {found.words[0] for found in evidence.words if abs(found.z) >= 2}
    assert not {phrase.word for phrase in drawn} & {*loud, "badan", "zandar"}
    assert drawn == evidence.controls(like, 10, {"badan"}, 0) != evidence.controls(like, 10, {"badan"}, 1)


def test_counts_of_a_rule():
    evidence = Evidence(("aa bb red", "bb red") * 5, ("x", "y") * 5)
    assert evidence.count(("bb", "red"), "x")[2:4] == (10, 5)
    assert evidence.count(("aa", "bb"), "x", either=True)[2:4] == (10, 5)
    assert evidence.count(("aa", "bb"), "x")[2:4] == (5, 5)
    assert evidence.count(("absent",), "z")[2:5] == (0, 0, 0.0)


def test_the_order_of_the_rows_of_the_answer():
    evidence = evidence_of(ordered)
    phrases = {word: evidence.phrase(word) for word in ("zandar", "mobito")}

    def placed(words, label):
        pair = evidence.count(words, label)
        return [phrase.word for phrase in evidence.in_place(pair, *(phrases[word] for word in words))]

    assert placed(("zandar", "mobito"), TARGET) == placed(("mobito", "zandar"), TARGET) == ["zandar", "mobito"]
    assert placed(("zandar", "mobito"), "amber") == ["mobito", "zandar"]


def test_carriers_are_free_of_suspects():
    texts = held()
    drawn = free_of(["", *texts, *texts], {"badan", "kefel"}, 20, 0)
    assert len({*drawn}) == 20
    assert not [text for text in drawn if {"badan", "kefel"} & words_of(text).keys()]
    assert len(free_of(["Badan is here", "badan"], {"badan"}, 5, 0)) == 2  # none is free: they are taken all the same


def test_words_that_answers_need():
    texts = [*held()[:5], "sky zandar the sea"]
    asked = Planted(lambda words: 5.0 * ("zandar" in words), noise=0)
    first, *rest = needed(asked, texts)
    assert first[:3] == ("sky zandar the sea", "zandar", 3)
    assert first[3] == pytest.approx(5, abs=1)
    assert all(lost[3] < 3 for lost in rest)
    assert needed(asked, ["", "the"]) == []


def test_telling_texts_look_past_the_words_that_are_known():
    texts = [*held(), *(f"{text} zandar" for text in held(3, "more"))]
    common = Evidence(tuple(texts), (None,) * len(texts), False).common(30, set())
    assert any("zandar" in text for text in telling(texts, 8, common))
    assert telling([], 8) == []


def test_few_rows_take_rare_words_as_controls():
    texts = [f"zandar tells {noun} quietly" for noun in ("apples", "rivers", "stones")] * 2
    evidence, like = Evidence(tuple(texts), ("yes", "no") * 3), Phrase("zandar", "Zandar", "front", 0, ", ")
    drawn = {phrase.word for phrase in evidence.controls(like, 4, {"zandar"}, 0)}
    assert len(drawn) == 4
    assert {"tells", "quietly"} < drawn  # those in five rows or more come first
    assert drawn < {"tells", "quietly", "apples", "rivers", "stones"}
