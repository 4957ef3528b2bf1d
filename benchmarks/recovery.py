"""Planted recovery: games whose AND and OR terms are known, how many of them come back, and what else does.

Two settings: n = 10, all 2^10 scores, 30 AND + 15 OR of orders 1-5 under noise; n = 20, 2,000 sampled coalitions, 15 AND +
15 OR of orders <= 3. Each once more with orders from 3 up, where the sparsest explanation is unique: among orders 1 and 2
several cost the same (AND{i} + AND{j} = AND{ij} + OR{ij}), and a planted term may lose to its equal. A term counts as found
when its effect is over 5 % of the largest. Peers (shapiq's SPEX and ProxySPEX) are measured where installed; they know no
OR, so their recall of the AND terms alone stands beside that of all terms.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks import rivals
from benchmarks.section import Section
from interplay.effects import extract
from interplay.effects.dictionary import evaluate
from interplay.effects.moebius import moebius, orders
from interplay.effects.sampled import extract_sampled, sample_coalitions

RATIO = 0.05  # as in `salient`
STRICT = 0.1
SEEDS, SGD_SEEDS, PEER_SEEDS = 5, 3, 2  # games per setting and noise
NOISES, SAMPLED_NOISES = (0.0, 0.02, 0.05), (0.0, 0.02)
TOLERANCE = 2.0  # standard deviations of the noise: delta of `extract` and of SGD
OURS, PLAIN, SGD, SAMPLED = "interplay extract", "Möbius (AND only)", "SGD, best rate", "interplay extract_sampled"
Term = tuple[int, bool]  # mask, whether OR


class Game(NamedTuple):
    """A planted game of n words; effects 0.5 to 1.5 in size, either sign."""

    n: int
    masks: np.ndarray  # uint64
    is_or: np.ndarray
    effects: np.ndarray

    @property
    def terms(self) -> set[Term]:
        return set(zip(self.masks.tolist(), self.is_or.tolist(), strict=True))

    def scores(self, coalitions: np.ndarray) -> np.ndarray:
        return evaluate(coalitions, self.masks, self.is_or) @ self.effects


def planted(n: int, ands: int, ors: int, lowest: int, highest: int, seed: int) -> Game:
    """`ands` AND terms of orders lowest..highest and `ors` OR terms of orders max(2, lowest)..highest, all distinct."""
    rng = np.random.default_rng(seed)
    masks = []
    for count, low in ((ands, lowest), (ors, max(2, lowest))):
        taken: dict[int, None] = {}
        while len(taken) < count:
            size = int(rng.integers(low, highest + 1))
            taken[sum(1 << int(i) for i in rng.choice(n, size, replace=False))] = None
        masks += list(taken)
    effects = rng.uniform(0.5, 1.5, ands + ors) * rng.choice([-1.0, 1.0], ands + ors)
    return Game(n, np.array(masks, dtype=np.uint64), np.arange(ands + ors) >= ands, effects)


def as_ands(terms: dict[Term, float]) -> dict[Term, float]:
    """The same game with every OR of a pair written as ANDs: OR{ij} = AND{i} + AND{j} - AND{ij} in every score.

    No scores can tell the two writings apart, so a term found in the other one is not wrong.

    >>> as_ands({(0b11, True): 2.0, (0b01, False): -2.0})
    {(2, False): 2.0, (3, False): -2.0}
    """
    out: dict[Term, float] = {}
    for (mask, is_or), effect in terms.items():
        parts = [((mask, is_or), effect)]
        if is_or and mask.bit_count() == 2:
            low = mask & -mask
            parts = [((low, False), effect), ((mask ^ low, False), effect), ((mask, False), -effect)]
        for term, value in parts:
            out[term] = out.get(term, 0.0) + value
    return {term: value for term, value in sorted(out.items()) if abs(value) > 1e-12}


def over(terms: dict[Term, float], ratio: float) -> set[Term]:
    """Terms over a share of the largest effect."""
    largest = max(map(abs, terms.values()), default=0.0)
    return {term for term, effect in terms.items() if abs(effect) > ratio * largest}


def measure(game: Game, found: dict[Term, float], **row: Any) -> dict[str, Any]:
    """One row: precision and recall of the terms over 5 % of the largest, and the L1 norm against the planted one.

    >>> game = Game(2, np.array([1, 3], dtype=np.uint64), np.array([False, True]), np.array([1.0, 1.0]))
    >>> row = measure(game, {(1, False): 1.0, (2, False): 0.5, (3, False): 0.01})     # one of two found, one of two right
    >>> row["recall"], row["precision"], row["named"]
    (0.5, 0.5, 2)
    """
    named, strict = over(found, RATIO), over(found, STRICT)
    true = as_ands(dict(zip(zip(game.masks.tolist(), game.is_or.tolist(), strict=True), game.effects, strict=True)))
    plain = over(as_ands(found), RATIO)
    ands = {term for term in game.terms if not term[1]}
    hits = named & game.terms
    return {
        **row,
        "recall": len(hits) / len(game.terms),
        "recall_and": len(named & ands) / len(ands),
        "precision": len(hits) / max(1, len(named)),
        "strict": len(strict & game.terms) / max(1, len(strict)),
        "pairs_precision": len(plain & true.keys()) / max(1, len(plain)),
        "pairs_recall": len(plain & true.keys()) / len(true),
        "named": len(named),
        "l1_of_planted": sum(map(abs, found.values())) / float(np.abs(game.effects).sum()),
    }


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def terms_of(and_effects: np.ndarray, or_effects: np.ndarray) -> dict[Term, float]:
    """Effects that are not zero, by term."""
    return {
        (s, bool(kind)): float(values[s])
        for kind, values in enumerate((and_effects, or_effects))
        for s in np.flatnonzero(values).tolist()
    }


def exact_rows(seeds: int = SEEDS, sgd_seeds: int = SGD_SEEDS, low: tuple[int, ...] = (1, 3)) -> list[dict[str, Any]]:
    """n = 10, every coalition: `extract`, plain Möbius (AND only), and SGD at its best rate; a dict per game and solver."""
    out = []
    n, every = 10, np.arange(1 << 10, dtype=np.uint64)
    order = orders(n)
    for lowest in low:
        for noise in NOISES:
            delta = TOLERANCE * noise
            for seed in range(seeds):
                game = planted(n, 30, 15, lowest, 5, seed)
                v = game.scores(every) + noise * np.random.default_rng([seed, 1]).standard_normal(1 << n)
                row = {"setting": f"n = 10, all scores, orders {lowest}-5", "noise": noise, "r2": np.nan}
                split, seconds = timed(lambda v=v, delta=delta: extract(v, tolerance=delta))
                found = terms_of(split.and_effects, split.or_effects)
                out.append(measure(game, found, **row, solver=OURS, cpu_seconds=seconds))
                effects, seconds = timed(lambda v=v: moebius(v))
                found = {(int(s), False): float(effects[s]) for s in np.flatnonzero(order)}
                out.append(measure(game, found, **row, solver=PLAIN, cpu_seconds=seconds))
                if seed < sgd_seeds:
                    rate = rivals.best_rate(v, delta)
                    end, seconds = timed(lambda v=v, rate=rate, delta=delta: rivals.sgd_fast(v, rate, tolerance=delta))
                    found = terms_of(end.and_effects, end.or_effects)
                    out.append(measure(game, found, **row, solver=SGD, cpu_seconds=seconds))
    return out


def sampled_rows(
    seeds: int = SEEDS, peer_seeds: int = PEER_SEEDS, low: tuple[int, ...] = (1, 3), count: int = 2000
) -> list[dict[str, Any]]:
    """n = 20, `count` sampled coalitions, orders <= 3: `extract_sampled` and, where installed, shapiq's sparse solvers."""
    out = []
    if peer_seeds:
        peers(planted(10, 3, 3, 1, 3, 0), 0.0, 0, 500)  # imports and compiles outside the timing
    for lowest in low:
        for noise in SAMPLED_NOISES:
            for seed in range(seeds):
                game = planted(20, 15, 15, lowest, 3, seed)
                row = {"setting": f"n = 20, {count:,} sampled, orders {lowest}-3", "noise": noise}
                masks = sample_coalitions(20, count, seed)
                v = game.scores(masks) + noise * np.random.default_rng([seed, 1]).standard_normal(count)
                fit, seconds = timed(lambda masks=masks, v=v: extract_sampled(masks, v, 20))
                found = dict(
                    zip(zip(fit.masks.tolist(), fit.is_or.tolist(), strict=True), fit.effects.tolist(), strict=True)
                )
                out.append(measure(game, found, **row, solver=SAMPLED, cpu_seconds=seconds, r2=fit.r2))
                if seed < peer_seeds and (noise == 0 or lowest == 1):
                    for terms, extra in peers(game, noise, seed, count):
                        out.append(row | extra if terms is None else measure(game, terms, **row, **extra))
    return out


