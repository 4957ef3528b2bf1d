"""Samples: which rows are taken, in which order, with which words."""

from collections import Counter
from random import Random

import pytest

from interplay.data.rows import Message, Row
from interplay.data.samples import choose_samples, make_sample, redraw, row_words
from interplay.data.sources import read_rows
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError, SkipSample

# So many long words that none is in half of the texts, or taken for a function word.
VOCABULARY = [
    first + second + third + "onto" for first in "bcdfg" for second in ("ra", "li", "mu", "ne") for third in "lmn"
]


def row_of(i, words, label=None):
    text = " ".join(Random(i).sample(VOCABULARY, words)) + f" the {i}"
    return Row(f"r{i}", (Message("user", text),), "x", text, 0, label)


def test_make_sample_from_text():
    sample = make_sample(
        "I was not happy", "sadness", words=["happy", "not"], template=PromptTemplate(template="Q: {text}")
    )
    assert [word.text for word in sample.words] == ["not", "happy"]
    assert (sample.row.messages[-1].content, sample.row.text_start, sample.row.target) == (
        "Q: I was not happy",
        3,
        "sadness",
    )
    assert sample.id.startswith("text-")
    assert sample == make_sample(
        "I was not happy", "sadness", words=["not", "happy"], template=PromptTemplate(template="Q: {text}")
    )


def test_make_sample_from_row():
    row = row_of(1, 12)
    assert make_sample(row).n == 8
    assert make_sample(row, n=4, seed=3) == make_sample(row, n=4, seed=3)
    assert make_sample(row, "y").row.target == "y"
    assert make_sample(row).row is row


@pytest.mark.parametrize(
    ("text", "target", "options", "said"),
    [
        ("", "x", {}, "prompt with text in it"),
        ("  ", "x", {}, "prompt with text in it"),
        (5, "x", {}, "prompt with text in it"),
        ("good food here", None, {}, "needs a target"),
        ("good food here", " ", {}, "tokenises to nothing"),
        ("good food here", "x", {"n": 65}, r"n must be 1\.\.64 .*given 65"),
        ("good food here", "x", {"words": ["good"] * 65}, r"n must be 1\.\.64 .*given 65"),
        ("good food here", "x", {"words": ["bad"]}, "'bad'"),
    ],
)
def test_make_sample_refuses(text, target, options, said):
    with pytest.raises(InterplayError, match=said):
        make_sample(text, target, **options)


def test_make_sample_of_more_words_than_can_be_enumerated():
    text = " ".join(f"word{i}" for i in range(70))
    drawn = make_sample(text, "x", n=64)
    assert drawn.n == 64
    named = make_sample(text, "x", words=[word.text for word in drawn.words])
    assert named.words == drawn.words
    assert set(make_sample(text, "x", n=10).words) <= set(drawn.words)


@pytest.mark.parametrize(("text", "said"), [("the of", "none"), ("the food", "only one, 'food'")])
def test_make_sample_with_too_few_words(text, said):
    with pytest.raises(SkipSample, match=f"found {said}"):
        make_sample(text, "x")


def test_samples_are_the_same_whatever_the_order_of_rows():
    rows = [row_of(i, 12, "abc"[i % 3]) for i in range(60)]
    first = choose_samples(rows, 10, seed=1)
    shuffled = rows[:]
    Random(0).shuffle(shuffled)
    assert choose_samples(shuffled, 10, seed=1).samples == first.samples
    assert choose_samples(rows, 10, seed=2).samples != first.samples
    assert choose_samples(rows, 4, seed=1).samples == first.samples[:4]
    assert first.notes == ()


def test_labels_take_turns():
    rows = [row_of(i, 12, "a" if i < 50 else "bc"[i % 2]) for i in range(60)]
    chosen = choose_samples(rows, 12)
    assert Counter(sample.row.label for sample in chosen.samples) == {"a": 4, "b": 4, "c": 4}
    chosen = choose_samples(rows, 30)
    assert Counter(sample.row.label for sample in chosen.samples) == {"a": 20, "b": 5, "c": 5}


def test_rows_with_enough_words_come_first():
    rows = [row_of(i, 12) for i in range(3)] + [row_of(i, 9) for i in range(3, 6)] + [row_of(i, 5) for i in range(6, 9)]
    assert [sample.n for sample in choose_samples(rows, 3, n=10).samples] == [10, 10, 10]
    chosen = choose_samples(rows, 5, n=10)
    # the number in the text is one digit, so no word: 12, 9 or 5 candidates
    assert [sample.n for sample in chosen.samples] == [10, 10, 10, 9, 9]
    assert chosen.notes == ("2 of 5 samples have fewer than 10 words",)
    assert sorted(skip.reason for skip in chosen.skipped) == ["5 candidate words where 10 are asked for"] * 3 + [
        "9 candidate words where 10 are asked for"
    ]
    chosen = choose_samples(rows, 20, n=10)
    assert len(chosen.samples) == 9
    assert chosen.notes[1] == "20 samples were asked for and 9 could be found"


