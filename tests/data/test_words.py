"""Which words, and where they stand."""

import hashlib
import string
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interplay.data import words as words_module
from interplay.data.stopwords import CHINESE, CHINESE_SINGLES_KEPT, ENGLISH, LEGAL, stop_words
from interplay.data.words import candidate_words, check_n, draw_words, find_words
from interplay.errors import InterplayError
from interplay.text import short, stable_hash

WORDS = st.sampled_from(
    ["not", "happy", "don't", "the", "a", "very", "naïve", "e\u0301tat", "x-ray", "🙂", "ﬁne", "हिन्दी", "5", "42"]
)
EDGES = st.text(alphabet=" \t\n.,!?…“”«»()*_—\u200b\u202e\u2028\x00", max_size=4)
MESSY = st.lists(st.tuples(EDGES, WORDS, EDGES), max_size=20).map(lambda parts: "".join(map("".join, parts)))


def texts(words):
    return [word.text for word in words]


def drawn(text, n, *key):
    return draw_words(candidate_words(text), n, *key)


@given(st.one_of(MESSY, st.text(max_size=80)))
@settings(derandomize=True)
def test_offsets_trace_back_and_never_overlap(text):
    end = 0
    for word in candidate_words(text, language="en"):
        assert text[word.start : word.end] == word.text
        assert word.text
        assert word.start >= end
        assert not any(c.isspace() for c in word.text)
        end = word.end


@given(MESSY, st.integers(2, 16), st.integers(0, 3))
@settings(derandomize=True)
def test_chosen_words_are_candidates_in_order_and_nested(text, n, seed):
    candidates = candidate_words(text)
    chosen = draw_words(candidates, n, seed, "s")
    assert len(chosen) == min(n, len(candidates))
    assert set(chosen) <= set(candidates)
    assert list(chosen) == sorted(chosen, key=lambda word: word.start)
    assert set(draw_words(candidates, 2, seed, "s")) <= set(chosen)
    # and naming them finds as many again, perhaps an earlier occurrence
    assert not chosen or sorted(texts(find_words(text, texts(chosen)))) == sorted(texts(chosen))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I was not happy, and you can't say so!", ["not", "happy", "can't", "say", "so"]),
        ("It’s hardly good; I don’t care", ["hardly", "good", "don’t", "care"]),
        ("«well-known» (state-of-the-art)…", ["well-known", "state-of-the-art"]),
        ("a b 5 42 -- ... 🙂 ❤️ !!", ["42"]),
        ("[NAME] is *very* nice_", ["NAME", "very", "nice"]),
        ("dogs' 'quoted' rock'n'roll", ["dogs", "quoted", "rock'n'roll"]),
        ("NOT The Best", ["NOT", "Best"]),
        ("not good not bad", ["not", "good", "not", "bad"]),
        ("", []),
    ],
)
def test_candidates(text, expected):
    assert texts(candidate_words(text)) == expected


def test_negation_intensity_and_contrast_are_kept_and_lists_are_comparable():
    kept = "not no never nor neither nothing nobody hardly barely very so too really quite more most only but don't can't won't isn't"
    assert texts(candidate_words(kept)) == kept.split()
    assert all(word == word.casefold() and "’" not in word for word in ENGLISH)
    assert all(len(word) > 1 for word in CHINESE)
    assert {"不", "没"} <= CHINESE_SINGLES_KEPT


def test_stop_words_on_request():
    assert texts(candidate_words("I am the one", keep_stop_words=True)) == ["am", "the", "one"]


def test_more_stop_words():
    drop = stop_words("Food, don't，NOT")
    assert drop == {"food", "don't", "not"}
    assert texts(candidate_words("FOOD is not good, I don’t care", stop_words=drop)) == ["good", "care"]
    assert texts(candidate_words("The food", keep_stop_words=True, stop_words=drop)) == ["The"]
    assert stop_words(None) == frozenset()
    assert stop_words("legal") == LEGAL
    assert stop_words(" legal ,甲方") == LEGAL | {"甲方"}
    for empty in ("", " , ", "，"):
        with pytest.raises(InterplayError, match="name no word: give legal"):
            stop_words(empty)


def test_legal_boilerplate_is_kept_out_and_law_stays():
    pytest.importorskip("jieba")
    question = "根据我国民法典的规定，承租人擅自转租房屋的，下列关于合同解除的说法正确的是哪项？"
    found = texts(candidate_words(question, "zh", stop_words=LEGAL))
    assert {"承租人", "转租", "房屋", "合同", "解除"} <= set(found)
    assert not LEGAL & set(found)
    assert {"规定", "说法", "正确"} <= set(texts(candidate_words(question, "zh")))
    assert not LEGAL & {"违约", "故意", "过失", "盗窃", "合同", "责任", "不得", "没有", "未经"}


def test_repeated_words_are_distinct_variables():
    found = find_words("so sad so so", ["so", "so", "so"])
    assert [word.start for word in found] == [0, 7, 10]


def test_choice_depends_on_seed_and_id_only_and_is_the_same_everywhere():
    text = " ".join(string.ascii_lowercase[i] * 3 for i in range(20))
    first = drawn(text, 5, 0, "a")
    assert first == drawn(text, 5, 0, "a")
    assert first != drawn(text, 5, 1, "a")
    assert first != drawn(text, 5, 0, "b")
    # the hash is SHA-256 of the parts' repr: written out, so that a change of it cannot pass unseen
    assert stable_hash(0, "a", 4) == hashlib.sha256(b"(0, 'a', 4)").hexdigest()
    assert texts(first) == ["aaa", "bbb", "eee", "kkk", "ooo"]


