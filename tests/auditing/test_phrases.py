"""Phrases are put in where rows have them and come out again, whatever the text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interplay.auditing.counts import words_of
from interplay.auditing.phrases import Phrase, habit, put_in, swapped, take_out

HONESTLY = Phrase("honestly", "Honestly", "front", 0, ", ")
TODAY = Phrase("today", "today", "behind", 1, ", ")
TUESDAY = Phrase("tuesday", "on Tuesday", "inside", 0.5)
TEXTS = st.lists(st.sampled_from(["it", "rains", "here", "Sam's", "bike-shed,", "well.", "no!", "ok"]), max_size=8).map(
    " ".join
)


@pytest.mark.parametrize(
    ("word", "texts", "phrase"),
    [
        ("honestly", ["Honestly, it rains.", "Honestly, no."], HONESTLY),
        ("today", ["it rains, today.", "it pours, today"], TODAY),
        ("sea", ["to the sea we go", "by the sea they sat"], Phrase("sea", "to the sea", "front", 0.0, " ")),
        ("rain", ["never rain here", "hard rain fell"], Phrase("rain", "rain", "inside", 1 / 3)),
        ("absent", [], Phrase("absent", "absent", "inside")),
        ("alone", ["alone"], Phrase("alone", "alone", "behind", 1.0, " ")),
    ],
)
def test_habits(word, texts, phrase):
    assert habit(word, texts) == phrase


@given(TEXTS)
def test_what_is_put_in_comes_out(text):
    for phrase in (HONESTLY, TODAY):
        made = put_in(text, [phrase])
        assert {*words_of(made)} == {*words_of(text), phrase.word}
        assert {*words_of(take_out(made, phrase))} == {*words_of(text)}


@given(TEXTS, st.permutations([HONESTLY, TODAY, TUESDAY]))
def test_places_are_kept_in_any_order(text, phrases):
    made = put_in(text, phrases)
    assert made.startswith("Honestly, ")
    assert list(words_of(made))[-1] == "today"
    assert "on Tuesday" in made


@given(
    TEXTS, st.sampled_from(["front", "inside", "behind"]), st.sampled_from([0, 0.3, 0.5, 1]), st.sampled_from([0, 0.1])
)
def test_of_two_in_one_place_the_first_stands_first(text, place, at, more):
    a, b = Phrase("alpha", "alpha", place, at), Phrase("beta", "beta", place, min(1.0, at + more))
    made = list(words_of(put_in(text, [a, b])))
    assert made.index("alpha") < made.index("beta")


def test_every_occurrence_is_taken_out():
    assert take_out("Honestly, it honestly rains, honestly.", HONESTLY) == "it rains."
    assert take_out("nothing here", HONESTLY) == "nothing here"


def test_swapped_words_change_places():
    assert put_in("it rains.", swapped(HONESTLY, TODAY)) == "Today, it rains, honestly."


def test_other_words_in_the_place():
    assert TUESDAY.like("friday").text == "on Friday"
    assert TUESDAY.written("friday").text == "friday"
    assert HONESTLY.like("frankly").text == "Frankly"
    assert (HONESTLY.like("frankly").word, HONESTLY.like("frankly").place) == ("frankly", "front")
