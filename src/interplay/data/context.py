"""What to say of the text that is scored, where it may not be the text that was trained or is used."""

import contextlib
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from interplay.data.prompts import Rendered, asked, render, uses_chat
from interplay.data.rows import Row
from interplay.data.template import PromptTemplate
from interplay.errors import SkipSample
from interplay.text import short

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer


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
