"""The page of a comparison: payload in, one offline HTML file out, in the look of the report and as closed as it.

Payload (made by `interplay.comparison.tables.comparison_payload`; plain values only):
version, definition, axis (`steps` or `epochs`), notes; runs: name, title, seed, recommended, recommended_x, basis;
groups: name, runs; settings, overview, curves, means, spread, paired: rows of the tables of those names; paired_prompts.

Strings are untrusted: control characters go here, escaping is jinja2's. It reads no run and computes no figure; titles, units
and nulls are those of the registries of measures and of task metrics, only what to look for is said here.
"""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from interplay.atomic import write_text
from interplay.dynamics.measures import MEASURES
from interplay.dynamics.sets import MAIN_SETS
from interplay.report.chart import Curve, draw_runs, extent, letter, sample
from interplay.report.pages import render_page
from interplay.report.rows import DECIDED, Point
from interplay.report.scales import log_axis, step_axis, value_axis
from interplay.report.text import cleaned, interval, number, plain, table
from interplay.task.metrics import METRICS

STYLES = ("base.css", "charts.css", "comparison.css")
SCRIPTS = ("tips.js",)
MOST_ROWS = 2000  # of a table behind a fold; --json has all
# What the open part of the seeds' table shows beside the task; the rest is behind a fold.
MAIN = (
    *(("strength", name) for name in MAIN_SETS), ("rho", "all"), ("gamma", "emerged"), ("l1_per_sd", "all"),
    ("cancelled_per_sd", "all"), ("mean_order", "all"),
)  # fmt: skip
_NO_MULTIPLES = "No run has multiples of the churn floor: they need a rephrased prompt at the reference step."
# Kind and measure, heading, what to look for, what is said where no run has it.
TURNOVER = (
    ("interactions", "count", "How many interactions",
     "The dotted lines are each run's own churn floor: the turnover that a rephrased prompt alone causes.", ""),
    ("interactions", "strength", "How strong they are together",
     "In log-odds, which grow with a model's confidence: a run that is merely surer of itself has more of everything.", ""),
    ("multiples", "count", "Turnover in units of the churn floor: count",
     "1, dotted, is what a rephrased prompt alone causes at the reference step; the runs' floors are divided out, so these "
     "compare best.", _NO_MULTIPLES),
    ("multiples", "strength", "Turnover in units of the churn floor: strength", "The same for strength.", _NO_MULTIPLES),
)  # fmt: skip
QUALITY = (
    ("interactions", "rho", "Do they pull together? (rho)",
     "1: all effects point one way. Dotted: the same effects with random signs. Small sets score high by chance, so compare "
     "distances from the dotted lines, not heights.", ""),
    ("interactions", "gamma", "Does another model use them too? (gamma)",
     "The share of strength that the baseline LLM holds too, with the same sign. Dotted: its words shuffled.",
     "No run has a baseline LLM, so generalizability (gamma) is not shown."),
    ("interactions", "mean_order", "How many words they join (mean order)",
     "Weighted by strength. High orders are what the paper calls noise.", ""),
    ("interactions", "sufficiency", "Could each set alone give the answer?",
     "Loss when the target is predicted from this set alone; lower is better, ln 2 = 0.69 is a coin toss.", ""),
)  # fmt: skip
WHOLE = {
    "l1_per_sd": "All effects over the sd of the scores: free of scale.",
    "cancelled_per_sd": "Strength that cancels itself out.",
    "walsh_high": "Share of the score's variance in high-degree Walsh terms.",
    "rho": "",
    "mean_order": "",
}
TASK = dict.fromkeys(METRICS, "") | {
    "train_loss": "Mean since the checkpoint before.",
    "accuracy": "On rows that were not trained on.",
    "macro_f1": "Every label counts the same.",
    "exact_match": "Of freely generated answers.",
    "rouge_l": "Of freely generated answers.",
    "kl_base": "At the first response token: how far the model has moved.",
    "retention_ppl": "On plain text: what is forgotten.",
}


