"""Prompt rows in every form, worded and tokenised as SFTTrainer trains on them."""

import copy
import json
import warnings
from dataclasses import replace
from datetime import date, timedelta
from importlib.resources import files

import pytest
from tiny_job import PROMPTS, TRAIN

from interplay.callback.options import check_options
from interplay.callback.prompts import choose_prompts, context_note, copy_tokenizer, read_prompts, template_kwargs
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError
from interplay.models.length import ContextLength

TEXT = "The terrible service ruined our whole dinner"


def options(**changes):
    asked = {"every": 1, "patience": 1, "max_overhead": None, "n": None, "num_prompts": None, "template": None}
    return check_options(prompts=[{}], **asked | {"seed": 0, "target_tokens": 1, "mask": "auto"} | changes)


def ids_of_training(rows, tokenizer) -> tuple[list[int], int]:
    """What SFTTrainer makes of the first row: token ids, and how many of them are the prompt's."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    bare = SFTTrainer.__new__(SFTTrainer)
    bare._tokenizer, bare.chat_template, bare.completion_only_loss = tokenizer, None, True
    made = bare._prepare_dataset(
        Dataset.from_list(rows),
        tokenizer,
        SFTConfig("unused", use_cpu=True, bf16=False, max_length=None),
        False,
        None,
        "prompts",
    )[0]
    return made["input_ids"], sum(label == -100 for label in made["labels"])


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": f"Sentence: {TEXT}\nEmotion:", "completion": " anger"},
        {"prompt": f"Sentence: {TEXT}\nEmotion: ", "completion": "anger"},
        {"prompt": f"Sentence: {TEXT}\n", "completion": "anger<|im_end|>"},
        {"prompt": [{"role": "user", "content": TEXT}], "completion": [{"role": "assistant", "content": "anger"}]},
        {
            "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": TEXT}],
            "completion": [{"role": "assistant", "content": "anger"}],
        },
        {
            "prompt": [{"role": "user", "content": TEXT}],
            "completion": [{"role": "assistant", "content": "anger"}],
            "system": "Be brief.",
        },
    ],
    ids=["strings", "space", "own end", "conversation", "system", "system column"],
)
def test_as_training_does(tiny_tokenizer, row):
    found = read_prompts([row], None)
    _, (got,) = choose_prompts(found, tiny_tokenizer, options(target_tokens=9), 1, 3)
    ids, prompt = ids_of_training([row], tiny_tokenizer)
    assert list(got.input_ids) == ids[:prompt]
    assert list(got.target_ids) == ids[prompt : prompt + 9][: len(got.target_ids)]
    assert [tiny_tokenizer.decode([got.input_ids[i] for i in span]).strip() for span in got.spans] == [
        word.text for word in got.sample.words
    ]


@pytest.mark.parametrize("given", [None, {"enable_thinking": False}], ids=["plain", "given"])
@pytest.mark.parametrize("name", ["qwen3", "glm4moe", "gptoss", "deepseekv3", "llama3_2", "gemma3"])
def test_first_token_scored_in_the_row_that_is_trained(tiny_tokenizer, name, given):
    """Whatever the chat template writes around a thought, and today's date."""
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.chat_template = (files("trl") / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")
    row = {"messages": [{"role": "user", "content": TEXT}, {"role": "assistant", "content": "anger"}]}
    if given is not None:
        row["chat_template_kwargs"] = given
    found = read_prompts([row], None, template_kwargs([row])[0])
    _, (got,) = choose_prompts(
        replace(found, template=replace(found.template, today=date.today())), tokenizer, options(), 1, 3
    )
    ids, _ = ids_of_training([row], tokenizer)
    scored = list(got.input_ids + got.target_ids)
    assert scored == ids[: len(scored)]
    assert tokenizer.decode(ids[len(got.input_ids) :]).startswith("anger")


def test_variables_of_the_chat_template_come_from_the_rows():
    rows = [{"chat_template_kwargs": {"a": 1}}, {"chat_template_kwargs": {"a": 2}}, {}]
    found, note = template_kwargs([{"text": "x"}], rows)
    assert found == {"a": 1}
    assert "different chat_template_kwargs" in str(note)
    assert template_kwargs(None, "file.jsonl", iter(rows), [{"chat_template_kwargs": None}]) == (None, None)


def test_training_rows_in_another_wording_are_noted(tiny_tokenizer):
    texts = [
        "The angry neighbour shouted",
        "Grandmother baked warm bread",
        "My brother lost his jacket",
        "Someone stole the bicycle",
    ]
    found = read_prompts([{"text": text, "label": "joy"} for text in texts], None)
    _, prepared = choose_prompts(found, tiny_tokenizer, options(), 4, 2)

    def trained(wording: str) -> list[dict]:
        rows = [wording.format(text=f"{text} again") + "anger" for text in texts]
        return [{"input_ids": tiny_tokenizer(row, add_special_tokens=False)["input_ids"]} for row in rows]

    as_scored = "<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
    assert context_note(prepared, trained(as_scored), tiny_tokenizer) is None
    for wording in (
        "{text}\n",
        f"<|im_start|>system\nBe brief.<|im_end|>\n{as_scored}",
        as_scored.replace("assistant\n", ""),
    ):
        said = str(context_note(prepared, trained(wording), tiny_tokenizer))
        assert said.startswith("no training row is worded as the prompts are: scored was '<|im_start|>user\\n"), wording
        assert "', trained was '" in said
        assert "The angry neighbour shouted again" in said.partition("trained was")[2]
    assert context_note(prepared[:3], trained("{text}"), tiny_tokenizer) is None, "may be chance"
    assert context_note(prepared, [{"text": "not tokenised"}], tiny_tokenizer) is None
    assert context_note(prepared, iter([]), tiny_tokenizer) is None


def test_the_day_of_the_training_is_kept(sft, quick, tmp_path, monkeypatch, no_tables):
    """A template that writes the date: prompts have the day that the rows have, and a resumed training keeps it."""
    template = tmp_path / "dated.jinja"
    chat = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}[end]{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
    template.write_text("{{ 'Today is ' + strftime_now('%d %B %Y') + '. ' }}" + chat)

    def turns(rows):
        return [{"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": b}]} for a, b in rows]

    saving = {"chat_template_path": str(template), "save_strategy": "steps", "save_steps": 1}
    callback = quick(turns(PROMPTS), every=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        trainer = sft("dated", [callback], rows=turns(TRAIN), max_steps=1, **saving)
        trainer.train()
    folder = tmp_path / "dated" / "interplay"
    today = json.loads((folder / "callback.json").read_text())["today"]
    assert today == date.today().isoformat()
    assert f"today: '{today}'" in (folder / "settings.yaml").read_text()

    class Later(date):
        @classmethod
        def today(cls):
            return date.today() + timedelta(days=1)

    monkeypatch.setattr("interplay.callback.measuring.date", Later)
    again = sft("dated", [quick(turns(PROMPTS), every=1)], rows=turns(TRAIN), max_steps=2, **saving)
    again.train(resume_from_checkpoint=str(tmp_path / "dated" / "checkpoint-1"))
    assert json.loads((folder / "callback.json").read_text())["today"] == today
    assert sorted(p.name for p in (folder / "units").iterdir()) == ["step-000000", "step-000001", "step-000002"]


@pytest.mark.parametrize("form", ["list", "dataset", "jsonl", "csv"])
def test_text_and_label_in_a_template(tiny_tokenizer, tmp_path, form):
    from datasets import ClassLabel, Dataset, Features, Value

    rows = [{"text": TEXT, "label": "anger"}, {"text": "", "label": "joy"}]
    source = rows
    if form == "dataset":
        features = Features({"text": Value("string"), "label": ClassLabel(names=["joy", "anger"])})
        source = Dataset.from_list([{"text": TEXT, "label": 1}, {"text": "", "label": 0}], features=features)
    elif form == "jsonl":
        source = tmp_path / "prompts.jsonl"
        source.write_text("\n".join(map(json.dumps, rows)))
    elif form == "csv":
        source = tmp_path / "prompts.csv"
        source.write_text(f"text,label\n{TEXT},anger\n,joy\n")
    found = read_prompts(source, PromptTemplate(template="Sentence: {text}\nEmotion:", chat=False))
    chosen, (got,) = choose_prompts(found, tiny_tokenizer, options(), 4, 4)
    assert got.prompt == f"Sentence: {TEXT}\nEmotion:"
    assert got.target == " anger"
    assert [skip.reason.split(": ")[1] for skip in chosen.skipped] == ["'text' is empty"]
    assert chosen.notes == ("4 samples were asked for and 1 could be found",)


def test_the_tokenizer_is_copied(tiny_tokenizer):
    mine = copy_tokenizer(tiny_tokenizer, "{{ messages[0]['content'] }}")
    assert mine is not tiny_tokenizer
    assert mine.chat_template != tiny_tokenizer.chat_template
    processor = type("Processor", (), {"tokenizer": copy.deepcopy(tiny_tokenizer)})()
    assert copy_tokenizer(processor, None).chat_template == tiny_tokenizer.chat_template
    with pytest.raises(InterplayError, match="the trainer has no tokenizer"):
        copy_tokenizer(None, None)


def test_columns_that_no_form_has(tiny_tokenizer):
    with pytest.raises(InterplayError, match=r"prompt data set \(a list of 1 rows\): found the columns 'input_ids'"):
        read_prompts([{"input_ids": [1, 2]}], None)


def test_special_tokens_spelt_in_a_prompt_are_refused(tiny_tokenizer):
    found = read_prompts([{"prompt": f"<|im_start|>{TEXT}", "completion": " anger"}], None)
    with pytest.raises(InterplayError, match="spells the special token"):
        choose_prompts(found, tiny_tokenizer, options(), 1, 3)


def test_a_column_that_training_leaves_out_is_noted(sft, quick):
    rows = [
        {
            "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": label}],
            "system": "Be brief.",
        }
        for text, label in PROMPTS
    ]
    line = "column 'system' is not used: no prompt holds anything of it"
    found = read_prompts(rows, None)
    assert found.notes == (line,)
    assert {message.role for row in found.rows for message in row.messages} == {"user"}
    with pytest.warns(UserWarning, match=line):
        sft(callbacks=[quick(rows)], max_steps=2).train()


