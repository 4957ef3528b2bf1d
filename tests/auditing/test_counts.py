"""What the data hold is counted right, planted pairs and exceptions first, whatever the rows are."""

import math

import numpy as np
import pytest
from planted import TARGET, evidence_of, rows
from scipy.stats import binom, norm
from test_search import both, unless, word

from interplay.auditing.counts import (
    count_exceptions,
    count_pairs,
    count_words,
    normal_tail,
    signed_root,
    tabulate,
    words_of,
)


def test_a_table_by_hand():
    texts = ["red sky"] * 5 + ["red sea"] * 4 + ["Sky!"] * 2
    table = tabulate(texts, ["a"] * 5 + ["b"] * 4 + [None, "a"])
    assert table.words == ("red", "sky")  # the sea is in four rows only
    assert [list(found) for found in table.rows_of] == [list(range(9)), [0, 1, 2, 3, 4, 9, 10]]
    assert table.labels == ("a", "b")
    assert table.rates == pytest.approx([6 / 11, 4 / 11])
    assert table.rows_with(("red", "sky")).tolist() == [0, 1, 2, 3, 4]
    assert not len(table.rows_with(("sea",)))


def test_words_by_hand():
    table = tabulate(["red sky"] * 6 + ["blue sky"] * 6, ["a"] * 6 + ["b"] * 6)
    first = count_words(table)[0]
    assert (first.rows, first.hits, first.against, first.expected) == (6, 6, 0, 0.5)
    assert first.z == pytest.approx(math.sqrt(12 * math.log(2)))
    assert first.p == pytest.approx(norm.sf(first.z))
    assert {first.words[0], first.label} in ({"red", "a"}, {"blue", "b"})


def test_the_signed_root_is_about_the_binomial_tail():
    for rows_, rate in ((40, 0.25), (200, 0.1), (15, 0.5)):
        hits = np.arange(rows_ + 1)
        tail = binom.cdf(hits, rows_, rate) - binom.pmf(hits, rows_, rate) / 2  # the middle of the step
        some = (tail > 1e-4) & (tail < 1 - 1e-4)
        z = signed_root(hits, np.array(rows_), np.array(rate))
        assert np.abs(z - norm.ppf(tail))[some].max() < 0.35


def test_the_planted_are_first():
    assert evidence_of(word).words[0].words == ("zandar",)
    pair = evidence_of(both).pairs[0]
    assert ({*pair.words}, pair.label) == ({"zandar", "mobito"}, TARGET)
    assert pair.z > 4.5
    one = next(found for found in evidence_of(unless).words if found.words == ("zandar",) and found.label == TARGET)
    exception = count_exceptions(evidence_of(unless).table, [one])[0]
    assert (exception.words, exception.label) == (("zandar", "mobito"), TARGET)
    assert exception.z < -4.5


def test_a_word_alone_makes_no_pair():
    """The pairs of a word that tells the answer say nothing beyond it."""
    assert not [pair for pair in evidence_of(word).pairs if "zandar" in pair.words and pair.z > 4.5]


@pytest.mark.parametrize(
    ("texts", "answers"), [([], []), (["red sky"] * 9, [None] * 9), (["", "!"], ["a", "b"]), (["x y"] * 9, ["a"] * 9)]
)
def test_rows_that_tell_nothing(texts, answers):
    table = tabulate(texts, answers)
    assert all(found.z == pytest.approx(0, abs=1e-4) for found in [*count_words(table), *count_pairs(table)])


def test_blocks_of_long_rows_count_as_one():
    texts, answers = rows(both, count=300)
    table = tabulate([f"{text} {text.upper()}" for text in texts], answers)  # a word counts once a row
    assert count_pairs(table) == count_pairs(tabulate(texts, answers))
    assert words_of("Sky sky SKY") == {"sky": (0, 3)}


def test_the_tail_of_the_normal():
    z = np.linspace(-4, 8, 30)
    assert [normal_tail(x) for x in z] == pytest.approx(norm.sf(z))