class _Key(NamedTuple):
    kind: str
    measure: str
    set: str

    @property
    def null(self) -> str:
        """What the dotted lines are called; '' where there are none."""
        return MEASURES[self.measure].null if self.kind != "task" else ""

    @property
    def unit(self) -> str:
        """The unit on the page: scores and shares are named by their range."""
        if self.kind == "multiples":
            return "times the floor"
        known = (METRICS if self.kind == "task" else MEASURES)[self.measure].unit
        plain_ratio = self.measure.endswith(("_per_sd", "_ppl"))
        return {"interactions per prompt": "per prompt", "": "" if plain_ratio else "0 to 1"}.get(known, known)


def full_name(measure: str, set_: str, kind: str = "") -> str:
    """A figure's name in a table.

    >>> full_name("strength", "emerged"), full_name("count", "removed", "multiples"), full_name("l1_per_sd", "all")
    ('strength, emerged', 'number, removed, in churn floors', 'strength / spread of score')
    """
    known = MEASURES.get(measure) or METRICS.get(measure)
    name = known.title if known else measure.replace("_", " ")
    return name + (f", {set_}" if set_ != "all" else "") + (", in churn floors" if kind == "multiples" else "")


def render(payload: Mapping[str, Any]) -> str:
    """The whole page as a string; the same payload gives the same bytes."""
    p = cleaned(payload)
    drawing = _Drawing(p)
    return render_page(
        "comparison.html.j2",
        STYLES,
        SCRIPTS,
        p=p,
        heading=_heading(p),
        legend=_legend(p),
        several=any(len(group["runs"]) > 1 for group in p["groups"]),
        overview=_overview(p),
        settings=_settings(p),
        turnover=[drawing.by_set(*row) for row in TURNOVER],
        quality=[drawing.by_set(*row) for row in QUALITY],
        scale=drawing.whole(WHOLE, "interactions"),
        task=drawing.whole(TASK, "task"),
        spread=_spread(p),
        paired=_paired(p),
    )


