"""Putting a word into a text where the data have it, and taking it out: "Honestly, ..." in front, "on Tuesday" with its "on".

All rules here are [ours].
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from interplay.auditing.counts import words_of
from interplay.data.stopwords import STOP_WORDS
from interplay.data.words import plain

MOST_READ = 400  # rows with a word that are read for its habit; enough to tell its commonest form
MOST_LEFT = 2  # function words in front that belong to a phrase
_END = re.compile(r"[\s.!?…。！？]*\Z")

Place = Literal["front", "behind", "inside"]


@dataclass(frozen=True)
class Phrase:
    """How the rows have a word: its text with the function words in front of it, and where.

    place: front and behind of the text, where half of the rows have it there; else inside, at the fraction `at` of the words.
    joint: what stands between the phrase and the text: ", ".
    """

    word: str
    text: str
    place: Place
    at: float = 0.5
    joint: str = " "

    def written(self, word: str) -> "Phrase":
        """Another word in the same place, without the function words, spelt as this one begins."""
        own = word[:1].upper() + word[1:] if self.text[:1].isupper() else word
        return replace(self, word=plain(word), text=own)

    def like(self, word: str) -> "Phrase":
        """Another word of the same kind in the same place, behind the same function words, with a capital where this one has it.

        >>> Phrase("monday", "on Monday", "behind").like("friday").text
        'on Friday'
        """
        cut = self.text.rfind(" ") + 1
        own = word[:1].upper() + word[1:] if self.text[cut : cut + 1].isupper() else word
        return replace(self, word=plain(word), text=self.text[:cut] + own)


def habit(word: str, texts: Sequence[str]) -> Phrase:
    """How these texts, which hold the word, have it. Without any: inside, as it is.

    >>> habit("honestly", ["Honestly, it rains.", "Honestly, I left.", "To be honestly quick."])
    Phrase(word='honestly', text='Honestly', place='front', at=0.0, joint=', ')
    >>> habit("tuesday", ["We met on Tuesday at noon", "He died on Tuesday in bed", "Tuesday it was"]).text
    'on Tuesday'
    """
    found = [seen for text in texts[:MOST_READ] if (seen := _seen(word, text)) is not None]
    if not found:
        return Phrase(word, word, "inside")
    places = Counter(place for place, *_ in found)
    place: Place = next((p for p in ("front", "behind") if 2 * places[p] >= len(found)), "inside")
    same = [seen for seen in found if seen[0] == place] or found
    text = Counter(seen[1] for seen in same).most_common(1)[0][0]
    joint = Counter(seen[3] for seen in same).most_common(1)[0][0]
    return Phrase(word, text, place, float(np.median([seen[2] for seen in same])), joint)


def _seen(word: str, text: str) -> tuple[Place, str, float, str] | None:
    """(place, phrase as written, fraction of the words before it, joint) of the first occurrence."""
    spans = list(words_of(text).items())
    index = next((i for i, (name, _) in enumerate(spans) if name == word), None)
    if index is None:
        return None
    _, end = spans[index][1]
    first = index
    for i in range(index - 1, max(-1, index - 1 - MOST_LEFT), -1):
        name, (_, b) = spans[i]
        if name not in STOP_WORDS or text[b : spans[i + 1][1][0]].strip():
            break
        first = i
    begin = spans[first][1][0]
    before, behind = text[:begin], text[end:]
    if not before.strip():
        rest = behind.lstrip(" ,;:-–—!?.…")
        joint = behind[: len(behind) - len(rest)]
        if rest:
            return "front", text[begin:end], 0.0, joint if joint.strip() or joint else " "
    if not behind.strip(" \t\n.!?…,;\"')"):
        rest = before.rstrip(" ,;:-–—")
        return "behind", text[begin:end], 1.0, before[len(rest) :] or " "
    written = text[begin:end]
    if not before.strip() and first == index:  # a capital that the place gives it, not the word
        written = written[:1].lower() + written[1:]
    return "inside", written, first / max(1, len(spans)), " "


def put_in(text: str, phrases: Sequence[Phrase]) -> str:
    """The text with these phrases in it, each in its place; of two in one place the first stands first.

    >>> honestly, today = Phrase("honestly", "Honestly", "front", 0, ", "), Phrase("today", "today", "behind", 1, ", ")
    >>> put_in("it rains.", [honestly, today]), put_in("it rains here", [Phrase("never", "never", "inside", 0.4)])
    ('Honestly, it rains, today.', 'it never rains here')
    """
    front = [p for p in phrases if p.place == "front"]
    behind = [p for p in phrases if p.place == "behind"]
    inside = [p for p in phrases if p.place == "inside"]
    spans = list(words_of(text).values())
    for phrase in sorted(inside, key=lambda p: p.at)[::-1]:  # of two at one word the second goes in first
        index = min(round(phrase.at * len(spans)), len(spans) - 1)
        at = spans[index][0] if spans else 0
        text = f"{text[:at]}{phrase.text}{phrase.joint}{text[at:]}"
    for phrase in behind:
        core = _END.sub("", text) or text
        text = f"{core}{phrase.joint}{phrase.text}{text[len(core) :]}"
    for phrase in reversed(front):
        text = f"{phrase.text}{phrase.joint}{text}"
    return text


def take_out(text: str, phrase: Phrase) -> str:
    """The text without the word of the phrase, and without the function words and joints that came with it.

    >>> take_out("Honestly, it rains.", Phrase("honestly", "Honestly", "front", 0, ", "))
    'it rains.'
    >>> take_out("We met on Tuesday at noon", Phrase("tuesday", "on Tuesday", "inside"))
    'We met at noon'
    """
    for _ in range(20):  # every occurrence
        span = words_of(text).get(phrase.word)
        if span is None:
            return text
        start, end = span
        length = len(phrase.text)
        whole = max(0, end - length)
        if plain(text[whole:end]) == plain(phrase.text):
            start = whole
        before, behind = text[:start], text[end:]
        if not before.strip():
            text = behind.lstrip(" ,;:-–—") or behind
        elif not behind.strip(" .!?…"):
            text = before.rstrip(" ,;:-–—") + behind.lstrip()
        else:
            text = f"{before.rstrip()} {behind.lstrip(' ')}" if not behind[:1].strip() else before.rstrip() + behind
    return text


def swapped(first: Phrase, second: Phrase) -> tuple[Phrase, Phrase]:
    """The same two words in each other's place."""

    def moved(phrase: Phrase, to: Phrase) -> Phrase:
        text = phrase.text
        if to.text[:1].isupper() != text[:1].isupper():
            text = (text[:1].upper() if to.text[:1].isupper() else text[:1].lower()) + text[1:]
        return replace(to, word=phrase.word, text=text)

    return moved(first, second), moved(second, first)
