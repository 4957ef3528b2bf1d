"""The page of a comparison: payload in, one offline HTML file out, in the look of the report and as closed as it.

Payload (made by `interplay.runs.comparison_tables.comparison_payload`; plain values only):
version, reading, axis (`steps` or `epochs`), notes; runs: name, title, seed, recommended, recommended_x, basis;
groups: name, runs; settings, overview, curves, means, spread, paired: rows of the tables of those names; paired_prompts.

Strings are untrusted: control characters go here, escaping is jinja2's. It reads no run and computes no figure.
"""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from interplay.atomic import write_text
from interplay.report import text
from interplay.report.checks import clean
from interplay.report.comparison_chart import Curve, Dot, draw, extent, letter, sample, shared_axis
from interplay.report.comparison_text import BY_SET, MAIN, NAMES, SETS, TASK, WHOLE, Drawn, full_name
from interplay.report.pages import render_page
from interplay.report.rows import DECIDED
from interplay.report.scales import StepAxis, log_axis, value_axis

STYLES = ("base.css", "charts.css", "comparison.css")
SCRIPTS = ("tips.js",)
MOST_ROWS = 2000  # of a table behind a fold; --json has all


class _Key(NamedTuple):
    kind: str
    measure: str
    set: str


def render(payload: Mapping[str, Any]) -> str:
    """The whole page as a string; the same payload gives the same bytes."""
    p = _cleaned(payload)
    caption = "optimiser step" if p["axis"] == "steps" else "epoch"
    drawing = _Drawing(p, shared_axis([row["x"] for row in p["curves"]] or [0.0], caption))
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
        turnover=[drawing.by_set(m) for m in BY_SET if m.room == "turnover"],
        quality=[drawing.by_set(m) for m in BY_SET if m.room == "quality"],
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


