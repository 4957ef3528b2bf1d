"""Forms: how one record of a data set (a mapping of columns) becomes a Row.

To add a form, write a reader (record -> Content) and list it in `_FORMS`.
"""

import contextlib
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    thought: tuple[str, str] | None = None


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
            elif column in self.needs or columns.get(column):  # "" leaves a column out
                return None
        return located

    def joined(self, join: str) -> "Form":
        """The form with `join` between its columns. Errors: InterplayError for one that joins none."""
        if not isinstance(self.read, partial) or "join" not in self.read.keywords:
            raise InterplayError(f"form {self.name!r} joins no columns: leave data.join out")
        return replace(self, read=partial(self.read, join=join))


def row_from(record: Record, form: Form, located: Mapping[str, str], template: PromptTemplate, row_id: str) -> Row:
    """The Row in `record`, its text put into the prompt template's user turn. Errors: SkipSample with the reason."""
    content = form.read(record, located)
    words = _given_words(record.get(located["words"])) if "words" in located else None
    (*before, question), start = template.messages_for(content.before + content.text)
    given, history = _apart(before)
    if "system" in located and (text := _string(record, located["system"], optional=True)).strip():
        given = [Message("system", text)]
    if content.history is not None or "history" in located:
        own, turns = _apart(content.history or ())
        earlier = _pairs(record.get(located["history"]), located["history"]) if "history" in located else []
        # A conversation brings its own system turn and history: the template's and its row's fill gaps, examples stay out.
        given, history = own or given, earlier + turns if earlier or content.history is not None else history
    messages, at = (*given, *history, question), start + len(content.before)
    conversation = content.history is not None
    return Row(row_id, messages, content.target, content.text, at, content.label, words, conversation, content.thought)


