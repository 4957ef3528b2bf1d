"""The top of the page: the headline, its evidence, and the strip of checkpoints with what each rule would keep."""

from typing import Any

from markupsafe import Markup

from interplay.dynamics.sets import MAIN_SETS
from interplay.report.chart import Line, Panel, cell
from interplay.report.rows import Part, Point, Series, Summary, decided, flags_of
from interplay.report.scales import StepAxis, value_axis
from interplay.report.text import WORDS, interval, number, table

FEW = 5  # figures that fit next to the headline one by one; more become curves over the steps if they can [ours]


def headline(payload: Part) -> tuple[str, int | None]:
    """The headline's words and its step; a default step, without evidence, is not called the one to keep.

    >>> headline({"recommendation": {"step": 40, "sentence": "Keep step 40: it is the lowest.", "basis": "rule"}})
    ('Keep step', 40)
    >>> headline({"recommendation": {"step": 80, "sentence": "No evidence to choose: 2 prompts.", "basis": "last"}})
    ('No evidence to choose', None)
    """
    recommendation = payload["recommendation"]
    said = {"only": "Nothing to compare", "base": recommendation["sentence"].partition(":")[0]}
    if (basis := recommendation.get("basis")) in said:
        return said[basis], None
    if decided(payload):
        return "Keep step", recommendation["step"]
    return ("No checkpoint stands out" if recommendation["step"] is None else "No evidence to choose"), None


def recommendation_part(payload: Part, x: StepAxis) -> dict[str, Any]:
    """Headline, sentence without what the headline already says, and evidence: as figures, or as panels over the steps."""
    words, step = headline(payload)
    sentence = payload["recommendation"]["sentence"].removeprefix(f"{words} {step}: ").removeprefix(f"{words}: ")
    sentence = sentence[:1].upper() + sentence[1:]
    evidence = payload["recommendation"]["evidence"]
    titles = {e["name"]: WORDS["evidence"].get(e["name"]) or WORDS["names"].get(e["name"], e["name"]) for e in evidence}
    named = [(titles[e["name"]] + ("" if e["step"] is None else f", step {e['step']}"), e) for e in evidence]
    over_steps = len(evidence) > FEW and all(e["step"] is not None for e in evidence)
    panels = []
    for name in titles if over_steps else ():
        points = [Point(e["step"], e["value"], e["lo"], e["hi"]) for e in evidence if e["name"] == name]
        line = Line(Series("all", tuple(sorted(points))), "s-all")
        panel = Panel(titles[name], "s-all", (line,), "", titles[name])
        panels.append(cell(panel, x, value_axis(panel.extent()), flags_of(payload)))
    body = [[name, number(e["value"]), interval(e["lo"], e["hi"]) or "–"] for name, e in named]
    return {
        "words": words,
        "step": step,
        "sentence": sentence,
        "figures": [] if over_steps else named[:FEW],
        "panels": panels,
        "table": table("Evidence", ["figure", "value", "95 % interval"], body) if len(evidence) > FEW else None,
    }


def strip(payload: Part, summary: Summary) -> dict[str, Any]:
    """The strip of checkpoints: bars of what is present and what is gone, and which rule would pick which."""
    definition = (summary.definitions or [""])[0]
    at: dict[int, dict[str, float]] = {}
    for step in payload["steps"]:
        points = {s: summary.series(definition, s, "strength").at(step) for s in MAIN_SETS}
        at[step] = {s: (p.value if p else None) or 0.0 for s, p in points.items()}
    up = max(strengths["preserved"] + strengths["emerged"] for strengths in at.values())
    whole = up + max(strengths["removed"] for strengths in at.values())
    columns = []
    for step, strengths in at.items():
        tip = ", ".join(f"{s} {number(strength)}" for s, strength in strengths.items())
        bars = {s: Markup(f"{100 * strength / (whole or 1.0):.2f}") for s, strength in strengths.items()}
        columns.append({"step": step, "bars": bars, "tip": f"step {step}\nstrength in log-odds: {tip}"})
    recommendation = payload["recommendation"]
    return {
        "columns": columns,
        "has_bars": whole > 0,
        "above": Markup(f"{100 * up / (whole or 1.0):.2f}"),
        "definition": definition,
        "keep": recommendation["step"],
        "decided": decided(payload),
        "rivals": [(WORDS["names"].get(name, name), step) for name, step in recommendation["rivals"].items()],
    }
