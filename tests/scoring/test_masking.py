"""Which tokens change when a word is masked: its own, all of them, and no other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interplay.data.prompts import Encoded, encode, render
from interplay.data.rows import Message, Row, Sample, Word
from interplay.data.samples import make_sample
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError, SkipSample
from interplay.scoring.absence import choose_masking, mask_token
from interplay.scoring.masking import masked_ids, word_tokens
from interplay.scoring.scores import prepare

words_of_texts = st.lists(
    st.sampled_from(["happy", "not", "naïve", "don't", "食べ物", "x2", "😀fine", "co-op", "the", "Laugh", "été", "ℵ"]),
    min_size=2,
    max_size=9,
)
between = st.sampled_from([" ", "  ", ", ", " - ", "\n", "! "])


@given(words_of_texts, between, st.randoms(use_true_random=False))
def test_every_masked_id_differs_and_nothing_else_does(tiny_tokenizer, words, gap, random):
    text = gap.join(words)
    chosen = sorted(random.sample(range(len(words)), min(4, len(words))))
    starts = np.cumsum([0, *(len(w) + len(gap) for w in words)])
    row = Row("r", (Message("user", f"not happy: {text} happy not"),), "joy", text, len("not happy: "))
    sample = Sample(row, tuple(Word(words[i], int(starts[i]), int(starts[i]) + len(words[i])) for i in chosen))
    encoded = encode(render(row, tiny_tokenizer), tiny_tokenizer)
    spans = word_tokens(sample, encoded)
    mask = mask_token(tiny_tokenizer)
    ids = masked_ids(encoded.input_ids, spans, ((mask,),) * len(spans))
    whole = np.array(encoded.input_ids)
    assert ids.shape == (2 ** len(chosen), len(whole))
    for s, row_ids in enumerate(ids):
        masked = {p for i, span in enumerate(spans) if not s >> i & 1 for p in span}
        assert set(np.flatnonzero(row_ids != whole)) == masked
        assert all(row_ids[p] == mask for p in masked)
    # The tokens of a word cover it whole, and lie in the user's text only though the template has the same words.
    for word, span in zip(sample.words, spans, strict=True):
        low = encoded.text_start + word.start
        covered = {c for p in span for c in range(*encoded.offsets[p])}
        assert set(range(low, low + len(word.text))) <= covered
        outside = covered - set(range(low, low + len(word.text)))
        assert not any(encoded.text[c].isalnum() for c in outside)
        assert all(
            encoded.text_start <= c < encoded.text_start + len(text) or encoded.text[c].isspace() for c in outside
        )


def test_words_of_the_template_stay_background(tiny_tokenizer):
    wording = PromptTemplate(system="happy or not", template="not happy? {text} -- happy, not?")
    prepared = prepare(
        make_sample("not happy", "joy", words=["not", "happy"], template=wording), tiny_tokenizer, wording
    )
    full = tiny_tokenizer.decode(list(prepared.input_ids))
    none = tiny_tokenizer.decode(masked_ids(prepared.input_ids, prepared.spans, prepared.absence.fills[0])[0].tolist())
    assert (full.count("happy"), none.count("happy")) == (4, 3)
    assert "user\nnot happy?__ -- " in none  # the space before a word is in its token
    assert none.endswith("-- happy, not?<|im_end|>\n<|im_start|>assistant\n")


def encoded_by_hand(text: str, offsets, text_start: int = 0) -> Encoded:
    return Encoded(tuple(range(10, 10 + len(offsets))), (1,), tuple(offsets), text, text_start)


def sample_by_hand(text: str, *spans: tuple[int, int]) -> Sample:
    row = Row("r", (Message("user", text),), "y", text, 0)
    return Sample(row, tuple(Word(text[a:b], a, b) for a, b in spans))


def test_a_token_shared_with_a_neighbour_is_refused():
    sample = sample_by_hand("ab cd", (0, 2))
    with pytest.raises(SkipSample, match="'ab' shares a token with text outside it"):
        word_tokens(sample, encoded_by_hand("ab cd", [(0, 4), (4, 5)]))
    both = sample_by_hand("ab cd", (0, 2), (3, 5))
    with pytest.raises(SkipSample, match=r"shares a token|share a token"):
        word_tokens(both, encoded_by_hand("ab cd", [(0, 5)]))
    glued = sample_by_hand("ab.cd", (0, 2), (3, 5))
    with pytest.raises(SkipSample, match="shares a token with text outside it"):
        word_tokens(glued, encoded_by_hand("ab.cd", [(0, 5)]))


def test_a_token_shared_with_the_template_is_refused():
    sample = sample_by_hand("ab", (0, 2))
    with pytest.raises(SkipSample, match="shares a token with text outside it"):
        word_tokens(sample, encoded_by_hand("Qab", [(0, 3)], text_start=1))
    for text, offsets in ((":ab", [(0, 3)]), ('"ab', [(0, 3)])):
        with pytest.raises(SkipSample, match="shares a token with the template"):
            word_tokens(sample, encoded_by_hand(text, offsets, text_start=1))
    with pytest.raises(SkipSample, match="shares a token with the template"):
        word_tokens(sample, encoded_by_hand("ab?", [(0, 3)]))


def test_white_space_and_own_punctuation_may_go_with_a_word():
    assert word_tokens(sample_by_hand("ab", (0, 2)), encoded_by_hand(": ab", [(0, 1), (1, 4)], 2)) == ((1,),)
    assert word_tokens(sample_by_hand("ab, c", (0, 2)), encoded_by_hand("ab, c", [(0, 3), (3, 5)])) == ((0,),)


def test_a_character_in_several_tokens_and_a_word_in_none():
    # Byte-level tokenizers split one character into tokens with the same offsets: all of them are the word's.
    assert word_tokens(sample_by_hand("é", (0, 1)), encoded_by_hand("é", [(0, 1), (0, 1)])) == ((0, 1),)
    with pytest.raises(SkipSample, match="has no token in this tokenizer"):
        word_tokens(sample_by_hand("a b", (0, 1)), encoded_by_hand("a b", [(1, 3)]))


def test_masking_that_would_change_nothing_is_refused_while_preparing(tiny_tokenizer):
    sample = make_sample("not happy", "joy", words=["not", "happy"])
    clean = prepare(sample, tiny_tokenizer)
    with pytest.raises(SkipSample, match="'happy' already is the mask token"):
        prepare(sample, tiny_tokenizer, mask=clean.input_ids[clean.spans[1][0]])


def fresh(**special):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"a": 0, "<u>": 1, "<p>": 2, "<e>": 3, "<|reserved_0|>": 4, "<|reserved_1|>": 5, "b": 6}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(vocabulary)), **special)
    if "reserved" in special.get("cls_token", ""):
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|reserved_0|>", "<|reserved_1|>"]})
    return tokenizer


def test_order_of_the_choice_of_a_mask_token():
    everything = {"unk_token": "<u>", "pad_token": "<p>", "eos_token": "<e>", "cls_token": "<|reserved_0|>"}
    assert mask_token(fresh(**everything)) == 1
    del everything["unk_token"]
    assert mask_token(fresh(**everything)) == 2
    del everything["pad_token"]
    assert mask_token(fresh(**everything)) == 5  # the last reserved one
    assert mask_token(fresh(eos_token="<e>")) == 3
    with pytest.raises(InterplayError, match="no unk, pad, reserved or eos token"):
        mask_token(fresh())


@pytest.mark.parametrize("reserved", ["<|reserved_0|>", "<unused3>", "<extra_id_0>", "<|fim_pad|>"])
def test_what_ends_a_turn_is_the_last_choice(reserved):
    """pad = eos, as fine-tuning scripts set it, and GPT-2's unk = eos."""
    for special in ({"pad_token": "<e>"}, {"unk_token": "<e>", "pad_token": "<e>"}):
        tokenizer = fresh(eos_token="<e>", **special)
        assert mask_token(tokenizer) == 3
        for wanted in ("paper", "<e>", 3):
            [note] = choose_masking(tokenizer, wanted).notes
            assert note.startswith("absent words become '<e>', the eos and")
        tokenizer.add_special_tokens({"additional_special_tokens": [reserved]})
        assert tokenizer.convert_ids_to_tokens(mask_token(tokenizer)) == reserved
        assert choose_masking(tokenizer, "paper").notes == ()


def test_a_mask_token_by_name_and_by_id():
    tokenizer = fresh(unk_token="<u>")
    assert mask_token(tokenizer, "b") == 6
    assert mask_token(tokenizer, 6) == 6
    assert mask_token(tokenizer, "<u>") == 1
    assert mask_token(tokenizer, 0) == 0
    for wrong in ("nope", "", 7, -1, True, 2.5):
        with pytest.raises(InterplayError, match="mask token") as error:
            mask_token(tokenizer, wrong)
        assert "\n" not in str(error.value)
    with pytest.raises(InterplayError, match="not in the vocabulary"):
        mask_token(fresh(), "nope")  # no unk to fall back to
