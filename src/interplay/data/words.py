"""Words: which words of a text may be input variables, which n of them are drawn, and where they stand.

Splitting on white space (jieba for Chinese), dropping stop words, punctuation and single characters, and drawing n words
with a seed are [lineage]; the stop lists, the hash and the limits are [ours]. Two occurrences of a word are two variables.
"""

import functools
import importlib
import re
import tempfile
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from interplay.data.rows import Word
from interplay.data.stopwords import CHINESE, CHINESE_SINGLES_KEPT, ENGLISH
from interplay.errors import InterplayError
from interplay.extras import require
from interplay.limits import EXACT_WORDS, SAMPLED_WORDS
from interplay.text import short, stable_hash

Language = Literal["auto", "en", "zh"]

MIN_CHOSEN = 2  # with one word there is nothing that could interact
WORDS_PER_PROMPT = 8  # the default everywhere [ours]; the paper's presets ask for 10

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
# From this fraction of letters on a text is Chinese: one borrowed character in an English comment must not need jieba [ours].
_HAN_FRACTION = 0.2


def candidate_words(
    text: str, language: Language = "auto", keep_stop_words: bool = False, stop_words: frozenset[str] = frozenset()
) -> list[Word]:
    """The words of `text` that may become input variables, in the order of the text.

    White space splits; punctuation is stripped at the edges, inner apostrophes and hyphens stay; stop words and single
    characters are dropped [lineage], but not negation, intensity and contrast [ours]. Chinese text (`language="zh"`, or "auto"
    when a fifth of the letters are Han characters) is split by jieba. `stop_words`: more words, case-folded, that are always
    dropped.

    Errors: InterplayError when jieba is needed and missing, or `language` is unknown.

    >>> candidate_words("I am not happy -- don't ask!")
    [Word(text='not', start=5, end=8), Word(text='happy', start=9, end=14), Word(text="don't", start=18, end=23), \
Word(text='ask', start=24, end=27)]
    >>> [w.text for w in candidate_words("I am no song", keep_stop_words=True, stop_words=frozenset({"song"}))]
    ['am', 'no']
    """
    if language not in ("auto", "en", "zh"):
        raise InterplayError(f"language must be 'auto', 'en' or 'zh'; given {language!r}")
    han = len(_HAN.findall(text)) if language == "auto" else 0
    chinese = language == "zh" or (han > 0 and han >= _HAN_FRACTION * sum(map(str.isalpha, text)))
    words = []
    for start, end in _pieces(text, chinese):
        start, end = _core(text, start, end)
        if start < end and _carries_meaning(text[start:end], keep_stop_words, stop_words):
            words.append(Word(text[start:end], start, end))
    return words


def draw_words(candidates: Sequence[Word], n: int, *key: object) -> tuple[Word, ...]:
    """`n` of the candidates (all, where there are fewer) in the order of the text, ranked by SHA-256 of (*key, offset) [ours].

    The draw of a smaller n is part of the draw of a larger one.

    >>> few = (Word("good", 0, 4), Word("food", 5, 9), Word("today", 10, 15))
    >>> [w.text for w in draw_words(few, 2, 0, "a")], draw_words(few, 5, 0, "a") == few
    (['good', 'today'], True)
    """
    ranked = sorted(candidates, key=lambda word: stable_hash(*key, word.start))
    return tuple(sorted(ranked[:n], key=lambda word: word.start))


def find_words(text: str, words: Sequence[str]) -> tuple[Word, ...]:
    """Where the user's own `words` stand in `text`, in the order of the text.

    Each word, in the order given, takes its first occurrence that no earlier one has taken, at word boundaries; an exact
    match goes before one that differs in case or in the shape of the apostrophe. Name a word twice to take two occurrences.

    Errors: InterplayError naming the words that do not stand in the text, or when there are none or more than 64.

    >>> find_words("not bad, not good", ["good", "not", "not"])
    (Word(text='not', start=0, end=3), Word(text='not', start=9, end=12), Word(text='good', start=13, end=17))
    """
    if isinstance(words, str):
        raise InterplayError(f"words must be a list of words; given one string {short(words)}: split it first")
    check_n(len(words), SAMPLED_WORDS)
    taken: list[Word] = []
    missing: list[str] = []
    for word in words:
        free = (w for w in _occurrences(text, word) if all(w.end <= t.start or t.end <= w.start for t in taken))
        if found := next(free, None):
            taken.append(found)
        else:
            missing.append(short(word))
    if missing:
        names = ", ".join(missing)
        raise InterplayError(f"these words do not stand in the prompt (or not as often as they are given): {names}")
    return tuple(sorted(taken, key=lambda word: word.start))


