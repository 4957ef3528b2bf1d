"""What is scored is what SFTTrainer trains: over every chat template that TRL carries, and those of the cases."""

from datetime import datetime
from importlib.resources import files
from pathlib import Path

import pytest

from interplay.data.prompts import encode, render
from interplay.data.rows import Message, Row
from interplay.data.template import PromptTemplate
from interplay.errors import SkipSample

trl = pytest.importorskip("trl.data_utils", reason="TRL is not installed")
TEMPLATES = sorted(Path(str(files("trl") / "chat_templates")).glob("*.jinja"))
CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
U, A, S = "user", "assistant", "system"
CONVERSATIONS = {
    "one turn": [(U, "I was not happy"), (A, "sadness")],
    "system": [(S, "Name the emotion."), (U, "I was not happy"), (A, "sadness")],
    "turns": [(U, "we had to laugh"), (A, "joy"), (U, "  I was not happy\n"), (A, "sadness, I think")],
    "empty system": [(S, ""), (U, "I was not happy"), (A, "sadness")],
    "number": [(U, "I was not happy"), (A, "1")],
}
THOUGHT = [(U, "I was not happy"), (A, "<think>\nThe food was cold.\n</think>\n\nsadness")]


@pytest.fixture
def tokenizer(make_tokenizer, monkeypatch):
    """A byte-level tokenizer, on a day that nobody would fix."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2031, 2, 3)

    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Clock)
    return make_tokenizer()


def scored(tokenizer, turns, template) -> tuple[int, ...]:
    """The prompt and the first token scored."""
    messages = tuple(Message(*turn) for turn in turns)
    row = Row("r", messages[:-1], turns[-1][1], turns[-2][1], 0)
    encoded = encode(render(row, tokenizer, template), tokenizer)
    return encoded.input_ids + encoded.target_ids[:1]


def trained(tokenizer, turns, **given) -> tuple[int, ...]:
    messages = [{"role": role, "content": content} for role, content in turns]
    if "['text']" in tokenizer.chat_template and "is string" not in tokenizer.chat_template:  # trained with a processor
        messages = trl.prepare_multimodal_messages(messages)
    return tuple(trl._tokenize(tokenizer, messages, **given)["input_ids"])


def test_the_templates_are_there():
    assert len(TEMPLATES) >= 72


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.stem)
def test_scored_as_trained(tokenizer, file):
    """The trainer's own day: a template that writes the date writes that of the training."""
    tokenizer.chat_template = file.read_text(encoding="utf-8")
    template = PromptTemplate(today=datetime(2031, 2, 3).date())
    done = []
    for name, turns in CONVERSATIONS.items():
        try:
            ids = trained(tokenizer, turns)
        except Exception:  # a template without a system turn
            with pytest.raises(SkipSample, match="the chat template refuses"):
                scored(tokenizer, turns, template)
            continue
        done.append(name)
        found = scored(tokenizer, turns, template)
        assert found == ids[: len(found)], (name, tokenizer.decode(found), tokenizer.decode(ids))
        assert tokenizer.decode(ids[len(found) - 1 :]).lstrip(" ").startswith(turns[-1][1]), name
    assert {"one turn", "turns", "number"} <= set(done)