def _cleaned(value: Any) -> Any:
    """The payload without characters that no page can show."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {clean(str(key)): _cleaned(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_cleaned(item) for item in value]
    return value


def _heading(p: Mapping[str, Any]) -> str:
    groups = [group["name"] for group in p["groups"]]
    if len(groups) == 1:
        return f"{groups[0]}: {len(p['runs'])} trainings"
    if len(groups) <= 3:
        return " against ".join(groups)
    return f"{len(p['runs'])} runs compared"


def _legend(p: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "letter": letter(i),
            "css": f"r-{i % 8}",
            "sample": sample(i),
            "name": group["name"],
            "runs": group["runs"] if len(group["runs"]) > 1 else [],
        }
        for i, group in enumerate(p["groups"])
    ]


class _Drawing:
    """All charts of a page: they share one axis, and each row of charts shares its values' axis."""

    def __init__(self, p: Mapping[str, Any], x: StepAxis) -> None:
        self.p = p
        self.x = x
        self.kept = {run["name"]: run["recommended_x"] for run in p["runs"]}
        self.dots: dict[tuple[_Key, str], list[Dot]] = defaultdict(list)
        self.means: dict[tuple[_Key, str], list[Dot]] = defaultdict(list)
        for rows, found, owner in ((p["curves"], self.dots, "run"), (p["means"], self.means, "group")):
            for row in sorted(rows, key=lambda r: r["x"]):
                key = _Key(row["kind"], row["measure"], row["set"])
                found[key, row[owner]].append(Dot(row["x"], row["value"], row["lo"], row["hi"], row["null"]))

    def curves(self, key: _Key) -> list[Curve]:
        """One curve a group that has the measure; a group of one is its run."""
        out = []
        for i, group in enumerate(self.p["groups"]):
            runs = [(name, tuple(self.dots[key, name])) for name in group["runs"] if (key, name) in self.dots]
            if not runs:
                continue
            kept = tuple((name, self.kept[name]) for name, _ in runs)
            if len(group["runs"]) == 1:
                out.append(Curve(runs[0][0], i, runs[0][1], (), kept))
            else:
                out.append(Curve(group["name"], i, tuple(self.means.get((key, group["name"]), ())), tuple(runs), kept))
        return out

    def missing(self, curves: Sequence[Curve]) -> str:
        """Which groups, or runs of one, a chart lacks."""
        there = {name for curve in curves for name, _ in curve.kept}
        lacking = [run["name"] for run in self.p["runs"] if run["name"] not in there]
        return f"Not measured in {', '.join(text.plain(name, 60) for name in lacking)}." if lacking else ""

    def by_set(self, m: Drawn) -> dict[str, Any]:
        """One measure for every set on one value axis."""
        found = {name: self.curves(_Key(m.kind, m.measure, name)) for name in SETS}
        found = {name: curves for name, curves in found.items() if curves}
        if not found:
            return {
                "title": m.title,
                "look": "",
                "panels": [],
                "note": m.missing or "Not measured in these runs.",
                "table": None,
            }
        y = value_axis([v for curves in found.values() for v in extent(curves)], zero=m.zero)
        panels = [  # a set without figures keeps its column empty, so that a column is the same set all the way down
            {
                "title": name,
                "unit": m.unit,
                "svg": draw(found[name], self.x, y, f"{m.title}, {name}", m.null),
                "say": "",
            }
            if name in found
            else None
            for name in SETS
        ]
        note = self.missing([curve for curves in found.values() for curve in curves])
        keys = [_Key(m.kind, m.measure, name) for name in found]
        return {
            "title": m.title,
            "look": m.look,
            "panels": panels,
            "note": note,
            "table": self.table(keys, m.title, m.null),
        }

    def whole(self, measures: Sequence[Drawn], kind: str) -> dict[str, Any]:
        """Measures without sets, each with a value axis of its own."""
        panels, keys = [], []
        for m in measures:
            key = _Key(kind, m.measure, "all")
            curves = self.curves(key)
            if not curves:
                continue
            y = (log_axis if m.log else value_axis)(extent(curves), **({} if m.log else {"zero": m.zero}))
            svg = draw(curves, self.x, y, m.title, m.null)
            say = " ".join(part for part in (m.look, self.missing(curves)) if part)
            panels.append(
                {
                    "title": m.title,
                    "unit": f"{m.unit}, log scale".lstrip(", ") if y.log else m.unit,
                    "svg": svg,
                    "say": say,
                }
            )
            keys.append(key)
        return {"panels": panels, "table": self.table(keys, "these figures", "null") if keys else None}

    def table(self, keys: Sequence[_Key], title: str, null_name: str) -> dict[str, Any]:
        """What the charts draw, as rows."""
        body = []
        for key in keys:
            for run in self.p["runs"]:
                for dot in self.dots.get((key, run["name"]), ()):
                    cells = [run["name"], full_name(key.measure, key.set), f"{dot.x:.4g}", text.number(dot.value)]
                    body.append([*cells, text.interval(dot.lo, dot.hi) or "–", text.number(dot.null)])
        head = [
            "run",
            "measure",
            "epoch" if self.p["axis"] == "epochs" else "step",
            "value",
            "95 % over prompts",
            null_name or "null",
        ]
        return {"caption": title, "head": head, "body": body[:MOST_ROWS], "words": 2}


def _settings(p: Mapping[str, Any]) -> dict[str, Any] | None:
    if not p["settings"]:
        return None
    names = [run["name"] for run in p["runs"]]
    body = [[row["setting"], *(row[name] for name in names)] for row in p["settings"]]
    return {"head": ["setting", *names], "body": body}


def _overview(p: Mapping[str, Any]) -> dict[str, Any]:
    """Runs in rows; figures that no run has are left out."""
    rows = p["overview"]
    figures = [
        key
        for key in rows[0]
        if key.startswith("last_") and key != "last_step" and any(r[key] is not None for r in rows)
    ]
    several = len(p["groups"]) < len(p["runs"])
    head = ["run", *(["group"] if several else []), "seed", "keep", "lowest eval loss", "best accuracy", "last step"]
    body = []
    for row in rows:
        kept = f"{row['recommended']}" + ("" if row["basis"] in (None, *DECIDED) else "*")
        best = [
            "–" if row[f"best_{key}"] is None else f"{text.number(row[f'best_{key}'])} at {row[f'best_{key}_step']}"
            for key in ("eval_loss", "accuracy")
        ]
        cells = [row["run"], *([row["group"]] if several else []), f"{row['seed']}", kept, *best, f"{row['last_step']}"]
        body.append(cells + [text.number(row[key]) for key in figures])
    doubtful = any(row["basis"] not in (None, *DECIDED) for row in rows)
    return {
        "head": head
        + [NAMES.get(key.removeprefix("last_"), key.removeprefix("last_").replace("_", " ")) for key in figures],
        "body": body,
        "words": 2 if several else 1,
        "note": "* named for want of evidence." if doubtful else "",
    }


