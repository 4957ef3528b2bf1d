"""Which tokens of an answer are scored: those that tell it from the other answers.

What cannot tell them apart is passed over: it stands behind the prompt in every coalition, as it was trained, and is not
scored. With labels that is all that they begin with alike. Without, it is white space, a thought (`<think> ... </think>`) and
what all answers of the data set begin with.
"""

import contextlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from interplay.data.prompts import Encoded, Rendered, encode
from interplay.data.rows import Row
from interplay.errors import InterplayError, SkipSample
from interplay.text import short

TargetTokens = Literal["auto", "first", "word"] | int
AUTO: TargetTokens = "auto"

ALIKE = 8  # answers from which on a common beginning is taken for their format, not for chance [ours]
LONGEST = 8  # most tokens of a word [ours]
UNLIKELY, STILL = 0.01, 0.5  # a probability, and nats: what is below at every step is warned of [ours]

_THOUGHT = re.compile(r"\s*(?:<(think|thinking|thought|reasoning)>.*?(?:</\1>|\Z)|.*?</think>)", re.DOTALL)
# Thai to Lao, Burmese, Khmer, kana, Han: no space parts their words.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


@dataclass(frozen=True)
class Answers:
    """What is known of the other answers. `among`: a target is scored among the labels only.

    labels: all labels that can be encoded, if two or more can; opening: text that all answers begin with, where there are none.
    """

    labels: tuple[Encoded, ...] = ()
    among: bool = False
    opening: str = ""


class Window(NamedTuple):
    """`ids` are scored behind the `passed` tokens of an answer. `whole`: the word that they are only a part of."""

    passed: int
    ids: tuple[int, ...]
    pool: tuple[tuple[int, ...], ...] | None  # the labels that they are scored among, cut alike
    whole: str | None


NO_ANSWERS = Answers()


def encode_labels(
    row: Row, labels: Sequence[str], rendered: Callable[[Row], Rendered], tokenizer
) -> tuple[dict[str, Encoded], dict[str, str]]:
    """The labels that can be answers, encoded behind the prompt of `row` as `rendered` writes it; and why each other cannot."""
    found, left_out = {}, {}
    for label in labels:
        try:
            found[label] = encode(rendered(replace(row, target=label)), tokenizer)
        except SkipSample as reason:
            left_out[label] = re.sub(r"^row '.*?': ", "", str(reason))
    return found, left_out


def find_answers(
    rows: Iterable[Row],
    labels: Sequence[str] | None,
    rendered: Callable[[Row], Rendered],
    tokenizer,
    opening: str = "",
) -> tuple[Answers, dict[str, str]]:
    """The other answers, labels behind the first of `rows` that can be encoded itself; and the labels left out, with reasons."""
    for row in rows if labels else ():
        with contextlib.suppress(SkipSample):
            encode(rendered(row), tokenizer)
            found, left_out = encode_labels(row, labels or (), rendered, tokenizer)
            return Answers(tuple(found.values()) if len(found) > 1 else (), opening=opening), left_out
    return Answers(opening=opening), {}


def common_opening(targets: Iterable[str]) -> str:
    """What eight or more answers, not all the same, begin with behind their thoughts; none of them is only that.

    >>> common_opening(f"<think>{i}</think> The answer is {i}" for i in range(8))
    'The answer is '
    """
    answers = [without_thought(target) for target in targets]
    if len(answers) < ALIKE:
        return ""
    opening = answers[0][: _alike(min(answers), max(answers))]
    return "" if opening in answers else opening


def without_thought(target: str) -> str:
    """An answer without the thought that it begins with.

    >>> without_thought("<think>Hm.</think> joy"), without_thought("<think>never ends")
    ('joy', '')
    """
    found = _THOUGHT.match(target)
    return target[found.end() if found else 0 :].strip()


def choose_window(own: Encoded, answers: Answers, wanted: TargetTokens, tokenizer) -> Window:
    """The tokens of `own` that are scored.

    wanted: `first` is the first token that differs [paper]; `word` goes on to the end of its word; a number is so many tokens.
    `auto` takes as many as tell a label from all others (mostly one), and without labels a word.

    Raises SkipSample where a token holds the end of a thought and more; InterplayError where labels cannot be told apart.
    """
    counted = isinstance(wanted, int) and not isinstance(wanted, bool) and wanted > 0
    if not counted and wanted not in ("auto", "first", "word"):
        raise InterplayError(f"target_tokens is {short(wanted)}; expected auto, first, word, or a number of at least 1")
    known = sorted({label.target_ids for label in (own, *answers.labels)}) if answers.labels else []
    if answers.labels and len(known) < 2:
        raise InterplayError(f"the labels have the same tokens ({short(own.completion)}): nothing tells them apart")
    if known:
        passed = min(_alike(known[0], known[-1]), *(len(ids) - 1 for ids in known))
    else:
        passed = _passed(own, answers, tokenizer)

    def cut(label: Encoded) -> tuple[int, ...]:
        ids, count = label.target_ids, wanted
        if known and wanted == "auto":
            count = max(_alike(ids, other) + 1 for other in known if other != ids) - passed
        elif isinstance(wanted, str):
            count = 1 if wanted == "first" else _whole(label, passed, 1, LONGEST, tokenizer)
        return ids[passed : passed + int(count)]

    ids, pool, whole = cut(own), None, None
    if answers.among:
        pool = tuple(sorted({ids, *map(cut, answers.labels)}))
        if len(pool) < 2:
            raise InterplayError(
                f"the labels do not differ in what is scored (target_tokens is {wanted}): set it to auto"
            )
    if not known and (count := _whole(own, passed, len(ids), 8 * LONGEST, tokenizer)) > len(ids):
        whole = tokenizer.decode(list(own.target_ids[passed : passed + count])).strip()
    return Window(passed, ids, pool, whole)


