"""What is scored of an answer: from the first token that tells it from the others, up to a whole word."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import interplay
from interplay.data.prompts import encode, render
from interplay.data.samples import make_sample
from interplay.data.sources import read_rows
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError, SkipSample
from interplay.scoring.scores import prepare, score_answers, score_prepared
from interplay.scoring.targets import (
    Answers,
    alike,
    choose_window,
    common_opening,
    find_answers,
    likelihood,
    target_notes,
    weak_targets,
)

TEMPLATE = PromptTemplate(template="Sentence: {text}\nLabel:", chat=False)
THINK = Path(__file__).resolve().parents[3] / "shared" / "cases" / "c04-think-targets" / "think.jsonl"


def bytes_tokenizer(*, lone_space: bool, trimmed: bool = False):
    """Almost a token a byte. `lone_space`: a space is a token of its own, as where digits are; `trimmed`: offsets without it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    parts = [pre_tokenizers.Split(" ", "isolated")] if lone_space else []
    parts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not lone_space))
    backend.pre_tokenizer = pre_tokenizers.Sequence(parts)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.ByteLevel(trim_offsets=trimmed)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["Sentence Label joy sadness"] * 20, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


@pytest.fixture(scope="module")
def lone_space_folder(tmp_path_factory):
    """A random Llama whose tokenizer makes a token of the space."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    tokenizer = bytes_tokenizer(lone_space=True)
    torch.manual_seed(0)
    size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=512, initializer_range=0.3, **size)
    folder = tmp_path_factory.mktemp("lone-space")
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def prepared(target, tokenizer, wanted="auto", *, labels=None, opening="", among=False):
    sample = make_sample("good food and bad service", target, n=3, template=TEMPLATE)
    rendered = partial(render, tokenizer=tokenizer, template=TEMPLATE)
    answers = find_answers([sample.row], labels, rendered, tokenizer, opening)
    return prepare(sample, tokenizer, TEMPLATE, target_tokens=wanted, answers=replace(answers, among=among))


@pytest.mark.parametrize("trimmed", [False, True])
@pytest.mark.parametrize("labels", [None, ["0", "1"]])
def test_a_lone_space_is_passed_over(labels, trimmed):
    tokenizer = bytes_tokenizer(lone_space=True, trimmed=trimmed)
    one, nought = (prepared(target, tokenizer, labels=labels) for target in "10")
    assert (one.target, nought.target, one.passed) == ("1", "0", " ")
    assert one.input_ids == nought.input_ids
    assert tokenizer.decode(one.input_ids[-1:]) == " "
    assert one.prompt.endswith("Label: ")
    if labels:
        pool = prepared("1", tokenizer, labels=labels, among=True)
        assert pool.among == tuple(sorted([one.target_ids, nought.target_ids]))


def test_explain_tells_one_digit_from_the_other(lone_space_folder, call):
    """`explain --target 1` and `--target 0` were one table: that of the space before them."""
    asked = ["explain", lone_space_folder, "--prompt", "good food and bad service", "--template", TEMPLATE.template]
    found = {}
    for target in "10":
        done = call(*asked, "--n", 3, "--target", target, "--json", "--quiet")
        assert done.code == 0
        found[target] = json.loads(done.out)
    assert [found[target]["target_scored"] for target in "10"] == ["1", "0"]
    assert abs(found["1"]["score_full"] - found["0"]["score_full"]) > 1e-3
    answers = score_both(lone_space_folder)
    np.testing.assert_allclose([answers[t] for t in "10"], [found[t]["score_full"] for t in "10"], atol=1e-4)


def score_both(folder):
    lm = interplay.load_model(str(folder))
    sample = make_sample("good food and bad service", "1", n=3, template=TEMPLATE)
    both = score_answers(lm.model, lm.tokenizer, sample, ["0", "1"], template=TEMPLATE)
    return {target: unit[0].values[-1] for target, unit in both.items()}


def test_the_passed_tokens_stand_behind_the_prompt_as_context(lone_space_folder):
    """The score is that of a plain forward pass over prompt, passed tokens and target."""
    import torch

    lm = interplay.load_model(str(lone_space_folder))
    ready = prepared("1", lm.tokenizer, labels=["0", "1"])
    whole = lm.tokenizer("Sentence: good food and bad service\nLabel: 1")["input_ids"]
    assert [*ready.input_ids, *ready.target_ids] == whole
    with torch.no_grad():
        logits = lm.model(torch.tensor([whole[:-1]])).logits[0, -1].double()
    odds = logits[whole[-1]] - torch.cat([logits[: whole[-1]], logits[whole[-1] + 1 :]]).logsumexp(0)
    assert score_prepared(lm.model, ready).values[-1] == pytest.approx(float(odds), abs=1e-4)


def test_labels_are_told_apart_by_as_many_tokens_as_it_takes():
    tokenizer = bytes_tokenizer(lone_space=True)
    labels = ["disgust", "disapproval", "disappointment", "anger"]
    scored = {label: prepared(label, tokenizer, labels=labels).target for label in labels}
    assert scored == {"disgust": "disg", "disapproval": "disappr", "disappointment": "disappo", "anger": "a"}
    pool = prepared("anger", tokenizer, labels=labels, among=True).among
    assert len(pool) == 4
    assert not any(a != b and b[: len(a)] == a for a in pool for b in pool), "a prefix-free code"
    assert prepared("disgust", tokenizer, "first", labels=labels).target == "d"
    assert prepared("disgust", tokenizer, "word", labels=labels).target.startswith("disgust"[:8])
    assert prepared("disgust", tokenizer, 2, labels=labels).target == "di"
    assert prepared("Team: B", tokenizer, labels=["Team: A", "Team: B"]).passed == " Team: "
    ends = [prepared(label, tokenizer, labels=["A", "AB"]) for label in ("A", "AB")]
    assert [(p.passed, p.target) for p in ends] == [(" A", "</s>"), (" A", "B")]


def test_labels_that_no_token_tells_apart_are_refused():
    from tokenizers import normalizers

    tokenizer = bytes_tokenizer(lone_space=True)
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    with pytest.raises(InterplayError, match=r"have the same tokens .* nothing tells them apart"):
        prepared("joy", tokenizer, labels=["joy", "Joy"])


def test_a_label_that_spells_a_special_token_is_left_out_with_its_reason():
    tokenizer = bytes_tokenizer(lone_space=True)
    sample = make_sample("good food and bad service", "joy", n=3, template=TEMPLATE)
    rendered = partial(render, tokenizer=tokenizer, template=TEMPLATE)
    bad = replace(
        sample.row, text="</s> good", messages=(replace(sample.row.messages[0], content="</s> good"),), text_start=0
    )
    answers = find_answers([bad, sample.row], ["joy", "</s>", "fear"], rendered, tokenizer)
    assert [tokenizer.decode(label.target_ids[1:-1]) for label in answers.labels.values()] == ["joy", "fear"]
    reason = "the target spells the special token '</s>', which would become a real one"
    assert answers.left_out == (f"the label '</s>' is left out of the labels: {reason}",)
    assert list(find_answers([sample.row], ["joy", "</s>"], rendered, tokenizer).labels) == ["joy"]


@pytest.mark.parametrize("lone_space", [False, True])
@pytest.mark.parametrize(
    ("target", "word", "first", "whole"),
    [
        ("Emmy Noether", "Emmy", "E", "Emmy"),
        ("巴黎", "巴", "\ufffd", "巴"),
        ("ไทย", "ไ", "\ufffd", "ไ"),
        ("😀", "😀", "\ufffd", "😀"),
        ("I am sorry", "I", "I", None),
        ("(A) yes", "(A", "(", "(A"),
        ("नमस्ते जी", "नम", "\ufffd", None),
    ],
)
def test_free_answers_are_scored_over_a_whole_word(lone_space, target, word, first, whole):
    tokenizer = bytes_tokenizer(lone_space=lone_space)
    taken = prepared(target, tokenizer)
    cut = prepared(target, tokenizer, "first")
    assert taken.target.strip().startswith(word)
    assert len(taken.target_ids) <= 8
    assert cut.target.strip() == first
    if whole is not None:
        assert (taken.target.strip(), taken.whole, cut.whole) == (whole, None, whole)
        [note] = target_notes([(cut.passed, cut.target, cut.whole)])
        assert f"is a fragment of {whole!r}" in note
    assert prepared(target, tokenizer, 3).target_ids == taken.target_ids[:3] or len(taken.target_ids) < 3


def test_bytes_of_a_sentencepiece_tokenizer_are_whole_characters(stories_folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(stories_folder)
    taken, cut = prepared("巴黎", tokenizer), prepared("巴黎", tokenizer, "first")
    assert (taken.target, cut.whole) == ("巴", "巴")
    assert "\ufffd" in cut.target


def test_a_thought_is_passed_over():
    tokenizer = bytes_tokenizer(lone_space=False)
    thought = "<think>\nIt sounds like joy.\n</think>\n\n"
    for target in (
        f"{thought}joy",
        "It sounds like joy.\n</think>\n\njoy",
        f"{thought.replace('think', 'reasoning')}joy",
    ):
        ready = prepared(target, tokenizer)
        assert ready.target == "joy"
        assert ready.prompt.endswith(target.removesuffix("joy"))
        encoded = encode(render(ready.sample.row, tokenizer, TEMPLATE), tokenizer)
        assert [*ready.input_ids, *ready.target_ids] == [*encoded.input_ids, *encoded.target_ids[:-1]]
    assert target_notes([(ready.passed, ready.target, None)] * 2 + [(" ", "joy", None)]) == [
        "2 of 3 prompts: the thought before the answer is passed over"
    ]
    for target in (thought, "<think>It never ends"):
        with pytest.raises(SkipSample, match="its answer is a thought and nothing else"):
            prepared(target, tokenizer)


@pytest.mark.skipif(not THINK.exists(), reason="the cases are not at hand (shared/cases)")
def test_rows_with_thoughts_are_scored_behind_them(tiny_tokenizer):
    rows = read_rows(str(THINK)).rows
    opening = common_opening(row.target for row in rows)
    assert (len(rows) >= 8, opening) == (True, "")
    for row in rows:
        answers = find_answers([row], None, partial(render, tokenizer=tiny_tokenizer), tiny_tokenizer, opening)
        ready = prepare(make_sample(row, n=3), tiny_tokenizer, answers=answers)
        assert ready.target == row.target.rpartition("\n")[2]
        assert ready.passed == row.target.removesuffix(ready.target)


def test_what_all_free_answers_begin_with_is_passed_over():
    tokenizer = bytes_tokenizer(lone_space=False)
    targets = [f"Answer: ({letter}) it is" for letter in "ABCDEFGH"]
    opening = common_opening(targets)
    assert opening == "Answer: ("
    ready = prepared(targets[1], tokenizer, opening=opening)
    assert (ready.passed, ready.target) == (" Answer: (", "B")
    assert "'Answer: ('" in target_notes([(ready.passed, ready.target, ready.whole)])[0]
    assert common_opening(targets[:7]) == "", "too few to tell format from chance"
    assert common_opening([*targets, "Answer: ("]) == "", "an answer would have nothing left"
    assert common_opening(["yes"] * 9) == ""


def test_targets_that_the_model_does_not_give_or_words_do_not_move():
    assert likelihood(np.log(0.2 / 0.8), 1) == pytest.approx(0.2)
    odds = [np.log(p / (1 - p)) for p in (0.5, 0.01)]
    assert likelihood(sum(odds), 2) >= 0.5 * 0.01, "an upper limit"
    good, rare, still = ("joy", 0.5, 3.0), ("Em", likelihood(-7.0, 1), 2.0), ("I", 0.7, 0.4)
    said = weak_targets([good, rare, still], " at every step")
    assert said[0].startswith(
        "1 of 3 prompts: the target has a probability under 1 % at every step ('Em' at most 0.091 %)"
    )
    assert said[1].startswith("1 of 3 prompts: all words together move it by under 0.5 nats at every step ('I' by 0.4)")
    assert weak_targets([good]) == []
    assert weak_targets([rare])[0].startswith("the target has a probability under 1 % ('Em'")


def test_a_label_is_cut_where_it_differs_from_all_others_however_many():
    """By the definition, over all pairs, which takes minutes for the thousands of labels that this takes a moment for."""
    rng = np.random.default_rng(0)
    several = sorted({(7, *map(int, rng.integers(0, 4, size=6))) for _ in range(60)})
    labels = {str(i): SimpleNamespace(target_ids=ids, completion="") for i, ids in enumerate(several)}
    for own in labels.values():
        passed, ids, pool, _ = choose_window(own, Answers(labels, among=True), "auto", SimpleNamespace(decode=str))
        shared = max(alike([own.target_ids, other]) for other in several if other != own.target_ids)
        assert (passed, ids) == (1, own.target_ids[1 : shared + 1])
        assert len(pool) == len(several)
