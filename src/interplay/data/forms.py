"""Forms: how one record of a data set (a mapping of columns) becomes a Row.

Each form names the columns it needs and says where the user's own text stands, which is the only place words may come from.
Reading files is `tables.py`; which rows of a set are usable is decided here, one record at a time, with a reason.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from interplay.data.rows import Message, Row
from interplay.data.template import PromptTemplate
from interplay.data.words import short
from interplay.errors import InterplayError, SkipSample

Record = Mapping[str, Any]


class Content(NamedTuple):
    """What a form finds in one record: the turns before the last, the last turn's own content, and where words may come from."""

    history: tuple[Message, ...] | None  # None: the prompt template's own system turn and examples
    content: str
    text: str
    offset: int
    target: str
    label: str | None


@dataclass(frozen=True)
class Form:
    """A form by name: `needs` and `may` give, for each canonical column, the names it is known by, the best first."""

    name: str
    needs: Mapping[str, tuple[str, ...]]
    read: Callable[[Record, Mapping[str, str]], Content]
    may: Mapping[str, tuple[str, ...]]

    def locate(self, found: Iterable[str], columns: Mapping[str, str]) -> dict[str, str] | None:
        """Canonical column -> the column in the data; None when one that is needed is missing."""
        found = set(found)
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
    """The Row in `record`, its text put into the prompt template's user turn.

    Errors: SkipSample with the reason, without the row's place (the caller knows it).

    >>> form = FORMS["text-label"]
    >>> row_from({"text": "So sad", "label": "grief"}, form, {"text": "text", "label": "label"}, PromptTemplate(), "r1")
    Row(id='r1', messages=(Message(role='user', content='So sad'),), target='grief', text='So sad', text_start=0, label='grief')
    """
    part = form.read(record, located)
    messages, start = template.messages_for(part.content)
    if part.history is not None:
        # A conversation brings its own history; the template's system turn only fills a gap, its examples stay out.
        system = (
            messages[:1]
            if messages[0].role == "system" and part.history[:1] and part.history[0].role != "system"
            else ()
        )
        if not part.history and messages[0].role == "system":
            system = messages[:1]
        messages = (*system, *part.history, messages[-1])
    return Row(row_id, messages, part.target, part.text, start + part.offset, part.label)


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
        raise InterplayError(f"form must be one of auto, goemotions, {', '.join(FORMS)}; given {short(name)}")
    named = FORMS.values() if name == "auto" else [FORMS[name]]
    forms = [form for first in named for form in (first, *_VARIANTS.get(first.name, ()))]
    known = {column for form in forms for column in (*form.needs, *form.may)} | {"id"}
    if stray := [column for column in columns if column not in known]:
        raise InterplayError(f"columns must map one of {', '.join(sorted(known))}; given {short(stray[0])}")
    for form in forms:
        if not columns.keys() <= {*form.needs, *form.may, "id"}:
            continue
        located = form.locate(found, columns)
        if located is not None:
            return form, located
    seen = ", ".join(short(column, 30) for column in found[:12]) + (", ..." if len(found) > 12 else "")
    wanted = " or ".join(_wanted(form, columns) for form in forms)
    raise InterplayError(
        f"{source}: found the columns {seen or 'none'}; form {name!r} expects {wanted} (columns: maps other names)"
    )


def _wanted(form: Form, columns: Mapping[str, str]) -> str:
    return ", ".join(short(columns[c], 30) if c in columns else repr(names[0]) for c, names in form.needs.items())


# ---- one reader a form ---------------------------------------------------------------------------------------------------


def _string(record: Record, name: str, optional: bool = False) -> str:
    """The text in a column; numbers are read as text, nothing else is."""
    value = record.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is None:
        if optional:
            return ""
        raise SkipSample(f"no {name!r}")
    return _clean(value, name, optional)


def _clean(value: Any, name: str, optional: bool = False) -> str:
    if not isinstance(value, str):
        raise SkipSample(f"{name!r} is {type(value).__name__}, expected text")
    if not value.strip() and not optional:
        raise SkipSample(f"{name!r} is empty")
    if "\0" in value:
        raise SkipSample(f"{name!r} holds a NUL character")
    if re.search("[\ud800-\udfff]", value):
        raise SkipSample(f"{name!r} holds half a surrogate pair, which is no text")
    return value


