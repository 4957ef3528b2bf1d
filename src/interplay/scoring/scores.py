"""`score`: samples and a model in, scores of all coalitions with their provenance out.

A sample is prepared once for a tokenizer and a prompt template and can then be scored under many model states.
"""

import contextlib
import hashlib
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from interplay.data.prompts import Rendered, encode, render
from interplay.data.rows import Row, Sample
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError, SkipSample
from interplay.limits import EXACT_WORDS, SAMPLED_WORDS
from interplay.models.length import context_length, length_of
from interplay.scoring import precision
from interplay.scoring.absence import DRAWS, Absence, Mask, Masking, absence_notes, choose_masking
from interplay.scoring.forward import Done, score_rows
from interplay.scoring.logodds import Question, Questions
from interplay.scoring.masking import LEFT_OUT, MEAN, Fills, masked_ids, word_tokens
from interplay.scoring.mean import mean_embedding
from interplay.scoring.targets import AUTO, NO_ANSWERS, Answers, TargetTokens, choose_window, without_thought
from interplay.scoring.trie import score_trie, supports_trie
from interplay.text import short

NOISE_COALITIONS = 8  # on which the noise of v is measured, unless the caller says otherwise [ours]


@dataclass(frozen=True)
class Prepared:
    """A sample tokenised for one model, as `score_prepared` needs it."""

    sample: Sample
    input_ids: tuple[int, ...]  # the prompt, and the tokens of the response that are passed over
    spans: tuple[tuple[int, ...], ...]  # token positions of each word
    target_ids: tuple[int, ...]  # the tokens scored
    target: str
    absence: Absence
    among: tuple[tuple[int, ...], ...] | None  # label sequences to score among, the target one of them
    prompt: str
    passed: str = ""  # what is passed over, at the end of `prompt` too
    whole: str | None = None  # the word that the target is only a part of

    @property
    def shared(self) -> int:
        """Number of leading tokens equal in all coalitions: those before the first word."""
        return min(span[0] for span in self.spans)

    @property
    def positions(self) -> int:
        """Positions of the longest pass: the prompt, and all tokens scored but the last."""
        return len(self.input_ids) + max(map(len, (self.target_ids, *(self.among or ())))) - 1


@dataclass(frozen=True)
class UnitScores:
    """Scores of one sample under one model: `values[s]` is v of coalition s (bit i = word i kept), in nats.

    absent: what absent words become. Where that was drawn several times, `values` are means over the draws, and
    `absence_sigma` is their noise in nats: sd between draws / sqrt(draws), root mean square over coalitions; else 0.
    Where coalitions were chosen, `coalitions[j]` is the one that `values[j]` belongs to.
    """

    sample_id: str
    words: tuple[str, ...]
    target: str
    target_ids: tuple[int, ...]
    values: np.ndarray
    dtype: str
    noise_sigma: float
    absent: str
    prompt_sha256: str
    coalitions: np.ndarray | None = None
    absence_sigma: float = 0.0

    @property
    def n(self) -> int:
        return len(self.words)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        if self.coalitions is not None:
            raise InterplayError("these are scores of chosen coalitions: take .coalitions and .values")
        return np.array(self.values, dtype=dtype, copy=copy)


@dataclass
class Guard:
    """Whether the packed trie has agreed with plain forward passes of this model: of the prompts under one guard one is compared."""

    agreed: bool = False


