"""Prompts, rendered and encoded: from a row to the string and the token ids that both training and scoring use.

A conversation is rendered once, with its answer, as SFTTrainer renders a training row. The prompt is all that stands before the
answer, an empty thought included. Where the template puts text and answer is found by rendering sentinels in their place [ours].
"""

import contextlib
import functools
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from interplay.data.rows import Message, Row
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError, SkipSample, is_failure, reason_of
from interplay.text import ascii_safe, short, stable_hash

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

_DEFAULT_TEMPLATE = PromptTemplate()
_CLOCK = "strftime_now"  # what a chat template calls that writes the date


@dataclass(frozen=True)
class Rendered:
    """One row as text. `prompt + completion` is what training sees; `completion` ends with the end-of-turn.

    `prompt[text_start + w.start : text_start + w.end] == w.text` for every word w of the row's text. `chat`: a chat template
    wrote it, its own BOS included.
    """

    prompt: str
    completion: str
    text_start: int
    chat: bool


@dataclass(frozen=True)
class Encoded:
    """One row as token ids: `input_ids` [L] of the prompt, `target_ids` [m >= 1] of the completion, end-of-turn included.

    `offsets` [L]: (start, end) of each prompt token in `text`, the rendered prompt; (0, 0) for an added BOS. `target_offsets` [m]:
    of each target token in `completion`.
    """

    input_ids: tuple[int, ...]
    target_ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]
    text: str
    text_start: int
    completion: str = ""
    target_offsets: tuple[tuple[int, int], ...] = ()


def render(row: Row, tokenizer: "Tokenizer", template: PromptTemplate = _DEFAULT_TEMPLATE) -> Rendered:
    """`row` as one string, through the tokenizer's chat template or as plain text (`template.chat`).

    Plain: turns joined by blank lines, an answer one space after its question unless that ends in white space, EOS at the end;
    a prompt's last space goes to the completion, where tokenizers have it.

    Errors: SkipSample when text or target spells a special token, the target is empty, or the chat template refuses or
    rewrites the conversation; InterplayError when `chat` is True and there is no chat template.

    >>> toy = type("Toy", (), {"chat_template": None, "all_special_tokens": ["</s>"], "eos_token": "</s>"})()
    >>> toy.added_tokens_decoder = {}
    >>> row = Row("a", (Message("system", "Be brief."), Message("user", "Q: Why?")), "So.", "Why?", 3)
    >>> render(row, toy)
    Rendered(prompt='Be brief.\\n\\nQ: Why?', completion=' So.</s>', text_start=14, chat=False)
    """
    if not row.target.strip():
        nothing = f"the target {short(row.target)} tokenises to nothing; give a target with text in it"
        raise SkipSample(f"row {short(row.id)}: {nothing}")
    refuse_special_tokens(row, tokenizer, template)
    chat = uses_chat(tokenizer, template)
    return _render_chat(row, tokenizer, template) if chat else render_plain(row, tokenizer.eos_token)


def encode(rendered: Rendered, tokenizer: "Tokenizer") -> Encoded:
    """Token ids of a rendered row, tokenised once as a whole so that training and scoring see the same ids.

    Plain text gets what the tokenizer puts in front by default (the BOS of Llama or Gemma), and never what it appends.

    Errors: InterplayError for a tokenizer that is not a fast one (no offsets); SkipSample when a token straddles the border
    between prompt and completion, or the completion tokenises to nothing.
    """
    if not tokenizer.is_fast:
        given = f"given {type(tokenizer).__name__}"
        raise InterplayError(f"a fast tokenizer is needed (offsets of its tokens); {given}: load it with use_fast=True")
    border = len(rendered.prompt)
    ids, offsets = _tokenise(tokenizer, rendered.prompt + rendered.completion)
    prompt_ids, _ = _tokenise(tokenizer, rendered.prompt)
    length = len(prompt_ids)
    if ids[:length] != prompt_ids or any(start < border < end for start, end in offsets):
        ends = (
            f"the prompt, ending {short(rendered.prompt[-20:])}, and the completion {short(rendered.completion[:20])}"
        )
        advice = "give the prompt template another end, or the target another start"
        raise SkipSample(f"a token straddles the border between {ends}: {advice}")
    if length == len(ids):
        raise SkipSample(f"the target {short(rendered.completion)} tokenises to nothing; give a target with text in it")
    lead = () if rendered.chat else _leading_ids(tokenizer)
    if lead and ids[: len(lead)] == lead:  # the template spells the BOS itself
        lead = ()
    return Encoded(
        input_ids=lead + prompt_ids,
        target_ids=ids[length:],
        offsets=((0, 0),) * len(lead) + offsets[:length],
        text=rendered.prompt,
        text_start=rendered.text_start,
        completion=rendered.completion,
        target_offsets=tuple((start - border, end - border) for start, end in offsets[length:]),
    )


