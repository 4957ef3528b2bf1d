"""Prompts, rendered and encoded: from a row to the string and the token ids that both training and scoring use.

Where a chat template puts the user's text is found by rendering a sentinel in its place [ours].
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from interplay.data.rows import Message, Row
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError, SkipSample, is_failure, reason_of
from interplay.text import ascii_safe, short

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

# Llama-3 templates write today's date unless they are given one: a run must not depend on the day [ours].
_FIXED = {"date_string": "26 Jul 2024"}
_DEFAULT_TEMPLATE = PromptTemplate()


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

    `offsets` [L]: (start, end) of each prompt token in `text`, the rendered prompt; (0, 0) for an added BOS.
    """

    input_ids: tuple[int, ...]
    target_ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]
    text: str
    text_start: int


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
        raise SkipSample(
            f"row {short(row.id)}: the target {short(row.target)} tokenises to nothing; give a target with text in it"
        )
    refuse_special_tokens(row, tokenizer, template)
    return (_render_chat if uses_chat(tokenizer, template) else _render_plain)(row, tokenizer)


def encode(rendered: Rendered, tokenizer: "Tokenizer") -> Encoded:
    """Token ids of a rendered row, tokenised once as a whole so that training and scoring see the same ids.

    Plain text gets what the tokenizer puts in front by default (the BOS of Llama or Gemma), and never what it appends.

    Errors: InterplayError for a tokenizer that is not a fast one (no offsets); SkipSample when a token straddles the border
    between prompt and completion, or the completion tokenises to nothing.
    """
    if not tokenizer.is_fast:
        raise InterplayError(
            f"a fast tokenizer is needed (offsets of its tokens); given {type(tokenizer).__name__}: load it with use_fast=True"
        )
    border = len(rendered.prompt)
    ids, offsets = _tokenise(tokenizer, rendered.prompt + rendered.completion)
    prompt_ids, _ = _tokenise(tokenizer, rendered.prompt)
    length = len(prompt_ids)
    if ids[:length] != prompt_ids or any(start < border < end for start, end in offsets):
        raise SkipSample(
            f"a token straddles the border between the prompt, ending {short(rendered.prompt[-20:])}, and the completion "
            f"{short(rendered.completion[:20])}: give the prompt template another end, or the target another start"
        )
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
    rest = "\n".join(message.content for message in row.messages)
    for name, text in (("text", row.text), ("target", row.target), ("conversation", rest)):
        for match in special_tokens(tokenizer).finditer(text):
            if not (name == "conversation" and match[0] in own):
                token = short(match[0])
                raise SkipSample(
                    f"row {short(row.id)}: the {name} spells the special token {token}, which would become a real one"
                )


