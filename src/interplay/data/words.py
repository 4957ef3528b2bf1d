"""Words: which words of a text may be input variables, which n of them are drawn, and where they stand.

Splitting on white space (jieba for Chinese), dropping stop words, punctuation and single characters, and drawing n words
with a seed are [lineage]; stop lists, other segmenters, hash and limits are [ours]. Two occurrences of a word are two variables.
"""

import functools
import importlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, get_args

from interplay.data.rows import Word
from interplay.data.stopwords import KEPT, STOP_WORDS
from interplay.errors import InterplayError, SkipSample
from interplay.extras import require
from interplay.limits import EXACT_WORDS, SAMPLED_WORDS
from interplay.text import short, stable_hash

Language = Literal["auto", "en", "zh", "ja", "th", "lo", "km", "my"]

MIN_CHOSEN = 2  # with one word there is nothing that could interact
WORDS_PER_PROMPT = 8  # the default everywhere [ours]; the paper's presets ask for 10

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_KANA = "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
# Languages without spaces between words, their letters and the packages that split them. Chinese last: Japanese has its letters.
_SCRIPTS = {
    "th": ("Thai", "\u0e01-\u0e7f", ("icu4py",)),
    "lo": ("Lao", "\u0e80-\u0eff", ("icu4py",)),
    "km": ("Khmer", "\u1780-\u17ff", ("icu4py",)),
    "my": ("Burmese", "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f", ("icu4py",)),
    "ja": ("Japanese", _HAN + _KANA, ("sudachipy", "sudachidict_small")),
    "zh": ("Chinese", _HAN, ("jieba",)),
}
SPACELESS = re.compile(f"[{''.join(letters for _, letters, _ in _SCRIPTS.values())}]")
_SYLLABIC = re.compile(f"[{''.join(_SCRIPTS[code][1] for code in ('th', 'lo', 'km', 'my'))}]")  # marks count as letters
# From this fraction of letters on a text is of a script: one borrowed character in an English comment must not need jieba [ours].
_FRACTION = 0.2
_KANA_FRACTION = 0.05  # of a text's kana and Han characters: from here on it is Japanese, not Chinese [ours]
_LONGEST = 12_000  # characters: SudachiPy takes 48 KiB at a time
_IN_NUMBER = re.compile(r"\d[.,'’]\d")


class Unsplit(SkipSample):
    """A text without spaces between its words, whose segmenter is not installed."""


def candidate_words(
    text: str, language: Language = "auto", keep_stop_words: bool = False, stop_words: frozenset[str] = frozenset()
) -> list[Word]:
    """The words of `text` that may become input variables, in the order of the text.

    White space (and U+200B) splits; punctuation is stripped at the edges, inner apostrophes and hyphens stay; stop words and
    single characters are dropped [lineage], but not negation, intensity and contrast [ours]. Texts without spaces are split by
    jieba, SudachiPy or ICU; a phrase of Thai, say, in an English text is no word. `stop_words`: more that are always dropped.

    Errors: SkipSample when the segmenter of the language is missing; InterplayError when `language` is unknown.

    >>> candidate_words("I am not happy -- don't ask!")
    [Word(text='not', start=5, end=8), Word(text='happy', start=9, end=14), Word(text="don't", start=18, end=23), \
Word(text='ask', start=24, end=27)]
    >>> [w.text for w in candidate_words("I am no song", keep_stop_words=True, stop_words=frozenset({"song"}))]
    ['am', 'no']
    """
    code = language_of(text, language)
    words = []
    for start, end in _pieces(text, code):
        start, end = _core(text, start, end)
        if start < end and _carries_meaning(text[start:end], code, keep_stop_words, stop_words):
            words.append(Word(text[start:end], start, end))
    return words


def language_of(text: str, language: Language = "auto") -> str:
    """`language`, or for "auto": where a fifth of the letters are of a script without spaces, the code of its language; else "en".

    >>> [language_of(text) for text in ("Schöne neue Welt", "不高兴", "東京都知事選挙の結果", "ไม่ชอบ", "the 龍 tattoo")]
    ['en', 'zh', 'ja', 'th', 'en']
    """
    if language not in get_args(Language):
        raise InterplayError(f"language must be one of {', '.join(get_args(Language))}; given {language!r}")
    if language != "auto":
        return language
    least = max(1, _FRACTION * sum(map(str.isalpha, text)))
    kana = len(re.findall(f"[{_KANA}]", text))
    for code, (_, letters, _) in _SCRIPTS.items():
        count = len(re.findall(f"[{letters}]", text))
        if count >= least and (code != "ja" or kana >= max(1, _KANA_FRACTION * count)):
            return code
    return "en"