def uses_chat(tokenizer: "Tokenizer", template: PromptTemplate = _DEFAULT_TEMPLATE) -> bool:
    """Whether rows go through the tokenizer's chat template; InterplayError when the prompt template demands one that is missing."""
    if template.chat is True and not tokenizer.chat_template:
        raise InterplayError("chat: true needs a chat template and this tokenizer has none; set chat to auto or false")
    return template.chat is not False and bool(tokenizer.chat_template)


# Tokenizer -> (its named special tokens and its length, the pattern made of them): Gemma has 6,000 added tokens.
_PATTERNS: WeakKeyDictionary[Any, tuple[object, re.Pattern[str]]] = WeakKeyDictionary()


def special_tokens(tokenizer: "Tokenizer") -> re.Pattern[str]:
    """A pattern that finds every string that the tokenizer turns into a special token, the longest first."""
    named = tuple(str(token) for token in tokenizer.all_special_tokens)
    key = (named, len(tokenizer) if hasattr(tokenizer, "__len__") else 0)
    if tokenizer not in _PATTERNS or _PATTERNS[tokenizer][0] != key:
        added = (str(token.content) for token in tokenizer.added_tokens_decoder.values() if token.special)
        tokens = sorted({t for t in (*named, *added) if t.strip()}, key=lambda t: (-len(t), t))
        _PATTERNS[tokenizer] = key, re.compile("|".join(map(re.escape, tokens)) or r"(?!)")  # (?!) matches nothing
    return _PATTERNS[tokenizer][1]


def refuse_special_tokens(row: Row, tokenizer: "Tokenizer", template: PromptTemplate = _DEFAULT_TEMPLATE) -> None:
    """Raise SkipSample if data spells a special token: the tokenizer would make a real one of it.

    The user's text and the target may hold none, other turns only those that the prompt template itself spells.
    """
    own = template.literals()
    thoughts = (thought[1] for thought in (*(m.thought for m in row.messages), row.thought) if thought)
    rest = "\n".join([*(m.content for m in row.messages), *thoughts])
    for name, text in (("text", row.text), ("target", row.target), ("conversation", rest)):
        for match in special_tokens(tokenizer).finditer(text):
            if not (name == "conversation" and match[0] in own):
                spelt = f"the {name} spells the special token {short(match[0])}"
                raise SkipSample(f"row {short(row.id)}: {spelt}, which would become a real one")


