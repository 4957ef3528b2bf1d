"""Prompt rows in every form, worded and tokenised as SFTTrainer trains on them."""

import copy
import json

import pytest

from interplay.callback.options import check_options
from interplay.callback.prompts import choose_prompts, copy_tokenizer, read_prompts
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError
from interplay.models.length import ContextLength

TEXT = "The terrible service ruined our whole dinner"


def options(**changes):
    asked = {"every": 1, "patience": 1, "max_overhead": None, "n": None, "num_prompts": None, "template": None}
    return check_options(source=[{}], **asked | {"seed": 0, "target_tokens": 1, "mask": None} | changes)


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
    ],
    ids=["strings", "space", "own end", "conversation", "system"],
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


def test_a_row_longer_than_the_learnt_positions_is_left_out(tiny_tokenizer):
    rows = [{"prompt": f"Sentence: {TEXT * times}\nEmotion:", "completion": " anger"} for times in (9, 1)]
    found = read_prompts(rows, None)
    tokenizer = copy_tokenizer(tiny_tokenizer, None)
    tokenizer.context_length = ContextLength(64, learnt=True)
    chosen, (got,) = choose_prompts(found, tokenizer, options(), 2, 3)
    assert got.positions <= 64
    [skipped] = chosen.skipped
    assert skipped.reason.endswith("this model has 64 learnt positions: give shorter rows")