def test_a_saved_folder(tmp_path, tiny_tokenizer):
    from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=["joy", "anger"])})
    rows = Dataset.from_list([{"text": TEXT, "label": 1}], features=features)
    DatasetDict({"train": rows, "test": rows}).save_to_disk(str(tmp_path / "saved"))
    for source in (tmp_path / "saved", f"{tmp_path / 'saved'}:test", tmp_path / "saved" / "test"):
        assert [row.target for row in read_prompts(source, None).rows] == ["anger"]


def test_a_swap_takes_words_of_the_prompt_rows(tiny_tokenizer):
    texts = [
        f"{name} {verb} the {thing}"
        for name in ("Anna", "Kurt")
        for verb in ("sold", "hung")
        for thing in ("lamp", "horn")
    ]
    found = read_prompts([{"text": text, "label": "joy"} for text in texts], PromptTemplate(template="Say: {text}"))
    chosen, prepared = choose_prompts(found, tiny_tokenizer, options(mask="swap"), 2, 3)
    assert {p.absence.said for p in prepared} == {"other words of the same place, 3 draws"}
    for sample, p in zip(chosen.samples, prepared, strict=True):
        for fills in p.absence.fills:
            written = [tiny_tokenizer.decode(list(fill)).strip() for fill in fills]
            other = {"Anna": "Kurt", "sold": "hung", "lamp": "horn"}
            other |= {b: a for a, b in other.items()}
            assert written == [other[word.text] for word in sample.words]
    assert [note for note in chosen.notes if "absent words" in note] == [
        "6 of 6 absent words have too few other words of as many tokens: what is missing is drawn twice, and where there is "
        "none a neutral token stands"
    ]


def test_a_row_longer_than_the_learnt_positions_is_left_out(tiny_tokenizer):
    rows = [{"prompt": f"Sentence: {TEXT * times}\nEmotion:", "completion": " anger"} for times in (9, 1)]
    found = read_prompts(rows, None)
    tokenizer = copy_tokenizer(tiny_tokenizer, None)
    tokenizer.context_length = ContextLength(64, learnt=True)
    chosen, (got,) = choose_prompts(found, tokenizer, options(), 2, 3)
    assert got.positions <= 64
    [skipped] = chosen.skipped
    assert skipped.reason.endswith("this model has 64 learnt positions: give shorter rows")