@dataclass(frozen=True)
class Scores:
    """Scores of several samples, and an array [samples, 2^n] wherever one is expected (if all have the same n)."""

    units: tuple[UnitScores, ...]

    @property
    def values(self) -> np.ndarray:
        sizes = sorted({unit.n for unit in self.units})
        if len(sizes) > 1:
            raise InterplayError(f"the samples have different numbers of words ({sizes}): take .units one by one")
        return np.stack([unit.values for unit in self.units]) if self.units else np.empty((0, 2))

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        if copy is False:  # NumPy's protocol
            raise ValueError("scores are one array a sample; an array of all of them is a copy")
        return self.values if dtype is None else self.values.astype(dtype)

    @property
    def noise_sigma(self) -> np.ndarray:
        """[samples] measured numerical noise of v, in nats; NaN where it was not measured."""
        return np.array([unit.noise_sigma for unit in self.units])

    @property
    def absence_sigma(self) -> np.ndarray:
        """[samples] noise of v from the draws of other words, in nats; 0 where nothing is drawn."""
        return np.array([unit.absence_sigma for unit in self.units])

    def __len__(self) -> int:
        return len(self.units)

    def __getitem__(self, index: int) -> UnitScores:
        return self.units[index]


def prepare(
    sample: Sample,
    tokenizer,
    template: PromptTemplate | None = None,
    *,
    mask: Mask | Masking = "auto",
    target_tokens: TargetTokens = AUTO,
    answers: Answers = NO_ANSWERS,
    rendered: Rendered | None = None,
) -> Prepared:
    """Tokenise a sample: prompt as trained, words by offsets, the tokens of the response that `choose_window` takes as target.

    `mask`: what absent words become, as in `score`, or ready-made. `answers`: the labels to tell the response from, or to score it
    among; by default it is scored against the whole vocabulary [paper eq 1]. `rendered`: the row as one string, if not as
    `render` makes it.

    Raises SkipSample when this sample cannot be used with this tokenizer, InterplayError when the arguments cannot.
    """
    if not 1 <= sample.n <= SAMPLED_WORDS:
        raise InterplayError(f"a sample needs 1..{SAMPLED_WORDS} words, this one has {sample.n}: choose fewer words")
    template = template or PromptTemplate()
    encoded = encode(rendered or render(sample.row, tokenizer, template), tokenizer)
    if not without_thought(sample.row.target):
        raise SkipSample(f"row {short(sample.id)}: its answer is a thought and nothing else")
    passed, target_ids, pool, whole = choose_window(encoded, answers, target_tokens, tokenizer)
    spans = word_tokens(sample, encoded)
    masking = mask if isinstance(mask, Masking) else choose_masking(tokenizer, mask, template)
    skipped = tokenizer.decode(list(encoded.target_ids[:passed])) if passed else ""
    prepared = Prepared(
        sample=sample,
        input_ids=encoded.input_ids + encoded.target_ids[:passed],
        spans=spans,
        target_ids=target_ids,
        target=tokenizer.decode(list(target_ids)),
        absence=masking.absence(sample, encoded, spans),
        among=pool,
        prompt=encoded.text + skipped,
        passed=skipped,
        whole=whole,
    )
    length_of(tokenizer).refuse(prepared.positions)
    return prepared


def score_prepared(model, prepared: Prepared, **options: Any) -> UnitScores:
    """`score_together` of one question."""
    return score_together(model, [prepared], **options)[0]


