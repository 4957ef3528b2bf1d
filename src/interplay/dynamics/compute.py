"""From the effects of every sample at every checkpoint to a Trajectory. Samples meet in the mean and its interval only."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from interplay.dynamics import measures, nulls
from interplay.dynamics.result import PER_SAMPLE, SUMMARY, Trajectory, frame
from interplay.dynamics.sets import DEFINITIONS, RATIO, SETS, VALUED, Partition, pack, partition, salient
from interplay.dynamics.stats import generator, interval
from interplay.errors import InterplayError

# By definition, measure, set and order; a curve is its value and its null, two arrays over steps.
Curves = dict[tuple[str, str, str, int], tuple[np.ndarray, np.ndarray]]


class _Setup(NamedTuple):
    steps: tuple[int, ...]
    at: int  # position of the reference step
    top: int  # largest n of all samples
    ratio: float
    draws: int
    seed: int
    signs: dict[str, np.ndarray]  # of what is salient in the baseline LLM, by sample


class _Sample(NamedTuple):
    """One sample's input, checked. effects `[T, 2, 2^n]`, scores `[T, 2^n]`, twins `[W, 2, 2^n]`, baseline `[2, 2^n]`, sigma `[T]`."""

    id: str
    n: int
    effects: np.ndarray
    scores: np.ndarray
    twins: np.ndarray | None
    baseline: np.ndarray | None
    sigma: np.ndarray | None


def trajectory(
    steps: Sequence[int],
    effects: Sequence[np.ndarray],
    scores: Sequence[np.ndarray],
    sample_ids: Sequence[str],
    *,
    reference: int | None = None,
    rephrased: Sequence[np.ndarray | None] | None = None,
    baseline: Sequence[np.ndarray | None] | None = None,
    noise_sigma: Sequence[np.ndarray | None] | None = None,
    ratio: float = RATIO,
    draws: int = 200,
    seed: int = 0,
) -> Trajectory:
    """Sets, measures, nulls and intervals of all samples over all checkpoints.

    steps        T optimiser steps, ascending
    effects      one `[T, 2, 2^n]` a sample (row 0 AND, row 1 OR), log-odds; n may differ between samples
    scores       one `[T, 2^n]` a sample: v over coalitions, log-odds
    sample_ids   names, each once; their order does not matter
    reference    the step that the sets are relative to, by default the first. Steps before it have the set `all` only
    rephrased    one `[W, 2, 2^n]` a sample (or None): effects of the reference checkpoint under W other templates
    baseline     one `[2, 2^n]` a sample (or None): effects of the baseline LLM on the same words
    noise_sigma  one `[T]` a sample (or None): standard deviation of the numerical noise of v, NaN where not measured
    ratio        tau / largest effect [lineage]
    draws, seed  random draws a null, per sample

    Raises InterplayError where shapes, steps or ids do not fit together, or a number is not finite.

    >>> e = np.zeros((2, 2, 4)); e[:, 0, 1] = 2.0; e[0, 0, 2] = -1.0; e[1, 0, 3] = 1.0  # {1} leaves, {0, 1} comes
    >>> v = np.array([[0.0, 2.0, -1.0, 1.0], [0.0, 2.0, 0.0, 3.0]])
    >>> t = trajectory([0, 10], [e], [v], ["a"])
    >>> [float(t.get("count", s)["value"][10]) for s in ("all", "preserved", "emerged", "removed")]
    [2.0, 1.0, 1.0, 1.0]
    >>> t.get("rho")["value"].round(3).tolist()  # |2 - 1| / 3, then (2 + 1) / 3
    [0.333, 1.0]
    """
    steps = tuple(int(step) for step in steps)
    if not steps:
        raise InterplayError("no steps given; expected at least one checkpoint")
    if any(b <= a for a, b in pairwise(steps)):
        raise InterplayError(f"steps {list(steps)} are not ascending; sort the checkpoints and drop doubles")
    reference = steps[0] if reference is None else reference
    if reference not in steps:
        raise InterplayError(f"reference step {reference} is not one of the steps {list(steps)}; choose one of them")
    if draws < 1 or not 0 <= ratio < 1:
        raise InterplayError(f"ratio {ratio}, draws {draws}: expected 0 <= ratio < 1 and at least one draw")
    at = steps.index(reference)
    inputs: dict[str, Sequence | None] = {"effects": effects, "scores": scores}
    inputs |= {"rephrased": rephrased, "baseline": baseline, "noise_sigma": noise_sigma}
    samples = _checked_samples([str(name) for name in sample_ids], inputs, len(steps))
    samples.sort(key=lambda sample: sample.id)
    # By the baseline LLM's own tau, in every definition: another LLM has another scale.
    baselines = {sample.id: sample.baseline for sample in samples if sample.baseline is not None}
    signs = {name: (np.sign(e) * salient(e, ratio)).astype(np.int8) for name, e in baselines.items()}
    setup = _Setup(steps, at, max(sample.n for sample in samples), ratio, draws, seed, signs)
    curves, sets = [], {}
    for sample in samples:
        partitions = {definition: partition(sample.effects, at, definition, ratio) for definition in DEFINITIONS}
        sets[sample.id] = {definition: pack(part) for definition, part in partitions.items()}
        found = _curves(sample, partitions, setup)
        curves.append((list(found), np.array(list(found.values()))))  # one array instead of thousands of small ones
    ids = tuple(sample.id for sample in samples)
    summary, per_sample = _tables(curves, setup, ids)
    settings = {"ratio": ratio, "draws": draws, "seed": seed}
    return Trajectory(steps, steps[at], ids, summary, per_sample, sets, settings)


