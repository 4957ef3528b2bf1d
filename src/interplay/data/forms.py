"""Forms: how one record of a data set (a mapping of columns) becomes a Row.

To add a form, write a reader (record -> Content) and list it in `_FORMS`.
"""

import contextlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from interplay.data.rows import Message, Row
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError, SkipSample
from interplay.text import short, split_names

Record = Mapping[str, Any]


class Content(NamedTuple):
    """What a form finds in one record: the user's text (words may come from it only), the answer, and what goes before.

    `before` stands before the text in the same turn, as background. `history`: earlier turns; None: those of the template.
    """

    text: str
    target: str
    label: str | None = None
    before: str = ""
    history: tuple[Message, ...] | None = None


@dataclass(frozen=True)
class Form:
    """`needs` and `may` give, for each canonical column, the names it is known by, the best first."""

    name: str
    needs: Mapping[str, tuple[str, ...]]
    read: Callable[[Record, Mapping[str, str]], Content]
    may: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def locate(self, found: Collection[str], columns: Mapping[str, str]) -> dict[str, str] | None:
        """Canonical column -> the column in the data; None when one that is needed is missing."""
        located = {}
        for column, names in {**self.needs, **self.may}.items():
            wanted = (columns[column],) if column in columns else names
            name = next((name for name in wanted if name in found), None)
            if name is not None:
                located[column] = name
            elif column in self.needs or column in columns:
                return None
        return located


def row_from(record: Record, form: Form, located: Mapping[str, str], template: PromptTemplate, row_id: str) -> Row:
    """The Row in `record`, its text put into the prompt template's user turn. Errors: SkipSample with the reason."""
    content = form.read(record, located)
    words = _given_words(record.get(located["words"])) if "words" in located else None
    messages, start = template.messages_for(content.before + content.text)
    history = content.history
    if history is not None:
        # A conversation brings its own history; the template's system turn only fills a gap, its examples stay out.
        gap = messages[0].role == "system" and not (history and history[0].role == "system")
        messages = (*(messages[:1] if gap else ()), *history, messages[-1])
    at, given = start + len(content.before), history is not None
    return Row(row_id, messages, content.target, content.text, at, content.label, words, given)


def choose_form(
    name: str, found: Iterable[str], columns: Mapping[str, str], source: str
) -> tuple[Form, dict[str, str]]:
    """The form called `name`, or for "auto" the first whose columns are all there, and where its columns are.

    Errors: InterplayError naming the source, the columns found and those expected.

    >>> form, located = choose_form("auto", ["question", "answer"], {}, "gsm8k.jsonl")
    >>> form.name, located
    ('prompt-completion', {'prompt': 'question', 'completion': 'answer'})
    """
    found = list(dict.fromkeys(found))
    if name != "auto" and name not in FORMS:
        raise InterplayError(f"form must be one of auto, {', '.join(FORMS)}; given {short(name)}")
    named = [FORMS[known] for known in FORMS if known not in _BY_NAME_ONLY] if name == "auto" else [FORMS[name]]
    forms = [form for first in named for form in (first, *_VARIANTS.get(first.name, ()))]
    known = {column for form in forms for column in (*form.needs, *form.may)} | _EVERYWHERE
    if stray := [column for column in columns if column not in known]:
        raise InterplayError(f"columns must map one of {', '.join(sorted(known))}; given {short(stray[0])}")
    words = columns.get("words", "words")
    if words in found or "words" not in columns:
        for form in forms:
            located = form.locate(found, columns)
            if located is not None and columns.keys() <= {*form.needs, *form.may, *_EVERYWHERE}:
                return form, located | ({"words": words} if words in {*found} - {*located.values()} else {})
    seen = ", ".join(short(column, 30) for column in found[:12]) + (", ..." if len(found) > 12 else "")
    expected = " or ".join(
        ", ".join(short(columns[c], 30) if c in columns else repr(names[0]) for c, names in form.needs.items())
        for form in forms
    )
    raise InterplayError(
        f"{source}: found the columns {seen or 'none'}; form {name!r} expects {expected} (columns: maps other names)"
    )


# ---- one reader a form: a record -> Content -----------------------------------------------------------------------------


