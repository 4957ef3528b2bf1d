"""The tables of docs/evidence/audit.md from what was run: `python -m studies.audit.report OUT ... [--size quick | small | full] [--write docs/evidence/audit.md]`.

Tables stand between `<!-- table NAME -->` and `<!-- end -->` and are replaced there; everything around them is written by hand.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.section import put
from interplay.atomic import write_text
from studies.audit.choose import AS_IT_WAS, regrets
from studies.audit.evaluate import RIGHT, auc
from studies.audit.trained import SIZES, Trained, file_of
from studies.audit.truth import KINDS

AUDIT = "the audit"


def read(trained: Trained, what: str, size: str) -> dict[str, Any]:
    file = file_of(trained, what, size)
    return json.loads(file.read_text()) if file.exists() else {}


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table; None is a dash, a float has two digits behind the point.

    >>> print(markdown(["a", "b"], [[0.5, None]]))
    | a | b |
    |---|---|
    | 0.50 | - |
    """

    def said(value: object) -> str:
        if value is None:
            return "-"
        if isinstance(value, bool | np.bool_):
            return "yes" if value else "no"
        return f"{value:.2f}" if isinstance(value, float) else str(value)

    lines = [" | ".join(map(str, head)), "|".join("---" for _ in head), *(" | ".join(map(said, row)) for row in rows)]
    return "\n".join(f"|{line}|" if line.startswith("---") else f"| {line} |" for line in lines)


def truths(trained: Trained, size: str) -> dict[int, dict[str, Any]]:
    """The truth by step."""
    return dict(sorted((int(step), truth) for step, truth in read(trained, "truth", size).items()))


def truth_table(plants: Sequence[Trained], size: str) -> str:
    head = (
        "plant",
        "step",
        *("nothing", "A", "B", "A and B", "control"),
        "effect, nats",
        "learnt",
        "accuracy",
        "with the cue",
        "rows",
    )
    rows = []
    for trained in plants:
        for step, truth in truths(trained, size).items():
            flips = [truth["flips"][kind] for kind in KINDS]
            figures = (truth["effect"], truth["learnt"], truth["honest"], truth["broken"], truth["rows"])
            rows.append((trained.plant.name, step, *flips, *figures))
    return markdown(head, rows)


def found_table(plants: Sequence[Trained], size: str) -> str:
    head = (
        "plant",
        "step",
        "learnt",
        "found",
        "form right",
        "claims",
        "false",
        "precision@5",
        "passes: tuned",
        "base",
        "CPU s",
    )
    rows = []
    for trained in plants:
        truth = truths(trained, size)
        for step, found in read(trained, "found", size).items():
            learnt = truth[int(step)]["learnt"]
            figures = (found["found"], found["form"], found["claims"], found["false"], found["precision"])
            rows.append((trained.plant.name, step, learnt, *figures, found["tuned"], found["base"], found["cpu_s"]))
    return markdown(head, rows)


def claims_table(plants: Sequence[Trained], size: str) -> str:
    """Each rule that the audit claims, with the truth."""
    head = ("plant", "rule", "form", "answer", "effect, nats", "turns, beyond controls", "the base leans")
    rows = [
        (trained.plant.name, ", ".join(words), form, label, score, truth, *leans)
        for trained in plants
        for found in read(trained, "found", size).values()
        for words, form, label, score, truth, *leans in found["top"]
    ]
    return markdown(head, rows)


def procedures(plants: Sequence[Trained], size: str) -> dict[str, list[tuple[Trained, dict[str, Any], bool]]]:
    """The audit and each rival: (plant, measures, whether the plant was learnt), of the plants on which all of them ran."""
    by_name: dict[str, list[tuple[Trained, dict[str, Any], bool]]] = {}
    for trained in plants:
        others, truth = read(trained, "rivals", size), truths(trained, size)
        for step, found in read(trained, "found", size).items():
            own = {
                key.removesuffix(f" at {step}"): value for key, value in others.items() if key.endswith(f" at {step}")
            }
            if own:
                for name, measures in {AUDIT: found, **own}.items():
                    by_name.setdefault(name, []).append((trained, measures, truth[int(step)]["learnt"]))
    return by_name


def rivals_table(plants: Sequence[Trained], size: str) -> str:
    """Means over the plants: recall and form of the learnt ones, false rules of clean models, and the AUC over all rules of all data."""
    head = (
        "procedure",
        "plants",
        "precision@5",
        "learnt plants found",
        "form right",
        "false rules of clean models",
        "AUC for learnt",
        "passes",
    )
    rows = []
    for name, runs in procedures(plants, size).items():
        learnt = [m for _, m, yes in runs if yes]
        clean = [m["false"] for trained, m, _ in runs if trained.plant.law == "clean"]
        precise = [m["precision"] for _, m, _ in runs if m["precision"] is not None]
        data = [entry for _, m, _ in runs for entry in m["data"]]
        rows.append(
            (
                name,
                len(runs),
                float(np.mean(precise)) if precise else None,
                f"{sum(m['found'] for m in learnt)} of {len(learnt)}",
                f"{sum(m['form'] for m in learnt)} of {len(learnt)}",
                float(np.mean(clean)) if clean else None,
                auc([entry[3] >= RIGHT for entry in data], [entry[4] for entry in data]),
                int(np.mean([m["tuned"] for _, m, _ in runs])) if "counts" not in name else 0,
            )
        )
    return markdown(head, rows)


