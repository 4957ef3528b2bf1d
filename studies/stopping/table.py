"""From finished cells to the tables of docs/evidence/stopping.md: regret of every rule, with intervals, on the tuning part and the hold-out.

Regret of a rule in a cell is the best measured checkpoint's outcome minus that of the checkpoint it kept. The best checkpoint
is the oracle, chosen on the test rows themselves, so every rule has a regret above zero even if it chose by the truth plus
noise. Intervals: percentile bootstrap over cells, 2,000 draws.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from studies.stopping.records import Record
from studies.stopping.rules import Choice, Rule

OUTCOMES = ("accuracy", "macro_f1", "test_loss", "ood_accuracy", "retention")
DRAWS = 2000


def outcomes(record: Record, rule: Rule) -> dict[str, object]:
    """One row: a rule in a cell."""
    choice: Choice = rule.choose(record)
    row: dict[str, object] = {
        "cell": record.name,
        "part": record.about["part"],
        "data": record.about["data"],
        "method": record.about["method"],
        "noise": record.about["noise"],
        "rule": rule.name,
        "ours": rule.ours,
        "labelled": rule.labelled,
        "step": int(record.steps[choice.kept]),
        "stopped": int(record.steps[choice.stopped]),
        "saved": 1 - record.steps[choice.stopped] / record.steps[-1],
    }
    for name in OUTCOMES:
        curve = record.outcomes[name][1:]
        row[f"regret_{name}"] = float(curve.max() - record.outcomes[name][choice.kept])
        row[f"value_{name}"] = float(record.outcomes[name][choice.kept])
    row["within"] = bool(row["regret_accuracy"] <= 0.01)
    return row


def rows(records: Sequence[Record], rules: Sequence[Rule]) -> pd.DataFrame:
    """All of them."""
    return pd.DataFrame([outcomes(record, rule) for record in records for rule in rules])


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Mean of [cells] with its 95 % bootstrap interval."""
    draws = np.random.default_rng(seed).integers(0, len(values), (DRAWS, len(values)))
    means = values[draws].mean(1)
    return float(values.mean()), float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def summary(table: pd.DataFrame, part: str | None = None) -> pd.DataFrame:
    """One row a rule: mean regrets with intervals, the worst, how often within a point of the best, steps saved."""
    some = table if part is None else table[table["part"] == part]
    found = []
    for name, group in some.groupby("rule", sort=False):
        row: dict[str, object] = {"rule": name, "cells": len(group), "labelled": int(group["labelled"].iloc[0])}
        for outcome in OUTCOMES:
            values = group[f"regret_{outcome}"].to_numpy()
            row[outcome], row[f"{outcome}_lo"], row[f"{outcome}_hi"] = interval(values)
            row[f"{outcome}_worst"] = float(values.max())
        row["within"] = float(group["within"].mean())
        row["saved"] = float(group["saved"].mean())
        found.append(row)
    return pd.DataFrame(found)


def against(table: pd.DataFrame, rule: str, part: str | None = None, outcome: str = "accuracy") -> pd.DataFrame:
    """Paired over cells: regret of every other rule minus that of `rule`; above zero means that `rule` did better."""
    some = table if part is None else table[table["part"] == part]
    wide = some.pivot(index="cell", columns="rule", values=f"regret_{outcome}")
    found = []
    for other in wide.columns:
        if other != rule:
            difference = (wide[other] - wide[rule]).to_numpy()
            mean, lo, hi = interval(difference)
            verdict = "wins" if lo > 0 else "loses" if hi < 0 else "ties"
            found.append({"against": other, "mean": mean, "lo": lo, "hi": hi, "verdict": verdict})
    return pd.DataFrame(found)
