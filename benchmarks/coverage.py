"""How often 95 % intervals over a few prompts hold the truth, on values like a run's: the tables of docs/design/dynamics.md.

    python -m benchmarks.coverage [RUN ...]

Each RUN, a finished run folder, adds its own values prompt by prompt, drawn with replacement as a population.
"""

import sys
from collections.abc import Callable

import numpy as np
import pandas as pd

from interplay.dynamics.stats import interval, ratio_of_means, resample_counts, t_quantile

PROMPTS = (6, 8, 12, 16)
Draw = Callable[[np.random.Generator, int | tuple[int, ...]], np.ndarray]
VALUES: dict[str, Draw] = {
    "normal": lambda rng, size: rng.normal(3, 1, size),
    "strengths, log-normal, sd .5": lambda rng, size: np.exp(rng.normal(0, 0.5, size)),
    "strengths, log-normal, sd 1": lambda rng, size: np.exp(rng.normal(0, 1, size)),
    "counts": lambda rng, size: rng.poisson(rng.gamma(2, 15, size)).astype(float),
    "ratios, mean .13": lambda rng, size: rng.beta(0.6, 4, size),
    "ratios, 0 or 1 mostly": lambda rng, size: rng.beta(0.5, 0.5, size),
    "sufficiency, half right": lambda rng, size: np.logaddexp(0, -rng.normal(1, 3, size)),
    "sufficiency, mostly right": lambda rng, size: np.logaddexp(0, -rng.normal(3, 3, size)),
}


def coverage(draw: Draw, mean: float, prompts: int, draws: int = 4000) -> list[float]:
    """Of the percentile bootstrap, the studentised one, the t interval and `interval`: how many of `draws` hold the mean."""
    x = draw(np.random.default_rng(0), (prompts, draws))
    middle, error = x.mean(axis=0), x.std(axis=0, ddof=1) / np.sqrt(prompts)
    counts = resample_counts(prompts, 400, np.random.default_rng(1)) / prompts
    means = counts @ x
    own = np.sqrt(np.maximum(counts @ x**2 - means**2, 1e-12) / (prompts - 1))
    low, high = error * np.quantile((means - middle) / own, [0.025, 0.975], axis=0)
    half = t_quantile(np.array(prompts - 1)) * error
    found = [np.quantile(means, [0.025, 0.975], axis=0), (middle - high, middle - low), (middle - half, middle + half)]
    return [float(((lo <= mean + 1e-9) & (mean - 1e-9 <= hi)).mean()) for lo, hi in [*found, interval(x)[1:3]]]


def ratio_coverage(draw: Draw, prompts: int, draws: int = 2000) -> list[float]:
    """Of Fieller's interval: how many do not exclude the ratio of means, and how many exist (the floor is told from 0).
    Prompts with much of the floor have much of the later step."""
    floor, more = (np.abs(draw(np.random.default_rng(seed), (draws + 10**6 // prompts, prompts))) for seed in (0, 1))
    true, over = (floor + more).mean() / floor.mean(), floor + more
    found = [ratio_of_means(np.column_stack([floor[i], over[i]])) for i in range(draws)]
    held = [not np.isfinite(f.hi) or f.lo <= true <= f.hi for f in found]
    return [float(np.mean(held)), float(np.mean([np.isfinite(f.hi) for f in found]))]


def real(run: str) -> list[np.ndarray]:
    """Values of a run prompt by prompt, one array a measure, set and step, where at least eight prompts have one."""
    table = pd.read_parquet(f"{run}/trajectory_samples.parquet").dropna(subset=["value"])
    table = table[(table["definition"] == "paper") & (table["order"] == 0)]
    groups = [x.to_numpy() for _, x in table.groupby(["measure", "set", "step"])["value"]]
    return [x for x in groups if len(x) >= 8 and x.std() > 0]


def main() -> None:
    print("| values | prompts | percentile | studentised | t | used | multiples | told |\n" + "|---" * 8 + "|")
    for name, draw in VALUES.items():
        mean = float(draw(np.random.default_rng(2), 4_000_000).mean())
        for n in PROMPTS:
            figures = [*coverage(draw, mean, n), *ratio_coverage(draw, n)]
            print(f"| {name} | {n} | " + " | ".join(f"{x:.3f}".lstrip("0") for x in figures) + " |")
    for run in sys.argv[1:]:
        for n in PROMPTS:
            found = [coverage(lambda g, size, x=x: g.choice(x, size), x.mean(), n, 1000) for x in real(run)]
            cells = (
                f"{mid:.2f}, {part:.0%}"
                for mid, part in zip(np.median(found, 0), np.greater(found, 0.9).mean(0), strict=True)
            )
            print(f"| {len(found)} of {run}: median, part over .90 | {n} | " + " | ".join(cells) + " | | |")


if __name__ == "__main__":
    main()