def _curves(sample: _Sample, partitions: dict[str, Partition], setup: _Setup) -> Curves:
    """Every curve of one sample. Above its own n a sample has no effects, so 0."""
    curves: Curves = {}
    nan, ref = np.full(len(setup.steps), np.nan), sample.effects[setup.at]
    everything = measures.scale(sample.effects, sample.scores)
    noise = None if sample.sigma is None else measures.noise_floor(sample.sigma, sample.n)

    for definition, part in partitions.items():
        values = measures.set_values(part, sample.effects, ref, setup.top)
        values["change", "all", 0] = measures.change(sample.effects, ref)
        if definition == "paper":  # in the others, kept means same sign: the fraction is 1 by definition
            values["sign_agreement", "kept", 0] = measures.sign_agreement(sample.effects, ref, part.kept)
        floor: dict[tuple[str, str, int], np.ndarray] = {}
        if sample.twins is not None:  # the same measures from the reference to itself under a rephrased template [ours]
            floor = measures.floor_values(sample.effects, setup.at, sample.twins, definition, setup.ratio, setup.top)
            for measure in measures.CHURN_MEASURES:
                floor[measure, "reentered", 0] = np.array(np.nan)  # one transition cannot show a return
        for key, value in values.items():
            curves[definition, *key] = value, np.full(len(nan), floor.get(key, np.nan))
        for (measure, name), curve in _against_draws(sample, part, setup).items():
            curves[definition, measure, name, 0] = curve
        for measure, value in everything.items():
            curves[definition, measure, "all", 0] = value, nan
        if noise is not None:
            for order in range(setup.top + 1):
                value = noise[:, order] if order <= sample.n else 0.0 * noise[:, 0]
                curves[definition, "noise", "all", order] = value, nan
    return curves


