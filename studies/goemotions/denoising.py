"""Early denoising under two absences: python -m studies.goemotions.denoising RUNS NAME [NAME ...]

For each NAME the runs RUNS/NAME (a neutral token in place of absent words, steps split fused) and RUNS/NAME-old (the lineage's
mask, the whole vocabulary, every step by itself). Strength by spread of the scores, L1/sd, at every step and paired with step 0 over
prompts; beside a difference the smallest one that these prompts would show in four of five cases.
"""

import sys
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd

import interplay
from interplay.dynamics.stats import interval, t_quantile

POWER = NormalDist().inv_cdf(0.8)


def detectable(differences: np.ndarray) -> float:
    """The mean difference that a paired 95 % interval over as many samples leaves 0 out of in four of five cases.

    >>> round(detectable(np.array([1.0, -1.0, 2.0, -2.0])), 2)
    3.67
    """
    count = len(differences)
    error = differences.std(ddof=1) / np.sqrt(count)
    return float((t_quantile(np.array([count - 1]))[0] + POWER) * error)


def by_prompt(table: pd.DataFrame, measure: str, set_: str = "all") -> pd.DataFrame:
    """Values [step, prompt] of a measure."""
    rows = table[(table["measure"] == measure) & (table["set"] == set_) & (table["order"] == 0)]
    if "definition" in rows:
        rows = rows[rows["definition"] == "common"]
    return rows.pivot_table(index="step", columns="sample", values="value")


def course(table: pd.DataFrame, measure: str = "l1_per_sd") -> list[tuple[int, float, float, float, float, float]]:
    """(step, value, difference to step 0, its interval, the detectable difference) of a measure."""
    values = by_prompt(table, measure)
    found = []
    for step in values.index:
        d = (values.loc[step] - values.loc[0]).dropna().to_numpy()
        if step == 0 or len(d) < 2:
            found.append((int(step), float(values.loc[step].mean()), 0.0, 0.0, 0.0, 0.0))
            continue
        mean, lo, hi, _ = (float(x[0]) for x in interval(d[:, None]))
        found.append((int(step), float(values.loc[step].mean()), mean, lo, hi, detectable(d)))
    return found


def told(rows: list[tuple[int, float, float, float, float, float]]) -> str:
    cells = [
        f"{value:.1f}" if step == 0 else f"{value:.1f} ({mean:+.1f}: {lo:+.1f} to {hi:+.1f}; {mde:.1f})"
        for step, value, mean, lo, hi, mde in rows
    ]
    return " | ".join(cells)


def main(runs: Path, names: list[str]) -> None:
    for name in names:
        new = interplay.Run(runs / name)
        tables = {"neutral token, whole vocabulary": new.trajectory.per_sample}
        if new.has("views_samples.parquet"):
            views = new.table("views_samples")
            for view in views["view"].unique():
                tables[f"view {view}"] = views[views["view"] == view]
        if (runs / f"{name}-old" / "trajectory.parquet").exists():
            tables["the lineage's mask"] = interplay.Run(runs / f"{name}-old").trajectory.per_sample
        print(f"### {name}\n")
        steps = by_prompt(new.trajectory.per_sample, "l1_per_sd").index
        print("| scores | " + " | ".join(f"step {step}" for step in steps) + " |")
        print("|---|" + "---|" * len(steps))
        for title, table in tables.items():
            if len(by_prompt(table, "l1_per_sd")):
                print(f"| {title} | {told(course(table))} |")
        print()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