def _apart(messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """The system turn, if the first is one, and the others."""
    count = sum(message.role == "system" for message in messages[:1])
    return list(messages[:count]), list(messages[count:])


def unused_columns(records: Collection[Record], located: Mapping[str, str]) -> tuple[str, ...]:
    """One note for each column that trainers put into prompts, that some row fills, and that the form does not read.

    >>> unused_columns([{"text": "a", "label": "b", "tools": "[...]", "system": ""}], {"text": "text", "label": "label"})
    ("column 'tools' is not used: no prompt holds anything of it",)
    """
    # As text: an array of numpy is neither equal to a list nor true or false.
    empty = ("None", "nan", "", "[]", "{}")
    unread = [column for column in _PROMPTED if column not in located.values()]
    unused = [column for column in unread if any(str(r.get(column)).strip() not in empty for r in records)]
    remedy = {name: f"; data.columns: {{{turn}: {name}}} puts it there" for turn in _TURNS for name in _TURNS[turn]}
    return tuple(f"column {c!r} is not used: no prompt holds anything of it{remedy.get(c, '')}" for c in unused)


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
    extra = {"words": "words"} | {role: column for role, column in columns.items() if role in ("words", *_TURNS)}
    if all(extra[role] in found for role in extra if columns.get(role)):
        for form in forms:
            located = form.locate(found, columns)
            if located is not None and columns.keys() <= {*form.needs, *form.may, *_EVERYWHERE}:
                free = {*found} - {*located.values()}
                return form, located | {role: column for role, column in extra.items() if column in free}
    seen = ", ".join(short(column, 30) for column in found[:12]) + (", ..." if len(found) > 12 else "")
    expected = " or ".join(
        ", ".join(short(columns[c], 30) if c in columns else repr(names[0]) for c, names in form.needs.items())
        for form in forms
    )
    wanted = f"form {name!r} expects {expected} (columns: maps other names)"
    raise InterplayError(f"{source}: found the columns {seen or 'none'}; {wanted}")


# ---- one reader a form: a record -> Content -----------------------------------------------------------------------------


def _string(record: Record, name: str, optional: bool = False) -> str:
    """The text in a column; whole numbers and truth values are read as text."""
    value = record.get(name)
    if hasattr(value, "item") and not hasattr(value, "__len__"):
        value = value.item()  # a number of numpy
    if isinstance(value, float):  # pandas makes NaN of a gap, and floats of the whole numbers around it
        if math.isfinite(value) and not value.is_integer():
            raise SkipSample(f"{name!r} is the number {value}, expected text or a whole number")
        value = int(value) if math.isfinite(value) else None
    if value is None and not optional:
        raise SkipSample(f"no {name!r}")
    return _clean("" if value is None else str(value) if isinstance(value, int) else value, name, optional)


def _label(record: Record, name: str) -> str:
    """A class; in a CSV file from pandas "1.0" stands for 1 and "nan" for nothing."""
    label = _string(record, name).strip()
    number = re.fullmatch(r"(-?\d*)\.(\d+)(?:[eE][-+]?\d+)?", label)
    if number and number[2].strip("0"):
        raise SkipSample(f"{name!r} is the number {short(label)}, expected a class")
    if label.lower() == "nan":
        raise SkipSample(f"no {name!r}")
    return number[1] if number else label


def _clean(value: Any, name: str, optional: bool = False) -> str:
    if not isinstance(value, str):
        raise SkipSample(f"{name!r} is {type(value).__name__}, expected text")
    if not value.strip() and not optional:
        raise SkipSample(f"{name!r} is empty")
    if re.search("[\0\ud800-\udfff]", value):
        raise SkipSample(f"{name!r} holds a NUL character or half a surrogate pair")
    return value


def _listed(value: Any) -> Any:
    """A list that a file without lists holds as JSON, or pandas as an array; any other value as it is."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, str) and value.lstrip().startswith("["):
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(value)
    return value


def _given_words(value: Any) -> tuple[str, ...] | None:
    """The words a row names: a list, a JSON list, or a text with commas; None for anything else."""
    value = _listed(value)
    if isinstance(value, str):
        value = split_names(value)
    if not isinstance(value, (list, tuple)) or not all(isinstance(word, str) for word in value):
        return None
    return tuple(word.strip() for word in value if word.strip()) or None


def _pairs(value: Any, name: str) -> list[Message]:
    """Earlier turns as LLaMA-Factory has them: a list of [question, answer] pairs."""
    pairs = _listed(value) or []
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise SkipSample(f"{name!r} must be a list of [question, answer] pairs")
    return [Message(role, _clean(text, name)) for q, a in pairs for role, text in (("user", q), ("assistant", a))]


def _text_label(record: Record, at: Mapping[str, str]) -> Content:
    label = _label(record, at["label"])
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
    label = _label({at["labels"]: label}, at["labels"])
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
    turns = _listed(record.get(at["messages"]))
    if turns is None:
        raise SkipSample(f"no {at['messages']!r}")
    if not isinstance(turns, list):
        raise SkipSample(f"{at['messages']!r} is {type(turns).__name__}, expected a list of messages")
    return _conversation(turns, at["messages"])


def _conversation(turns: list[Any], name: str) -> Content:
    """The last assistant turn is the target, the user turn before it holds the words; later turns are left out."""
    messages = [_turn(turn, number, name) for number, turn in enumerate(turns, start=1)]
    last = max((i for i, message in enumerate(messages) if message.role == "assistant"), default=0)
    if last == 0 or messages[last - 1].role != "user":
        raise SkipSample(f"{name!r} needs an assistant turn right behind a user turn")
    text, target = messages[last - 1].content, messages[last].content
    for part, role in ((text, "user"), (target, "assistant")):
        if not part.strip():
            raise SkipSample(f"the last {role} turn is empty")
    return Content(text, target, history=tuple(messages[: last - 1]), thought=messages[last].thought)


# Where a turn keeps a thought apart: vLLM and Qwen, gpt-oss, OpenRouter.
_THOUGHTS = ("reasoning_content", "thinking", "reasoning")
# Who speaks in ShareGPT, and what other names stand for a tool's call or its answer.
_SPEAKERS = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant"}
_TOOLS = ("tool", "tool_call", "tool_calls", "tool_response", "function", "function_call", "observation", "ipython")


def _turn(turn: Any, number: int, name: str) -> Message:
    """One turn, of OpenAI's form (`role`, `content`) or ShareGPT's (`from`, `value`)."""
    turn = turn if isinstance(turn, Mapping) else {}
    role = turn.get("role") or turn.get("from")
    content = turn.get("value") if turn.get("content") is None else turn["content"]
    if not isinstance(role, str):
        raise SkipSample(f"{name!r} must hold objects with 'role' and 'content', or 'from' and 'value'")
    if role in _TOOLS or turn.get("tool_calls") or turn.get("function_call"):
        raise SkipSample(f"turn {number} of {name!r} calls a tool or holds its answer, which no prompt here can hold")
    if content is None:
        raise SkipSample(f"turn {number} of {name!r} has no content")
    if isinstance(content, list):
        parts = [part if isinstance(part, Mapping) else {"text": part} for part in content]
        if other := next((part["type"] for part in parts if part.get("type", "text") != "text"), None):
            raise SkipSample(f"turn {number} of {name!r} holds a part of type {short(other)}, expected text only")
        # Chat templates that know parts write one behind the other.
        content = "".join(_clean(part.get("text"), "text", optional=True) for part in parts)
    thoughts = ((key, _clean(turn.get(key) or "", key, optional=True)) for key in _THOUGHTS)
    thought = next((pair for pair in thoughts if pair[1].strip()), None)
    return Message(_SPEAKERS.get(role, role), _clean(content, "content", optional=True), thought)


def _instructed(record: Record, at: Mapping[str, str], more: str, answer: str, join: str) -> Content:
    """An instruction and what it is about, if there is any, with `join` between them."""
    parts = [_string(record, at[column], optional=True) for column in ("instruction", more) if column in at]
    text = join.join(part for part in parts if part.strip())
    return Content(_clean(text, at["instruction"]), _string(record, at[answer]))


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


def _background(record: Record, at: Mapping[str, str], more: str, answer: str) -> Content:
    """Where there is a question, the words come from it, and the instruction, alike in many rows, is background [ours]."""
    instruction, question = _string(record, at["instruction"]), _string(record, at[more], optional=True)
    target = _string(record, at[answer])
    return Content(question, target, before=f"{instruction}\n\n") if question.strip() else Content(instruction, target)


_unilaw = partial(_background, more="input", answer="output")
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
_ALPACA = {"instruction": ("instruction",), "output": ("output",)}
_UNILAW = {"instruction": ("instruction",), "input": ("input",), "output": ("output",)}
_DOLLY = {"instruction": ("instruction",), "response": _ANSWERS}
_LABELS = {"text": ("text",), "labels": ("labels",)}
_LAWBENCH = {"instruction": ("instruction",), "question": ("question",), "answer": ("answer",)}
_PROMPT = {"prompt": ("prompt", "question"), "completion": ("completion", *_ANSWERS)}

_TURNS = {"system": ("system", "system_prompt"), "history": ("history",)}  # of LLaMA-Factory, beside a row's own text
_MESSAGES = {"messages": ("messages", "conversations", "conversation")}
_ALPACA_JOIN = partial(_instructed, more="input", answer="output", join="\n")  # as LLaMA-Factory joins them
_DOLLY_JOIN = partial(_instructed, more="context", answer="response", join="\n\n")

# In the order "auto" tries them: forms with the most telling columns first.
_FORMS = (
    Form("messages", _MESSAGES, _messages, {"system": _TURNS["system"]}),
    Form("lawbench", _LAWBENCH, partial(_background, more="question", answer="answer")),
    Form("alpaca", _ALPACA, _ALPACA_JOIN, {"input": ("input", "context"), **_TURNS}),
    Form("dolly", _DOLLY, _DOLLY_JOIN, {"context": ("context", "input"), **_TURNS}),
    Form("prompt-completion", _PROMPT, _prompt_completion),
    Form("text-label", {"text": ("text",), "label": ("label",)}, _text_label),
    Form("text-labels", _LABELS, _text_labels),
    Form("goemotions", _LABELS, partial(_text_labels, names=GOEMOTIONS)),
    Form("unilaw", _UNILAW, _unilaw),
    Form("unilaw-answer", _UNILAW, _unilaw_answer),
)
FORMS = {form.name: form for form in _FORMS}
# What a form is read as where its own columns are missing.
_VARIANTS = {
    "dolly": (Form("dolly", {"prompt": ("prompt",), "answer": ("answer",)}, _dolly_prompt),),
    "goemotions": (FORMS["text-label"],),
}
# Never guessed: the columns alone do not say which labels an id stands for, or that a text is on law.
_BY_NAME_ONLY = ("goemotions", "unilaw", "unilaw-answer")
_EVERYWHERE = frozenset({"id", "words", *_TURNS})  # columns that any form may have
# Columns that trainers put into prompts.
_PROMPTED = (
    "audio", "audios", "chat_template_kwargs", "context", "documents", "functions", "history", "image", "images", "input",
    "system", "system_prompt", "tools", "video", "videos",
)  # fmt: skip
