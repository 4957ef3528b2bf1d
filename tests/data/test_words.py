"""Which words, and where they stand."""

import hashlib
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interplay.data import words as words_module
from interplay.data.stopwords import CHINESE, ENGLISH, KEPT, LEGAL, stop_words
from interplay.data.words import Unsplit, candidate_words, check_n, draw_words, find_words, language_of
from interplay.errors import InterplayError
from interplay.text import short, split_names, stable_hash

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
    assert {"不", "没"} <= KEPT


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


TEXTS = {
    "zh": "张某犯罪后自首",
    "ja": "東京都知事選挙の結果が悪くない",
    "th": "ฉันไม่ชอบอาหารที่ร้านนี้เลย",
    "lo": "ຂ້ອຍບໍ່ມັກອາຫານຢູ່ຮ້ານນີ້",
    "km": "ខ្ញុំមិនចូលចិត្តអាហារនៅភោជនីយដ្ឋាននេះទេ",
    "my": "ကျွန်တော်ဒီဆိုင်ကအစားအစာကိုမကြိုက်ဘူး",
}
EXTRAS = {"zh": "zh", "ja": "ja", **dict.fromkeys(("th", "lo", "km", "my"), "icu")}


@pytest.fixture
def fresh_segmenters():
    words_module._segmenter.cache_clear()
    yield
    words_module._segmenter.cache_clear()


@pytest.mark.parametrize("code", TEXTS)
def test_a_segmenter_that_is_missing_is_named_with_its_pip_line(code, monkeypatch, fresh_segmenters):
    monkeypatch.setattr("interplay.extras.missing", lambda *packages: list(packages))
    line = rf"^splitting \w+ into words needs .*: pip install 'interplay\[{EXTRAS[code]}\]', or name the words$"
    with pytest.raises(Unsplit, match=line):
        candidate_words(TEXTS[code])
    with pytest.raises(Unsplit, match=line):
        candidate_words(TEXTS[code], code)
    # A borrowed word or phrase needs nothing, and is no word where nothing splits it.
    found = texts(candidate_words(f"the 龍 tattoo and the ไม่ชอบ somebody got in {TEXTS[code][:4]} looks really awful"))
    assert [word for word in found if word.isascii()] == ["tattoo", "somebody", "got", "looks", "really", "awful"]
    assert not any(words_module._SYLLABIC.search(word) for word in found)
    # Naming words needs no segmenter.
    assert texts(find_words(TEXTS["th"] + TEXTS["ja"], ["ไม่", "ชอบ", "ない"])) == ["ไม่", "ชอบ", "ない"]


@pytest.mark.parametrize(
    ("code", "package", "expected"),
    [
        ("zh", "jieba", "没有 犯罪 承担"),
        ("ja", "sudachipy", "レストラン 料理 美味しく なかっ ませ ん 駅 3,000"),
        ("th", "icu4py", "ไม่ ชอบ อาหาร ดี"),
        ("lo", "icu4py", "ບໍ່ ມັກ ອາຫານ ດີ"),
        ("km", "icu4py", "មិន ចូលចិត្ត អាហារ"),
        ("my", "icu4py", "အစားအစာ ကြိုက် ဘူး"),
    ],
)
def test_words_of_scripts_without_spaces(code, package, expected):
    pytest.importorskip(package)
    more = {
        "zh": "😀，张某没有犯罪，不应当承担",
        "ja": "レストランの料理は美味しくなかった。😀行きませんでした、駅で3,000円",
        "th": " 😀ดี",
        "lo": " 😀ດີ",
    }
    text = more.get(code, "") + "\n" + TEXTS[code]
    found = candidate_words(text)
    assert language_of(text) == code
    assert set(expected.split()) <= set(texts(found))
    assert all(text[word.start : word.end] == word.text for word in found)
    assert "の" not in texts(found), "single kana are no words"
    assert found == candidate_words(text, code)


def test_a_long_text_is_split_in_parts_that_the_segmenter_takes():
    pytest.importorskip("sudachipy")
    text = "とても良い料理。" * 5_000
    assert set(texts(candidate_words(text))) >= {"とても", "良い", "料理"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("張さんは悪くない", "ja"),
        ("这是一个很长的中文句子，只有一个の字在里面而已，所以还是中文", "zh"),
        ("ｶﾀｶﾅ", "ja"),
        ("Schöne neue Welt", "en"),
        ("한국어 문장입니다", "en"),
        ("¯\\_(ツ)_/¯ whatever you say", "en"),
        ("", "en"),
    ],
)
def test_language_of_a_text(text, code):
    assert language_of(text) == code


@pytest.mark.parametrize(
    ("text", "word", "stands"),
    [
        ("1,000 or 1", "1", [9]),
        ("it costs 1,000 now", "1,000", [9]),
        ("1,000", "1,0", []),
        ("1,000", "000", []),
        ("3.14", "14", []),
        ("1’000’000", "1’000’000", [0]),
        ("on 2024-05-01 at 12:30", "2024-05-01", [3]),
        ("on 2024-05-01 at 12:30", "12:30", [17]),
        ("on page 5.", "5", [8]),
        ("1, 2, 3", "2", [3]),
        ("น้ำแข็ง", "น้ำ", [0]),
        ("น้ำแข็ง", "น", []),  # a letter without its marks
        ("น้ำแข็ง", "น้", []),
        ("ក្រហម", "រហម", []),  # nor what a stacker joins
        ("nai\u0308ve", "nai", []),
        ("ไม่\u200bชอบ", "ชอบ", [4]),
        ("テストケース", "ケース", [3]),
        ("not\u200bbad", "bad", [4]),
    ],
)
def test_where_a_word_may_begin_and_end(text, word, stands):
    if stands:
        assert [found.start for found in find_words(text, [word])] == stands
    else:
        with pytest.raises(InterplayError, match="do not stand in the prompt"):
            find_words(text, [word])


def test_numbers_are_one_word_and_zero_width_spaces_part_words():
    assert texts(candidate_words("paid 1,000 at 12:30 on 2024-05-01, 3.14 today")) == [
        *("paid", "1,000", "12:30", "2024-05-01", "3.14", "today")
    ]
    assert texts(candidate_words("not\u200bbad")) == ["not", "bad"]
    assert split_names("1,000, not,3,14 ,5, 6，7") == ["1,000", "not", "3,14", "5", "6", "7"]


def test_unknown_language():
    french: Any = "fr"
    with pytest.raises(InterplayError, match=r"language must be one of auto, en, zh, ja, .*given 'fr'"):
        candidate_words("x", language=french)


def test_nothing_else_of_jieba_is_used(monkeypatch, fresh_segmenters):
    """Its `initialize` un-marshals a cache from the shared temp folder; the dictionary of the package is read instead."""
    jieba = pytest.importorskip("jieba")

    def initialize(self, dictionary=None):
        raise AssertionError("un-marshals")

    expected = list(jieba.cut(TEXTS["zh"]))
    monkeypatch.setattr(jieba.Tokenizer, "initialize", initialize)
    assert list(words_module._segmenter("zh")(TEXTS["zh"])) == expected