def check_n(n: int, most: int, least: int = 1) -> None:
    """Refuse a number of words outside `least`..`most`: 16 where every coalition is scored, 64 where some of them are.

    >>> check_n(20, SAMPLED_WORDS)
    >>> check_n(20, EXACT_WORDS)
    Traceback (most recent call last):
    interplay.errors.InterplayError: n must be 1..16 words (all 2^n coalitions are scored); given 20: \
interplay explain samples coalitions of up to 64
    """
    if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= most:
        why = "a coalition is 64 bits" if most > EXACT_WORDS else "all 2^n coalitions are scored"
        sampled = isinstance(n, int) and most < n <= SAMPLED_WORDS
        hint = f": interplay explain samples coalitions of up to {SAMPLED_WORDS}" if sampled else ""
        raise InterplayError(f"n must be 1..{most} words ({why}); given {short(n)[1:-1]}{hint}")
    if n < least:
        hint = "one word interacts with nothing; name the word to explain it alone"
        raise InterplayError(f"n must be {least}..{most} where words are drawn; given {n}: {hint}")


def _pieces(text: str, chinese: bool) -> Iterator[tuple[int, int]]:
    for match in re.finditer(r"\S+", text):
        if chinese and _HAN.search(match[0]):
            for _, start, end in _jieba_tokenizer().tokenize(match[0]):
                yield match.start() + start, match.start() + end
        else:
            yield match.span()


def _core(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without what is neither letter nor digit at its edges; marks that belong to the last letter stay."""
    while start < end and not text[start].isalnum():
        start += 1
    stop = end
    while start < stop and not text[stop - 1].isalnum():
        stop -= 1
    while stop < end and unicodedata.category(text[stop])[0] == "M":
        stop += 1
    return start, stop


def _carries_meaning(word: str, keep_stop_words: bool, stop_words: frozenset[str]) -> bool:
    plain = word.replace("’", "'").casefold()
    if plain in stop_words:
        return False
    if sum(map(str.isalnum, word)) == 1:
        return word in CHINESE_SINGLES_KEPT
    return keep_stop_words or not (plain in ENGLISH or plain in CHINESE)


def _occurrences(text: str, word: str) -> Iterator[Word]:
    if not isinstance(word, str) or not word.strip():
        raise InterplayError(f"a word must hold something else than white space; given {short(word)}")
    word = word.strip()
    exact = re.escape(word)
    loose = re.sub("['’]", "['’]", exact)
    for pattern, flags in ((exact, 0), (loose, re.IGNORECASE)):
        for match in re.finditer(f"(?={pattern})", text, flags):
            found = re.compile(pattern, flags).match(text, match.start())
            if found and _boundary(text, found.start()) and _boundary(text, found.end()):
                yield Word(found[0], *found.span())


def _boundary(text: str, at: int) -> bool:
    """Whether a word may begin or end between `text[at - 1]` and `text[at]`; Chinese has no visible boundaries."""
    if at in (0, len(text)):
        return True
    before, after = text[at - 1], text[at]
    return not (before.isalnum() and after.isalnum()) or bool(_HAN.match(before) or _HAN.match(after))


@functools.cache
def _jieba_tokenizer() -> Any:
    require("jieba", what="splitting Chinese text into words")
    jieba = importlib.import_module("jieba")
    jieba.setLogLevel(60)  # jieba talks on stderr while it loads
    tokenizer = jieba.Tokenizer()
    # jieba un-marshals a cache from the shared temp folder: give it a fresh one.
    with tempfile.TemporaryDirectory() as private:
        tokenizer.tmp_dir = private
        tokenizer.initialize()
    return tokenizer
