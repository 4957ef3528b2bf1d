"""`score` end to end: shapes, provenance, universal matching, errors."""

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch

import interplay
from interplay.data.prompts import encode, render
from interplay.data.samples import make_sample
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError, SkipSample
from interplay.scoring.scores import Scores, prepare, score, score_prepared, score_together
from interplay.scoring.targets import Answers


def universal(effects, values) -> np.ndarray:
    """v(empty) + AND effects inside T + OR effects that touch T, for every T: the definition, loop by loop."""
    and_effects, or_effects = np.asarray(effects.and_effects), np.asarray(effects.or_effects)
    size = len(values)
    return np.array(
        [
            values[0]
            + sum(and_effects[s] for s in range(1, size) if s & t == s)
            + sum(or_effects[s] for s in range(1, size) if s & t)
            for t in range(size)
        ]
    )


def test_scores_as_an_array_and_universal_matching(loaded, sample, template):
    base = loaded("qwen2")
    scores = interplay.score(base.model, base.tokenizer, [sample, sample], template=template)
    assert len(scores) == 2
    array = np.asarray(scores)
    assert array.shape == (2, 16)
    assert array.dtype == np.float64
    assert np.asarray(scores, dtype=np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="copy"):
        np.asarray(scores, copy=False)
    assert np.array_equal(array[0], array[1])
    assert np.ptp(array) > 0.3
    delta = 0.01
    effects = interplay.extract(scores[0].values, tolerance=delta)
    assert np.abs(universal(effects, array[0]) - array[0]).max() <= delta * (1 + 1e-6)
    exact = interplay.extract(scores[0].values, tolerance=0.0)
    assert np.abs(universal(exact, array[0]) - array[0]).max() < 1e-6


def test_extract_takes_scores_themselves(loaded, sample, template):
    base = loaded("llama")
    scores = score(base.model, base.tokenizer, [sample, sample], template=template)
    assert np.asarray(interplay.extract(scores, tolerance=0.01).and_effects).shape == (2, 16)


def test_provenance(loaded, sample, template, prepared):
    base = loaded("gemma3")
    seen = []
    unit = score(base.model, base.tokenizer, sample, template=template, progress=lambda *a: seen.append(a))[0]
    assert seen == [(1, 1)]
    assert unit.sample_id == sample.id
    assert unit.words == ("not", "happy", "cold", "food")
    assert unit.n == 4
    assert base.tokenizer.decode(list(unit.target_ids)) == unit.target
    assert "sadness".startswith(unit.target)
    assert (unit.absent, unit.absence_sigma) == ('"_" (one per token)', 0)
    assert unit.dtype == "float32"
    assert 0 < unit.noise_sigma < 1e-4
    assert len(unit.prompt_sha256) == 64
    other = PromptTemplate(system="", template="Text: {text}\nEmotion:")
    elsewhere = make_sample(sample.row.text, "sadness", words=["not", "happy"], template=other)
    assert score(base.model, base.tokenizer, elsewhere, template=other)[0].prompt_sha256 != unit.prompt_sha256
    assert score(base.model, base.tokenizer, sample, template=template)[0].prompt_sha256 == unit.prompt_sha256


def test_noise_is_none_without_coalitions_and_smaller_in_float64(loaded, prepared):
    assert np.isnan(score_prepared(loaded("llama").model, prepared, noise_coalitions=0).noise_sigma)
    assert score_prepared(loaded("llama", "float64").model, prepared, noise_coalitions=99).noise_sigma < 1e-10


def test_words_in_another_order_permute_the_scores(loaded, template, sample, tiny_tokenizer):
    from dataclasses import replace

    model = loaded("qwen3").model
    flipped = replace(sample, words=sample.words[::-1])
    a = score_prepared(model, prepare(sample, tiny_tokenizer, template)).values
    b = score_prepared(model, prepare(flipped, tiny_tokenizer, template)).values
    order = [int(f"{s:04b}"[::-1], 2) for s in range(16)]
    np.testing.assert_allclose(b, a[order], rtol=0, atol=1e-4 * np.ptp(a))


def test_several_target_tokens_and_among(loaded, sample, template, tiny_tokenizer):
    from dataclasses import replace

    model = loaded("llama").model
    two = prepare(sample, tiny_tokenizer, template, target_tokens=99)
    assert two.target_ids[-1] == tiny_tokenizer.eos_token_id
    assert np.isfinite(score_prepared(model, two).values).all()
    rows = [replace(sample.row, target=label) for label in ("anger", "fear", "sadness")]
    labels = {row.target: encode(render(row, tiny_tokenizer, template), tiny_tokenizer) for row in rows}
    pool = prepare(sample, tiny_tokenizer, template, answers=Answers(labels, among=True))
    assert pool.target_ids in pool.among
    assert len(pool.among) == 3
    assert not np.allclose(score_prepared(model, pool).values, score_prepared(model, two).values)
    whole = prepare(
        sample, tiny_tokenizer, template, answers=Answers(labels, among=True), target_tokens=99
    )  # labels to their end-of-text
    assert {label[-1] for label in whole.among} == {tiny_tokenizer.eos_token_id}
    values = score_prepared(model, whole).values
    chances = []  # a softmax over the labels: the probabilities of all of them add up to one
    for label in whole.among:
        chances.append(1 / (1 + np.exp(-score_prepared(model, replace(whole, target_ids=label)).values)))
    np.testing.assert_allclose(np.sum(chances, 0), 1, atol=1e-5)
    assert not np.allclose(values, score_prepared(model, pool).values)
    with pytest.raises(InterplayError, match="nothing tells them apart"):
        prepare(sample, tiny_tokenizer, template, answers=Answers({"sadness": labels["sadness"]}, among=True))
    for wrong in (0, True, "all", 1.5):
        with pytest.raises(InterplayError, match="expected auto, first, word, or a number of at least 1"):
            prepare(sample, tiny_tokenizer, template, target_tokens=wrong)


