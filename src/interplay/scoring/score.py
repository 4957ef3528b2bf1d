"""`score`: samples and a model in, scores of all coalitions with their provenance out.

A sample is prepared once for a tokenizer and a prompt template (token ids, which of them each word owns, the target); the
prepared sample is then scored under as many model states as one likes.
"""

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from interplay.data.prompts import encode, render
from interplay.data.rows import Sample
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError
from interplay.scoring.forward import score_rows
from interplay.scoring.masking import mask_token, masked_ids, refuse_mask_in_words, word_tokens
from interplay.scoring.products import fast_products
from interplay.scoring.trie import score_trie, supports_trie

if TYPE_CHECKING:
    from interplay.data.rows import Row

MAX_WORDS = 16  # 2^16 coalitions is where the exact road ends [ours]


@dataclass(frozen=True)
class Prepared:
    """A sample tokenised for one model: what `score_prepared` needs, and nothing of the model itself."""

    sample: Sample
    input_ids: tuple[int, ...]
    spans: tuple[tuple[int, ...], ...]  # token positions of each word
    target_ids: tuple[int, ...]  # the tokens scored: the first `target_tokens` of the response
    target: str
    mask_id: int
    among: tuple[int, ...] | None
    prompt: str

    @property
    def shared(self) -> int:
        """Number of leading tokens equal in all coalitions: those before the first word."""
        return min(span[0] for span in self.spans)


@dataclass(frozen=True)
class UnitScores:
    """Scores of one sample under one model: `values[s]` is v of coalition s (bit i = word i kept), in nats."""

    sample_id: str
    words: tuple[str, ...]
    target: str
    target_ids: tuple[int, ...]
    values: np.ndarray
    dtype: str
    noise_sigma: float
    mask_id: int
    prompt_sha256: str

    @property
    def n(self) -> int:
        return len(self.words)


@dataclass(frozen=True)
class Scores:
    """Scores of several samples; an array of shape [samples, 2^n] wherever one is expected (if all have one n)."""

    units: tuple[UnitScores, ...]

    @property
    def values(self) -> np.ndarray:
        sizes = sorted({unit.n for unit in self.units})
        if len(sizes) > 1:
            raise InterplayError(f"the samples have different numbers of words ({sizes}): take .units one by one")
        return np.stack([unit.values for unit in self.units]) if self.units else np.empty((0, 2))

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        if copy is False:  # the protocol of NumPy 2: the array is stacked on demand, so there is nothing to share
            raise ValueError("scores are one array a sample; an array of all of them is a copy")
        return self.values if dtype is None else self.values.astype(dtype)

    def __len__(self) -> int:
        return len(self.units)

    def __getitem__(self, index: int) -> UnitScores:
        return self.units[index]

    def __iter__(self) -> Iterator[UnitScores]:
        return iter(self.units)


def prepare(
    sample: Sample,
    tokenizer,
    template: PromptTemplate | None = None,
    *,
    mask: str | int | None = None,
    target_tokens: int = 1,
    among: "Sequence[Row] | None" = None,
) -> Prepared:
    """Tokenise a sample: prompt as trained, words by offsets, the first `target_tokens` tokens of the response as target.

    Args:
        among: rows whose targets' first tokens make up the label set to score among (the row's own is added); None scores
            against the whole vocabulary [paper eq 1]. Only with one target token.

    Raises SkipSample when this sample cannot be used with this tokenizer, InterplayError when the arguments cannot.
    """
    if not 1 <= sample.n <= MAX_WORDS:
        raise InterplayError(f"a sample needs 1..{MAX_WORDS} words, this one has {sample.n}: choose fewer words")
    if target_tokens < 1:
        raise InterplayError(f"target_tokens must be at least 1, given {target_tokens}")
    template = template or PromptTemplate()
    encoded = encode(render(sample.row, tokenizer, template), tokenizer)
    target_ids = tuple(encoded.target_ids[:target_tokens])
    pool = None
    if among is not None:
        if target_tokens != 1:
            raise InterplayError("scoring among labels takes one target token: set target_tokens to 1")
        firsts = {encode(render(row, tokenizer, template), tokenizer).target_ids[0] for row in among}
        pool = tuple(sorted(firsts | set(target_ids)))
        if len(pool) < 2:
            raise InterplayError("scoring among labels needs two labels with different first tokens")
    input_ids, spans, mask_id = tuple(encoded.input_ids), word_tokens(sample, encoded), mask_token(tokenizer, mask)
    refuse_mask_in_words(input_ids, spans, mask_id)  # here, where the caller skips samples, not amid the scoring
    return Prepared(
        sample=sample,
        input_ids=input_ids,
        spans=spans,
        target_ids=target_ids,
        target=tokenizer.decode(list(target_ids)),
        mask_id=mask_id,
        among=pool,
        prompt=encoded.text,
    )


