"""Prompt templates: from the user's text to the conversation a model is asked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from interplay.data.rows import Message
from interplay.errors import InterplayError
from interplay.text import short

_PLACE = "{text}"
TODAY = date(2024, 7, 26)  # for templates that write a date: Llama 3.1's, where nobody gives one


@dataclass(frozen=True)
class PromptTemplate:
    """The wording around the user's text.

    Args:
        system: None leaves the system prompt to the model's chat template, "" asks for none, other text is the system turn.
        template: the user turn; holds `{text}` exactly once.
        chat: "auto" uses the tokenizer's chat template if it has one, True demands it, False never uses it.
        few_shot: (text, target) pairs shown before the question, in the same wording.
        chat_template_kwargs: further arguments of the chat template, as training gave them: {"enable_thinking": False}.
        today: the day that `strftime_now` gives a chat template which writes the date.

    Errors: InterplayError for a template without exactly one `{text}`, and for values of the wrong type.

    >>> template = PromptTemplate(template="Comment: {text}", few_shot=(("Yay!", "joy"),))
    >>> messages, start = template.messages_for("So sad")
    >>> [(m.role, m.content) for m in messages], start
    ([('user', 'Comment: Yay!'), ('assistant', 'joy'), ('user', 'Comment: So sad')], 9)
    """

    system: str | None = None
    template: str = _PLACE
    chat: Literal["auto"] | bool = "auto"
    few_shot: tuple[tuple[str, str], ...] = ()
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)
    today: date = field(default=TODAY, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.template, str) or self.template.count(_PLACE) != 1:
            raise InterplayError(f"a prompt template must hold {_PLACE} exactly once; given {short(self.template)}")
        if self.system is not None and not isinstance(self.system, str):
            raise InterplayError(f"system must be a string or null; given {short(self.system)}")
        if self.chat != "auto" and not isinstance(self.chat, bool):
            raise InterplayError(f"chat must be 'auto', true or false; given {short(self.chat)}")
        pairs = tuple(tuple(pair) if isinstance(pair, (list, tuple)) else pair for pair in self.few_shot)
        for pair in pairs:
            if not (isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
                raise InterplayError(f"few_shot must be a list of [text, target] pairs; one of them is {short(pair)}")
        object.__setattr__(self, "few_shot", pairs)  # YAML gives lists; tuples keep the template hashable
        given = self.chat_template_kwargs
        if not isinstance(given, Mapping):
            raise InterplayError(f"chat_template_kwargs must map names to values; given {short(given)}")

    def user_turn(self, text: str) -> str:
        """The user turn around `text`, which may hold braces."""
        return self.template.replace(_PLACE, text)

    def messages_for(self, text: str) -> tuple[tuple[Message, ...], int]:
        """The conversation that ends with `text` in its user turn, and the offset of `text` in that turn's content."""
        messages = [] if self.system is None else [Message("system", self.system)]
        for shown, answer in self.few_shot:
            messages += [Message("user", self.user_turn(shown)), Message("assistant", answer)]
        messages.append(Message("user", self.user_turn(text)))
        return tuple(messages), self.template.index(_PLACE)

    def literals(self) -> str:
        """Every string the user wrote into the template, joined: what may spell special tokens on purpose."""
        return "\n".join([self.system or "", self.template, *(part for pair in self.few_shot for part in pair)])
