"""What absent words become: every kind scores as plain rows do, a swap takes words of the place, auto nothing special."""

import json
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from interplay.data.rows import Row
from interplay.data.samples import make_sample
from interplay.data.template import PromptTemplate
from interplay.effects import extract
from interplay.errors import InterplayError, SkipSample
from interplay.scoring import scores
from interplay.scoring.absence import absence_notes, choose_masking
from interplay.scoring.forward import score_rows
from interplay.scoring.logodds import Question
from interplay.scoring.masking import LEFT_OUT, MEAN, masked_ids
from interplay.scoring.scores import prepare, score, score_answers, score_prepared

WORDING = PromptTemplate(template="Say: {text}\nEmotion:")
NAMES = ["Anna", "Emma", "Dora", "Kurt", "Nick", "Peter"]
VERBS = ["sold", "hung", "left", "held", "sank", "hid"]
THINGS = ["lamp", "shoe", "sock", "fork", "horn", "fan"]


def row(text: str, name: str, target: str = "joy") -> Row:
    messages, start = WORDING.messages_for(text)
    return Row(name, messages, target, text, start)


@pytest.fixture(scope="module")
def formed():
    """Rows of one form, such as "Anna sold the cold lamp"; the last word of each list has other tokens, "cold" no rival."""
    return [
        row(f"{a} {v} the cold {t}", f"row {i}")
        for i, (a, v, t) in enumerate((a, v, t) for a in NAMES for v in VERBS for t in THINGS)
    ]


def sample_of(text: str = "Anna sold the cold lamp", words=("sold", "cold", "lamp")):
    return make_sample(row(text, "asked"), words=list(words))


def by_hand(model, prepared, fills) -> np.ndarray:
    """Every coalition on its own, from token embeddings."""
    table, found = model.get_input_embeddings(), []
    with torch.no_grad():
        mean = table(torch.arange(prepared.absence.vocabulary)).mean(0)
        for s in range(1 << len(prepared.spans)):
            ids = np.array(prepared.input_ids)
            for i, span in enumerate(prepared.spans):
                if not s >> i & 1:
                    ids[list(span)] = fills[i]
            ids = torch.from_numpy(ids[ids != LEFT_OUT])[None]
            embedded = torch.where((ids == MEAN)[..., None], mean, table(ids.clamp(min=0)))
            if "gemma" in model.config.model_type:  # it scales ids only, not embeddings that it is given
                assert table.embed_scale > 1
            logits = model(inputs_embeds=embedded).logits[0, -1].double()
            found.append(float(Question(prepared.target_ids).answer(logits[None, None])[0]))
    return np.array(found)


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
@pytest.mark.parametrize("mask", ["auto", "paper", "mean", "swap", "drop", " joy", 70])
def test_every_kind_scores_as_plain_rows_do(loaded, formed, tiny_tokenizer, architecture, mask, recwarn):
    model = loaded(architecture, "float64").model
    masking = choose_masking(tiny_tokenizer, mask, WORDING, rows=formed, draws=2)
    prepared = prepare(sample_of(), tiny_tokenizer, WORDING, mask=masking, target_tokens="first")
    assert len(prepared.absence.fills) == (2 if mask == "swap" else 1)
    seen = []
    unit = score_prepared(model, prepared, progress=lambda done, of: seen.append((done, of)))
    draws = [by_hand(model, prepared, fills) for fills in prepared.absence.fills]
    np.testing.assert_allclose(unit.values, np.mean(draws, 0), rtol=0, atol=1e-9)
    assert np.std(unit.values) > 0.05  # the comparison means something
    assert seen[-1] == (8, 8)
    assert all(a <= b for (a, _), (b, _) in pairwise(seen))
    assert unit.noise_sigma < 1e-9
    if mask == "swap":
        spread = np.std(draws, axis=0, ddof=1)
        assert unit.absence_sigma == pytest.approx(np.sqrt(np.mean(spread**2) / 2))
        assert unit.absence_sigma > 0.01
        assert float(extract(unit).tolerance) == pytest.approx(0.1 * unit.absence_sigma)
    else:
        assert unit.absence_sigma == 0
    assert not [w for w in recwarn if "packed trie" in str(w.message)]
    ids = np.array([prepared.input_ids])
    assert np.isfinite(score_rows(model, ids, Question(prepared.target_ids))).all()  # no hook is left behind
    assert not model.get_input_embeddings()._forward_hooks
    assert not model.get_input_embeddings()._forward_pre_hooks