def write(payload: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Render and put the page at `path`, all or nothing. Returns the path."""
    target = Path(path)
    write_text(target, render(payload), folders=None)
    return target


def _heading(p: Mapping[str, Any]) -> str:
    groups = [group["name"] for group in p["groups"]]
    if len(groups) == 1:
        return f"{groups[0]}: {len(p['runs'])} trainings"
    return " against ".join(groups) if len(groups) <= 3 else f"{len(p['runs'])} runs compared"


def _legend(p: Mapping[str, Any]) -> list[dict[str, Any]]:
    several = [group["runs"] if len(group["runs"]) > 1 else [] for group in p["groups"]]
    return [
        {"letter": letter(i), "css": f"r-{i % 8}", "sample": sample(i), "name": group["name"], "runs": several[i]}
        for i, group in enumerate(p["groups"])
    ]


class _Drawing:
    """All charts of a page: they share one axis, and each row of charts shares its values' axis."""

    def __init__(self, p: Mapping[str, Any]) -> None:
        named = ("epoch", "epochs") if p["axis"] == "epochs" else ()
        self.p, self.x = p, step_axis(sorted({row["x"] for row in p["curves"]}) or [0.0], *named)
        self.kept = {run["name"]: run["recommended_x"] for run in p["runs"]}
        self.points: dict[tuple[_Key, str], list[Point]] = defaultdict(list)
        self.means: dict[tuple[_Key, str], list[Point]] = defaultdict(list)
        for rows, found, owner in ((p["curves"], self.points, "run"), (p["means"], self.means, "group")):
            for row in sorted(rows, key=lambda r: r["x"]):
                key = _Key(row["kind"], row["measure"], row["set"])
                found[key, row[owner]].append(Point(row["x"], row["value"], row["lo"], row["hi"], row["null"]))

    def curves(self, key: _Key) -> list[Curve]:
        """One curve a group that has the measure; a group of one is its run."""
        out = []
        for i, group in enumerate(self.p["groups"]):
            runs = [(name, tuple(self.points[key, name])) for name in group["runs"] if (key, name) in self.points]
            kept = tuple((name, self.kept[name]) for name, _ in runs)
            if runs and len(group["runs"]) == 1:
                out.append(Curve(runs[0][0], i, runs[0][1], (), kept))
            elif runs:
                out.append(Curve(group["name"], i, tuple(self.means.get((key, group["name"]), ())), tuple(runs), kept))
        return out

    def missing(self, curves: Sequence[Curve]) -> str:
        """Which runs a chart lacks."""
        there = {name for curve in curves for name, _ in curve.kept}
        lacking = [plain(run["name"], 60) for run in self.p["runs"] if run["name"] not in there]
        return f"Not measured in {', '.join(lacking)}." if lacking else ""

    def by_set(self, kind: str, measure: str, title: str, look: str, missing: str) -> dict[str, Any]:
        """One measure for every set on one value axis; a set without figures keeps its column empty."""
        keys = {name: _Key(kind, measure, name) for name in MAIN_SETS}
        found = {name: curves for name, key in keys.items() if (curves := self.curves(key))}
        if not found:
            missing = missing or "Not measured in these runs."
            return {"title": title, "look": "", "panels": [], "note": missing, "table": None}
        every = [curve for curves in found.values() for curve in curves]
        y, null = value_axis(extent(every), zero=measure != "mean_order"), keys["removed"].null
        panels: list[dict[str, Any] | None] = []
        for name, key in keys.items():
            drawn = name in found and draw_runs(found[name], self.x, y, f"{title}, {name}", null)
            panels.append({"title": name, "unit": key.unit, "svg": drawn, "say": ""} if drawn else None)
        rows = self.table([keys[name] for name in found], title, null)
        return {"title": title, "look": look, "panels": panels, "note": self.missing(every), "table": rows}

    def whole(self, looks: Mapping[str, str], kind: str) -> dict[str, Any]:
        """Measures without sets, each with a value axis of its own."""
        panels, keys = [], []
        for measure, look in looks.items():
            key = _Key(kind, measure, "all")
            if not (curves := self.curves(key)):
                continue
            keys.append(key)
            title = full_name(measure, "all")
            if kind != "task" and len(MEASURES[measure].sets) > 1:
                title += " of all effects"
            log = kind == "task" and METRICS[measure].log
            values, zero = extent(curves), measure not in ("mean_order", "retention_ppl")
            y = log_axis(values) if log else value_axis(values, zero=zero)
            unit = f"{key.unit}, log scale".lstrip(", ") if y.log else key.unit
            say = " ".join(part for part in (look, self.missing(curves)) if part)
            panels.append(
                {"title": title, "unit": unit, "svg": draw_runs(curves, self.x, y, title, key.null), "say": say}
            )
        return {"panels": panels, "table": self.table(keys, "these figures", "null")}

    def table(self, keys: Sequence[_Key], title: str, null_name: str) -> dict[str, Any] | None:
        """What the charts draw, as rows."""
        body = [
            [run["name"], full_name(key.measure, key.set), f"{p.step:.4g}", number(p.value), interval(p.lo, p.hi) or "–",
             number(p.null)]
            for key in keys
            for run in self.p["runs"]
            for p in self.points.get((key, run["name"]), ())
        ]  # fmt: skip
        at = "epoch" if self.p["axis"] == "epochs" else "step"
        return table(
            title, ["run", "measure", at, "value", "95 % over prompts", null_name or "null"], body[:MOST_ROWS], 2
        )


def _settings(p: Mapping[str, Any]) -> dict[str, Any] | None:
    names = [run["name"] for run in p["runs"]]
    body = [[row["setting"], *(row[name] for name in names)] for row in p["settings"]]
    return {"head": ["setting", *names], "body": body} if body else None


def _overview(p: Mapping[str, Any]) -> dict[str, Any]:
    """Runs in rows; figures that no run has are left out."""
    rows = p["overview"]
    figures = [
        key for key in rows[0]
        if key.startswith("last_") and key != "last_step" and any(r[key] is not None for r in rows)
    ]  # fmt: skip
    several = len(p["groups"]) < len(p["runs"])
    body = []
    for row in rows:
        kept = f"{row['recommended']}" + ("" if row["basis"] in (None, *DECIDED) else "*")
        best = [
            "–" if row[f"best_{key}"] is None else f"{number(row[f'best_{key}'])} at {row[f'best_{key}_step']}"
            for key in ("eval_loss", "accuracy")
        ]
        group = [row["group"]] if several else []
        figure = [number(row[key]) for key in figures]
        body.append([row["run"], *group, f"{row['seed']}", kept, *best, f"{row['last_step']}", *figure])
    head = ["run", *(["group"] if several else []), "seed", "keep", "lowest eval loss", "best accuracy", "last step"]
    head += [_last_name(key.removeprefix("last_")) for key in figures]
    doubtful = any(row["basis"] not in (None, *DECIDED) for row in rows)
    note = "* named for want of evidence." if doubtful else ""
    return {"head": head, "body": body, "words": 2 if several else 1, "note": note}


def _last_name(key: str) -> str:
    """ "strength_emerged" as "strength, emerged", "accuracy" as it is."""
    measure, _, set_ = key.rpartition("_")
    return full_name(measure, set_) if measure in MEASURES and set_ in MAIN_SETS else full_name(key, "all")


def _spread(p: Mapping[str, Any]) -> dict[str, Any] | None:
    """Between trainings, beside what other prompts would change; None where no group has several trainings."""
    groups = [group["name"] for group in p["groups"]]
    kinds = ("task", "interactions", "multiples")
    rows = sorted(p["spread"], key=lambda r: (kinds.index(r["kind"]), r["measure"], r["set"], groups.index(r["group"])))
    if not rows:
        return None
    compared = [row["ratio"] for row in rows if row["ratio"] is not None]
    said = (
        f"In {sum(ratio > 1 for ratio in compared)} of {len(compared)} figures the trainings differ by more than other prompts "
        "would change them (last column over 1)."
    )
    head = [
        "measure", "group", "step", "mean", "lowest to highest training", "sd", "± over prompts", "trainings / prompts",
    ]  # fmt: skip
    body = [
        [full_name(row["measure"], row["set"], row["kind"]), row["group"], f"{row['step']}", number(row["value"]),
         interval(row["lowest"], row["highest"]), number(row["sd"]), number(row["half_width"]), number(row["ratio"])]
        for row in rows
    ]  # fmt: skip
    main = [
        cells for cells, r in zip(body, rows, strict=True) if r["kind"] == "task" or (r["measure"], r["set"]) in MAIN
    ]
    every = table("all figures", head, body[:MOST_ROWS], 2)
    return {"head": head, "body": main, "say": said if compared else "", "table": every}


def _paired(p: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One part a pair: the last shared checkpoint in the open, every checkpoint behind a fold."""
    pairs: dict[tuple[str, str], dict[tuple[str, str], list[dict[str, Any]]]] = {}
    for row in p["paired"]:
        curves = pairs.setdefault((row["first"], row["second"]), {})
        curves.setdefault((row["measure"], row["set"]), []).append(row)
    out = []
    for (first, second), curves in pairs.items():
        rows = [row for found in curves.values() for row in found]
        apart = any(row["seeds_apart"] is not None for row in rows)
        told = sum(any(row["distinguishable"] for row in found) for found in curves.values())
        measured = sum(any(row["lo"] is not None for row in found) for found in curves.values())
        say = "Too few shared prompts for an interval: six are the fewest."
        if measured:
            say = (
                f"{told} of {measured} curves can be told apart at some checkpoint; where nothing differs, about one in twenty "
                f"would be by chance ({number(0.05 * measured)} of {measured})."
            )
        head = ["measure", "step", "difference", "95 % over prompts", "prompts", "distinguishable"]
        head += ["all trainings apart"] if apart else []
        body = [_difference(max(found, key=lambda r: r["step"]), apart) for found in curves.values()]
        every = table("every shared checkpoint", head, [_difference(row, apart) for row in rows][:MOST_ROWS])
        part = {"first": first, "second": second, "say": say, "one": not apart}
        out.append({**part, "head": head, "body": body, "table": every})
    return out


def _difference(row: Mapping[str, Any], apart: bool) -> list[str]:
    mark = "–" if row["lo"] is None else ("yes" if row["distinguishable"] else "no")
    cells = [full_name(row["measure"], row["set"]), f"{row['step']}", number(row["difference"], signed=True)]
    cells += [interval(row["lo"], row["hi"]) or "–", f"{row['prompts']}", mark]
    return [*cells, {None: "–", True: "yes", False: "no"}[row["seeds_apart"]]] if apart else cells
