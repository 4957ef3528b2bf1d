"""The solver's rows: seconds to a certified gap and what the rivals end at, and the Möbius transform.

Scores are made here, seeded, so that a clean clone measures the same: half of the games are planted (`recovery.planted`) with
noise, half are random walks over the coalitions, dense in every order. Not the recovery of planted terms (`recovery.py`).
"""

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import rivals
from benchmarks.recovery import planted
from benchmarks.section import Section, cpu_seconds
from interplay.effects import extract
from interplay.effects.moebius import moebius

NOISE = 0.02
TOLERANCE = 0.02  # of |v(N) - v(∅)|  [lineage]
BATCH = 8
ONE = "interplay, one sample"
MANY = f"interplay, batch of {BATCH}"
HIGHS, STATED = "HiGHS, best formulation", "HiGHS, programme as stated"
FAST, DENSE = "SGD, fast transforms", "SGD, dense matrices"
DENSE_STEPS = {8: rivals.STEPS, 10: rivals.STEPS, 12: 200, 14: 20}  # timed; fewer than all are scaled
DENSE_BYTES = 6 << 30  # for n = 14: two matrices of 1 GiB and what making them takes


def games(n: int, count: int) -> np.ndarray:
    """Scores of `count` games of n words, [count, 2^n], even: planted + noise, odd: random walk.

    Planted: 3n AND and 1.5n OR terms of orders 1-5, effects of 0.5 to 1.5. Walks: steps of sd 2^-(n/2).

    >>> games(4, 2).shape
    (2, 16)
    """
    every = np.arange(1 << n, dtype=np.uint64)
    rng = np.random.default_rng(n)
    out = []
    for seed in range(count):
        normal = rng.standard_normal(1 << n)
        if seed % 2:
            out.append(np.cumsum(normal) / 2 ** (n // 2))
        else:
            # distinct terms: four words have only 15 ANDs
            game = planted(n, min(3 * n, 1 << n - 1), min(3 * n // 2, 1 << n - 2), 1, min(5, n), seed)
            out.append(game.scores(every) + NOISE * normal)
    return np.stack(out)


def solve_rows(quick: bool = False) -> Section:
    """CPU seconds a sample to a certified gap of 1e-3 and those of the rivals; the objective and gap each ends at."""
    rows: list[dict[str, Any]] = []
    notes = [
        f"Two games for every solver but the batch, one planted with noise of sd {NOISE}, one a random walk: seconds and",
        "objectives are means, objective / bound and gap the worse of the two. The bound is the certified lower bound of",
        "interplay's own answer; HiGHS ends at the optimum to 1e-7, so its gap shows how far that bound lies below it.",
        f"SGD takes {rivals.STEPS:,} steps at the best rate of {', '.join(f'{r:g}' for r in rivals.RATES)}; the search is not timed.",
        "Fast and dense SGD are the same steps up to float32 rounding; steps that do not converge magnify it, so they end apart",
        "(20 steps at n = 10 agree to 1e-7, 200 do not). The dense one takes the rate that is best for the fast one.",
    ]
    for n in (8, 10) if quick else (8, 10, 12, 14, 16):
        part, said = _size_rows(n, quick)
        rows += part
        notes += said
    return Section("Solving: seconds a sample, and what each solver ends at", rows, notes)


def _size_rows(n: int, quick: bool) -> tuple[list[dict[str, Any]], list[str]]:
    v = games(n, 2)
    notes: list[str] = []
    rivals_of = _Rows(n, v)
    extract(v[0], 0.0)  # the projection is made once for each n
    repeats = 3 if n <= 12 else 1
    rivals_of.ours(ONE, repeats, 0.0)
    if n <= 14:
        many = games(n, BATCH)
        split: list[Any] = []
        seconds = cpu_seconds(lambda: split.append(extract(many, 0.0)), repeats) / BATCH
        rivals_of.batch(seconds, split[-1])
    if n <= 10:
        from scipy.optimize import linprog

        linprog([1.0], bounds=[(0, 1)])  # imports outside the timing
        rivals_of.rival(HIGHS, lambda x: rivals.highs(x).objective)
        if n == 8 or not quick:
            rivals_of.rival(STATED, rivals.highs_stated, range(2 if n == 8 else 1))
            if n == 10:
                notes.append("n = 10, HiGHS, programme as stated: the planted game only.")
    if n <= 14:
        rivals.sgd_dense(v[0, :4], rivals.dense_matrices(4), 1e-5, run=1)
        notes += rivals_of.sgd(quick)
    if n <= (8 if quick else 14):
        rivals_of.ours(ONE, 1, TOLERANCE)
        if n == 8:
            rivals_of.rival(HIGHS, None, delta=TOLERANCE)
    return rivals_of.rows, notes


class _Rows:
    """Collects the rows of one n; `one` and `many` are the seconds of ours that ratios refer to, by tolerance."""

    def __init__(self, n: int, v: np.ndarray) -> None:
        self.n, self.v = n, v
        self.span = np.abs(v[:, -1] - v[:, 0])
        self.rows: list[dict[str, Any]] = []
        self.one: dict[float, list[float]] = {}
        self.many: dict[float, float] = {}
        self.bound: dict[float, np.ndarray] = {}

    def ours(self, name: str, repeats: int, delta: float) -> None:
        splits, seconds = [], []
        for x, span in zip(self.v, self.span, strict=True):
            seconds.append(
                cpu_seconds(lambda x=x, span=span: splits.append(extract(x, tolerance=delta * span)), repeats)
            )
        splits = splits[repeats - 1 :: repeats]
        objective = np.array([float(split.objective) for split in splits])
        self.one[delta] = seconds
        self.bound[delta] = objective * (1 - np.array([float(split.duality_gap) for split in splits]))
        self.add(name, delta, statistics.mean(seconds), objective, range(len(splits)))

    def batch(self, seconds: float, split: Any) -> None:
        self.many[0.0] = seconds
        bound = split.objective * (1 - split.duality_gap)
        self.rows.append(
            self.row(MANY, 0.0, seconds, float(split.objective.mean()), float((split.objective / bound).max()))
        )

    def rival(
        self, name: str, solve: Callable[[np.ndarray], float] | None, which: range = range(2), delta: float = 0.0
    ) -> None:
        objective, seconds = [], []
        for i in which:
            kept: list[float] = []
            tolerance = delta * self.span[i]
            call = solve or (lambda x, tolerance=tolerance: rivals.highs(x, tolerance).objective)
            seconds.append(cpu_seconds(lambda i=i, call=call, kept=kept: kept.append(call(self.v[i])), 1))
            objective.append(kept[-1])
        self.add(name, delta, statistics.mean(seconds), np.array(objective), which)

    def sgd(self, quick: bool) -> list[str]:
        grid = rivals.RATES[1:-1:2] if quick else rivals.RATES
        best = [rivals.best_rate(x, grid=grid) for x in self.v]
        notes = [f"n = {self.n}, SGD: best rates {best[0]:g} (planted) and {best[1]:g} (walk)."]
        if self.n <= 10 and not quick:
            ends = [
                max(
                    rivals.sgd_fast(x, rate).objective / bound for x, bound in zip(self.v, self.bound[0.0], strict=True)
                )
                for rate in rivals.PUBLISHED_RATES
            ]
            said = ", ".join(f"{rate:g}: {end:.2f}" for rate, end in zip(rivals.PUBLISHED_RATES, ends, strict=True))
            notes.append(
                f"n = {self.n}, SGD at the rates that occur in published runs, worse objective / bound: {said}."
            )
        objective, seconds = [], []
        for x, r in zip(self.v, best, strict=True):
            kept: list[rivals.Found] = []
            seconds.append(cpu_seconds(lambda x=x, r=r, kept=kept: kept.append(rivals.sgd_fast(x, r)), 1))
            objective.append(kept[-1].objective)
        self.add(FAST, 0.0, statistics.mean(seconds), np.array(objective), range(2))
        return notes + self._dense(best, quick)

    def _dense(self, best: list[float], quick: bool) -> list[str]:
        steps = min(DENSE_STEPS[self.n], 200) if quick else DENSE_STEPS[self.n]
        if self.n == 14 and _memory_left() < DENSE_BYTES:
            self.rows.append(self.row(DENSE, 0.0, np.nan, np.nan, np.nan))
            return [f"n = 14, {DENSE}: not measured, it needs {DENSE_BYTES >> 30} GiB of free memory."]
        matrices = rivals.dense_matrices(1 << self.n)  # not timed: once for all samples
        objective, seconds = [], []
        for x, r in zip(self.v, best, strict=True):
            kept: list[rivals.Found] = []
            seconds.append(
                cpu_seconds(lambda x=x, r=r, kept=kept: kept.append(rivals.sgd_dense(x, matrices, r, run=steps)), 1)
            )
            objective.append(kept[-1].objective)
        if steps == rivals.STEPS:
            self.add(DENSE, 0.0, statistics.mean(seconds), np.array(objective), range(2))
            return []
        scale = rivals.STEPS / steps
        self.rows.append(self.row(DENSE, 0.0, statistics.mean(seconds) * scale, np.nan, np.nan))
        return [
            f"n = {self.n}, {DENSE}: {steps} steps timed and scaled to {rivals.STEPS:,}; where it ends is not measured."
        ]

    def add(self, name: str, delta: float, seconds: float, objective: np.ndarray, which: range) -> None:
        over = float((objective / self.bound[delta][list(which)]).max())
        one = statistics.mean([self.one[delta][i] for i in which])
        self.rows.append(self.row(name, delta, seconds, float(objective.mean()), over, one))

    def row(
        self, name: str, delta: float, seconds: float, objective: float, over: float, one: float | None = None
    ) -> dict[str, Any]:
        one = statistics.mean(self.one[delta]) if one is None else one
        return {
            "n": self.n,
            "delta": f"{delta:g} abs(v(N) - v(∅))" if delta else "0",
            "solver": name,
            "CPU s a sample": seconds,
            "times ours, one": seconds / one,
            "times ours, batch": seconds / self.many[delta] if delta in self.many else np.nan,
            "objective": objective,
            "objective / bound": over,
            "duality_gap": 1 - 1 / over,
        }


def _memory_left() -> int:
    """Bytes the system could hand out; 0 where it does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return 0


def moebius_rows(quick: bool = False) -> Section:
    """Milliseconds of the exact Möbius transform of one table of scores, beside shapiq's where installed."""
    rows, missing = [], False
    for n in (10, 12) if quick else (10, 12, 14, 16, 18, 20):
        v = np.random.default_rng(n).standard_normal(1 << n)
        repeats = 9 if n <= 16 else 3
        moebius(v)
        row: dict[str, Any] = {"n": n, "interplay, ms": 1e3 * cpu_seconds(lambda v=v: moebius(v), repeats)}
        call = rivals.shapiq_moebius(v) if n <= 14 else None
        missing |= call is None and n <= 14
        difference = theirs = np.nan
        if call is not None:
            kept: list[np.ndarray] = []
            theirs = 1e3 * cpu_seconds(lambda call=call, kept=kept: kept.append(call()), 1 if n == 14 else 3)
            difference = float(np.abs(kept[-1][1:] - moebius(v)[1:]).max())
        row["shapiq ExactComputer, ms"] = theirs
        row["times ours"] = theirs / row["interplay, ms"]
        row["max difference"] = difference
        rows.append(row)
    notes = ["shapiq is asked up to n = 14 only; its figure includes reading the 2^n scores from a table."]
    if missing:
        notes.append("shapiq is not installed: pip install interplay[bench].")
    return Section("Möbius transform of one table of scores", rows, notes)