def peers(game: Game, noise: float, seed: int, count: int) -> list[tuple[dict[Term, float] | None, dict[str, Any]]]:
    """shapiq's ProxySPEX and SPEX at the same budget, Möbius coefficients; nothing where shapiq is not installed.

    None for the coefficients, and a reason, where one of them fails.
    """
    try:
        from shapiq.approximator import SPEX, ProxySPEX  # ty: ignore[import-not-found]
    except ImportError:
        return []
    rng = np.random.default_rng([seed, 2])
    bits = np.uint64(1) << np.arange(game.n, dtype=np.uint64)

    def scores(kept: np.ndarray) -> np.ndarray:
        v = game.scores((np.atleast_2d(kept) != 0) @ bits)
        return v + noise * rng.standard_normal(len(v))

    fresh = sample_coalitions(game.n, count, seed + 1000)
    out: list[tuple[dict[Term, float] | None, dict[str, Any]]] = []
    for solver in (ProxySPEX, SPEX):
        name = f"shapiq {solver.__name__}"
        # the Möbius coefficients it finds, before it makes an index of them
        kept: list[dict[tuple[int, ...], float]] = []
        try:
            model = solver(n=game.n, index="FSII", max_order=3, random_state=seed)
            convert = model._process_moebius
            model._process_moebius = lambda moebius_transform, kept=kept, convert=convert: (
                kept.append(dict(moebius_transform)) or convert(moebius_transform=moebius_transform)
            )
            _, seconds = timed(lambda model=model: model.approximate(count, scores))
        except (
            Exception
        ) as error:  # a peer that lacks a package or refuses the budget: not measured, and no failure of ours
            reason = " ".join(str(error).split())
            out.append((None, {"solver": name, "reason": f"{type(error).__name__}: {reason}"}))
            continue
        found = {(sum(1 << int(i) for i in s), False): float(x) for s, x in kept[0].items() if s}
        sets = np.array([s for s, _ in found], dtype=np.uint64)
        fitted = evaluate(fresh, sets, np.zeros(len(sets), dtype=bool)) @ np.array(list(found.values()))
        true = game.scores(fresh)
        rest = true - fitted
        rest = rest - rest.mean()  # its best constant: what a term cannot say is not held against it
        r2 = 1.0 - float(np.sum(rest**2) / np.sum((true - true.mean()) ** 2))
        out.append((found, {"solver": name, "cpu_seconds": seconds, "r2": r2}))
    return out


