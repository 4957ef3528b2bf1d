"""The page of a comparison: payload in, one offline HTML file out.

Payload (made by `interplay.comparison.comparison.Comparison`; plain values only):
version, definition, axis (`steps` or `epochs`), notes; runs: name, title, seed, recommended, recommended_x, basis;
groups: name, runs; settings, overview, curves, means, spread, paired: rows of the tables of those names; paired_prompts.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from interplay.dynamics.measures import MEASURES
from interplay.dynamics.sets import MAIN_SETS
from interplay.report.chart import Line, Panel, cell, figure, markers, path
from interplay.report.rows import DECIDED, Point, Series, cells
from interplay.report.scales import log_axis, step_axis, value_axis
from interplay.report.text import WORDS, cleaned, interval, number, plain, render_page, table, tag
from interplay.task.metrics import METRICS

STYLES = ("base.css", "charts.css", "comparison.css")
COLOURS = 8  # of the style sheet; dashes change too, so 32 lines differ
QUALITY = ("rho", "gamma", "mean_order", "sufficiency")
MOST_ROWS = 2000  # of a table behind a fold; --json has all
# What the open part of the seeds' table shows after the task; the rest is behind a fold.
MAIN = (
    *(("strength", name) for name in MAIN_SETS), ("rho", "all"), ("gamma", "emerged"), ("l1_per_sd", "all"),
    ("cancelled_per_sd", "all"), ("mean_order", "all"),
)  # fmt: skip


class _Key(NamedTuple):
    kind: str
    measure: str
    set: str

    @property
    def null(self) -> str:
        return MEASURES[self.measure].null if self.kind != "task" else ""

    @property
    def unit(self) -> str:
        """The unit on the page; the range stands in for the unit of scores and fractions."""
        if self.kind == "multiples":
            return "times the floor"
        known = (METRICS if self.kind == "task" else MEASURES)[self.measure].unit
        plain_ratio = self.measure.endswith(("_per_sd", "_ppl"))
        return {"interactions per prompt": "per prompt", "": "" if plain_ratio else "0 to 1"}.get(known, known)


def letter(number: int) -> str:
    """The mark at a line's end and in the legend.

    >>> letter(0), letter(25), letter(26)
    ('A', 'Z', 'A2')
    """
    return chr(65 + number % 26) + (str(number // 26 + 1) if number >= 26 else "")


def style(number: int) -> str:
    """Classes that give a line its colour and dashes.

    >>> style(0), style(9)
    ('r-0 d-0', 'r-1 d-2')
    """
    return f"r-{number % COLOURS} d-{(number + number // COLOURS) % 4}"


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
    names = [group["name"] for group in p["groups"]]
    heading = " against ".join(names) if len(names) <= 3 else f"{len(p['runs'])} runs compared"
    several = [group["runs"] if len(group["runs"]) > 1 else [] for group in p["groups"]]
    runs = [run["name"] for run in p["runs"]]
    differing = [[row["setting"], *(row[name] for name in runs)] for row in p["settings"]]
    legend = []
    for i, (name, trainings) in enumerate(zip(names, several, strict=True)):
        line = path(f"curve {style(i)}", [(1.0, 9.0), (39.0, 9.0)]), markers([(20.0, 9.0)], "small", style(i))
        sample = tag("svg", {"viewBox": "0 0 40 18", "aria-hidden": "true", "class": "sample"}, *line)
        legend.append({"letter": letter(i), "css": style(i), "sample": sample, "name": name, "runs": trainings})
    return render_page(
        "comparison.html.j2",
        STYLES,
        ("tips.js",),
        p=p,
        heading=f"{names[0]}: {len(runs)} trainings" if len(names) == 1 else heading,
        legend=legend,
        several=any(several),
        overview=_overview(p),
        settings=table("Settings", ["setting", *runs], differing),
        turnover=[drawing.by_set(*key.split(), *said) for key, said in WORDS["turnover"].items()],
        quality=[drawing.by_set("interactions", key, *WORDS["looks"][key]) for key in QUALITY],
        scale=drawing.whole(WORDS["whole"], "interactions"),
        task=drawing.whole(dict.fromkeys(METRICS, "") | WORDS["task"], "task"),
        spread=_spread(p),
        paired=_paired(p),
    )


class _Drawing:
    """All charts of a page; they share the axis of steps."""

    def __init__(self, p: Mapping[str, Any]) -> None:
        named = ("epoch", "epochs") if p["axis"] == "epochs" else ()
        self.p, self.x = p, step_axis(sorted({row["x"] for row in p["curves"]}) or [0.0], *named)
        self.recommended = {run["name"]: run["recommended_x"] for run in p["runs"]}
        self.points: dict[tuple[_Key, str], list[Point]] = defaultdict(list)  # of runs, and means of groups
        for rows, owner in ((p["curves"], "run"), (p["means"], "group")):
            for row in sorted(rows, key=lambda r: r["x"]):
                key = _Key(row["kind"], row["measure"], row["set"]), f"{owner} {row[owner]}"
                self.points[key].append(Point(row["x"], row["value"], row["lo"], row["hi"], row["null"]))

    def panel(self, key: _Key, title: str) -> Panel | None:
        """One line for each group that has the measure: its only run, or the mean of its runs over a thin line for each."""
        thick, thin = [], []
        for i, group in enumerate(self.p["groups"]):
            names = [name for name in group["runs"] if (key, f"run {name}") in self.points]
            if not names:
                continue
            several = len(group["runs"]) > 1
            for name in names if several else ():
                series = Series(name, tuple(self.points[key, f"run {name}"]))
                thin.append(Line(series, f"seed {style(i)}", "", "", True, ring=self.recommended[name]))
            owner, name = ("group", group["name"]) if several else ("run", names[0])
            series = Series(name, tuple(self.points.get((key, f"{owner} {name}"), ())))
            ring = None if several else self.recommended[name]
            thick.append(Line(series, style(i), "small", letter(i), null=f"chance r-{i % COLOURS}", ring=ring))
        tips = [(at, self.tip(thick, thin, at, key.null)) for at in self.x.steps]
        size: dict[str, Any] = {"width": 356.0, "height": 214.0, "margin": 22.0}
        return Panel("", "", (*thick, *thin), key.unit, "", tips=tips, said=title, **size) if thick else None

    def tip(self, thick: Sequence[Line], thin: Sequence[Line], at: float, null: str) -> str:
        """The figures of one place; "" if there are none."""
        lines = []
        for line in thick:
            if (p := line.series.at(at)) is None:
                continue
            said = figure(f"{line.label} {plain(line.series.set, 60)}:", p, "", "95 %: ")
            runs = [q for other in thin if other.css == f"seed {line.css}" and (q := other.series.at(at))]
            if values := [q.value for q in runs if q.value is not None]:
                said += f"; {len(values)} trainings {number(min(values))} to {number(max(values))}"
            lines.append(said + (f"; {null} {number(p.null)}" if p.null is not None and null else ""))
        where = self.x.caption.partition(",")[0].removesuffix("s")
        return "\n".join([f"{where} {self.x.text(at)}", *lines]) if lines else ""

    def missing(self, keys: Sequence[_Key]) -> str:
        """Which runs a chart lacks."""
        names = [run["name"] for run in self.p["runs"]]
        lacking = [plain(name, 60) for name in names if not any((key, f"run {name}") in self.points for key in keys)]
        return f"Not measured in {', '.join(lacking)}." if lacking else ""

    def by_set(self, kind: str, measure: str, title: str, look: str) -> dict[str, Any]:
        """One measure for every set on one value axis; a set without figures keeps its column empty."""
        keys = {name: _Key(kind, measure, name) for name in MAIN_SETS}
        panels = {name: self.panel(key, f"{title}, {name}") for name, key in keys.items()}
        found = {name: panel for name, panel in panels.items() if panel}
        y = value_axis([v for panel in found.values() for v in panel.extent()], zero=measure != "mean_order")
        drawn = [
            cell(panel, self.x, y, title=name) if panel else dict.fromkeys(("svg", "note", "table"), "")
            for name, panel in panels.items()
        ]
        measured = [keys[name] for name in found]
        nothing = WORDS["missing"].get(measure if kind == "interactions" else kind, "Not measured in these runs.")
        note = self.missing(measured) if found else nothing
        rows = self.table(measured, title, keys["removed"].null)
        return {"title": title, "look": look, "panels": found and drawn, "note": note, "table": rows, "models": []}

    def whole(self, looks: Mapping[str, str], kind: str) -> dict[str, Any]:
        """Measures without sets, each with its own value axis."""
        panels, keys = [], []
        for measure, look in looks.items():
            key, title = _Key(kind, measure, "all"), full_name(measure, "all")
            if kind != "task" and len(MEASURES[measure].sets) > 1:
                title += " of all effects"
            if not (panel := self.panel(key, title)):
                continue
            keys.append(key)
            values, log = panel.extent(), kind == "task" and METRICS[measure].log
            y = log_axis(values) if log else value_axis(values, zero=measure not in ("mean_order", "retention_ppl"))
            unit = f"{key.unit}, log scale".lstrip(", ") if y.log else key.unit
            panels.append(cell(panel, self.x, y, title=title, unit=unit, say=f"{look} {self.missing([key])}".strip()))
        return {"panels": panels, "table": self.table(keys, "these figures", "null")}

    def table(self, keys: Sequence[_Key], title: str, null_name: str) -> dict[str, Any] | None:
        """What the charts draw, as rows."""
        body = [
            [run["name"], full_name(key.measure, key.set), f"{p.step:.4g}", *cells(p), number(p.null)]
            for key in keys
            for run in self.p["runs"]
            for p in self.points.get((key, f"run {run['name']}"), ())
        ]
        at = "epoch" if self.p["axis"] == "epochs" else "step"
        head = ["run", "measure", at, "value", "95 % over prompts", null_name or "null"]
        return table(title, head, body[:MOST_ROWS], 2)


def _overview(p: Mapping[str, Any]) -> dict[str, Any]:
    """Runs in rows; figures that no run has are left out."""
    rows, several = p["overview"], len(p["groups"]) < len(p["runs"])
    last = [key for key in rows[0] if key.startswith("last_") and key != "last_step"]
    figures = [key for key in last if any(row[key] is not None for row in rows)]
    doubtful = [row["basis"] not in (None, *DECIDED) for row in rows]
    body = []
    for row, doubt in zip(rows, doubtful, strict=True):
        shown = [row["run"], *([row["group"]] if several else [])]
        shown += [f"{row['seed']}", f"{row['recommended']}{'*' * doubt}"]
        for key in ("best_eval_loss", "best_accuracy"):
            shown.append("–" if row[key] is None else f"{number(row[key])} at {row[f'{key}_step']}")
        body.append([*shown, f"{row['last_step']}", *(number(row[key]) for key in figures)])
    head = ["run", *(["group"] if several else []), "seed", "keep", "lowest eval loss", "best accuracy", "last step"]
    for key in figures:
        measure, _, set_ = key.removeprefix("last_").rpartition("_")
        by_set = measure in MEASURES and set_ in MAIN_SETS
        head.append(full_name(measure, set_) if by_set else full_name(key.removeprefix("last_"), "all"))
    note = "* No evidence to choose; this checkpoint is only the default." if any(doubtful) else ""
    return {"head": head, "body": body, "words": 2 if several else 1, "note": note}


def _spread(p: Mapping[str, Any]) -> dict[str, Any] | None:
    """Spread between trainings, and what other prompts would change; None if no group has several trainings."""
    groups = [group["name"] for group in p["groups"]]
    kinds = ("task", "interactions", "multiples")
    rows = sorted(p["spread"], key=lambda r: (kinds.index(r["kind"]), r["measure"], r["set"], groups.index(r["group"])))
    if not rows:
        return None
    ratios = [row["ratio"] for row in rows if row["ratio"] is not None]
    say = (
        f"In {sum(ratio > 1 for ratio in ratios)} of {len(ratios)} figures the trainings differ by more than other prompts "
        "would change them (last column over 1)."
    )
    head = ["measure", "group", "step", "mean", "lowest to highest training", "sd", "± over prompts"]
    head.append("trainings / prompts")
    body = [
        [full_name(row["measure"], row["set"], row["kind"]), row["group"], f"{row['step']}", number(row["value"]),
         interval(row["lowest"], row["highest"]), number(row["sd"]), number(row["half_width"]), number(row["ratio"])]
        for row in rows
    ]  # fmt: skip
    main = [c for c, r in zip(body, rows, strict=True) if r["kind"] == "task" or (r["measure"], r["set"]) in MAIN]
    every = table("all figures", head, body[:MOST_ROWS], 2)
    return {"head": head, "body": main, "say": say if ratios else "", "table": every}


def _paired(p: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One part for each pair: the last shared checkpoint in the open, every checkpoint behind a fold."""
    pairs: dict[tuple[str, str], dict[tuple[str, str], list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in p["paired"]:
        pairs[row["first"], row["second"]][row["measure"], row["set"]].append(row)
    out = []
    for (first, second), curves in pairs.items():
        rows = [row for found in curves.values() for row in found]
        apart = any(row["seeds_apart"] is not None for row in rows)
        told = sum(any(row["distinguishable"] for row in found) for found in curves.values())
        measured = sum(any(row["lo"] is not None for row in found) for found in curves.values())
        say = "Too few shared prompts for an interval: it needs at least six."
        if measured:
            say = (
                f"{told} of {measured} curves can be told apart at some checkpoint. Without any real difference, about one in "
                f"twenty would be by chance ({number(0.05 * measured)} of {measured})."
            )
        head = ["measure", "step", "difference", "95 % over prompts", "prompts", "distinguishable"]
        head += ["all trainings apart"] if apart else []
        body = [_difference(max(found, key=lambda r: r["step"]), apart) for found in curves.values()]
        every = table("every shared checkpoint", head, [_difference(row, apart) for row in rows][:MOST_ROWS])
        about = {"first": first, "second": second, "say": say, "one": not apart}
        out.append(about | {"head": head, "body": body, "table": every})
    return out


def _difference(row: Mapping[str, Any], apart: bool) -> list[str]:
    words = {None: "–", True: "yes", False: "no"}
    shown = [full_name(row["measure"], row["set"]), f"{row['step']}", number(row["difference"], signed=True)]
    shown += [interval(row["lo"], row["hi"]) or "–", f"{row['prompts']}"]
    shown.append(words[None if row["lo"] is None else bool(row["distinguishable"])])
    return [*shown, words[row["seeds_apart"]]] if apart else shown
