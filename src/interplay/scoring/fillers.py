"""Other words for the place of an absent one, from other rows: with as many tokens in the same form, nearest in place.

All rules here are [ours].
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from interplay.data.prompts import Encoded, Rendered, encode
from interplay.data.rows import Row, Sample, Word
from interplay.data.stopwords import STOP_WORDS
from interplay.data.words import candidate_words, plain
from interplay.errors import SkipSample
from interplay.scoring.masking import word_tokens
from interplay.text import stable_hash

MOST_ROWS = 500  # that are read; enough for hundreds of words of one place
_SPACE = ("Ġ", "▁")  # what tokens write for a leading space
Ids = tuple[int, ...]
# What two words must share to stand for each other: tokens, leading space, glued punctuation, being a stop word.
Form = tuple[int, str, str, str, bool]


class Filler(NamedTuple):
    """A word of a row: as words are compared, its ids, its place in the text from 0 to 1, and that text."""

    name: str
    ids: Ids
    place: float
    text: str


@dataclass(frozen=True)
class Fillers:
    """The words of some rows under one tokenizer, by their form. Made by `find_fillers`.

    words: how many over half of the rows have: rows of one form, where a place is a part of speech.
    """

    by_form: Mapping[Form, Sequence[Filler]] = field(default_factory=dict)
    tokenizer: object = None
    words: int | None = None

    def choose(self, sample: Sample, encoded: Encoded, spans: Sequence[Sequence[int]], count: int) -> list[list[Ids]]:
        """The ids of up to `count` different words of other texts for each word, never the word itself.

        The nearest in place; in rows of one form of the same place only. Among equally near ones a hash of sample, word and
        candidate decides, so the choice depends on no order and no other prompt.
        """
        if not self.by_form:
            return [[] for _ in spans]
        starts, chosen = _starts(sample.row.text), []
        for word, span in zip(sample.words, spans, strict=True):
            own, name, here = tuple(encoded.input_ids[p] for p in span), plain(word.text), _place(word, starts)
            near: dict[str, tuple[float, Ids]] = {}
            for other in self.by_form.get(_form(word, span, encoded, self.tokenizer), ()):
                if other.name != name and other.ids != own and other.text != sample.row.text:
                    found = abs(other.place - here), other.ids
                    near[other.name] = min(found, near.get(other.name, found))
            within = sorted(distance for distance, _ in near.values())[:count]
            farthest = 0 if len(starts) == self.words else max(within, default=0)
            ranked = sorted(
                (distance, stable_hash(sample.id, word.start, other), ids)
                for other, (distance, ids) in near.items()
                if distance <= farthest
            )
            chosen.append([ids for _, _, ids in ranked[:count]])
        return chosen


NO_FILLERS = Fillers()


def find_fillers(rows: Sequence[Row], rendered: Callable[[Row], Rendered], tokenizer) -> Fillers:
    """The words of up to 500 of the rows, the same in any order of them; rows that cannot be encoded have none."""
    found: dict[Form, list[Filler]] = defaultdict(list)
    texts, lengths = {row.text: row for row in rows}, Counter[int]()
    for text in sorted(texts, key=stable_hash)[:MOST_ROWS]:
        with suppress(SkipSample):
            encoded, words = encode(rendered(texts[text]), tokenizer), candidate_words(text, keep_stop_words=True)
            lengths[len(words)] += 1
            for word in words:
                with suppress(SkipSample):
                    (span,) = word_tokens(Sample(texts[text], (word,)), encoded)
                    ids, place = tuple(encoded.input_ids[p] for p in span), _place(word, [w.start for w in words])
                    found[_form(word, span, encoded, tokenizer)].append(Filler(plain(word.text), ids, place, text))
    usual = next((length for length, times in lengths.items() if 2 * times > lengths.total()), None)
    return Fillers(dict(found), tokenizer, usual)


def _form(word: Word, span: Sequence[int], encoded: Encoded, tokenizer) -> Form:
    first, start, end = span[0], encoded.text_start + word.start, encoded.text_start + word.end
    token = str(tokenizer.convert_ids_to_tokens(encoded.input_ids[first]))
    before, after = encoded.text[encoded.offsets[first][0] : start], encoded.text[end : encoded.offsets[span[-1]][1]]
    space = token[0] if token.startswith(_SPACE) else ""
    return len(span), space, before.strip(), after.strip(), plain(word.text) in STOP_WORDS


def _starts(text: str) -> list[int]:
    """Where the words of a text begin; nowhere, if it cannot be split."""
    with suppress(SkipSample):
        return [word.start for word in candidate_words(text, keep_stop_words=True)]
    return []


def _place(word: Word, starts: Sequence[int]) -> float:
    """The place of a word among all words of its text: 0 the first, 1 the last."""
    return sum(start < word.start for start in starts) / max(1, len(starts) - 1)