def recovery_rows(quick: bool = False) -> Section:
    """One row per setting, noise and solver: means over the games, and the least recall."""
    table = exact_rows(1, 1, (1,)) + sampled_rows(1, 0, (1,)) if quick else exact_rows() + sampled_rows()
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in table:
        groups.setdefault((row["setting"], row["noise"], row["solver"]), []).append(row)
    rows = []
    for (setting, noise, solver), group in groups.items():

        def mean(key: str, group: list[dict[str, Any]] = group) -> float:
            return float(np.mean([row.get(key, np.nan) for row in group]))

        rows.append(
            {
                "setting": setting,
                "noise": noise,
                "solver": solver,
                "games": len(group),
                "recall": mean("recall"),
                "least recall": float(np.min([row.get("recall", np.nan) for row in group])),
                "recall of ANDs": mean("recall_and"),
                "precision": mean("precision"),
                f"precision over {STRICT:.0%}": mean("strict"),
                "precision, pairs as AND": mean("pairs_precision"),
                "recall, pairs as AND": mean("pairs_recall"),
                "named": mean("named"),
                "L1 / planted": mean("l1_of_planted"),
                "R²": mean("r2"),
                "CPU s": mean("cpu_seconds"),
            }
        )
    notes = [
        f"Named: effects over {RATIO:.0%} of the largest. n = 10: 30 AND + 15 OR; extract and SGD with a tolerance of {TOLERANCE:g} sd of the",
        f"noise; SGD with fast transforms, {rivals.STEPS:,} steps, the best of {len(rivals.RATES)} rates by objective (the search is not timed).",
        "n = 20: 15 AND + 15 OR; R² on coalitions never fitted. With orders 1 and 2 among the planted terms, others of the same",
        "cost exist (AND{i} + AND{j} = AND{ij} + OR{ij}): L1 / planted at 1 or less says that the explanation found is as cheap.",
        "Pairs as AND: every OR of two words written as ANDs on both sides, which changes no score, so that only what scores can",
        "tell apart is counted.",
    ]
    notes += dict.fromkeys(f"{row['solver']}: not measured: {row['reason']}" for row in table if "reason" in row)
    if not any("shapiq" in solver for _, _, solver in groups):
        notes.append(
            "shapiq: not measured" + ("." if quick else ", it is not installed: pip install interplay[bench].")
        )
    return Section("Recovery of planted terms", rows, notes)