def template_hash(tokenizer: "Tokenizer", template: PromptTemplate = _DEFAULT_TEMPLATE) -> str:
    """16 hex digits that change when the wording around a text changes: chat template, prompt template, EOS, BOS."""
    chat = uses_chat(tokenizer, template)
    unused = set() if chat else {"chat_template_kwargs"}
    if not chat or _CLOCK not in str(tokenizer.chat_template):
        unused.add("today")
    parts = {
        "version": 2,
        "prompt": {key: value for key, value in asdict(template).items() if key not in unused} | {"chat": chat},
        "chat_template": tokenizer.chat_template if chat else None,
        "eos": tokenizer.eos_token,
        "bos": tokenizer.bos_token,
    }
    data = json.dumps(parts, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(data.encode()).hexdigest()[:16]


def render_plain(row: Row, eos: str | None, *, spaced: bool = True) -> Rendered:
    """A row without chat template. `spaced`: with a space between a question and its answer; SFTTrainer puts none.

    >>> render_plain(Row("a", (Message("user", "Mood: "),), "joy", "Mood: ", 0), "</s>", spaced=False)
    Rendered(prompt='Mood:', completion=' joy</s>', text_start=0, chat=False)
    """

    def space(answer: str) -> str:
        return "" if not (spaced and prompt) or prompt[-1].isspace() or answer[:1].isspace() else " "

    prompt, before = "", ""
    for message in row.messages:
        if message.role == "assistant":
            prompt += space(message.content) + message.content
        elif message.content:
            prompt += ("\n\n" if prompt else "") + message.content
            before = prompt[: len(prompt) - len(message.content)]
    completion = space(row.target) + row.target + (eos or "")
    if prompt.endswith(" ") and not row.target[:1].isspace():
        # Tokens begin with their space, so "Answer: " + "joy" would have one across the border. The string stays the same.
        prompt, completion = prompt[:-1], " " + completion
    return Rendered(prompt, completion, len(before) + row.text_start, chat=False)


def _render_chat(row: Row, tokenizer: "Tokenizer", template: PromptTemplate) -> Rendered:
    sentinel, question, history = f"X{stable_hash(row)[:16]}q", row.messages[-1], _history(row, tokenizer, template)
    frame = [*history, Message(question.role, sentinel), Message("assistant", sentinel + "A")]
    head, behind, parts, refused = "", [], False, None
    for parts in (False, True):  # templates of a processor refuse a content that is no list, or write nothing of it
        try:
            head, *behind = _apply(tokenizer, frame, template, parts=parts).split(sentinel)
        except SkipSample as reason:
            refused = refused or reason
        if behind:
            break
    if refused and not behind:
        raise refused
    it = f"row {short(row.id)}: the chat template"
    if len(behind) != 2 or not behind[1].startswith("A"):
        raise SkipSample(f"{it} does not write the user's turn and its answer once and unchanged")
    between, end, text = behind[0], behind[1][1:], question.content
    answer = Message("assistant", row.target, row.thought)
    full = _apply(tokenizer, [*history, question, answer], template, parts=parts)
    # A template may strip white space at the edges of the text and do nothing else to it.
    edges = sorted({text, text.rstrip(), text.lstrip(), text.strip()}, key=len, reverse=True)
    starts = [head + edge for edge in edges if full.startswith(head + edge)]
    if not starts or not full.endswith(end):
        raise SkipSample(f"{it} rewrites the user's text: its words cannot be located")
    start = next((start for start in starts if full.startswith(start + between)), starts[0])
    at, until = len(start + between), len(full) - len(end)
    if not full.startswith(start + between) or full[at:until].strip() != row.target.strip():
        # A template may give a thought another frame, or leave it out: what it writes is what is trained.
        _, thought, told = row.target.rpartition("</think>")
        if not ((thought or row.thought) and told.strip() and full[:until].endswith(told.strip())):
            raise SkipSample(f"{it} rewrites the target {short(row.target)}")
        at = full.find("<think>", len(start)) if thought else -1  # one that the data keeps apart is context
        at = until - len(told.strip()) if at < 0 else at
    if full[at - 1] == " " and not full[at].isspace():  # to the answer, as in plain text
        at -= 1
    # Templates write white space after the end-of-turn; a model stops before it.
    bare = end.rstrip()
    ends = bare if re.search(rf"(?:{special_tokens(tokenizer).pattern})\Z", bare) else end
    text_start = len(head) + row.text_start - text.find(start[len(head) :])
    return Rendered(full[:at], full[at:until] + ends, text_start, chat=True)


def asked(row: Row, tokenizer: "Tokenizer", template: PromptTemplate) -> str:
    """The prompt as the chat template writes it where the model is used, before there is an answer; SkipSample if refused."""
    turns = [*_history(row, tokenizer, template), row.messages[-1]]
    prompt = _apply(tokenizer, turns, template, generation=True)
    return prompt if row.text.strip() in prompt else _apply(tokenizer, turns, template, parts=True, generation=True)


def template_notes(row: Row, tokenizer: "Tokenizer", template: PromptTemplate) -> list[str]:
    """Notes on a chat template that writes the date, or another prompt where a model is used than where it is trained."""
    rendered, notes = render(row, tokenizer, template), []
    if not rendered.chat:
        return notes
    tomorrow = replace(template, today=template.today + timedelta(days=1))
    if render(row, tokenizer, tomorrow).prompt != rendered.prompt:
        notes.append(
            f"The chat template writes the date; {template.today:%d %b %Y} was scored. If training wrote another day, set "
            "prompt.today to it, or what the template reads, such as date_string, in chat_template_kwargs."
        )
    used = ""
    with contextlib.suppress(SkipSample):  # a template may want an answer
        used = asked(row, tokenizer, template)
    if not (rendered.prompt + rendered.completion).startswith(used):
        notes.append(
            f"The chat template ends a prompt with {short(used[-30:])} where the model is used and not where it is trained; "
            f"scored was {_shown(rendered)}, as SFTTrainer trains it."
        )
    return notes


def wording_notes(row: Row, tokenizer: "Tokenizer", template: PromptTemplate) -> list[str]:
    """A note on rows of a training elsewhere, where nothing says how it worded them."""
    scored = f"scored was {_shown(render(row, tokenizer, template))}."
    if row.given and not uses_chat(tokenizer, template):
        return [f"The rows are conversations and no chat template was used; {scored}"]
    if row.given or template != PromptTemplate():
        return []
    return [
        f"How training worded these rows is not known; {scored} If that is another text, give system, template or chat "
        "(SFTTrainer trains strings of prompt and completion without a chat template)."
    ]


def _shown(rendered: Rendered) -> str:
    return f"{short(rendered.prompt[-300:], 300)} and then {short(rendered.completion, 40)}"


def _history(row: Row, tokenizer: "Tokenizer", template: PromptTemplate) -> tuple[Message, ...]:
    """The turns before the question. An empty system turn of the data's own stays, as SFTTrainer trains it; one that the prompt
    template asks for where it keeps the chat template from a longer default of its own ("You are a helpful assistant")."""
    history = row.messages[:-1]
    if template.system != "" or not history or history[0] != Message("system", ""):
        return history
    try:
        empty = _apply(tokenizer, row.messages, template)
    except SkipSample:  # the template has no system turn at all
        return history[1:]
    return history if len(_apply(tokenizer, row.messages[1:], template)) > len(empty) else history[1:]


def _apply(
    tokenizer: "Tokenizer", messages: Sequence[Message], template: PromptTemplate, *, parts: bool = False, generation: bool = False
) -> str:  # fmt: skip
    """The conversation as the chat template writes it. `parts`: contents as lists, as TRL gives them to a processor's template."""
    turns: list[Any] = [
        {"role": m.role, "content": [{"type": "text", "text": m.content}] if parts else m.content}
        | dict([m.thought] if m.thought else [])
        for m in messages
    ]
    given: dict[str, Any] = dict(template.chat_template_kwargs)
    try:
        if _CLOCK in str(tokenizer.chat_template):
            given["chat_template"] = _clock(template.today) + tokenizer.get_chat_template(tools=given.get("tools"))
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=generation, **given)
    except Exception as error:  # a template is a program: it may divide by zero, recurse, or run out of memory
        message = ascii_safe(str(error).strip().split("\n")[0])[:200] or type(error).__name__
        roles = [m.role for m in messages]
        raise SkipSample(f"the chat template refuses a conversation of {roles}: {message}") from None
    return str(text)