def test_samples_with_different_numbers_of_words(loaded, template):
    base = loaded("llama")
    samples = [make_sample("not happy today", "joy", words=w, template=template) for w in (["not"], ["not", "happy"])]
    scores = score(base.model, base.tokenizer, samples, template=template)
    assert [unit.values.shape for unit in scores] == [(2,), (4,)]
    with pytest.raises(InterplayError, match=r"different numbers of words \(\[1, 2\]\)"):
        np.asarray(scores)
    assert np.asarray(Scores(())).shape == (0, 2)


def test_too_many_or_no_words(sample, tiny_tokenizer):
    from dataclasses import replace

    for words in ((), sample.words * 17):
        with pytest.raises(InterplayError, match=r"needs 1\.\.64 words"):
            prepare(replace(sample, words=words), tiny_tokenizer)


def one_line(error) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(tiny_folder, sample, template, value):
    from interplay.models.loading import load_model

    base = load_model(str(tiny_folder("qwen2")))
    base.model.model.norm.weight.data[0] = value
    with pytest.raises(InterplayError, match="check its weights for NaN or infinity") as error:
        score(base.model, base.tokenizer, sample, template=template)
    assert sample.id in one_line(error)


def test_a_tokenizer_with_more_tokens_than_the_model(tiny_folder, sample, template, tiny_tokenizer):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_folder("llama"))
    model.resize_token_embeddings(100)
    with pytest.raises(InterplayError, match="100 embeddings: give its own tokenizer") as error:
        score(model, tiny_tokenizer, sample, template=template)
    one_line(error)


def test_peft_models_are_accepted_and_left_alone(tiny_folder, sample, template, tiny_tokenizer):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_folder("gemma3"))
    plain = np.asarray(score(model, tiny_tokenizer, sample, template=template))
    wrapped = get_peft_model(
        model, LoraConfig(r=2, target_modules="all-linear", lora_dropout=0.5, task_type="CAUSAL_LM")
    )
    wrapped.train()
    trained = {name for name, p in wrapped.named_parameters() if p.requires_grad}
    np.testing.assert_array_equal(np.asarray(score(wrapped, tiny_tokenizer, sample, template=template)), plain)
    assert wrapped.training
    assert {name for name, p in wrapped.named_parameters() if p.requires_grad} == trained
    for name, p in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, generator=torch.Generator().manual_seed(0))
    unit = score(wrapped, tiny_tokenizer, sample, template=template)[0]
    assert np.abs(unit.values - plain[0]).max() > 1e-2
    assert unit.noise_sigma < 1e-3
    with wrapped.disable_adapter():
        np.testing.assert_array_equal(np.asarray(score(wrapped, tiny_tokenizer, sample, template=template)), plain)


def test_a_row_that_cannot_be_used_is_skipped_not_fatal(loaded, template):
    base = loaded("llama")
    sample = make_sample("I am <unk> happy", "joy", words=["am", "happy"], template=template)
    with pytest.raises(SkipSample, match="special token"):
        score(base.model, base.tokenizer, sample, template=template)


@pytest.mark.parametrize("packed", [True, False])
def test_questions_asked_together_have_the_answers_of_each_alone(tiny_folder, tiny_tokenizer, monkeypatch, packed):
    """Against all tokens, among labels of several tokens, two target tokens: one evaluation, the same numbers."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_folder("llama")).double().eval()
    sample = make_sample("We had to laugh about the funny old story", "joy", n=4)
    rows = [replace(sample.row, target=label) for label in ("joy", "sadness", "anger")]
    among = Answers({row.target: encode(render(row, tiny_tokenizer), tiny_tokenizer) for row in rows}, among=True)
    plain = prepare(sample, tiny_tokenizer)
    labels = prepare(sample, tiny_tokenizer, answers=among, target_tokens=2)
    longer = prepare(sample, tiny_tokenizer, target_tokens=2)
    module = import_module("interplay.scoring.scores")
    monkeypatch.setattr(module, "supports_trie", lambda model: packed)
    together = score_together(model, (plain, labels, longer))
    for prepared, unit in zip((plain, labels, longer), together, strict=True):
        alone = score_prepared(model, prepared)
        assert np.allclose(unit.values, alone.values, atol=1e-10, rtol=0)
        assert unit.target_ids == prepared.target_ids
        assert unit.noise_sigma < 1e-6
    assert not np.allclose(together[0].values, together[1].values)


def test_questions_about_different_words_are_refused(tiny_folder, tiny_tokenizer):
    text = "We had to laugh about the funny old story"
    two = [prepare(make_sample(text, "joy", words=words), tiny_tokenizer) for words in (["laugh"], ["funny"])]
    with pytest.raises(ValueError, match="same prompt, words"):
        score_together(None, two)
