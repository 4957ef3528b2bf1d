"""Scores by batches that share a prefix against plain forward passes of one prompt at a time."""

import numpy as np
import pytest
import torch

from interplay.models.weights import hash_tensors
from interplay.scoring.forward import score_rows
from interplay.scoring.logodds import Question
from interplay.scoring.masking import LEFT_OUT, masked_ids

ARCHITECTURES = ("llama", "qwen2", "gemma3", "qwen3")


def plain(model, ids, targets) -> np.ndarray:
    """log p - log(1 - p) of forward passes that know neither cache, nor batches, nor `logits_to_keep`."""
    values = []
    with torch.no_grad():
        for row in ids:
            logits = model(input_ids=torch.tensor([[*row, *targets[:-1]]]), use_cache=False).logits[0].double()
            p = logits.softmax(-1)[torch.arange(len(row) - 1, len(row) - 1 + len(targets)), torch.tensor(targets)]
            values.append(float((p.log() - torch.log1p(-p)).sum()))
    return np.array(values)


@pytest.fixture(scope="module")
def masked(prepared):
    return masked_ids(prepared.input_ids, prepared.spans, prepared.absence.fills[0])


@pytest.mark.matrix("float64-1e-09-llama", "float32-0.0001-gemma3")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-9)])
def test_sharing_and_batches_never_change_scores(loaded, prepared, masked, architecture, dtype, tolerance):
    model = loaded(architecture, dtype).model
    targets = [*prepared.target_ids, 5, 9][:3]
    for m in (1, 3):
        reference = plain(model, masked, targets[:m])
        spread = np.ptp(reference)
        assert spread > 0.3  # a flat score would agree with anything
        for shared in (0, 1, prepared.shared):
            for batch_tokens in (1, 64, 4096):
                values = score_rows(
                    model, masked, Question(tuple(targets[:m])), shared=shared, batch_tokens=batch_tokens
                )
                assert values.dtype == np.float64
                np.testing.assert_allclose(values, reference, rtol=0, atol=tolerance * spread)


def ragged(masked, shared: int) -> np.ndarray:
    """Rows of many lengths: behind what all share, some tokens are left out of each."""
    found = masked.copy()
    found[:, shared:][np.random.default_rng(0).random(found[:, shared:].shape) < 0.3] = LEFT_OUT
    found[:, -1] = masked[:, -1]
    return found


@pytest.mark.matrix("gemma3")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rows_of_about_one_length_run_together(loaded, prepared, masked, architecture):
    model, rows = loaded(architecture, "float64").model, ragged(masked, prepared.shared)
    lengths, passes = (rows != LEFT_OUT).sum(1), []
    hook = model.get_input_embeddings().register_forward_hook(lambda module, args, _: passes.append(args[0].shape))
    question = Question((*prepared.target_ids, 5, 9)[:3])
    values = score_rows(model, rows, question, shared=prepared.shared)
    hook.remove()
    assert len(passes) - 1 < len(np.unique(lengths))  # but for the prefix
    reference = plain(model, [row[row != LEFT_OUT] for row in rows], question.target)
    np.testing.assert_allclose(values, reference, rtol=0, atol=1e-9)


def test_sliding_windows_shorter_than_prompt_and_shared_prefix(loaded, prepared, masked):
    """Gemma-3: the window must cut the cached prefix exactly where it cuts a plain forward pass."""
    model = loaded("gemma3", "float64").model
    window = model.config.sliding_window
    tail = masked.shape[1] - prepared.shared
    assert window < prepared.shared
    assert window < tail
    reference = plain(model, masked, prepared.target_ids)
    longest = masked.shape[1]
    for shared in (window - 1, window, window + 1, prepared.shared):
        values = score_rows(model, masked, Question(prepared.target_ids), shared=shared)
        np.testing.assert_allclose(values, reference, rtol=0, atol=1e-9)
    # All but one token shared: only the last prompt token is run behind the cache.
    same = np.tile(masked[-1], (3, 1))
    one = score_rows(model, same, Question(prepared.target_ids), shared=longest)
    np.testing.assert_allclose(one, reference[-1], rtol=0, atol=1e-9)
    # The window matters at all: without it the scores are others.
    config = model.config.layer_types
    layers = [layer.self_attn for layer in model.model.layers]
    windows = [(config[i], layer.sliding_window) for i, layer in enumerate(layers)]
    assert windows[0] == ("sliding_attention", window)