def test_the_mean_is_the_same_in_a_16_bit_model(loaded, tiny_tokenizer):
    prepared = prepare(sample_of(), tiny_tokenizer, WORDING, mask="mean")
    exact = score_prepared(loaded("gemma3").model, prepared)
    narrow = score_prepared(loaded("gemma3", "bfloat16").model, prepared)
    assert np.abs(exact.values - narrow.values).max() < 0.5 * np.std(exact.values)
    assert 0 < narrow.noise_sigma < 0.3 * np.std(exact.values)


def test_said_for_people(tiny_tokenizer, formed):
    said = {
        mask: choose_masking(tiny_tokenizer, mask, rows=formed).said
        for mask in ("auto", "mean", "swap", "drop", "paper")
    }
    assert said == {
        "auto": '"_" (one per token)',
        "mean": "mean embedding",
        "swap": "other words of the same place, 3 draws",
        "drop": "left out",
        "paper": '"<unk>" (the lineage\'s rule)',
    }
    assert choose_masking(tiny_tokenizer, " joy").said == '" joy" (one per token)'
    assert choose_masking(tiny_tokenizer, 3).said == '"<unk>" (one per token)'


def without(tokenizer, *texts: str):
    """A copy of a tokenizer whose vocabulary lacks these tokens."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    made = json.loads(tokenizer.backend_tokenizer.to_str())
    made["model"]["vocab"] = {("§" + t if t in texts else t): i for t, i in made["model"]["vocab"].items()}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(made)), unk_token="<unk>", eos_token="<|im_end|>", pad_token="-"
    )


def test_auto_is_a_neutral_token_and_never_a_special_one(tiny_tokenizer):
    assert choose_masking(tiny_tokenizer).token == tiny_tokenizer.convert_tokens_to_ids("_")
    # No "_"; "…" is three bytes here and "-" serves as padding.
    assert choose_masking(without(tiny_tokenizer, "_")).said == '"." (one per token)'
    assert choose_masking(without(tiny_tokenizer, "_", ".")).said == "mean embedding"
    for mask in ("auto", "swap"):
        special = without(tiny_tokenizer, ".")
        special.add_special_tokens({"additional_special_tokens": ["_"]})
        assert choose_masking(special, mask, rows=()).token == MEAN


def test_special_tokens_are_noted_whoever_chose_them(tiny_tokenizer):
    for mask, roles in (("paper", "unk"), ("<|endoftext|>", "bos and pad"), ("<|im_end|>", "eos"), (1, "a special")):
        [note] = choose_masking(tiny_tokenizer, mask).notes
        assert f"{roles} token" in note
        assert "hide what was learnt" in note
    assert choose_masking(tiny_tokenizer).notes == choose_masking(tiny_tokenizer, " joy").notes == ()
    with pytest.raises(
        InterplayError, match="'nothing like it' is not in the vocabulary: name a token of it, its id, or one of"
    ):
        choose_masking(tiny_tokenizer, "nothing like it")


def test_other_words_are_of_the_same_place_with_as_many_tokens(tiny_tokenizer, formed):
    masking = choose_masking(tiny_tokenizer, "swap", WORDING, rows=formed, draws=3)
    one = sample_of("Anna sold the cold lamp", ("Anna", "sold", "lamp"))
    prepared = prepare(one, tiny_tokenizer, WORDING, mask=masking)
    assert len(set(prepared.absence.fills)) == 3
    for fills in prepared.absence.fills:
        for fill, span, words, own in zip(fills, prepared.spans, (NAMES, VERBS, THINGS), one.words, strict=True):
            assert len(fill) == len(span)
            assert tiny_tokenizer.decode(list(fill)).strip() in set(words) - {own.text}
        none = tiny_tokenizer.decode(masked_ids(prepared.input_ids, prepared.spans, fills)[0].tolist())
        assert re.search(r"Say: \w+ \w+ the cold \w+\n", none)  # spaces are where they were
    backwards = choose_masking(tiny_tokenizer, "swap", WORDING, rows=formed[::-1], draws=3)
    assert prepare(one, tiny_tokenizer, WORDING, mask=backwards).absence == prepared.absence
    fewer = make_sample(one.row, words=["sold"])
    alone = prepare(fewer, tiny_tokenizer, WORDING, mask=masking)
    assert [fills[0] for fills in alone.absence.fills] == [fills[1] for fills in prepared.absence.fills]
    elsewhere = prepare(replace(one, row=replace(one.row, id="another")), tiny_tokenizer, WORDING, mask=masking)
    assert elsewhere.absence != prepared.absence


def test_never_the_word_itself_nor_one_of_its_own_text(tiny_tokenizer):
    rows = [row("Sold lamp", "a"), row("SOLD the lamp", "b"), row("Anna sold the cold lamp", "asked")]
    masking = choose_masking(tiny_tokenizer, "swap", WORDING, rows=rows, draws=2)
    absence = prepare(sample_of(words=("sold",)), tiny_tokenizer, WORDING, mask=masking).absence
    assert {tiny_tokenizer.decode(list(fill)).strip() for (fill,) in absence.fills} == {"lamp"}


def test_where_no_other_word_fits_a_neutral_token_stands_and_is_counted(tiny_tokenizer, formed):
    for rows, count in ((formed, 1), ((), 3), ([row("hung", "x")], 3)):
        masking = choose_masking(tiny_tokenizer, "swap", WORDING, rows=rows, draws=2)
        absence = prepare(sample_of(), tiny_tokenizer, WORDING, mask=masking).absence
        assert absence.lacking == count
        notes = absence_notes([absence, absence])
        assert len(notes) == bool(count)
        if count:
            assert notes[0].startswith(f"{2 * count} of 6 absent words have too few other words of as many tokens")
        if rows == ():
            neutral = tiny_tokenizer.convert_tokens_to_ids("_")
            assert {token for fills in absence.fills for fill in fills for token in fill} == {neutral}


def test_a_lone_prompt_takes_the_embedded_sentences_and_says_so(loaded, sample, template):
    base = loaded("llama")
    with pytest.warns(UserWarning, match="words of English sentences about emotions, which the package holds"):
        found = score(base.model, base.tokenizer, sample, template=template, mask="swap", swap_draws=2)
    assert found[0].absent == "other words of the same place, 2 draws"
    assert found.absence_sigma[0] > 0


def test_a_prompt_of_nothing_but_words_cannot_lose_them(tiny_tokenizer):
    alone = make_sample("joy", "joy", words=["joy"])
    with pytest.raises(SkipSample, match="nothing is left of the prompt without its words"):
        prepare(alone, tiny_tokenizer, PromptTemplate(chat=False), mask="drop")


def test_answers_share_an_absence(loaded, formed):
    base = loaded("llama")
    found = score_answers(
        base.model, base.tokenizer, sample_of(), ["joy", "anger"], template=WORDING, mask="swap", fillers=formed
    )
    assert {unit.absent for each in found.values() for unit in each} == {"other words of the same place, 3 draws"}
    both = [prepare(sample_of(), base.tokenizer, WORDING, mask=mask) for mask in ("auto", "mean")]
    with pytest.raises(ValueError, match="same prompt, words and absence"):
        scores.score_together(base.model, both)
