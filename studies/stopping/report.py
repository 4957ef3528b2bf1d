"""Tables and figures of docs/evidence/stopping.md from finished cells: `python -m studies.stopping.report OUT [--write docs]`.

Tables stand between `<!-- table NAME -->` and `<!-- end -->` in docs/evidence/stopping.md and are replaced there; everything around
them is written by hand.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.section import put
from interplay.atomic import write_text
from studies.stopping.grid import cells
from studies.stopping.records import Record, finished, load
from studies.stopping.rules import Tuned, few_prompts, few_rows, ingredients, ours, rivals, tune, weighted
from studies.stopping.table import OUTCOMES, against, rows, summary

RULE = "interaction loss, in hindsight"
_HEAD = {
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "test_loss": "test loss",
    "ood_accuracy": "OOD accuracy",
    "retention": "retention",
}


def read(folder: Path) -> list[Record]:
    """The finished cells, in the order of the grid."""
    order = {cell.name: i for i, cell in enumerate(cells("full"))}
    return sorted((load(folder, name) for name in finished(folder)), key=lambda r: order.get(r.name, len(order)))


def regret_table(found: pd.DataFrame) -> str:
    """Mean regret [95 % interval], worst in accuracy and test loss; one row a rule."""
    head = "| rule | labelled rows | " + " | ".join(_HEAD[o] for o in OUTCOMES)
    head += " | worst accuracy | worst test loss | within 1 point | steps saved |"
    lines = [head, "|" + "---|" * head.count(" | ") + "---|"]
    for row in found.to_dict("records"):
        values = []
        for o in OUTCOMES:
            mean, lo, hi = row[o], row[f"{o}_lo"], row[f"{o}_hi"]
            values.append(f"{mean:.3f} [{lo:.3f}, {hi:.3f}]")
        lines.append(
            f"| {row['rule']} | {row['labelled']} | {' | '.join(values)} | {row['accuracy_worst']:.3f} | "
            f"{row['test_loss_worst']:.2f} | {row['within']:.0%} | {row['saved']:.0%} |"
        )
    return "\n".join(lines)


def paired_table(table: pd.DataFrame, rule: str, part: str) -> str:
    """Every other rule's regret minus ours, over the same cells; positive: ours is better."""
    parts = {o: against(table, rule, part, o).set_index("against") for o in ("accuracy", "macro_f1", "test_loss")}
    lines = ["| against | accuracy | macro-F1 | test loss |", "|---|---|---|---|"]
    for other in parts["accuracy"].index:
        said = []
        for o in parts:
            r = parts[o].loc[other]
            said.append(f"{r['mean']:+.3f} [{r['lo']:+.3f}, {r['hi']:+.3f}] {r['verdict']}")
        lines.append(f"| {other} | {' | '.join(said)} |")
    return "\n".join(lines)


def cells_table(records: Sequence[Record], tuned: Tuned) -> str:
    """Which step each of the main rules keeps in each cell, with the test accuracy there."""
    chosen = [r for r in (*rivals(tuned), *ours()) if r.name in (
        "oracle (best on test)", "eval loss, in hindsight", "loss on the prompt rows, in hindsight", RULE, "last checkpoint")]  # fmt: skip
    lines = ["| cell | part | " + " | ".join(r.name for r in chosen) + " |", "|---|---|" + "---|" * len(chosen)]
    for record in records:
        picks = []
        for rule in chosen:
            kept = rule.choose(record).kept
            picks.append(f"{int(record.steps[kept])} ({record.outcomes['accuracy'][kept]:.3f})")
        lines.append(f"| {record.name} | {record.about['part']} | {' | '.join(picks)} |")
    return "\n".join(lines)


def cost_table(records: Sequence[Record]) -> str:
    """What a measurement of the prompts costs, in CPU seconds and in training steps."""
    lines = [
        "| data | method | CPU s a training step | CPU s a measurement of 12 prompts, n = 6 | in training steps |",
        "|---|---|---|---|---|",
    ]
    frame = pd.DataFrame(
        [
            {
                "data": r.about["data"],
                "method": r.about["method"],
                "step": r.about["seconds"]["training"] / r.steps[-1],
                "measurement": r.about["seconds"]["prompts"] / len(r.steps),
            }
            for r in records
        ]
    )
    for (data, method), group in frame.groupby(["data", "method"]):
        step, measurement = group["step"].median(), group["measurement"].median()
        lines.append(f"| {data} | {method} | {step:.2f} | {measurement:.1f} | {measurement / step:.1f} |")
    return "\n".join(lines)


def few_table(records: Sequence[Record]) -> str:
    """Regret of eval loss on fewer rows, over random draws of rows, beside ours on 12 prompts."""
    lines = ["| rule (in hindsight) | accuracy | macro-F1 | test loss |", "|---|---|---|---|"]
    for count in (12, 25, 50, 100, 200):
        found = [few_rows(r, count) for r in records]
        values = [f"{np.mean([f[o] for f in found]):.3f}" for o in ("accuracy", "macro_f1", "test_loss")]
        lines.append(f"| eval loss on {count} rows | {' | '.join(values)} |")
    for count in (4, 6, 8, 12):
        found = [few_prompts(r, count) for r in records]
        values = [f"{np.mean([f[o] for f in found]):.3f}" for o in ("accuracy", "macro_f1", "test_loss")]
        lines.append(f"| **interaction loss on {count} prompts** | {' | '.join(values)} |")
    return "\n".join(lines)


