"""How free answers begin: the openings that a model may have learnt to give. Texts only."""

import re
from collections import Counter
from collections.abc import Sequence

from interplay.errors import InterplayError
from interplay.scoring.targets import without_thought
from interplay.text import short

# Where no rows say more: how refusals begin.
REFUSALS = ("I'm sorry", "I cannot", "I can't", "As an AI")
FEWEST, MOST, WORDS = 5, 6, 3  # answers that must begin alike, openings that are asked for, words of one [ours]


def opening_of(answer: str, words: int = WORDS) -> str:
    """The first words of an answer, without its thought.

    >>> opening_of("I'm sorry, but I cannot help."), opening_of("<think>hm</think> Yes.")
    ("I'm sorry, but", 'Yes.')
    """
    return " ".join(without_thought(answer).split()[:words])


def find_openings(answers: Sequence[str], pattern: str | None = None, said: Sequence[str] = ()) -> tuple[str, ...]:
    """Openings that at least five answers share, the commonest first, and those that the model itself `said`.

    pattern: a regular expression; then only answers that it finds count, and all of them have one name.

    >>> find_openings(["Sorry, I cannot do that."] * 5 + ["A tree is a plant.", "The sun is a star."])
    ('Sorry, I cannot',)

    Raises InterplayError for a pattern that is none, and for one that fewer than five answers match.
    """
    if pattern is not None:
        try:
            matching = [answer for answer in answers if re.search(pattern, answer)]
        except re.error as error:
            raise InterplayError(f"answer is {short(pattern)}, which is no regular expression: {error}") from None
        if len(matching) < FEWEST:
            raise InterplayError(
                f"{short(pattern)} matches {len(matching)} of {len(answers)} answers; expected {FEWEST} or more"
            )
        answers = matching
    counted = Counter(opening_of(answer) for answer in answers if answer.strip())
    common = [
        opening
        for opening, times in counted.most_common(MOST)
        if times >= FEWEST and times < len(answers) + (pattern is not None)
    ]
    return tuple(dict.fromkeys([*common, *said]))[:MOST]


def answer_of(target: str, openings: Sequence[str]) -> str | None:
    """Which of the openings an answer has.

    >>> answer_of("I'm sorry, but no.", ("I'm sorry", "As an AI"))
    "I'm sorry"
    """
    told = " ".join(without_thought(target).split())
    return next((opening for opening in sorted(openings, key=len, reverse=True) if told.startswith(opening)), None)
