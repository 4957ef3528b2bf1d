"""What is scored is what SFTTrainer trains: over every chat template that TRL carries, and those of the cases."""

from dataclasses import replace
from datetime import date, datetime
from importlib.resources import files
from pathlib import Path

import pytest

from interplay.data.prompts import encode, render, template_hash, template_notes, wording_notes
from interplay.data.rows import Message, Row
from interplay.data.sources import rows_of_table
from interplay.data.template import PromptTemplate
from interplay.errors import SkipSample
from interplay.training.sft import tokenise

trl = pytest.importorskip("trl.data_utils", reason="TRL is not installed")
TEMPLATES = sorted(Path(str(files("trl") / "chat_templates")).glob("*.jinja"))
CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
TODAY = date(2031, 2, 3)
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
            return cls(TODAY.year, TODAY.month, TODAY.day)

    monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Clock)
    return make_tokenizer()


def trained(tokenizer, turns, **given) -> tuple[int, ...]:
    messages = [{"role": role, "content": content} for role, content in turns]
    if "['text']" in tokenizer.chat_template and "is string" not in tokenizer.chat_template:  # trained with a processor
        messages = trl.prepare_multimodal_messages(messages)
    return tuple(trl._tokenize(tokenizer, messages, **given)["input_ids"])


def row_of(turns) -> Row:
    messages = tuple(Message(*turn) for turn in turns)
    return Row("r", messages[:-1], turns[-1][1], turns[-2][1], 0, given=True)


def test_the_templates_are_there():
    assert len(TEMPLATES) >= 72


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.stem)
def test_scored_as_trained(tokenizer, file):
    """Prompt and first token scored begin the row that SFTTrainer makes of the messages, on the trainer's own day."""
    tokenizer.chat_template = file.read_text(encoding="utf-8")
    template = PromptTemplate(today=TODAY)
    done = []
    for name, turns in CONVERSATIONS.items():
        try:
            ids = trained(tokenizer, turns)
        except Exception:  # a template without a system turn
            with pytest.raises(SkipSample, match="the chat template refuses"):
                render(row_of(turns), tokenizer, template)
            continue
        done.append(name)
        encoded = encode(render(row_of(turns), tokenizer, template), tokenizer)
        found = encoded.input_ids + encoded.target_ids[:1]
        assert found == ids[: len(found)], name
        assert tokenizer.decode(ids[len(encoded.input_ids) :]).lstrip(" ").startswith(turns[-1][1]), name
        [example], _ = tokenise([row_of(turns)], tokenizer, template)
        rest = len(example["input_ids"])
        assert example["input_ids"] == list(ids[:rest]), name
        assert not tokenizer.decode(ids[rest:]).strip(), f"{name}: trained here is all of the row but a last line break"
    assert {"one turn", "turns", "number"} <= set(done)


@pytest.mark.parametrize("name", ["qwen3", "qwen3_6", "glm4moe", "deepseekv3", "llama3", "nemotron_3_nano"])
def test_a_thought_stands_before_the_answer_as_it_is_trained(tokenizer, name):
    tokenizer.chat_template = (TEMPLATES[0].parent / f"{name}.jinja").read_text(encoding="utf-8")
    rendered = render(row_of(THOUGHT), tokenizer)
    ids = trained(tokenizer, THOUGHT)
    encoded = encode(rendered, tokenizer)
    assert encoded.input_ids + encoded.target_ids == ids[: len(encoded.input_ids + encoded.target_ids)]
    thought = "<think>" in tokenizer.decode(ids)
    assert rendered.completion.startswith("<think>" if thought else "sadness")
    assert thought != (name == "deepseekv3"), "DeepSeek leaves it out"