def _passed(own: Encoded, answers: Answers, tokenizer) -> int:
    """How many tokens of a free answer are thought, common opening and white space."""
    text, spans, last = own.completion, own.target_offsets, len(own.target_ids) - 1
    thought = _THOUGHT.match(text)
    end, at = thought.end() if thought else 0, 0
    while at < last and spans[at][0] < end:
        at += 1
    if at and text[end : spans[at - 1][1]].strip():
        raise SkipSample(f"the token {short(text[slice(*spans[at - 1])])} holds the end of the thought and more")
    start = len(text) - len(text[end:].lstrip())
    stop = start + len(answers.opening) if text.startswith(answers.opening, start) else start
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
        before, after = text[max(0, start - 1) : start], text[start : start + 1]
        inside = _is_letter(before) and _is_letter(after) and not _UNSPACED.match(before)
        nothing = at < len(ids) - 1 and not any(map(_is_letter, said))
        if not (said.endswith("\ufffd") or inside or nothing):
            break
        count += 1
    return count


def _alike(a: Sequence, b: Sequence) -> int:
    """How many items two sequences begin with alike."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _is_letter(character: str) -> bool:
    """Letters, their marks, and digits."""
    return bool(character) and unicodedata.category(character)[0] in "LMN"


def likelihood(score: float, tokens: int) -> float:
    """The probability of a target from its log-odds v; of several tokens the most that it can be, (sigmoid(v / m))^m.

    >>> round(likelihood(0.0, 1), 3), round(likelihood(0.0, 2), 3)
    (0.5, 0.25)
    """
    return float(np.exp(-tokens * np.logaddexp(0.0, -score / tokens)))


class Reading(NamedTuple):
    """One prompt's target, and v(N) and v(empty) at every step that it was scored at."""

    target: str
    tokens: int
    full: Sequence[float]
    empty: Sequence[float]


def weak_targets(readings: Sequence[Reading], where: str = " at every step") -> list[str]:
    """Notes on targets that the model does not give, and on those that the words do not move."""
    unlikely, still = [], []
    for r in readings:
        if (likely := max(likelihood(v, r.tokens) for v in r.full)) < UNLIKELY:
            unlikely.append(f"{short(r.target)} at most {100 * likely:.2g} %")
        if (moved := float(np.max(np.abs(np.subtract(r.full, r.empty))))) < STILL:
            still.append(f"{short(r.target)} by {moved:.2g}")
    return [
        f"{_of(found, readings)}{said}{where} ({found[0]}): {so}"
        for found, said, so in (
            (unlikely, "the target has a probability under 1 %", "the model answers something else"),
            (still, "all words together move the target's score by less than 0.5 nats", "there is little to explain"),
        )
        if found
    ]


def label_notes(left_out: Mapping[str, str]) -> list[str]:
    """Notes on labels that cannot be answers."""
    return [f"the label {short(label)} is left out of the labels: {reason}" for label, reason in left_out.items()]


def fragment_notes(targets: Sequence[tuple[str, str, str | None]]) -> list[str]:
    """Notes on what was passed over, and on targets that are fragments; of each prompt (passed text, target, whole word)."""
    thoughts = [passed for passed, _, _ in targets if _THOUGHT.match(passed)]
    openings = [said for passed, _, _ in targets if (said := without_thought(passed))]
    parts = [(target, whole) for _, target, whole in targets if whole is not None]
    notes = [f"{_of(thoughts, targets)}the thought before the answer is passed over"] if thoughts else []
    if openings:
        notes.append(f"{_of(openings, targets)}what all answers begin with is passed over ({short(openings[0])})")
    if parts:
        target, whole = parts[0]
        said = f"{_of(parts, targets)}the target {short(target)} is a fragment of {short(whole)}"
        notes.append(f"{said}: target_tokens = word scores up to {LONGEST} tokens of a word")
    return notes


def _of(some: Sequence, every: Sequence) -> str:
    return "" if len(every) == 1 else f"{len(some)} of {len(every)} prompts: "