def plain(word: str) -> str:
    """A word as words are compared: case-folded, with a straight apostrophe."""
    return word.replace("’", "'").casefold()


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
    In scripts without spaces a word may stand anywhere, with the marks of its letters; a number is named whole, as 1,000.

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
    """Refuse a number of words outside `least`..`most`: 16 where every coalition is scored, 64 where some of them are."""
    if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= most:
        why = "a coalition is 64 bits" if most > EXACT_WORDS else "all 2^n coalitions are scored"
        sampled = isinstance(n, int) and most < n <= SAMPLED_WORDS
        hint = f": interplay explain samples coalitions of up to {SAMPLED_WORDS}" if sampled else ""
        raise InterplayError(f"n must be 1..{most} words ({why}); given {short(n)[1:-1]}{hint}")
    if n < least:
        hint = "one word interacts with nothing; name the word to explain it alone"
        raise InterplayError(f"n must be {least}..{most} where words are drawn; given {n}: {hint}")


def _pieces(text: str, language: str) -> Iterator[tuple[int, int]]:
    unspaced = re.compile(f"[{_SCRIPTS[language][1]}]" if language in _SCRIPTS else "(?!)")
    for match in re.finditer(r"[^\s\u200b]+", text):
        if unspaced.search(match[0]):
            at = match.start()
            for first in range(0, len(match[0]), _LONGEST):
                for piece in _segmenter(language)(match[0][first : first + _LONGEST]):
                    yield at, (at := at + len(piece))
        elif not _SYLLABIC.search(match[0]):
            yield match.span()


def _core(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without what is neither letter nor digit at its edges; marks that belong to the last letter stay."""
    inside = [at for at in range(start, end) if text[at].isalnum()]
    start, stop = (inside[0], inside[-1] + 1) if inside else (end, end)
    while stop < end and unicodedata.category(text[stop])[0] == "M":
        stop += 1
    return start, stop


def _carries_meaning(word: str, language: str, keep_stop_words: bool, stop_words: frozenset[str]) -> bool:
    if plain(word) in stop_words:
        return False
    if (len(word) if _SYLLABIC.match(word) else sum(map(str.isalnum, word))) == 1:
        return word in KEPT or (language == "ja" and re.match(f"[{_HAN}]", word) is not None)
    return keep_stop_words or plain(word) not in STOP_WORDS


def _occurrences(text: str, word: str) -> Iterator[Word]:
    if not isinstance(word, str) or not word.strip():
        raise InterplayError(f"a word must hold something else than white space; given {short(word)}")
    word = word.strip()
    exact = re.escape(word)
    loose = re.sub("['’]", "['’]", exact)
    for pattern, flags in ((exact, 0), (loose, re.IGNORECASE)):
        for match in re.finditer(f"(?=({pattern}))", text, flags):
            start, end = match.span(1)
            if is_boundary(text, start) and is_boundary(text, end):
                yield Word(match[1], start, end)


def is_boundary(text: str, at: int) -> bool:
    """Whether a word may begin or end between `text[at - 1]` and `text[at]`; in scripts without spaces, between any letters.

    Not between a letter and its marks, nor inside a number: rules WB4, WB11 and WB12 of UAX #29.
    """
    if at in (0, len(text)):
        return True
    before, after = text[at - 1], text[at]
    marked = unicodedata.category(after)[0] == "M" and (before.isalnum() or unicodedata.category(before)[0] == "M")
    in_number = any(_IN_NUMBER.fullmatch(text[max(first, 0) : first + 3]) for first in (at - 2, at - 1))
    # The vowel AM is a letter to Unicode; the stackers of Khmer and Burmese join the letter behind them.
    if marked or in_number or after in "\u0e33\u0eb3" or before in "\u17d2\u1039":
        return False
    return not (before.isalnum() and after.isalnum()) or bool(SPACELESS.match(before) or SPACELESS.match(after))


@functools.cache
def _segmenter(language: str) -> Callable[[str], Iterable[str]]:
    """What splits a text of a language into strings that make up the text again."""
    name, _, packages = _SCRIPTS[language]
    try:
        require(*packages, what=f"splitting {name} into words", otherwise="name the words")
    except InterplayError as error:
        raise Unsplit(str(error)) from None
    if language == "zh":
        chinese = importlib.import_module("jieba").Tokenizer()
        # As its `initialize`, but for the cache that it un-marshals from the shared temp folder.
        chinese.FREQ, chinese.total = chinese.gen_pfdict(chinese.get_dict_file())
        chinese.initialized = True
        return chinese.cut
    if language == "ja":
        japanese = importlib.import_module("sudachipy").Dictionary(dict="small").tokenizer()
        return lambda text: (morpheme.surface() for morpheme in japanese.tokenize(text))
    return functools.partial(importlib.import_module("icu4py.breakers").WordBreaker, locale=language)