def test_never_the_same_text_twice():
    rows = [
        Row(f"r{i}", (Message("user", "good food bad wait"),), "x", "good food bad wait", 0, "ab"[i % 2])
        for i in range(6)
    ]
    chosen = choose_samples(rows, 6, n=4)
    assert len(chosen.samples) == 1
    assert len(chosen.skipped) == 5
    assert all("the same text as row" in skip.reason for skip in chosen.skipped)


def test_check_may_refuse():
    def check(sample):
        if sample.row.id in ("r1", "r2"):
            raise SkipSample(f"{sample.row.id} cannot be encoded")

    chosen = choose_samples([row_of(i, 12) for i in range(5)], 5, check=check)
    assert sorted(sample.row.id for sample in chosen.samples) == ["r0", "r3", "r4"]
    assert sorted(skip.reason for skip in chosen.skipped) == ["r1 cannot be encoded", "r2 cannot be encoded"]


@pytest.mark.parametrize(
    ("rows", "count", "n", "said"),
    [
        ([], 5, 10, "no row can be used.*there are no rows"),
        ([row_of(1, 1)], 5, 10, "no row can be used.*1 candidate word where 10"),
        ([row_of(1, 12)], 0, 10, "number of samples"),
        ([row_of(1, 12)], 5, 1, r"n must be 2\.\.16"),
        ([row_of(1, 12)], 5, 17, r"n must be 1\.\.16 .*interplay explain"),
    ],
)
def test_choose_samples_refuses(rows, count, n, said):
    with pytest.raises(InterplayError, match=said):
        choose_samples(rows, count, n)


def test_real_goemotions_gives_balanced_samples(real):
    result = read_rows(f"{real('data/goemotions')}:dev")
    chosen = choose_samples(result.rows, 56, 10)
    assert set(Counter(sample.row.label for sample in chosen.samples).values()) <= {1, 2, 3}
    assert len(chosen.samples) == 56
    for sample in chosen.samples:
        assert all(sample.row.text[word.start : word.end] == word.text for word in sample.words)


def naming(i, words, text="not good but very bad today"):
    return Row(f"r{i}", (Message("user", f"{text} {i}"),), "x", f"{text} {i}", 0, words=words)


def test_all_words_may_be_drawn():
    text = "we are at the lake with him"
    row = Row("r", (Message("user", text),), "x", text, 0)
    assert [s.n for s in choose_samples([row], 1, n=7, words="all").samples] == [7]
    with pytest.raises(InterplayError, match="1 candidate word where 7"):
        choose_samples([row], 1, n=7)
    [sample] = choose_samples([row], 1, n=7, words="all", stop_words=frozenset({"the", "him"})).samples
    assert [word.text for word in sample.words] == ["we", "are", "at", "lake", "with"]


def test_given_words_are_those_of_the_row():
    rows = [
        naming(0, ("bad", "not", "but")),
        naming(1, None),
        naming(2, ("not", "gone")),
        naming(3, ("good",)),
        naming(4, ("very bad", "today", "not", "good")),
    ]
    chosen = choose_samples(rows, 9, n=3, words="given", stop_words=frozenset({"bad"}))
    by_id = {sample.id: [word.text for word in sample.words] for sample in chosen.samples}
    assert by_id["r0"] == ["not", "but", "bad"]
    assert len(by_id["r4"]) == 3
    assert set(by_id["r4"]) < {"not", "good", "very bad", "today"}
    reasons = {skip.id: skip.reason for skip in chosen.skipped}
    assert "row 'r1': names no words" in reasons["r1"]
    assert "do not stand in the prompt" in reasons["r2"]
    assert "'gone'" in reasons["r2"]
    assert reasons["r3"] == "1 candidate word where 3 are asked for"
    assert by_id.keys() == {"r0", "r4"}


@pytest.mark.parametrize("spare", [0, 1, 8])
def test_redraw_gives_other_words_where_there_are_others(spare):
    rows = [row_of(i, 4 + spare) for i in range(9)]
    first = choose_samples(rows, 9, n=4, seed=1).samples
    again = [redraw(sample, 2, 4, 1) for sample in first]
    assert [a.row for a in again] == [s.row for s in first]
    assert all(a.n == 4 for a in again)
    assert all((a.words != s.words) == bool(spare) for a, s in zip(again, first, strict=True))
    assert [redraw(sample, 2, 4, 1) for sample in first] == again
    for sample, new in zip(first, again, strict=True):
        assert list(new.words) == sorted(new.words, key=lambda word: word.start)
        assert set(new.words) <= set(row_words(sample.row))
    if spare == 8:
        assert [redraw(sample, 3, 4, 1) for sample in first] != again
        assert [redraw(sample, 2, 4, 2) for sample in first] != again


def test_redraw_passes_a_check_or_gives_the_sample_back():
    sample = make_sample(row_of(1, 12), n=4)
    wanted = row_words(sample.row)[0]

    def check(candidate):
        if wanted not in candidate.words:
            raise SkipSample("refused")

    assert wanted in redraw(sample, 2, 4, 0, check=check).words

    def never(candidate):
        raise SkipSample("refused")

    assert redraw(sample, 2, 4, 0, check=never) == sample
    assert redraw(sample, 2, 4, 0, words="given") == sample, "a row that names no words"