def template_hash(tokenizer: "Tokenizer", template: PromptTemplate = _DEFAULT_TEMPLATE) -> str:
    """16 hex digits that change when the wording around a text changes: chat template, prompt template, EOS, BOS."""
    chat = uses_chat(tokenizer, template)
    parts = {
        "version": 1,
        "prompt": asdict(template) | {"chat": chat},
        "chat_template": tokenizer.chat_template if chat else None,
        "eos": tokenizer.eos_token,
        "bos": tokenizer.bos_token,
    }
    data = json.dumps(parts, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(data.encode()).hexdigest()[:16]


def _render_plain(row: Row, tokenizer: "Tokenizer") -> Rendered:
    prompt, before = "", ""
    for message in row.messages:
        if message.role == "assistant":
            prompt += _space(prompt, message.content) + message.content
        elif message.content:
            prompt += ("\n\n" if prompt else "") + message.content
            before = prompt[: len(prompt) - len(message.content)]
    completion = _space(prompt, row.target) + row.target + (tokenizer.eos_token or "")
    if prompt.endswith(" ") and not row.target[0].isspace():
        # Tokens begin with their space, so "Answer: " + "joy" would have one across the border. The string stays the same.
        prompt, completion = prompt[:-1], " " + completion
    return Rendered(prompt, completion, len(before) + row.text_start, chat=False)


def _space(prompt: str, answer: str) -> str:
    return "" if not prompt or prompt[-1].isspace() or answer[:1].isspace() else " "


def _render_chat(row: Row, tokenizer: "Tokenizer") -> Rendered:
    sentinel = _sentinel(row)
    question = row.messages[-1]
    history = _without_idle_system(row.messages[:-1], question.role, tokenizer, sentinel)
    frame = [*history, Message(question.role, sentinel)]
    # Thinking models: the prompt must end where a plain answer begins. The frames hold no data of this row's text or target, so
    # all rows of a data set are rendered alike.
    for options in ({}, {"enable_thinking": False}):
        framed_prompt = _apply(tokenizer, frame, True, options)
        framed_full = _apply(tokenizer, [*frame, Message("assistant", sentinel + "A")], False, options)
        agree = framed_full.startswith(framed_prompt + sentinel + "A")
        if agree:
            break
    else:
        options = {}
        framed_prompt = _apply(tokenizer, frame, True, options)

    head, found, tail = framed_prompt.partition(sentinel)
    if not found or sentinel in tail:
        raise SkipSample(f"row {short(row.id)}: the chat template does not write the user's turn once and unchanged")
    prompt = _apply(tokenizer, [*history, question], True, options)
    middle, text = prompt[len(head) : len(prompt) - len(tail)], question.content
    # A template may strip white space at the edges of the text and do nothing else to it.
    if prompt != head + middle + tail or middle not in (text, text.rstrip(), text.lstrip(), text.strip()):
        raise SkipSample(
            f"row {short(row.id)}: the chat template rewrites the user's text: its words cannot be located"
        )

    if agree:
        end = framed_full[len(framed_prompt) + len(sentinel) + 1 :]
        full = _apply(tokenizer, [*history, question, Message("assistant", row.target)], False, options)
        answer = full[len(prompt) : len(full) - len(end)]
        if full != prompt + answer + end or answer.strip() != row.target.strip():
            raise SkipSample(f"row {short(row.id)}: the chat template rewrites the target {short(row.target)}")
        # Templates write white space after the end-of-turn; a model stops before it.
        bare = end.rstrip()
        completion = answer + (bare if re.search(rf"(?:{special_tokens(tokenizer).pattern})\Z", bare) else end)
    else:
        completion = row.target + (tokenizer.eos_token or "")
    return Rendered(prompt, completion, len(head) + row.text_start - text.find(middle), chat=True)


def _without_idle_system(
    history: Sequence[Message], role: str, tokenizer: "Tokenizer", sentinel: str
) -> tuple[Message, ...]:
    """Drop an empty system turn unless the chat template would then write a default one in its place.

    Only an empty turn keeps a ChatML template from its "You are a helpful assistant"; templates without a default would write
    an empty turn, or refuse it. A default stands where a given system text would: compare both.
    """
    if not history or history[0].role != "system" or history[0].content:
        return tuple(history)
    rest = (*history[1:], Message(role, sentinel))
    try:
        given = _apply(tokenizer, (Message("system", sentinel + "S"), *rest), True, {})
    except SkipSample:  # the template has no system turn at all
        return tuple(history[1:])
    before, _, after = given.partition(sentinel + "S")
    default = _apply(tokenizer, rest, True, {})
    has_slot = default.startswith(before) and default.endswith(after) and len(default) >= len(before) + len(after)
    return tuple(history) if has_slot else tuple(history[1:])


def _sentinel(row: Row) -> str:
    """A plain word that stands nowhere in the row."""
    everything = "\n".join([*(message.content for message in row.messages), row.target])
    sentinel = "Xsentinel7q"
    while sentinel in everything:
        sentinel += "7q"
    return sentinel


def _apply(tokenizer: "Tokenizer", messages: Sequence[Message], generation: bool, options: dict[str, Any]) -> str:
    import jinja2

    turns = [{"role": message.role, "content": message.content} for message in messages]
    extra: dict[str, Any] = {**_FIXED, **options}
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=generation, **extra)
    except (jinja2.TemplateError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError,
            RecursionError, MemoryError, AssertionError) as error:  # fmt: skip
        # A template is a program: it may divide by zero, recurse, or run out of memory.
        message = ascii_safe(str(error).strip().split("\n")[0])[:200] or type(error).__name__
        raise SkipSample(
            f"the chat template refuses a conversation of {[m.role for m in messages]}: {message}"
        ) from None
    return str(text)


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
