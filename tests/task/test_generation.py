"""Greedy answers against a plain argmax loop, left as found; exact match and ROUGE-L of pairs counted by hand."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interplay.task.generation import decoded, exact_match, greedy, rouge_l, stop_ids


def naive(model, prompt, tokens, stop=()):
    """One row, no padding, no cache: the argmax, appended, again."""
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(tokens):
            token = int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
            if token in stop:
                break
            ids.append(token)
    return tuple(ids[len(prompt) :])


@pytest.mark.matrix("1-llama", "200-gemma3")
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gemma3", "qwen3"])
@pytest.mark.parametrize("batch_tokens", [1, 200])
def test_answers_are_those_of_an_argmax_loop(loaded, data, architecture, batch_tokens):
    model = loaded(architecture)
    prompts = [e.input_ids for e in data.encoded[:6]]
    assert len({len(p) for p in prompts}) > 2  # so that batches are padded
    free = [naive(model, p, 8) for p in prompts]
    assert greedy(model, prompts, tokens=8, batch_tokens=batch_tokens) == free
    stop = (free[0][3], free[1][5])
    assert greedy(model, prompts, tokens=8, stop=stop, batch_tokens=batch_tokens) == [
        naive(model, p, 8, stop) for p in prompts
    ]


def test_the_models_own_habits_and_the_random_state_are_left_alone(loaded, data):
    model = loaded("llama")
    prompts = [e.input_ids for e in data.encoded[:3]]
    plain = greedy(model, prompts, tokens=8)
    own = model.generation_config
    habits = copy.deepcopy(own)
    habits.update(do_sample=True, temperature=5.0, repetition_penalty=9.0, suppress_tokens=list(plain[0]), num_beams=3)
    model.generation_config = habits
    before = habits.to_dict()
    model.train()
    state = torch.get_rng_state()
    try:
        assert greedy(model, prompts, tokens=8) == plain
        assert model.generation_config is habits
        assert habits.to_dict() == before
        assert torch.equal(torch.get_rng_state(), state)
        assert all(m.training for m in model.modules())
    finally:
        model.generation_config = own
        model.eval()


def test_an_adapter_answers_and_keeps_its_attributes(tiny_folder, data):
    from peft import LoraConfig, get_peft_model

    from interplay.models.loading import load_model

    base = load_model(str(tiny_folder("llama")), dtype="float64").model
    wrapped = get_peft_model(base, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    before = set(wrapped.base_model.__dict__), set(wrapped.get_base_model().__dict__)
    prompts = [e.input_ids for e in data.encoded[:2]]
    wrapped.eval()
    assert greedy(wrapped, prompts, tokens=6) == [naive(wrapped, p, 6) for p in prompts]
    assert (set(wrapped.base_model.__dict__), set(wrapped.get_base_model().__dict__)) == before


def test_an_answer_stops_where_training_taught_it_to(loaded, data, tiny_tokenizer):
    model = loaded("llama")
    turn = tiny_tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert {e.target_ids[-1] for e in data.encoded} == {turn}
    word = tiny_tokenizer(" joy", add_special_tokens=False)["input_ids"][-1]
    assert stop_ids(model, tiny_tokenizer, [(5, word)]) == (turn,), "a word ends no answer"
    other = tiny_tokenizer.convert_tokens_to_ids("<|im_start|>")
    assert stop_ids(model, tiny_tokenizer, [(5, other)]) == tuple(sorted({turn, other}))
    assert (
        decoded(tiny_tokenizer, (*tiny_tokenizer(" joy at", add_special_tokens=False)["input_ids"], turn)) == " joy at"
    )


def test_progress_reaches_the_end(loaded, data):
    seen = []
    greedy(
        loaded("llama"),
        [e.input_ids for e in data.encoded[:4]],
        tokens=2,
        batch_tokens=1,
        progress=lambda *a: seen.append(a),
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_exact_match_looks_past_case_and_white_space_only():
    assert exact_match(" Guilty \n of  THEFT", "guilty of theft")
    assert exact_match("Ｇuilty", "guilty"), "full-width letters are the same letters"
    assert exact_match("STRASSE", "straße")
    assert not exact_match("guilty of theft.", "guilty of theft")
    assert not exact_match("guiltyof theft", "guilty of theft")


def test_rouge_l_of_known_pairs():
    # gold "the quick brown fox jumps" (5), answer "the brown dog jumps high" (5): the, brown, jumps.
    assert rouge_l("The brown dog jumps high!", "the quick brown fox jumps") == pytest.approx(3 / 5)
    # 2 of 2 answer words, 2 of 4 gold words: 2 * 1 * 0.5 / 1.5.
    assert rouge_l("cat down", "the cat sat down") == pytest.approx(2 / 3)
    # Order counts: only one of two words is in order.
    assert rouge_l("down cat", "cat down") == pytest.approx(0.5)
    assert rouge_l("", "cat") == rouge_l("cat", "...") == 0.0


def test_rouge_l_of_chinese_is_by_character():
    # 被告人 and 盗窃罪: 6 in order, of 8 and 7 characters; punctuation is none.
    assert rouge_l("被告人犯下盗窃罪。", "被告人构盗窃罪") == pytest.approx(2 * 6 / (8 + 7))
    assert rouge_l("刑期 12 个月", "刑期12个月") == 1.0
    assert rouge_l("有期徒刑", "无罪") == 0.0
    # Accents stay; the library's default would cut such words in pieces.
    assert rouge_l("déjà vu", "déjà lu") == pytest.approx(0.5)


@given(st.text(alphabet="abc def", max_size=30), st.text(alphabet="abc def", max_size=30))
def test_rouge_l_of_plain_english_is_the_librarys_own(a, b):
    from rouge_score.rouge_scorer import RougeScorer

    assert rouge_l(a, b) == RougeScorer(["rougeL"]).score(b, a)["rougeL"].fmeasure