def _text_label(record: Record, at: Mapping[str, str]) -> Content:
    text, label = _string(record, at["text"]), _string(record, at["label"]).strip()
    return Content(None, text, text, 0, label, label)


def _prompt_completion(record: Record, at: Mapping[str, str]) -> Content:
    prompt, completion = record.get(at["prompt"]), record.get(at["completion"])
    if isinstance(prompt, list) or isinstance(completion, list):  # TRL's conversational form
        if not (isinstance(prompt, list) and isinstance(completion, list)):
            raise SkipSample(
                f"{at['prompt']!r} and {at['completion']!r} must both be text or both be lists of messages"
            )
        if len(completion) != 1:
            raise SkipSample(f"{at['completion']!r} must be one assistant message, found {len(completion)}")
        return _conversation([*prompt, *completion], at["prompt"])
    text, target = _string(record, at["prompt"]), _string(record, at["completion"])
    return Content(None, text, text, 0, target, None)


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
    last = max((i for i, message in enumerate(messages) if message.role == "assistant"), default=None)
    if last is None:
        raise SkipSample(f"{name!r} has no assistant turn")
    if last == 0 or messages[last - 1].role != "user":
        raise SkipSample(f"{name!r} has no user turn right before its last assistant turn")
    text, target = messages[last - 1].content, messages[last].content
    for part, role in ((text, "user"), (target, "assistant")):
        if not part.strip():
            raise SkipSample(f"the last {role} turn is empty")
    return Content(tuple(messages[: last - 1]), text, text, 0, target, None)


def _dolly(record: Record, at: Mapping[str, str]) -> Content:
    instruction = _string(record, at["instruction"])
    context = _string(record, at["context"], optional=True) if "context" in at else ""
    return _instruction(instruction, context, _string(record, at["response"]))


# The Alpaca wording in which some copies of Dolly keep instruction and context. It is unwrapped, because words must come
# from what a person wrote and never from this frame; `template` can put it, or any other wording, back.
_FRAME = re.compile(
    r"\s*Below is an instruction that describes a task.{0,200}?\n\n### Instruction:\n(?P<instruction>.+?)"
    r"(?:\n\n### Input:\n(?P<context>.+?))?\n\n### Response:\s*",
    re.DOTALL,
)


def _dolly_prompt(record: Record, at: Mapping[str, str]) -> Content:
    prompt, answer = _string(record, at["prompt"]), _string(record, at["answer"])
    frame = _FRAME.fullmatch(prompt)
    if frame is None or not frame["instruction"].strip():
        return Content(None, prompt, prompt, 0, answer, None)
    return _instruction(frame["instruction"], frame["context"] or "", answer)


def _instruction(instruction: str, context: str, response: str) -> Content:
    text = f"{instruction}\n\n{context}" if context.strip() else instruction
    return Content(None, text, text, 0, response, None)


def _lawbench(record: Record, at: Mapping[str, str]) -> Content:
    """The instruction is the same in every row, so it is background; the words come from the question."""
    instruction, question = _string(record, at["instruction"]), _string(record, at["question"])
    content = f"{instruction}\n\n{question}"
    return Content(None, content, question, len(content) - len(question), _string(record, at["answer"]), None)


_ANSWERS = ("response", "output", "answer")
_DOLLY_PROMPT = Form("dolly", {"prompt": ("prompt",), "answer": ("answer",)}, _dolly_prompt, {})

# In the order "auto" tries them: forms with the most telling columns first.
FORMS: dict[str, Form] = {
    "messages": Form("messages", {"messages": ("messages",)}, _messages, {}),
    "lawbench": Form(
        "lawbench", {"instruction": ("instruction",), "question": ("question",), "answer": ("answer",)}, _lawbench, {}
    ),
    "dolly": Form(
        "dolly", {"instruction": ("instruction",), "response": _ANSWERS}, _dolly, {"context": ("context", "input")}
    ),
    "prompt-completion": Form(
        "prompt-completion",
        {"prompt": ("prompt", "question"), "completion": ("completion", *_ANSWERS)},
        _prompt_completion,
        {},
    ),
    "text-label": Form("text-label", {"text": ("text",), "label": ("label",)}, _text_label, {}),
}
_VARIANTS = {"dolly": (_DOLLY_PROMPT,)}