def _spread(p: Mapping[str, Any]) -> dict[str, Any] | None:
    """Between trainings, beside what other prompts would change; None where no group has several trainings."""
    rows = sorted(p["spread"], key=lambda r: (*_place(r), [g["name"] for g in p["groups"]].index(r["group"])))
    if not rows:
        return None
    compared = [row for row in rows if row["ratio"] is not None]
    over = sum(row["ratio"] > 1 for row in compared)
    head = [
        "measure",
        "group",
        "step",
        "mean",
        "lowest to highest training",
        "sd",
        "± over prompts",
        "trainings / prompts",
    ]
    body = [
        [full_name(row["measure"], row["set"], row["kind"]), row["group"], f"{row['step']}", text.number(row["value"]),
         text.interval(row["lowest"], row["highest"]), text.number(row["sd"]), text.number(row["half_width"]),
         text.number(row["ratio"])]
        for row in rows
    ]  # fmt: skip
    main = [i for i, row in enumerate(rows) if row["kind"] == "task" or (row["measure"], row["set"]) in MAIN]
    said = (
        f"In {over} of {len(compared)} figures the trainings differ by more than other prompts would change them (last "
        "column over 1)."
    )
    return {
        "head": head,
        "body": [body[i] for i in main],
        "say": said if compared else "",
        "table": {"caption": "all figures", "head": head, "body": body[:MOST_ROWS], "words": 2},
    }


def _place(row: Mapping[str, Any]) -> tuple[int, str, str]:
    """Where a figure stands among the others: the task first, as on the page."""
    return ("task", "interactions", "multiples").index(row["kind"]), row["measure"], row["set"]


def _paired(p: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One part a pair: the last shared checkpoint in the open, every checkpoint behind a fold."""
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in p["paired"]:
        pairs[row["first"], row["second"]].append(row)
    out = []
    for (first, second), rows in pairs.items():
        curves: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
        for row in rows:
            curves[row["measure"], row["set"]].append(row)
        lasts = [max(found, key=lambda r: r["step"]) for found in curves.values()]
        apart = any(row["seeds_apart"] is not None for row in rows)
        told = sum(any(row["distinguishable"] for row in found) for found in curves.values())
        measured = sum(any(row["lo"] is not None for row in found) for found in curves.values())
        head = ["measure", "step", "difference", "95 % over prompts", "prompts", "distinguishable"]
        head += ["all trainings apart"] if apart else []
        out.append(
            {
                "first": first,
                "second": second,
                "say": _told(told, measured),
                "one": not apart,
                "head": head,
                "body": [_difference(row, apart) for row in lasts],
                "table": {
                    "caption": "every shared checkpoint",
                    "head": head,
                    "body": [_difference(row, apart) for row in rows][:MOST_ROWS],
                    "words": 1,
                },
            }
        )
    return out


def _told(told: int, measured: int) -> str:
    if not measured:
        return "Too few shared prompts for an interval: six are the fewest."
    return (
        f"{told} of {measured} curves can be told apart at some checkpoint; where nothing differs, about one in twenty would be "
        f"by chance ({text.number(0.05 * measured)} of {measured})."
    )


def _difference(row: Mapping[str, Any], apart: bool) -> list[str]:
    mark = "–" if row["lo"] is None else ("yes" if row["distinguishable"] else "no")
    cells = [full_name(row["measure"], row["set"]), f"{row['step']}", text.number(row["difference"], signed=True)]
    cells += [text.interval(row["lo"], row["hi"]) or "–", f"{row['prompts']}", mark]
    return [*cells, {None: "–", True: "yes", False: "no"}[row["seeds_apart"]]] if apart else cells