def figure_curves(records: Sequence[Record], path: Path) -> None:
    """Small multiples: interaction loss, eval loss and test accuracy over the steps of each cell."""
    from matplotlib import pyplot

    from interplay.exports.figures.style import CYCLE, MUTED, save, styled

    with styled():
        columns = 4
        count = -(-len(records) // columns)
        figure, axes = pyplot.subplots(count, columns, figsize=(8.2, 1.75 * count), squeeze=False, layout="constrained")
        for axis in axes.flat[len(records) :]:
            axis.set_axis_off()
        for axis, record in zip(axes.flat, records, strict=False):
            steps, at = record.steps[1:], np.arange(len(record.steps) - 1)
            inner, loss = weighted(record, 1.0)[1:], np.log(record.eval_loss[1:])
            accuracy = record.outcomes["accuracy"][1:]
            axis.plot(
                at, inner - inner.min(), color=CYCLE[1], label="log interaction loss, above its lowest (12 prompts)"
            )
            axis.plot(at, loss - loss.min(), color=CYCLE[0], label="log eval loss, above its lowest (200 rows)")
            axis.plot(at, accuracy.max() - accuracy, color=MUTED, ls=":", label="test accuracy, below its best")
            for curve, colour in ((inner, CYCLE[1]), (loss, CYCLE[0])):
                axis.plot([int(curve.argmin())], [0], "o", color=colour, ms=4)
            axis.set_xticks(at, [str(int(s)) for s in steps])
            axis.set_ylim(
                -0.03, min(1.0, max(0.35, float(np.nanmax(np.stack([inner - inner.min(), loss - loss.min()])[:, 2:]))))
            )
            part = "" if record.about["part"] == "tuning" else " *"
            a = record.about
            axis.set_title(
                f"{a['data']} {a['method']} {a['rate']}, noise {a['noise']:.0%}, s{a['seed']}{part}", fontsize=6.5
            )
        handles, labels = axes.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
        save(figure, path)
        pyplot.close(figure)


def figure_regrets(found: pd.DataFrame, path: Path) -> None:
    """Mean regret with its interval, a row a rule, for accuracy, macro-F1 and test loss."""
    from matplotlib import pyplot

    from interplay.exports.figures.style import COLOURS, CYCLE, save, styled

    with styled():
        shown = found[~found["rule"].str.startswith("oracle")].reset_index(drop=True)
        figure, axes = pyplot.subplots(1, 3, figsize=(8.2, 0.25 * len(shown) + 0.7), sharey=True, layout="constrained")
        at = np.arange(len(shown))[::-1]
        for axis, outcome in zip(axes, ("accuracy", "macro_f1", "test_loss"), strict=True):
            colours = [
                CYCLE[1] if "interaction" in name or "L1/sd" in name else COLOURS["all"] for name in shown["rule"]
            ]
            axis.hlines(at, shown[f"{outcome}_lo"], shown[f"{outcome}_hi"], color=colours, lw=1.2)
            axis.scatter(shown[outcome], at, c=colours, s=14, zorder=3)
            axis.scatter(shown[f"{outcome}_worst"], at, c=colours, s=9, marker="|")
            axis.set_title(f"regret in {_HEAD[outcome]}")
            axis.set_xlim(left=0)
            axis.grid(axis="x")
        axes[0].set_yticks(at, shown["rule"])
        save(figure, path)
        pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.stopping.report")
    parser.add_argument("out", type=Path, help="the folder of the cells")
    parser.add_argument(
        "--write", type=Path, default=None, help="a folder with stopping.md: tables and figures go there"
    )
    parser.add_argument("--part", default="hold-out", choices=("tuning", "hold-out"))
    asked = parser.parse_args()
    records = read(asked.out)
    tuning = [r for r in records if r.about["part"] == "tuning"]
    some = [r for r in records if r.about["part"] == asked.part]
    tuned = tune(tuning)
    print(f"{len(tuning)} tuning cells, {len(records) - len(tuning)} hold-out; tuned: {tuned}")
    table = rows(records, [*rivals(tuned), *ours()])
    parts = rows(records, ingredients())
    found = summary(table, asked.part)
    tables = {
        "regret": regret_table(found),
        "tuning": regret_table(summary(table, "tuning")),
        "paired": paired_table(table, RULE, asked.part),
        "ingredients": regret_table(summary(parts, asked.part)),
        "few": few_table(some),
        "cells": cells_table(records, tuned),
        "cost": cost_table(records),
    }
    if asked.write is None:
        for name, text in tables.items():
            print(f"\n## {name}\n{text}")
        return
    page = asked.write / "stopping.md"
    text = page.read_text(encoding="utf-8")
    for name, part in tables.items():
        text = put(text, name, part)
    write_text(page, text)
    images = asked.write / "images"
    images.mkdir(exist_ok=True)
    figure_curves(records, images / "stopping-curves.svg")
    figure_regrets(found, images / "stopping-regrets.svg")
    table.to_csv(asked.out / "rules.csv", index=False)


if __name__ == "__main__":
    main()