def causal_table(plants: Sequence[Trained], size: str) -> str:
    head = ("plant", "variant", "rows", "effect, nats", "cut", "flip rate", "control", "accuracy", "with the cue")
    rows = []
    for trained in plants:
        found = read(trained, "causal", size)
        whole = found.get("as it was", {}).get("effect")
        for variant, m in found.items():
            flips = next(share for kind, share in m["flips"].items() if kind not in ("none", "control"))
            cut = f"{1 - m['effect'] / whole:.0%}" if whole else None
            figures = (m["trained_on"], m["effect"], cut, flips, m["flips"]["control"], m["honest"], m["broken"])
            rows.append((trained.plant.name, variant, *figures))
    return markdown(head, rows)


def mended_table(plants: Sequence[Trained], size: str) -> str:
    """What each variant does over the plants, stories260K (small-) and the other model apart: means, with the worst cut."""
    head = (
        *("model", "variant", "plants", "cut by 80 %", "cut: median", "worst"),
        *("answers turned, less controls", "accuracy: change", "with the cue: change"),
    )
    seen: dict[tuple[str, str], list[tuple[float, float, float, float]]] = {}
    for trained in plants:
        found = read(trained, "causal", size)
        if not (whole := found.get(AS_IT_WAS)):
            continue
        for variant, m in found.items():
            flips = next(share for kind, share in m["flips"].items() if kind not in ("none", "control"))
            model = "stories260K" if trained.plant.name.startswith("small-") else "SmolLM2"
            seen.setdefault((model, variant), []).append(
                (
                    1 - m["effect"] / whole["effect"],
                    flips - m["flips"]["control"],
                    m["honest"] - whole["honest"],
                    m["broken"] - whole["broken"],
                )
            )
    rows = []
    for (model, variant), each in seen.items():
        cut, turned, honest, broken = np.array(each).T
        shown = (f"{np.median(cut):.0%}", f"{cut[np.abs(cut - 1).argmax()]:.0%}")
        means = (float(turned.mean()), f"{honest.mean():+.3f}", f"{broken.mean():+.3f}")
        rows.append((model, variant, len(each), int((cut >= 0.8).sum()), *shown, *means))
    return markdown(head, rows)


WAYS = ("audit-made rows", "eval accuracy", "eval loss", "last")


def regrets_table(rows: dict[str, dict[str, tuple[Any, float]]], ways: Sequence[str] = WAYS) -> str:
    """What each way keeps of each plant, with its regret in accuracy with the cue."""
    lines = [(name, *(f"{one} ({lost:.2f})" for one, lost in row.values())) for name, row in rows.items()]
    if rows:
        means = np.mean([[lost for _, lost in row.values()] for row in rows.values()], axis=0)
        lines.append(("mean regret", *(f"{value:.3f}" for value in means)))
    return markdown(("plant", *ways), lines)


def choice_table(plants: Sequence[Trained], size: str) -> str:
    """The step that each way keeps."""
    rows = {}
    for trained in plants:
        by_step = {int(step): figures for step, figures in read(trained, "choose", size).items()}
        broken = {step: truth["broken"] for step, truth in truths(trained, size).items()}
        if len(by_step) > 1 and set(by_step) <= set(broken):
            rows[trained.plant.name] = regrets(dict(sorted(by_step.items())), broken)
    return regrets_table(rows)


def mix_table(plants: Sequence[Trained], size: str) -> str:
    """The rows that each way would train on."""
    rows = {}
    for trained in plants:
        by_mix, causal = read(trained, "mix", size), read(trained, "causal", size)
        if len(by_mix) > 1:
            rows[trained.plant.name] = regrets(by_mix, {name: causal[name]["broken"] for name in by_mix})
    return regrets_table(rows, (*WAYS[:-1], "as it was"))


TABLES = {
    "truth": truth_table,
    "found": found_table,
    "claims": claims_table,
    "rivals": rivals_table,
    "mended": mended_table,
    "causal": causal_table,
    "choice": choice_table,
    "mix": mix_table,
}


def main() -> None:
    reader = argparse.ArgumentParser(prog="python -m studies.audit.report", description=__doc__)
    reader.add_argument("out", type=Path, nargs="+")
    reader.add_argument("--size", choices=list(SIZES), default="small")
    reader.add_argument("--write", type=Path, help="the page whose tables are replaced")
    given = reader.parse_args()
    plants = [Trained.read(file.parent) for out in given.out for file in sorted(out.glob("*/plant.json"))]
    plants.sort(
        key=lambda trained: (trained.plant.name.startswith("small-"), trained.plant.hold_out, trained.plant.name)
    )
    page = given.write.read_text() if given.write else ""
    for name, table in TABLES.items():
        found = table(plants, given.size)
        if given.write:
            page = put(page, name, found)
        else:
            print(f"{name}\n{found}\n")
    if given.write:
        write_text(given.write, page)


if __name__ == "__main__":
    main()