def _against_draws(
    sample: _Sample, part: Partition, setup: _Setup
) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
    """rho, gamma, net, contribution and sufficiency of each set, with nulls from random draws, by (measure, set)."""
    steps, at, draws, seed = setup.steps, setup.at, setup.draws, setup.seed
    masks = np.stack([getattr(part, name) for name in VALUED])  # [4, T, 2, M]
    w = np.broadcast_to(sample.effects, masks.shape).copy()
    w[VALUED.index("removed")] = sample.effects[at]  # removed ones are weighed by their effects at the reference
    shape = masks.shape[:2]
    weights = np.where(masks, w, 0.0).reshape(shape[0] * shape[1], -1)
    size = measures.count(masks)  # [4, T]

    rng = generator(seed, "signs", sample.id)
    found = {"rho": (measures.rho(w, masks), nulls.random_signs(weights, draws, rng).reshape(shape))}
    if (own := setup.signs.get(sample.id)) is not None:
        nan, rng = np.full(shape, np.nan), generator(seed, "words", sample.id)
        others = [sign for name, sign in setup.signs.items() if name != sample.id and sign.shape == own.shape]
        found["gamma"] = (measures.gamma(w, masks, own), nan)  # its null: `_stricter`, over all samples
        found["gamma_words"] = (nulls.permuted_words(weights, own, draws, rng, sample.n).reshape(shape), nan)
        rng = generator(seed, "prompts", sample.id)
        found["gamma_prompts"] = (nulls.other_prompts(weights, others, draws, rng).reshape(shape), nan)

    # Random subsets of the same size, from Omega_t (removed: from Omega_ref). The mean of a random subset's sum needs no
    # draws: size * mean effect of what it is drawn from.
    mean = measures.quotient(measures.net(sample.effects, part.all), measures.count(part.all))  # [T]
    mean = np.stack([mean, mean, mean, np.full(len(steps), mean[at])])
    losses = np.full(shape, np.nan)
    for t in range(len(steps)):
        pool = sample.effects[t][part.all[t]]
        ours = [(1, t), (2, t)] if t != at else [(1, t), (2, t), *((3, u) for u in range(len(steps)))]
        sizes = np.array([size[place] for place in ours])
        rng = generator(seed, "subsets", sample.id, steps[t])
        for place, loss in zip(ours, nulls.random_subset_losses(pool, sizes, draws, rng), strict=True):
            losses[place] = loss
    # The empty subset's sum is 0. `all` has no null: a random subset of that size is always `all`.
    with_null = np.where(np.array([False, True, True, True])[:, None], 1.0, np.nan)
    net = measures.net(w, masks)
    found["net"] = (net, with_null * np.where(size > 0, size * mean, 0.0))
    found["contribution"] = (measures.quotient(net, size), with_null * np.where(size > 0, mean, np.nan))
    found["sufficiency"] = (measures.loss_of(net), losses)  # of the set alone, without v(empty) [paper]
    pairs = [(measure, i, name) for measure in found for i, name in enumerate(VALUED)]
    return {(measure, name): (found[measure][0][i], found[measure][1][i]) for measure, i, name in pairs}


def _stricter(words: np.ndarray, prompts: np.ndarray) -> np.ndarray:
    """gamma's null `[S, T]`: of its two, the one with the larger mean over the samples that have both, at each step [ours].
    A sample that lacks it keeps the other."""
    larger = np.nansum(prompts - words, axis=0) > 0
    first, second = np.where(larger, prompts, words), np.where(larger, words, prompts)
    return np.where(np.isnan(first), second, first)