def _string(record: Record, name: str, optional: bool = False) -> str:
    """The text in a column; whole numbers are read as text."""
    value = record.get(name)
    if value is None and optional:
        return ""
    if value is None:
        raise SkipSample(f"no {name!r}")
    return _clean(str(value) if isinstance(value, int) and not isinstance(value, bool) else value, name, optional)


def _clean(value: Any, name: str, optional: bool = False) -> str:
    if not isinstance(value, str):
        raise SkipSample(f"{name!r} is {type(value).__name__}, expected text")
    if not value.strip() and not optional:
        raise SkipSample(f"{name!r} is empty")
    if re.search("[\0\ud800-\udfff]", value):
        raise SkipSample(f"{name!r} holds a NUL character or half a surrogate pair")
    return value


def _given_words(value: Any) -> tuple[str, ...] | None:
    """The words a row names: a list, a JSON list, or a text with commas; None for anything else."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        with contextlib.suppress(ValueError, RecursionError):
            value = json.loads(value)
    if isinstance(value, str):
        value = split_names(value)
    if not isinstance(value, (list, tuple)) or not all(isinstance(word, str) for word in value):
        return None
    return tuple(word.strip() for word in value if word.strip()) or None


def _text_label(record: Record, at: Mapping[str, str]) -> Content:
    label = _string(record, at["label"]).strip()
    return Content(_string(record, at["text"]), label, label)


def _text_labels(record: Record, at: Mapping[str, str], names: tuple[str, ...] = ()) -> Content:
    """A list of labels, of which there must be one; an id stands for one of `names`."""
    value = record.get(at["labels"])
    value = value if isinstance(value, (list, tuple)) else [value]
    if len(value) != 1:
        raise SkipSample(f"{len(value)} labels where one is expected")
    label = value[0]
    if isinstance(label, int) and not isinstance(label, bool):
        if not 0 <= label < len(names):
            raise SkipSample(f"label id {label} {f'is none of 0..{len(names) - 1}' if names else 'has no name'}")
        label = names[label]
    label = _clean(label, at["labels"]).strip()
    return Content(_string(record, at["text"]), label, label)


def _prompt_completion(record: Record, at: Mapping[str, str]) -> Content:
    prompt, completion = record.get(at["prompt"]), record.get(at["completion"])
    if not isinstance(prompt, list) and not isinstance(completion, list):
        return Content(_string(record, at["prompt"]), _string(record, at["completion"]))
    if not (isinstance(prompt, list) and isinstance(completion, list)):  # TRL's conversational form
        raise SkipSample(f"{at['prompt']!r} and {at['completion']!r} must both be text or both be lists of messages")
    if len(completion) != 1:
        raise SkipSample(f"{at['completion']!r} must be one assistant message, found {len(completion)}")
    return _conversation([*prompt, *completion], at["prompt"])


def _messages(record: Record, at: Mapping[str, str]) -> Content:
    turns = record.get(at["messages"])
    if turns is None:
        raise SkipSample(f"no {at['messages']!r}")
    if not isinstance(turns, list):
        raise SkipSample(f"{at['messages']!r} is {type(turns).__name__}, expected a list of messages")
    return _conversation(turns, at["messages"])


def _conversation(turns: list[Any], name: str) -> Content:
    """The last assistant turn is the target, the user turn before it holds the words; later turns are left out."""
    messages = []
    for turn in turns:
        if not isinstance(turn, Mapping) or not isinstance(turn.get("role"), str):
            raise SkipSample(f"{name!r} must hold objects with 'role' and 'content'")
        messages.append(Message(turn["role"], _clean(turn.get("content"), "content", optional=True)))
    last = max((i for i, message in enumerate(messages) if message.role == "assistant"), default=0)
    if last == 0 or messages[last - 1].role != "user":
        raise SkipSample(f"{name!r} needs an assistant turn right behind a user turn")
    text, target = messages[last - 1].content, messages[last].content
    for part, role in ((text, "user"), (target, "assistant")):
        if not part.strip():
            raise SkipSample(f"the last {role} turn is empty")
    return Content(text, target, history=tuple(messages[: last - 1]))


def _dolly(record: Record, at: Mapping[str, str]) -> Content:
    instruction = _string(record, at["instruction"])
    context = _string(record, at["context"], optional=True) if "context" in at else ""
    text = f"{instruction}\n\n{context}" if context.strip() else instruction
    return Content(text, _string(record, at["response"]))


# The Alpaca wording in which some copies of Dolly keep instruction and context: words never come from this frame.
_FRAME = re.compile(
    r"\s*Below is an instruction that describes a task.{0,200}?\n\n### Instruction:\n(?P<instruction>.+?)"
    r"(?:\n\n### Input:\n(?P<context>.+?))?\n\n### Response:\s*",
    re.DOTALL,
)


def _dolly_prompt(record: Record, at: Mapping[str, str]) -> Content:
    prompt, answer = _string(record, at["prompt"]), _string(record, at["answer"])
    frame = _FRAME.fullmatch(prompt)
    if frame is None or not frame["instruction"].strip():
        return Content(prompt, answer)
    instruction, context = frame["instruction"], frame["context"] or ""
    return Content(f"{instruction}\n\n{context}" if context.strip() else instruction, answer)


def _lawbench(record: Record, at: Mapping[str, str]) -> Content:
    """The instruction is the same in every row, so it is background; the words come from the question."""
    instruction, question = _string(record, at["instruction"]), _string(record, at["question"])
    return Content(question, _string(record, at["answer"]), before=f"{instruction}\n\n")


def _unilaw(record: Record, at: Mapping[str, str]) -> Content:
    """Where there is an input, it is the question, and the instruction is background [ours]."""
    instruction, question = _string(record, at["instruction"]), _string(record, at["input"], optional=True)
    target = _string(record, at["output"])
    return Content(question, target, before=f"{instruction}\n\n") if question.strip() else Content(instruction, target)


_THOUGHT = re.compile(r"\s*<think>.*?</think>\s*", re.DOTALL)
_ANSWER = re.compile(r"\s*<answer>(?P<answer>.*?)(?:</answer>\s*)?", re.DOTALL)


def _unilaw_answer(record: Record, at: Mapping[str, str]) -> Content:
    """Without the chain of thought, whose first token is the same in every row and so says nothing about any [ours]."""
    whole = _unilaw(record, at)
    target = _THOUGHT.sub("", whole.target, count=1)
    answer = _ANSWER.fullmatch(target)
    return whole._replace(target=_clean(answer["answer"].strip() if answer else target, at["output"]))


# The labels of GoEmotions in the order of their ids.
_EMOTIONS = """
    admiration amusement anger annoyance approval caring confusion curiosity desire disappointment disapproval disgust
    embarrassment excitement fear gratitude grief joy love nervousness optimism pride realization relief remorse sadness
    surprise neutral