@pytest.mark.parametrize("n", [0, -1, 17, 20, 65, 2.5, True, "10"])
def test_n_out_of_range(n):
    with pytest.raises(InterplayError, match=r"n must be 1\.\.16 .*given") as error:
        check_n(n, 16)
    assert ("interplay explain" in str(error.value)) == (n in (17, 20)), "a hint where explain takes that many"
    with pytest.raises(InterplayError, match=r"n must be 2\.\.64 where words are drawn"):
        check_n(1, 64, least=2)


def test_up_to_64_words():
    text = " ".join(f"word{i}" for i in range(70))
    chosen = drawn(text, 64, 0, "a")
    assert len(set(chosen)) == 64
    assert set(drawn(text, 16, 0, "a")) <= set(chosen)
    assert find_words(text, texts(chosen)) == chosen
    assert texts(find_words("good food", ["food"])) == ["food"]


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("Happy or not happy", ["happy"], [(13, 18)]),  # the exact one goes before "Happy"
        ("Happy or not happy", ["happy", "happy"], [(0, 5), (13, 18)]),
        ("nothing is not it", ["not"], [(11, 14)]),  # never inside another word
        ("I don’t know", ["don't"], [(2, 7)]),
        ("in New York now", ["New York", "now"], [(3, 11), (12, 15)]),
        ("a+b (c)", ["a+b", "(c)"], [(0, 3), (4, 7)]),
        ("我不高兴", ["高兴", "不"], [(1, 2), (2, 4)]),
        ("the end", ["the"], [(0, 3)]),  # the user may name a stop word
    ],
)
def test_find_words(text, words, expected):
    found = find_words(text, words)
    assert [(word.start, word.end) for word in found] == expected
    assert all(text[word.start : word.end] == word.text for word in found)


def test_find_words_names_what_is_missing():
    with pytest.raises(InterplayError, match=r"do not stand in the prompt.*: 'sad', 'not'$"):
        find_words("not happy", ["sad", "not", "not"])
    for words in ([], ["x"] * 65):
        with pytest.raises(InterplayError, match=r"n must be 1\.\.64 .*given \d+$"):
            find_words("x", words)
    with pytest.raises(InterplayError, match="must be a list"):
        find_words("not happy", "not happy")
    with pytest.raises(InterplayError, match="white space"):
        find_words("not happy", ["not", " "])


def test_messages_hold_no_control_characters():
    said = short("\x1b[31m\u202eevil\n\0" + "x" * 10**6)
    assert said.isprintable()
    assert len(said) < 120
    with pytest.raises(InterplayError) as error:
        find_words("fine", ["\x1b]0;title\x07\u202e"])
    assert str(error.value).isprintable()


def test_a_megabyte_is_no_problem():
    assert len(candidate_words("!" * 10**5 + "x" * 10**6)[0].text) == 10**6


def test_chinese_without_jieba_names_the_pip_line(monkeypatch):
    words_module._jieba_tokenizer.cache_clear()
    monkeypatch.setitem(sys.modules, "jieba", None)
    with pytest.raises(InterplayError, match=r"pip install 'interplay\[zh\]'"):
        candidate_words("张某犯罪后自首")
    # one borrowed character does not make an English comment Chinese
    assert texts(candidate_words("the 龍 tattoo looks awful")) == ["tattoo", "looks", "awful"]


def test_chinese_through_a_stand_in(monkeypatch):
    class Cutter:
        def tokenize(self, text):
            return [(text[i : i + 2], i, min(i + 2, len(text))) for i in range(0, len(text), 2)]

    monkeypatch.setattr(words_module, "_jieba_tokenizer", Cutter)
    text = "我们犯罪不。 can't 自首"
    found = candidate_words(text)
    assert texts(found) == ["犯罪", "不", "can't", "自首"]
    assert all(text[word.start : word.end] == word.text for word in found)


def test_chinese_through_jieba():
    pytest.importorskip("jieba", exc_type=ImportError)
    words_module._jieba_tokenizer.cache_clear()
    text = "张某没有犯罪，不应当承担刑事责任。"
    found = candidate_words(text)
    assert {"没有", "犯罪", "承担"} <= set(texts(found))
    assert all(text[word.start : word.end] == word.text for word in found)


def test_unknown_language():
    french: Any = "fr"
    with pytest.raises(InterplayError, match="language must be"):
        candidate_words("x", language=french)


def test_nothing_else_of_jieba_is_used(monkeypatch):
    """The cache that jieba un-marshals comes from a fresh private folder, not from the shared temp folder."""
    seen = []

    class Tokenizer:
        tmp_dir = None

        def initialize(self):
            seen.append(self.tmp_dir)

    stand_in = SimpleNamespace(__spec__=object(), setLogLevel=lambda level: None, Tokenizer=Tokenizer)
    monkeypatch.setitem(sys.modules, "jieba", stand_in)
    words_module._jieba_tokenizer.cache_clear()
    words_module._jieba_tokenizer()
    words_module._jieba_tokenizer.cache_clear()
    assert seen[0] is not None