@pytest.mark.parametrize("key", ["reasoning_content", "thinking"])
@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.stem)
def test_a_thought_that_the_data_keeps_apart(tokenizer, file, key):
    """The template writes it or leaves it out; where it does, it stands in the prompt."""
    tokenizer.chat_template = file.read_text(encoding="utf-8")
    (role, text), (_, answer) = CONVERSATIONS["one turn"]
    record = {"messages": [{"role": role, "content": text}, {"role": A, "content": answer, key: "Cold food."}]}
    parts = "['text']" in tokenizer.chat_template and "is string" not in tokenizer.chat_template
    turns = trl.prepare_multimodal_messages(record["messages"]) if parts else record["messages"]
    ids = tuple(trl._tokenize(tokenizer, turns)["input_ids"])
    [row] = rows_of_table([("line 1", record)], "rows", "rows").rows
    encoded = encode(render(row, tokenizer, PromptTemplate(today=TODAY)), tokenizer)
    found = encoded.input_ids + encoded.target_ids[:1]
    assert found == ids[: len(found)]
    assert ("Cold food." in encoded.text) == ("Cold food." in tokenizer.decode(ids))
    assert encoded.completion.lstrip().startswith(answer)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("glm4moe", {"enable_thinking": False}),
        ("qwen3_5_think", {"enable_thinking": False}),
        ("gptoss", {"reasoning_effort": "high"}),
        ("llama3_2", {"date_string": "11 Jan 2025"}),
        ("muse_glimmer", {"current_date": "2025-01-11"}),
    ],
)
def test_variables_of_the_template(tokenizer, name, given):
    tokenizer.chat_template = (TEMPLATES[0].parent / f"{name}.jinja").read_text(encoding="utf-8")
    template = PromptTemplate(chat_template_kwargs=given, today=TODAY)
    for turns in (CONVERSATIONS["one turn"], CONVERSATIONS["turns"]):
        encoded = encode(render(row_of(turns), tokenizer, template), tokenizer)
        found = encoded.input_ids + encoded.target_ids[:1]
        assert found == trained(tokenizer, turns, **given)[: len(found)]
    plain = PromptTemplate(today=TODAY)
    assert template_hash(tokenizer, template) != template_hash(tokenizer, plain)


@pytest.mark.parametrize(
    ("case", "behind"),
    [
        ("c06-empty-thought", "[u]I was not happy[/u][a]\n<think></think>\n"),
        ("c09-dated", "[s]Today is 26 July 2024.[/s][u]I was not happy[/u][a]"),
        ("c10-date-pinned", "[s]Today: 26 Jul 2024[/s][u]I was not happy[/u][a]"),
    ],
)
def test_cases(tokenizer, case, behind):
    file = CASES / case / "chat_template.jinja"
    if not file.exists():
        pytest.skip("the cases are not at hand")
    tokenizer.chat_template = file.read_text(encoding="utf-8")
    rendered = render(row_of(CONVERSATIONS["one turn"]), tokenizer)
    assert (rendered.prompt, rendered.completion) == (behind, "sadness[e]")
    notes = template_notes(row_of(CONVERSATIONS["one turn"]), tokenizer, PromptTemplate())
    assert [note[:48] for note in notes] == ["The chat template writes the date; 26 Jul 2024 w"] * ("date" in case)


def test_another_prompt_in_use_than_in_training_is_noted(tokenizer):
    row = row_of(CONVERSATIONS["system"])
    for name, notes in (("deepseek_r1_distill", 1), ("qwen3", 0), ("llama3", 0), ("smolvlm", 0), ("gptoss", 1)):
        tokenizer.chat_template = (TEMPLATES[0].parent / f"{name}.jinja").read_text(encoding="utf-8")
        found = template_notes(row, tokenizer, PromptTemplate())
        assert len(found) == notes, (name, found)
        if name == "deepseek_r1_distill":
            assert "ends a prompt with '" in found[0]
            assert "<think>\\n' where the model is used" in found[0]
            assert "<｜Assistant｜>' and then 'sadness" in found[0]


def test_wording_of_a_training_elsewhere(tokenizer):
    row = row_of(CONVERSATIONS["one turn"])
    worded = replace(row, given=False)
    assert wording_notes(row, tokenizer, PromptTemplate()) == []
    [bare] = wording_notes(row, tokenizer, PromptTemplate(chat=False))
    assert "no chat template was used; scored was 'I was not happy' and then ' sadness" in bare
    [unknown] = wording_notes(worded, tokenizer, PromptTemplate())
    assert "not known; scored was '<|im_start|>user\\nI was not happy<|im_end|>" in unknown
    assert wording_notes(worded, tokenizer, PromptTemplate(template="Q: {text}")) == []
