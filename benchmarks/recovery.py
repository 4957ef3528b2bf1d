"""Planted recovery: games whose AND and OR terms are known, how many of them come back, and what else does.

Two settings: n = 10, all 2^10 scores, 30 AND + 15 OR of orders 1-5 under noise; n = 20, 2,000 sampled coalitions, 15 AND +
15 OR of orders <= 3. A term counts as found when its effect is over 5 % of the largest. Peers (shapiq's SPEX and ProxySPEX)
are measured where installed; they know no OR, so their recall of the AND terms alone stands beside that of all terms.

    PYTHONPATH=src python benchmarks/recovery.py
"""

import argparse
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from interplay.effects import extract, moebius, orders
from interplay.effects.dictionary import evaluate
from interplay.effects.sampled import extract_sampled, sample_coalitions

RATIO = 0.05  # as in `salient`
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


def measure(game: Game, found: dict[Term, float], **row: Any) -> dict[str, Any]:
    """One row: precision and recall of the terms over 5 % of the largest, and the L1 norm against the planted one."""
    largest = max(map(abs, found.values()), default=0.0)
    named = {term for term, effect in found.items() if abs(effect) > RATIO * largest}
    ands = {term for term in game.terms if not term[1]}
    hits = named & game.terms
    return {
        **row,
        "recall": len(hits) / len(game.terms),
        "recall_and": len(named & ands) / len(ands),
        "precision": len(hits) / max(1, len(named)),
        "named": len(named),
        "l1_of_planted": sum(map(abs, found.values())) / float(np.abs(game.effects).sum()),
    }


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def exact_rows(seeds: int) -> list[dict[str, Any]]:
    """n = 10, every coalition: `extract` at a tolerance of two standard deviations, and plain Möbius (AND only)."""
    out = []
    n, every = 10, np.arange(1 << 10, dtype=np.uint64)
    order = orders(n)
    for lowest in (1, 3):
        for noise in (0.0, 0.02, 0.05):
            for seed in range(seeds):
                game = planted(n, 30, 15, lowest, 5, seed)
                v = game.scores(every) + noise * np.random.default_rng([seed, 1]).standard_normal(1 << n)
                row = {"setting": f"n=10 exact, orders {lowest}-5", "noise": noise, "seed": seed}
                split, seconds = timed(lambda v=v, noise=noise: extract(v, tolerance=2 * noise))
                found = {
                    (s, bool(kind)): float(values[s])
                    for kind, values in enumerate((split.and_effects, split.or_effects))
                    for s in np.flatnonzero(values).tolist()
                }
                out.append(measure(game, found, **row, solver="interplay extract", cpu_seconds=seconds, r2=np.nan))
                effects, seconds = timed(lambda v=v: moebius(v))
                found = {(int(s), False): float(effects[s]) for s in np.flatnonzero(order)}
                out.append(measure(game, found, **row, solver="Möbius (AND only)", cpu_seconds=seconds, r2=np.nan))
    return out


def sampled_rows(seeds: int, count: int = 2000) -> list[dict[str, Any]]:
    """n = 20, `count` sampled coalitions, orders <= 3: `extract_sampled` and, where installed, shapiq's sparse solvers."""
    out = []
    for lowest in (1, 3):
        for noise in (0.0, 0.02):
            for seed in range(seeds):
                game = planted(20, 15, 15, lowest, 3, seed)
                row = {"setting": f"n=20 sampled, orders {lowest}-3", "noise": noise, "seed": seed}
                masks = sample_coalitions(20, count, seed)
                v = game.scores(masks) + noise * np.random.default_rng([seed, 1]).standard_normal(count)
                fit, seconds = timed(lambda masks=masks, v=v: extract_sampled(masks, v, 20))
                found = dict(
                    zip(zip(fit.masks.tolist(), fit.is_or.tolist(), strict=True), fit.effects.tolist(), strict=True)
                )
                out.append(
                    measure(game, found, **row, solver="interplay extract_sampled", cpu_seconds=seconds, r2=fit.r2)
                )
                out += [measure(game, f, **row, **extra) for f, extra in peers(game, noise, seed, count)]
    return out


def peers(game: Game, noise: float, seed: int, count: int) -> list[tuple[dict[Term, float], dict[str, Any]]]:
    """shapiq's ProxySPEX and SPEX at the same budget, Möbius coefficients; nothing where shapiq is not installed."""
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
    out = []
    for solver in (ProxySPEX, SPEX):
        name = f"shapiq {solver.__name__}"
        kept: list[
            dict[tuple[int, ...], float]
        ] = []  # the Möbius coefficients it finds, before it makes an index of them
        try:
            model = solver(n=game.n, index="FSII", max_order=3, random_state=seed)
            convert = model._process_moebius
            model._process_moebius = lambda moebius_transform, kept=kept, convert=convert: (
                kept.append(dict(moebius_transform)) or convert(moebius_transform=moebius_transform)
            )
            _, seconds = timed(lambda model=model: model.approximate(count, scores))
        except Exception as error:  # a peer that refuses the budget is a result, not a failure of ours
            out.append(({}, {"solver": f"{name}: {type(error).__name__}", "cpu_seconds": np.nan, "r2": np.nan}))
            continue
        found = {(sum(1 << int(i) for i in s), False): float(x) for s, x in kept[0].items() if s}
        sets = np.array([s for s, _ in found], dtype=np.uint64)
        fitted = evaluate(fresh, sets, np.zeros(len(sets), dtype=bool)) @ np.array(list(found.values()))
        true = game.scores(fresh)
        rest = (
            true - fitted - (true - fitted).mean()
        )  # its best constant: what a term cannot say is not held against it
        r2 = 1.0 - float(np.sum(rest**2) / np.sum((true - true.mean()) ** 2))
        out.append((found, {"solver": name, "cpu_seconds": seconds, "r2": r2}))
    return out


def rows(seeds: int = 5) -> list[dict[str, Any]]:
    """All measurements, one dict per game and solver."""
    return exact_rows(seeds) + sampled_rows(seeds)


def summary(table: list[dict[str, Any]]) -> list[str]:
    """One line per setting, noise and solver: means over the games, and the least recall."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in table:
        groups.setdefault((row["setting"], row["noise"], row["solver"]), []).append(row)
    head = f"{'setting':<26} {'noise':>5} {'solver':<26} {'recall':>6} {'least':>6} {'of AND':>6} {'prec.':>6} {'named':>6}"
    lines = [head + f" {'L1':>6} {'R2':>7} {'CPU s':>7} {'games':>5}"]
    for (setting, noise, solver), group in groups.items():
        mean = {
            key: float(np.mean([row[key] for row in group])) for key in group[0] if key not in ("setting", "solver")
        }
        least = min(row["recall"] for row in group)
        lines.append(
            f"{setting:<26} {noise:>5} {solver:<26} {mean['recall']:>6.3f} {least:>6.3f} {mean['recall_and']:>6.3f} "
            f"{mean['precision']:>6.3f} {mean['named']:>6.0f} {mean['l1_of_planted']:>6.3f} {mean['r2']:>7.4f} "
            f"{mean['cpu_seconds']:>7.2f} {len(group):>5}"
        )
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="games per setting and noise")
    for text in summary(rows(parser.parse_args().seeds)):
        print(text)