"""
GOEMOTIONS = tuple(_EMOTIONS.split())

_ANSWERS = ("response", "output", "answer")
_ALPACA = {"instruction": ("instruction",), "input": ("input",), "output": ("output",)}
_LABELS = {"text": ("text",), "labels": ("labels",)}
_LAWBENCH = {"instruction": ("instruction",), "question": ("question",), "answer": ("answer",)}
_PROMPT = {"prompt": ("prompt", "question"), "completion": ("completion", *_ANSWERS)}

# In the order "auto" tries them: forms with the most telling columns first.
_FORMS = (
    Form("messages", {"messages": ("messages",)}, _messages),
    Form("lawbench", _LAWBENCH, _lawbench),
    Form("dolly", {"instruction": ("instruction",), "response": _ANSWERS}, _dolly, {"context": ("context", "input")}),
    Form("prompt-completion", _PROMPT, _prompt_completion),
    Form("text-label", {"text": ("text",), "label": ("label",)}, _text_label),
    Form("text-labels", _LABELS, _text_labels),
    Form("goemotions", _LABELS, partial(_text_labels, names=GOEMOTIONS)),
    Form("unilaw", _ALPACA, _unilaw),
    Form("unilaw-answer", _ALPACA, _unilaw_answer),
)
FORMS = {form.name: form for form in _FORMS}
# What a form is read as where its own columns are missing.
_VARIANTS = {
    "dolly": (Form("dolly", {"prompt": ("prompt",), "answer": ("answer",)}, _dolly_prompt),),
    "goemotions": (FORMS["text-label"],),
}
# Never guessed: the columns alone do not say which labels an id stands for, or that a text is on law.
_BY_NAME_ONLY = ("goemotions", "unilaw", "unilaw-answer")
_EVERYWHERE = frozenset({"id", "words"})  # columns that any form may have