def _tables(
    curves: list[tuple[list[tuple[str, str, str, int]], np.ndarray]], setup: _Setup, ids: tuple[str, ...]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Means and intervals over samples, and the rows behind them, sorted by definition, measure, set, order, step, sample.

    curves: the keys of each sample's `Curves`, and their values `[K, 2, T]`.
    """
    rank = {name: i for names in (DEFINITIONS, measures.MEASURES, SETS) for i, name in enumerate(names)}
    keys = sorted(
        {key for names, _ in curves for key in names}, key=lambda key: (*(rank[name] for name in key[:3]), key[3])
    )
    steps = np.array(setup.steps)
    places = {key: i for i, key in enumerate(keys)}
    stacked = np.full((len(ids), len(keys), 2, len(steps)), np.nan)
    for of_sample, (names, values) in zip(stacked, curves, strict=True):
        of_sample[[places[key] for key in names]] = values
    for (definition, measure, name, order), i in places.items():
        if measure == "gamma":
            both = (stacked[:, places[definition, f"gamma_{null}", name, order], 0] for null in ("words", "prompts"))
            stacked[:, i, 1] = _stricter(*both)
    shown = np.array([[name == "all" or t >= setup.at for t in range(len(steps))] for _, _, name, _ in keys])  # [K, T]
    value, null = stacked[:, :, 0][:, shown], stacked[:, :, 1][:, shown]  # [S, rows]
    del stacked
    which, when = np.nonzero(shown)
    definition, measure, name, order = (np.array(column, object)[which] for column in zip(*keys, strict=True))
    bounds = np.array([measures.MEASURES[key].bounds for key in measure]).T
    ours, theirs = interval(value, *bounds), interval(null, *bounds)
    key_columns = {"definition": definition, "step": steps[when], "set": name, "measure": measure, "order": order}
    figures = {"value": ours.value, "lo": ours.lo, "hi": ours.hi}
    figures |= {"null": theirs.value, "null_lo": theirs.lo, "null_hi": theirs.hi, "samples": ours.samples}
    # Millions of rows: their texts as numbers of a list until they are a column, and each array given up after its use.
    of = np.arange(len(which), dtype=np.int32).repeat(len(ids))
    rows = {name: pa.array(column).dictionary_encode().take(pa.array(of)) for name, column in key_columns.items()}
    rows["sample"] = (
        pa.array(ids).dictionary_encode().take(pa.array(np.tile(np.arange(len(ids), dtype=np.int32), len(which))))
    )
    rows |= {"value": pa.array(value.T.ravel()), "null": pa.array(null.T.ravel())}
    del of, value, null
    per_sample = pa.table([rows.pop(field.name).cast(field.type) for field in PER_SAMPLE], schema=PER_SAMPLE)
    return frame(pa.table(key_columns | figures, schema=SUMMARY)), frame(per_sample)


def _checked_samples(ids: list[str], inputs: Mapping[str, Sequence | None], checkpoints: int) -> list[_Sample]:
    if not ids:
        raise InterplayError("no samples given; expected at least one")
    if len(set(ids)) != len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise InterplayError(f"sample id {twice!r} is given twice; give every sample a different id")
    for what, arrays in inputs.items():
        if arrays is not None and len(arrays) != len(ids):
            raise InterplayError(f"{what} has {len(arrays)} samples, expected {len(ids)}, one for each sample id")
    given = [{what: None if x is None else x[i] for what, x in inputs.items()} for i in range(len(ids))]
    return [_checked_sample(name, arrays, checkpoints) for name, arrays in zip(ids, given, strict=True)]


def _checked_sample(name: str, given: dict[str, np.ndarray | None], checkpoints: int) -> _Sample:
    if given["effects"] is None or given["scores"] is None:
        raise InterplayError(f"sample {name!r} has no effects or no scores; both are needed for every sample")
    size = np.shape(given["scores"])[-1] if np.ndim(given["scores"]) else 0
    n = size.bit_length() - 1
    if size < 2 or size != 1 << n:
        raise InterplayError(
            f"sample {name!r}: scores of shape {np.shape(given['scores'])}, expected [{checkpoints}, 2^n]"
        )
    shapes: dict[str, tuple[int, ...]] = {"effects": (checkpoints, 2, size), "scores": (checkpoints, size)}
    shapes |= {"rephrased": (2, size), "baseline": (2, size), "noise_sigma": (checkpoints,)}
    arrays: dict[str, np.ndarray | None] = dict.fromkeys(shapes)
    for what, shape in shapes.items():
        if given[what] is None:
            continue
        array = np.array(given[what], dtype=np.float64)
        if what == "rephrased":
            shape = (len(array), *shape)
        if array.shape != shape:
            raise InterplayError(f"sample {name!r}: {what} of shape {list(array.shape)}, expected {list(shape)}")
        if np.isinf(array).any() or (what != "noise_sigma" and np.isnan(array).any()):
            raise InterplayError(
                f"sample {name!r}: {what} has NaN or infinity; score this sample again or leave it out"
            )
        if what in ("effects", "rephrased", "baseline"):
            if array[..., 1, 1 << np.arange(n)].any():
                raise InterplayError(
                    f"sample {name!r}: {what} has OR effects of single words; AND and OR of one word are the same: add them to AND"
                )
            array[..., 0] = 0.0  # order 0 is never an interaction
        arrays[what] = array
    return _Sample(name, n, *arrays.values())  # ty: ignore[invalid-argument-type]