def score_prepared(model, prepared: Prepared, *, batch_tokens: int = 4096, noise_coalitions: int = 4) -> UnitScores:
    """Scores of all 2^n coalitions of one prepared sample, and the measured numerical noise of v.

    The packed trie is used where the architecture is known to take it, else batches that share the prefix. The noise is the
    root mean square difference to a plain forward pass of one prompt at a time, on `noise_coalitions` coalitions spread
    over the range (none and all words kept always among them; 0 measures nothing and gives NaN). The same comparison
    guards the trie: where it differs by more than rounding can explain, a warning is issued and batches are used.

    Raises InterplayError for scores that are not finite, and for token ids that the model has no embedding of.
    """
    _same_vocabulary(model, prepared)
    ids = masked_ids(prepared.input_ids, prepared.spans, prepared.mask_id)
    options: dict[str, Any] = {"among": prepared.among, "batch_tokens": batch_tokens}
    last = len(ids) - 1
    picks = np.unique(np.linspace(0, last, min(max(noise_coalitions, 2), last + 1)).round().astype(int))
    plain = np.array([score_rows(model, ids[p : p + 1], prepared.target_ids, **options)[0] for p in picks])
    values = None
    with fast_products(model):
        # The trie cuts the prompt at its words, so they must come in the order of the prompt (a sample made by hand may not).
        if supports_trie(model) and list(prepared.spans) == sorted(prepared.spans) and np.isfinite(plain).all():
            values = score_trie(
                model,
                prepared.input_ids,
                prepared.spans,
                prepared.mask_id,
                prepared.target_ids,
                among=prepared.among,
                budget=batch_tokens,
            )
            worst = np.abs(values[picks] - plain).max()
            if not worst <= _allowed(model, plain):
                warnings.warn(
                    f"the packed trie differs from plain forward passes by {worst:.2g} nats on sample {prepared.sample.id!r}; "
                    "plain batches are used instead, which take longer",
                    stacklevel=2,
                )
                values = None
        if values is None:
            values = score_rows(model, ids, prepared.target_ids, shared=prepared.shared, **options)
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InterplayError(
            f"sample {prepared.sample.id!r}: the model gives a score of {values[bad]} for coalition {bad}; "
            "check its weights for NaN or infinity, and the dtype"
        )
    # Root mean square rather than sd about the mean: a constant offset between two evaluations is noise as well.
    sigma = float(np.sqrt(np.mean((plain - values[picks]) ** 2))) if noise_coalitions else float("nan")
    return UnitScores(
        sample_id=prepared.sample.id,
        words=tuple(word.text for word in prepared.sample.words),
        target=prepared.target,
        target_ids=prepared.target_ids,
        values=values,
        dtype=str(next(model.parameters()).dtype).removeprefix("torch."),
        noise_sigma=sigma,
        mask_id=prepared.mask_id,
        prompt_sha256=hashlib.sha256(prepared.prompt.encode()).hexdigest(),
    )


def _allowed(model, scores: np.ndarray) -> float:
    """Largest difference between two evaluations of one prompt that rounding can explain: 2^9 units in the last place."""
    import torch

    dtype = next(model.parameters()).dtype
    return 512 * torch.finfo(dtype).eps * max(1.0, float(np.abs(scores).max()))


def _same_vocabulary(model, prepared: Prepared) -> None:
    size = model.get_input_embeddings().weight.shape[0]
    highest = max(*prepared.input_ids, *prepared.target_ids, *(prepared.among or ()), prepared.mask_id)
    if highest >= size:
        raise InterplayError(
            f"the tokenizer gives token id {highest}, the model has {size} embeddings: give the tokenizer that belongs to it"
        )


def score(
    model,
    tokenizer,
    samples: Sample | Sequence[Sample],
    *,
    template: PromptTemplate | None = None,
    mask: str | int | None = None,
    target_tokens: int = 1,
    among: "Sequence[Row] | None" = None,
    batch_tokens: int = 4096,
    noise_coalitions: int = 4,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Score every coalition of words of every sample under a causal LM.

    Args:
        model, tokenizer: a transformers causal LM (a peft model too) and its fast tokenizer; neither is changed.
        samples: from `interplay.make_sample`; n up to 16 words each.
        template: the one the samples were made with, and training used. A sample holds its conversation already; what is
            taken from here is whether a chat template writes it, and which special tokens its wording spells on purpose.
        mask: baseline token (text or id) for masked words; default `<unk>`, else pad, else a reserved token [lineage].
        target_tokens: how many tokens of the response are scored, teacher-forced; 1 in the paper.
        progress: called with (samples done, samples in all).

    Returns:
        Scores: [samples, 2^n] float64 in nats as an array, one `UnitScores` each with provenance.

    >>> from interplay.scoring.score import Scores, UnitScores
    >>> unit = UnitScores("a", ("not", "good"), "joy", (7,), np.array([0., 1., 2., 0.]), "float32", 1e-6, 0, "")
    >>> np.asarray(Scores((unit, unit))).shape      # what interplay.extract takes
    (2, 4)
    """
    chosen = [samples] if isinstance(samples, Sample) else list(samples)
    units = []
    for done, sample in enumerate(chosen):
        prepared = prepare(sample, tokenizer, template, mask=mask, target_tokens=target_tokens, among=among)
        units.append(score_prepared(model, prepared, batch_tokens=batch_tokens, noise_coalitions=noise_coalitions))
        if progress is not None:
            progress(done + 1, len(chosen))
    return Scores(tuple(units))