@functools.cache
def _clock(today: date) -> str:
    """Jinja that hides the `strftime_now` of transformers, which takes no function from outside: a run must not depend on the day.

    >>> _clock(date(2024, 7, 26))[:77]
    '{% macro strftime_now(f) %}{{ f | replace("%-d", "26") | replace("%-m", "7") '
    """
    codes = [f"%-{c}" for c in "dmyjHIM"] + [f"%{c}" for c in "aAbBcdDeFGhHIjmMnpSTuUVwWxXyYzZ"]
    each = "".join(f" | replace({json.dumps(c)}, {json.dumps(today.strftime(c))})" for c in codes)
    return f'{{% macro strftime_now(f) %}}{{{{ f{each} | replace("%%", "%") }}}}{{% endmacro +%}}'


def _tokenise(tokenizer: "Tokenizer", text: str) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    how = {"add_special_tokens": False, "padding": False, "truncation": False, "verbose": False}
    try:
        coded = tokenizer(text, return_offsets_mapping=True, **how)
    except BaseException as error:  # the library in Rust raises bare Exceptions, and panics
        if not is_failure(error):
            raise
        raise SkipSample(f"the tokenizer fails: {reason_of(error)}") from error
    return tuple(coded["input_ids"]), tuple((start, end) for start, end in coded["offset_mapping"])


def _leading_ids(tokenizer: "Tokenizer") -> tuple[int, ...]:
    """What the tokenizer puts before any text by default: usually nothing or one BOS."""
    plain, _ = _tokenise(tokenizer, "a")
    whole = tuple(tokenizer("a", padding=False, truncation=False, verbose=False)["input_ids"])
    starts = (at for at in range(len(whole) - len(plain) + 1) if whole[at : at + len(plain)] == plain)
    return whole[: next(starts, 0)]