def test_window_of_gemma_changes_scores(tiny_folder, prepared, masked):
    from transformers import AutoModelForCausalLM

    wide = AutoModelForCausalLM.from_pretrained(tiny_folder("gemma3"), sliding_window=512, dtype=torch.float64).eval()
    narrow = AutoModelForCausalLM.from_pretrained(tiny_folder("gemma3"), dtype=torch.float64).eval()
    a, b = (score_rows(m, masked, Question(prepared.target_ids), shared=prepared.shared) for m in (wide, narrow))
    assert np.abs(a - b).max() > 1e-3


def test_trained_model(stories_folder):
    from interplay.data.samples import make_sample
    from interplay.models.loading import load_model
    from interplay.scoring.scores import prepare, score_prepared

    loaded = load_model(str(stories_folder))
    sample = make_sample("Once upon a time there was a little girl named", "Lily", words=["time", "little", "girl"])
    prepared = prepare(sample, loaded.tokenizer)
    assert prepared.absence.said == '"…" (one per token)'  # "_" is not in its vocabulary of 512
    ids = masked_ids(prepared.input_ids, prepared.spans, prepared.absence.fills[0])
    reference = plain(loaded.model, ids, prepared.target_ids)
    unit = score_prepared(loaded.model, prepared)
    np.testing.assert_allclose(unit.values, reference, rtol=0, atol=1e-4 * np.ptp(reference))
    assert 0 <= unit.noise_sigma < 1e-4


class WithoutKeep(torch.nn.Module):
    """A causal LM whose forward knows neither `logits_to_keep`, nor a cache, nor position ids."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.config = inner, inner.config
        self.seen = []

    def forward(self, input_ids, attention_mask=None):
        self.seen.append(tuple(input_ids.shape))
        return self.inner(input_ids=input_ids, attention_mask=attention_mask)


def test_models_without_logits_to_keep_or_cache(loaded, prepared, masked):
    inner = loaded("qwen2", "float64").model
    model = WithoutKeep(inner)
    values = score_rows(model, masked, Question(prepared.target_ids), shared=prepared.shared)
    np.testing.assert_allclose(values, plain(inner, masked, prepared.target_ids), rtol=0, atol=1e-9)
    assert model.seen == [masked.shape]  # nothing was left out of the prompt


def test_recurrent_hybrids_are_run_plainly(prepared, masked):
    """A state that is no keys and values cannot be repeated as such: sharing must switch itself off."""
    from transformers import AutoModelForCausalLM, Lfm2Config

    torch.manual_seed(0)
    config = Lfm2Config(
        vocab_size=512,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        layer_types=["conv", "full_attention"],
        block_multiple_of=8,
        initializer_range=0.3,
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float64).eval()
    values = score_rows(model, masked, Question(prepared.target_ids), shared=prepared.shared)
    reference = plain(model, masked, prepared.target_ids)
    np.testing.assert_allclose(values, reference, rtol=0, atol=1e-9 + 1e-9 * np.ptp(reference))
    rows = ragged(masked, prepared.shared)
    reference = plain(model, [row[row != LEFT_OUT] for row in rows], prepared.target_ids)
    found = score_rows(model, rows, Question(prepared.target_ids), shared=prepared.shared)
    np.testing.assert_allclose(found, reference, rtol=0, atol=1e-9 + 1e-9 * np.ptp(reference))


@pytest.mark.parametrize("fails", [False, True])
def test_the_users_model_is_untouched(tiny_folder, prepared, masked, fails):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_folder("qwen3")).train()
    model.model.layers[0].eval()  # a mixed state, each part of which must come back
    modes = [m.training for m in model.modules()]
    before = hash_tensors(model.state_dict().items())
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    calls = []

    def hook(module, args):
        calls.append(module.training)
        if fails and len(calls) == 2:
            raise RuntimeError("out of memory")

    handle = model.lm_head.register_forward_pre_hook(hook)
    if fails:
        with pytest.raises(RuntimeError, match="out of memory"):
            score_rows(model, masked, Question(prepared.target_ids), shared=prepared.shared)
    else:
        score_rows(model, masked, Question(prepared.target_ids), shared=prepared.shared)
    handle.remove()
    assert calls
    assert not any(calls)  # evaluation mode while scoring
    assert [m.training for m in model.modules()] == modes
    assert torch.is_grad_enabled()
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert hash_tensors(model.state_dict().items()) == before


def test_dropout_is_off_while_scoring(tiny_folder, prepared, masked):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_folder("llama"), attention_dropout=0.5).train()
    first = score_rows(model, masked, Question(prepared.target_ids), shared=prepared.shared)
    assert np.array_equal(first, score_rows(model, masked, Question(prepared.target_ids), shared=prepared.shared))
