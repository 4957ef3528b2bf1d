"""Which tokens of an answer are scored: those that tell it from the other answers.

What cannot tell them apart is passed over: it stands behind the prompt in every coalition, as it was trained, and is not
scored. With labels that is all that they begin with alike. Without, it is white space, a thought (`<think> ... </think>`) and
what all answers of the data set begin with.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from interplay.data.prompts import Encoded, Rendered, encode
from interplay.data.rows import Row
from interplay.data.words import is_boundary
from interplay.errors import InterplayError, SkipSample
from interplay.text import short

TargetTokens = Literal["auto", "first", "word"] | int
Among = Literal["auto"] | bool
Render = Callable[[Row], Rendered]
AUTO: TargetTokens = "auto"

ALIKE = 8  # answers from which on a common beginning is taken for their format, not for chance [ours]
LONGEST = 8  # most tokens of a word [ours]
UNLIKELY, STILL = 0.01, 0.5  # a probability, and nats: what is below at every step is warned of [ours]

_THOUGHT = re.compile(r"\s*(?:<(think|thinking|thought|reasoning)>.*?(?:</\1>|\Z)|.*?</think>)", re.DOTALL)


@dataclass(frozen=True)
class Answers:
    """What is known of the other answers: the labels that can be answers, or text that all of them begin with (`opening`).

    left_out: a note on each other label. `among`: a target is scored among the labels only.
    """

    labels: Mapping[str, Encoded] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    opening: str = ""
    among: bool = False


NO_ANSWERS = Answers()


def find_answers(
    rows: Iterable[Row], labels: Sequence[str] | None, render: Render, tokenizer, opening="", among: Among = False
) -> Answers:
    """The other answers. Labels are encoded behind the first of `rows` that can be encoded itself, as `render` writes it.

    among: whether a target is scored among the labels; auto: if two can be answers. InterplayError where it is true and they cannot.
    """
    found, left_out = {}, []
    for row in rows if labels else ():
        try:
            encode(render(row), tokenizer)
        except SkipSample:
            continue
        for label in labels or ():
            try:
                found[label] = encode(render(replace(row, target=label)), tokenizer)
            except SkipSample as error:
                reason = re.sub(r"^row '.*?': ", "", str(error))
                left_out.append(f"the label {short(label)} is left out of the labels: {reason}")
        break
    if among is True and len(found) < 2:
        raise InterplayError("scores among labels need two labels that can be answers: set among_labels to false")
    return Answers(found, tuple(left_out), opening, bool(among) and len(found) > 1)


def compared_with(labels: int) -> str:
    """What a target is scored against: so many labels, 0: everything."""
    return f"among {labels} labels" if labels else "against the whole vocabulary"


def common_opening(targets: Iterable[str]) -> str:
    """What eight or more answers, not all the same, begin with behind their thoughts; none of them is only that.

    >>> common_opening(f"<think>{i}</think> The answer is {i}" for i in range(8))
    'The answer is '
    """
    answers = [without_thought(target) for target in targets]
    opening = answers[0][: alike(answers)] if len(answers) >= ALIKE else ""
    return "" if opening in answers else opening


def without_thought(target: str) -> str:
    """An answer without the thought that it begins with.

    >>> without_thought("<think>Hm.</think> joy"), without_thought("<think>never ends")
    ('joy', '')
    """
    found = _THOUGHT.match(target)
    return target[found.end() if found else 0 :].strip()


def choose_window(
    own: Encoded, answers: Answers, wanted: TargetTokens, tokenizer
) -> tuple[int, tuple[int, ...], tuple[tuple[int, ...], ...] | None, str | None]:
    """How many tokens of `own` are passed over, those scored, the labels they are scored among, the word they are a part of.

    wanted: `first` is the first token that differs [paper]; `word` goes on to the end of its word; a number is so many tokens.
    `auto` takes as many as tell a label from all others (mostly one), and without labels a word.

    Raises SkipSample where a token holds the end of a thought and more; InterplayError where labels cannot be told apart.
    """
    counted = isinstance(wanted, int) and not isinstance(wanted, bool) and wanted > 0
    if not counted and wanted not in ("auto", "first", "word"):
        raise InterplayError(f"target_tokens is {short(wanted)}; expected auto, first, word, or a number of at least 1")
    labels = [own, *answers.labels.values()] if answers.among or len(answers.labels) > 1 else [own]
    known = sorted({label.target_ids for label in labels})
    if len(labels) > 1 and len(known) == 1:
        raise InterplayError(f"the labels have the same tokens ({short(own.completion)}): nothing tells them apart")
    passed = min(alike(known), min(map(len, known)) - 1) if len(known) > 1 else _passed(own, answers.opening, tokenizer)

    def cut(label: Encoded) -> tuple[int, ...]:
        count = 1 if wanted == "first" else wanted
        if wanted == "auto" and len(known) > 1:
            at = bisect_left(known, label.target_ids)  # what begins most like it stands beside it
            near = known[max(0, at - 1) : at] + known[at + 1 : at + 2]
            count = max(alike([label.target_ids, ids]) for ids in near) + 1 - passed
        elif isinstance(count, str):
            count = _whole(label, passed, 1, LONGEST, tokenizer)
        return label.target_ids[passed : passed + count]

    ids, pool = cut(own), tuple(sorted(set(map(cut, labels)))) if answers.among else None
    if pool is not None and len(pool) == 1:
        raise InterplayError(f"the labels do not differ in what is scored (target_tokens is {wanted}): set it to auto")
    count = _whole(own, passed, len(ids), 8 * LONGEST, tokenizer) if len(known) == 1 else len(ids)
    whole = own.target_ids[passed : passed + count] if count > len(ids) else ()
    return passed, ids, pool, tokenizer.decode(list(whole)).strip() or None


def _passed(own: Encoded, opening: str, tokenizer) -> int:
    """How many tokens of a free answer are thought, common opening and white space."""
    text, spans, last = own.completion, own.target_offsets, len(own.target_ids) - 1
    thought = _THOUGHT.match(text)
    end, at = thought.end() if thought else 0, 0
    while at < last and spans[at][0] < end:
        at += 1
    if at and text[end : spans[at - 1][1]].strip():
        raise SkipSample(f"the token {short(text[slice(*spans[at - 1])])} holds the end of the thought and more")
    start = len(text) - len(text[end:].lstrip())
    stop = start + len(opening) if text.startswith(opening, start) else start
    while at < last and spans[at][0] < stop and spans[at][1] <= stop:
        at += 1
    while at < last and not tokenizer.decode([own.target_ids[at]]).strip():
        at += 1
    return at


def _whole(own: Encoded, passed: int, count: int, most: int, tokenizer) -> int:
    """`count`, or as many more tokens (`most` in all) as it takes to end with a whole word that has a letter in it."""
    ids, text = own.target_ids, own.completion
    while count < most and (at := passed + count) < len(ids):
        said, start = tokenizer.decode(list(ids[passed:at])), own.target_offsets[at][0]
        nothing = at < len(ids) - 1 and not any(map(str.isalnum, said))
        if is_boundary(text, start) and not said.endswith("\ufffd") and not nothing:
            break
        count += 1
    return count


def alike(several: Sequence[Any]) -> int:
    """How many items (of texts or lists) all of them begin with."""
    a, b = min(several), max(several)
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def likelihood(score: float, tokens: int) -> float:
    """The probability of a target from its log-odds v; of several tokens the most that it can be, (sigmoid(v / m))^m.

    >>> round(likelihood(0.0, 1), 3), round(likelihood(0.0, 2), 3)
    (0.5, 0.25)
    """
    return float(np.exp(-tokens * np.logaddexp(0.0, -score / tokens)))


def weak_targets(readings: Sequence[tuple[str, float, float]], where: str = "", among: str = "") -> list[str]:
    """Notes on targets that the model does not give, and on those that the words do not move.

    readings: of each prompt its target, its highest probability `where` it was scored (`among` what), the most that words move v.
    """
    unlikely, still = [], []
    for target, most, moved in readings:
        if most < UNLIKELY:
            unlikely.append(f"({short(target)} at most {100 * most:.2g} %): the model answers something else")
        if moved < STILL:
            still.append(f"({short(target)} by {moved:.2g}): there is little to explain")
    rare, firm = f"the target has a probability under 1 %{among}", "all words together move it by under 0.5 nats"
    return [*_counted(unlikely, readings, rare + where), *_counted(still, readings, firm + where)]


def target_notes(targets: Sequence[tuple[str, str, str | None]]) -> list[str]:
    """Notes on what was passed over, and on fragments; of each prompt the text passed over, the target, its whole word."""
    thoughts = ["is passed over" for passed, _, _ in targets if _THOUGHT.match(passed)]
    openings = [f"({short(said)})" for passed, _, _ in targets if (said := without_thought(passed))]
    advice = f"target_tokens = word scores up to {LONGEST} tokens of a word"
    parts = [f"{short(target)} is a fragment of {short(whole)}: {advice}" for _, target, whole in targets if whole]
    return [
        *_counted(thoughts, targets, "the thought before the answer"),
        *_counted(openings, targets, "what all answers begin with is passed over"),
        *_counted(parts, targets, "the target"),
    ]


def _counted(found: Sequence[str], every: Sequence, said: str) -> list[str]:
    count = f"{len(found)} of {len(every)} prompts: " if len(every) > 1 else ""
    return [f"{count}{said} {found[0]}"] if found else []