def score_together(
    model,
    several: Sequence[Prepared],
    *,
    coalitions: np.ndarray | None = None,
    batch_tokens: int | None = None,
    noise_coalitions: int = 4,
    guard: Guard | None = None,
    progress: Done = None,
) -> tuple[UnitScores, ...]:
    """Scores of several questions about one prompt, such as the target among all tokens and among the labels.

    They cost about as much as one of them. The packed trie is used where the architecture is known to take it, else batches
    that share the prefix. A 16-bit model gets a float32 residual stream (`precision.py`). The noise of v is the root mean
    square difference to plain float32 forward passes on `noise_coalitions`, NaN on none. Where the trie differs from these by
    more than rounding can explain, a warning is issued and batches are used; under one `guard` that is asked until it agrees once,
    and then noise is NaN. Where absent words are drawn, scores are means.

    `coalitions`: [m] bitmasks, bit i = word i kept; None: all, in the order of their numbers, for 16 words at most. The other
    arguments as of `score_rows`.

    Raises InterplayError for scores that are not finite, for token ids that the model has no embedding of, and for more tokens
    than it has learnt positions.
    """
    first = several[0]
    words = (first.input_ids, first.spans, first.absence)
    if any((p.input_ids, p.spans, p.absence) != words for p in several):
        raise ValueError("questions that are scored together must have the same prompt, words and absence")
    for prepared in several:
        _refuse_unknown_ids(model, prepared)
        context_length(model.config).refuse(prepared.positions, f"sample {prepared.sample.id!r}")
    n = len(first.spans)
    if coalitions is None and n > EXACT_WORDS:
        raise InterplayError(f"{n} words have 2^{n} coalitions: choose fewer words, or give score_prepared coalitions=")
    chosen = np.arange(1 << n, dtype=np.uint64) if coalitions is None else np.asarray(coalitions, dtype=np.uint64)
    last = len(chosen) - 1
    picks = np.unique(np.linspace(0, last, min(max(noise_coalitions, 2), last + 1)).round().astype(int))
    asked = Questions(tuple(Question(p.target_ids, p.among) for p in several))
    # The trie cuts the prompt at its words, so they must come in the order of the prompt (a sample made by hand may not).
    in_order = supports_trie(model) and list(first.spans) == sorted(first.spans)
    rounded, exact = precision.is_rounded(model), precision.product_float32 if precision.is_narrow(model) else None
    trusted = guard is not None and guard.agreed

    def score_draw(fills: Fills, told: Done) -> tuple[np.ndarray, np.ndarray]:
        """Scores [chosen, questions] with these ids for absent words, and those [picks, questions] of plain float32 passes."""
        words = (first.input_ids, first.spans, fills)
        packed = in_order and not any(LEFT_OUT in fill for fill in fills)
        if packed and trusted:
            with precision.fast_products(model), precision.wide_residual(model):
                values = score_trie(model, *words, asked, coalitions=chosen, budget=batch_tokens, progress=told)
            return values, np.full_like(values[picks], np.nan)
        with precision.exact_products(), precision.wide_residual(model, exact):
            plain = score_rows(model, masked_ids(*words, chosen[picks]), asked, batch_tokens=batch_tokens)
            packed = packed and bool(np.isfinite(plain).all())
            if packed and rounded:  # the guard compares in float32, where rounding is small
                few = score_trie(model, *words, asked, coalitions=chosen[picks], budget=batch_tokens)
                packed = _agrees(few, plain, first)
        with precision.fast_products(model), precision.wide_residual(model):
            if packed:
                values = score_trie(model, *words, asked, coalitions=chosen, budget=batch_tokens, progress=told)
                packed = rounded or _agrees(values[picks], plain, first)
            if guard is not None:
                guard.agreed |= packed
            if not packed:
                ids = masked_ids(*words, chosen)
                values = score_rows(model, ids, asked, shared=first.shared, batch_tokens=batch_tokens, progress=told)
        return values, plain

    fills, draws = first.absence.fills, []
    averaged = any(MEAN in fill for each in fills for fill in each)
    with mean_embedding(model, first.absence.vocabulary) if averaged else contextlib.nullcontext():
        for draw, each in enumerate(fills):
            told = progress and (lambda done, of, draw=draw: progress((draw * of + done) // len(fills), of))
            draws.append(score_draw(each, told))
    values, plain = (np.mean(each, axis=0) for each in zip(*draws, strict=True))
    spread = np.std([v for v, _ in draws], axis=0, ddof=1) if len(draws) > 1 else np.zeros_like(values)
    absence_sigma = np.sqrt(np.mean(spread**2, axis=0) / len(draws))
    dtype = precision.dtype_of(model)
    _refuse_infinite(values, chosen, first, dtype)
    noise = [float(np.sqrt(np.mean((plain[:, i] - values[picks, i]) ** 2))) for i in range(len(several))]
    return tuple(
        UnitScores(
            sample_id=p.sample.id,
            words=tuple(word.text for word in p.sample.words),
            target=p.target,
            target_ids=p.target_ids,
            values=np.ascontiguousarray(values[:, i]),
            dtype=dtype,
            noise_sigma=noise[i] if noise_coalitions else math.nan,
            absent=p.absence.said,
            prompt_sha256=hashlib.sha256(p.prompt.encode()).hexdigest(),
            coalitions=None if coalitions is None else chosen,
            absence_sigma=float(absence_sigma[i]),
        )
        for i, p in enumerate(several)
    )


def _refuse_infinite(values: np.ndarray, chosen: np.ndarray, prepared: Prepared, dtype: str) -> None:
    if np.isfinite(values).all():
        return
    row, column = np.argwhere(~np.isfinite(values))[0]
    found = f"the model gives a score of {values[row, column]} for coalition {chosen[row]}"
    advice = "check its weights for NaN or infinity, and the dtype"
    if dtype == "float16":
        advice = "float16 holds nothing above 65504, which this model's activations or weights exceed: use bfloat16 or float32"
    raise InterplayError(f"sample {prepared.sample.id!r}: {found}; {advice}")


def _agrees(values: np.ndarray, plain: np.ndarray, prepared: Prepared) -> bool:
    """Whether the scores of the trie and of plain passes agree up to 2^9 units in the last place of float32; warns if not."""
    worst = float(np.abs(values - plain).max())
    if worst <= 512 * np.finfo(np.float32).eps * max(1.0, float(np.abs(plain).max())):
        return True
    warnings.warn(
        f"the packed trie differs from plain forward passes by {worst:.2g} nats on sample {prepared.sample.id!r}; "
        "slower plain batches are used instead",
        stacklevel=3,
    )
    return False


def _refuse_unknown_ids(model, prepared: Prepared) -> None:
    size = model.get_input_embeddings().weight.shape[0]
    labels = (prepared.target_ids, *(prepared.among or ()))
    absent = [fill for fills in prepared.absence.fills for fill in fills]
    highest = max(*prepared.input_ids, *(token for ids in (*labels, *absent) for token in ids))
    if highest >= size:
        unknown = f"the tokenizer gives token id {highest}, the model has {size} embeddings"
        raise InterplayError(f"{unknown}: give its own tokenizer")


def score(
    model,
    tokenizer,
    samples: Sample | Sequence[Sample],
    *,
    template: PromptTemplate | None = None,
    mask: Mask = "auto",
    swap_draws: int = DRAWS,
    fillers: Sequence[Row] | None = None,
    target_tokens: TargetTokens = AUTO,
    among: Sequence[Row] | None = None,
    batch_tokens: int | None = None,
    noise_coalitions: int = NOISE_COALITIONS,
    progress: Done = None,
) -> Scores:
    """Score every coalition of words of every sample under a causal LM.

    Args:
        model, tokenizer: a transformers causal LM (a peft model too) and its fast tokenizer; neither is changed.
        samples: from `interplay.make_sample`; n up to 16 words each.
        template: the one the samples were made with, and training used.
        mask: what absent words become. A token by its text or id, once for each of their tokens; auto: a neutral one such as "_";
            mean: the mean embedding; swap: other words of the same place, v averaged over `swap_draws` draws; drop: nothing;
            paper: `<unk>`, else pad, else a reserved token [lineage].
        fillers: rows whose words a swap takes; None: English sentences about emotions that the package holds.
        target_tokens: which tokens of the response are scored, teacher-forced: first (the paper's), word, a number, or auto: as
            many as tell it from the others in `among`, without them a word. White space and a thought in front are passed over.
        among: rows whose responses are the labels to score among, with each sample's own; None: the whole vocabulary.
        progress: called with (samples done, samples in all).

    Returns Scores: [samples, 2^n] float64 in nats as an array, one `UnitScores` each with provenance. A RuntimeWarning says
    where rounding of a 16-bit model takes a good part of the effects.

    >>> unit = UnitScores("a", ("not", "good"), "joy", (7,), np.array([0., 1., 2., 0.]), "float32", 1e-6, "\\"_\\"", "")
    >>> np.asarray(Scores((unit, unit))).shape      # what interplay.extract takes
    (2, 4)
    """
    template = template or PromptTemplate()
    masking = choose_masking(tokenizer, mask, template, rows=fillers, draws=swap_draws)
    labels = {row.target: encode(render(row, tokenizer, template), tokenizer) for row in among or ()}
    answers = Answers(labels, among=among is not None)

    how: dict[str, Any] = {"mask": masking, "target_tokens": target_tokens, "answers": answers}
    options: dict[str, Any] = {"batch_tokens": batch_tokens, "noise_coalitions": noise_coalitions}
    return _score_all(model, samples, lambda one: [prepare(one, tokenizer, template, **how)], 1, progress, **options)[0]


def score_answers(
    model,
    tokenizer,
    samples: Sample | Sequence[Sample],
    answers: Sequence[str],
    *,
    template: PromptTemplate | None = None,
    mask: Mask = "auto",
    swap_draws: int = DRAWS,
    fillers: Sequence[Row] | None = None,
    target_tokens: TargetTokens = AUTO,
    batch_tokens: int | None = None,
    noise_coalitions: int = NOISE_COALITIONS,
    progress: Done = None,
) -> dict[str, Scores]:
    """Scores of several answers to the same prompts, from the same forward passes: about the price of `score` with one.

    `answers` are scored instead of each sample's own, from the first token that tells them apart; the other arguments as in
    `score`. Returns for each answer the scores of every sample. Raises SkipSample for an answer that cannot follow a prompt.
    """
    if isinstance(answers, str) or not answers or len(set(answers)) < len(answers):
        raise InterplayError(f"answers are {short(answers)}; expected a list of different texts, one or more")
    wording = template or PromptTemplate()
    masking = choose_masking(tokenizer, mask, wording, rows=fillers, draws=swap_draws)
    how: dict[str, Any] = {"mask": masking, "target_tokens": target_tokens}
    options: dict[str, Any] = {"batch_tokens": batch_tokens, "noise_coalitions": noise_coalitions}

    def asked(sample: Sample) -> list[Prepared]:
        answered = {answer: replace(sample, row=replace(sample.row, target=answer)) for answer in answers}
        labels = {answer: encode(render(one.row, tokenizer, wording), tokenizer) for answer, one in answered.items()}
        return [prepare(one, tokenizer, wording, answers=Answers(labels), **how) for one in answered.values()]

    found = _score_all(model, samples, asked, len(answers), progress, **options)
    return dict(zip(answers, found, strict=True))


def _score_all(
    model,
    samples: Sample | Sequence[Sample],
    asked: Callable[[Sample], list[Prepared]],
    answers: int,
    progress: Done,
    **how: Any,
) -> list[Scores]:
    """The scores of each answer that `asked` prepares of a sample. Warns of noisy ones, and of what absent words become."""
    chosen = [samples] if isinstance(samples, Sample) else samples
    units: list[tuple[UnitScores, ...]] = []
    absences: list[Absence] = []
    for sample in chosen:
        several = asked(sample)
        absences.append(several[0].absence)
        units.append(score_together(model, several, **how))
        if progress is not None:
            progress(len(units), len(chosen))
    for line in absence_notes(absences):
        warnings.warn(line, UserWarning, stacklevel=3)
    each = [Scores(tuple(unit[i] for unit in units)) for i in range(answers)]
    for found in each if units else ():
        sigma, spread = float(found.noise_sigma.mean()), float(np.mean([np.std(unit.values) for unit in found]))
        if (warning := precision.noise_warning(sigma, spread, found[0].dtype)) is not None:
            warnings.warn(warning, RuntimeWarning, stacklevel=3)
    return each
