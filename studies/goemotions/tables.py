"""The tables of docs/evidence/study.md, printed as Markdown from the run folders that run.sh leaves: python tables.py RUNS_FOLDER

Every claim is a difference between a figure and its null, prompt by prompt, with the 95 % interval of its mean over prompts.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from interplay import Run
from interplay.dynamics.stats import interval

RUNS = ("lora-s0", "lora-s1", "full-s0", "full-s1", "lora-distinct")


def number(x: float, digits: int = 3) -> str:
    return "–" if x is None or np.isnan(x) else f"{x:.{digits}g}"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def curve(frame: pd.DataFrame, measure: str, name: str = "all", definition: str = "paper") -> pd.DataFrame:
    chosen = frame[(frame["measure"] == measure) & (frame["set"] == name) & (frame["order"] == 0)]
    return chosen[chosen["definition"] == definition].set_index("step")


def course(run: Run) -> str:
    """One row a checkpoint: the task, and the interactions of the main definition."""
    track, task = run.table("trajectory"), run.table("task").set_index("step")
    rows = []
    for step, t in task.iterrows():

        def at(measure: str, name: str = "all", digits: int = 3, step=step) -> str:
            found = curve(track, measure, name)["value"]
            return number(found.get(step, np.nan), digits)

        rows.append(
            [
                str(step),
                f"{number(t['train_loss'])} / {number(t['eval_loss'])}",
                number(t["accuracy"]),
                number(t["macro_f1"]),
                number(t["ood_accuracy"]),
                number(t["kl_base"]),
                number(t["retention_ppl"]),
                "/".join(at("count", s) for s in ("preserved", "removed", "emerged")),
                "/".join(at("strength", s) for s in ("preserved", "removed", "emerged")),
                at("l1"),
                at("l1_per_sd"),
                at("mean_order"),
                at("rho", digits=2),
                at("walsh_high", digits=2),
            ]
        )
    head = [
        "step",
        "train / eval loss",
        "acc.",
        "F1",
        "OOD acc.",
        "KL",
        "ret. ppl",
        "count P/R/E",
        "strength P/R/E",
        "L1",
    ]
    return table([*head, "L1/sd", "order", "rho", "Walsh"], rows)


def against_null(samples: pd.DataFrame, measure: str, name: str, step: int) -> tuple[float, float, float, float, int]:
    """Mean value, mean of value - null with its interval, and the number of prompts both are defined on."""
    chosen = samples[(samples["measure"] == measure) & (samples["set"] == name) & (samples["order"] == 0)]
    chosen = chosen[(chosen["definition"] == "paper") & (chosen["step"] == step)].dropna(subset=["value", "null"])
    difference = (chosen["value"] - chosen["null"]).to_numpy()
    if not len(difference):
        return float("nan"), float("nan"), float("nan"), float("nan"), 0
    mean, lo, hi, samples = (float(x[0]) for x in interval(difference[:, None]))
    return float(chosen["value"].mean()), mean, lo, hi, int(samples)


def claims(run: Run) -> str:
    """rho, gamma, sufficiency of preserved, removed and emerged against their nulls, early and at the end, from both references."""
    about = run.json("controls.json")
    second = about["second_reference"]
    main = run.table("trajectory_samples")
    steps = sorted(main["step"].unique())
    sources = [("0", main, [second, steps[-1]])]
    if second is not None:
        views = run.table("views_samples")
        later = [s for s in steps if s > second]
        sources.append((str(second), views[views["view"] == f"reference-{second}"], [later[0], steps[-1]]))
    rows = []
    for reference, samples, when in sources:
        for step in when:
            if step is None:
                continue
            for name in ("preserved", "removed", "emerged"):
                cells = []
                for measure in ("rho", "gamma", "sufficiency"):
                    value, difference, lo, hi, count = against_null(samples, measure, name, step)
                    mark = "**" if lo > 0 or hi < 0 else ""
                    cells.append(
                        "–"
                        if np.isnan(value)
                        else f"{value:.2f} ({mark}{difference:+.2f}{mark}: {lo:+.2f} to {hi:+.2f}; {count})"
                    )
                rows.append([reference, str(step), name, *cells])
    return table(["reference", "step", "set", "rho", "gamma", "sufficiency (nats)"], rows)


def multiples(run: Run) -> str:
    """Removed and emerged as multiples of each churn floor."""
    frame = run.table("multiples")
    frame = frame[(frame["definition"] == "paper") & (frame["measure"].isin(["count_fraction", "strength_fraction"]))]
    rows = []
    for (reference, floor), part in frame.groupby(["reference", "floor"], sort=False):
        steps = sorted(part["step"].unique())
        for step in dict.fromkeys([steps[0], steps[len(steps) // 2], steps[-1]]):
            cells = []
            for name in ("removed", "emerged"):
                for measure in ("count_fraction", "strength_fraction"):
                    one = part[(part["step"] == step) & (part["set"] == name) & (part["measure"] == measure)].iloc[0]
                    cells.append(f"{number(one['ratio'])} ({number(one['lo'])}–{number(one['hi'])})")
            rows.append([str(reference), floor, str(step), *cells])
    head = ["reference", "floor", "step", "removed, count", "removed, strength", "emerged, count", "emerged, strength"]
    return table(head, rows)


def views(run: Run) -> str:
    """The key figures at the last step under every view."""
    about = run.json("controls.json")
    main, others = run.table("trajectory"), run.table("views")
    verdict = run.recorded
    last = main["step"].max()
    rows = []
    listed = [("main", main, verdict["step"])]
    listed += [(v["name"], others[others["view"] == v["name"]], v["recommended"]) for v in about["views"]]
    for name, frame, step in listed:
        cells = []
        for measure, which, digits in (
            ("l1_per_sd", "all", 3),
            ("count_fraction", "removed", 2),
            ("count_fraction", "emerged", 2),
            ("sign_agreement", "kept", 2),
            ("rho", "emerged", 2),
            ("gamma", "preserved", 2),
            ("gamma", "emerged", 2),
            ("mean_order", "emerged", 3),
        ):
            found = curve(frame, measure, which)
            one = found.loc[last] if last in found.index else None
            null = "" if one is None or np.isnan(one["null"]) else f" ({number(one['null'], digits)})"
            cells.append("–" if one is None else number(one["value"], digits) + null)
        lowest = curve(frame, "l1_per_sd")["value"].idxmin()
        rows.append([name, *cells, str(lowest), str(step)])
    head = [
        "view",
        "L1/sd",
        "removed",
        "emerged",
        "same sign",
        "rho E",
        "gamma P",
        "gamma E",
        "order E",
        "lowest L1/sd at",
        "rule",
    ]
    return table(head, rows)


def correlations(run: Run) -> str:
    frame = run.table("correlations")
    measures = ["l1", "l1_per_sd", "cancelled_per_sd", "walsh_high", "mean_order all", "rho all", "emerged strength"]
    tasks = ["eval_loss", "accuracy", "macro_f1", "ood_accuracy", "kl_base", "retention_ppl"]
    rows = []
    for span in frame["span"].unique():
        part = frame[frame["span"] == span]
        for name in part["interaction"].unique():
            if not any(name == m or name == m.split()[0] for m in measures):
                continue
            cells = []
            for task in tasks:
                one = part[(part["interaction"] == name) & (part["task"] == task)]
                if one.empty or np.isnan(one["rho"].item()):
                    cells.append("–")
                    continue
                lo, hi = one["lo"].item(), one["hi"].item()
                mark = "**" if lo > 0 or hi < 0 else ""
                cells.append(f"{mark}{one['rho'].item():+.2f}{mark} ({lo:+.2f} to {hi:+.2f})")
            rows.append([span, name, *cells])
    return table(["span", "interaction", *tasks], rows)


def main(root: Path) -> None:
    for name in RUNS:
        run = Run(root / name)
        if not run.finished:
            print(f"({name}: not finished)\n")
            continue
        print(f"### {name}\n\n{course(run)}\n")
        print(f"{claims(run)}\n")
        print(f"{multiples(run)}\n")
        print(f"{views(run)}\n")
        print(f"{correlations(run)}\n")
        baselines = run.table("baselines")
        rows = []
        for baseline, part in baselines.groupby("baseline", sort=False):
            for which in ("preserved", "removed", "emerged"):
                found = curve(part, "gamma", which)
                last = found.loc[found.index.max()]
                rows.append(
                    [
                        str(baseline),
                        which,
                        f"{last['value']:.3f} ({last['lo']:.3f}–{last['hi']:.3f})",
                        f"{last['null']:.3f}",
                    ]
                )
        print(table(["baseline LLM", "set, last step", "gamma", "null"], rows) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
