"""The top of the page: the headline, the evidence behind it, and the strip of checkpoints with who would keep which.

The headline says no more than the rule does: a step that was named for want of evidence is not called the one to keep.
"""

import re
from typing import Any

from markupsafe import Markup

from interplay.report.chart import Line, Panel, cell
from interplay.report.rows import Point, Series, Summary, decided, flags_of
from interplay.report.scales import StepAxis, value_axis
from interplay.report.schema import Part
from interplay.report.text import interval, number, table

FEW = 5  # figures that fit beside the headline one by one; more are drawn over the steps where they can be [ours]
NAMES = {
    "cancelled_per_sd": "cancelled strength per sd",
    "interaction_loss": "interaction loss",
    "above_lowest": "log distance above the lowest",
    "eval_loss": "lowest eval loss",
    "accuracy": "best accuracy",
    "interactions": "interaction loss",
    "prompt_loss": "lowest loss on the prompts",
    "strength": "least strength per spread",
    "l1": "smallest total strength",
    "last": "last checkpoint",
}
# As evidence a metric is a curve, not a rule that picks its best.
FIGURES = {"accuracy": "eval accuracy", "eval_loss": "eval loss"}
_AT_STEP = re.compile(r"(.*\S), step (\d{1,12})", re.DOTALL)


def headline(payload: Part) -> tuple[str, int | None]:
    """The headline's words and the step that belongs in it.

    >>> headline({"recommendation": {"step": 40, "sentence": "Keep step 40: it is the lowest.", "basis": "rule"}})
    ('Keep step', 40)
    >>> headline({"recommendation": {"step": 80, "sentence": "No evidence to choose: 2 prompts.", "basis": "last"}})
    ('No evidence to choose', None)
    """
    recommendation = payload["recommendation"]
    if recommendation.get("basis") == "only":
        return "Nothing to compare", None
    if decided(payload):
        return "Keep step", recommendation["step"]
    return ("No checkpoint stands out" if recommendation["step"] is None else "No evidence to choose"), None


def recommendation_part(payload: Part, x: StepAxis) -> dict[str, Any]:
    """Headline, sentence without what the headline already says, and evidence: as figures, or as panels over the steps."""
    words, step = headline(payload)
    sentence = payload["recommendation"]["sentence"]
    for said in (f"{words} {step}: ", f"{words}: "):
        if sentence.startswith(said):
            sentence = sentence[len(said) :]
            sentence = sentence[:1].upper() + sentence[1:]
    evidence = payload["recommendation"]["evidence"]
    placed = [_placed(e) for e in evidence]
    over_steps = len(evidence) > FEW and all(at in payload["steps"] for _, at, _ in placed)
    part: dict[str, Any] = {
        "words": words,
        "step": step,
        "sentence": sentence,
        "figures": [],
        "panels": [],
        "table": None,
    }
    if over_steps:
        part["panels"] = _panels(payload, placed, x)
    else:
        part["figures"] = [(_figure_name(e), e) for e in evidence[:FEW]]
    if over_steps or len(evidence) > FEW:
        body = [[_figure_name(e), number(e["value"]), interval(e["lo"], e["hi"]) or "–"] for e in evidence]
        part["table"] = table("Evidence", ["figure", "value", "95 % interval"], body)
    return part


def _placed(e: Part) -> tuple[str, int, Part]:
    """Name, step (-1: none) and figure; a step may also stand at the end of the name, as in "l1, step 40"."""
    if (step := e.get("step")) is not None:
        return e["name"], step, e
    found = _AT_STEP.fullmatch(e["name"])
    return (found[1], int(found[2]), e) if found else (e["name"], -1, e)


def _figure_name(e: Part) -> str:
    name, step, _ = _placed(e)
    return (FIGURES.get(name) or NAMES.get(name, name)) + (f", step {step}" if step >= 0 else "")


def _panels(payload: Part, placed: list[tuple[str, int, Part]], x: StepAxis) -> list[dict[str, Any]]:
    out = []
    for name in dict.fromkeys(name for name, _, _ in placed):
        found = {at: e for n, at, e in placed if n == name}
        points = tuple(Point(at, e["value"], e["lo"], e["hi"]) for at, e in sorted(found.items()))
        title = FIGURES.get(name) or NAMES.get(name, name)
        panel = Panel(title, "s-all", (Line(Series("all", points), "s-all"),), "", title)
        out.append(cell(panel, x, value_axis(panel.extent()), flags_of(payload)))
    return out


def strip(payload: Part, summary: Summary) -> dict[str, Any]:
    """The strip of checkpoints under the recommendation: bars of what is there and what is gone, and who would pick which."""
    definition = summary.definitions[0] if summary.definitions else ""
    found = {set_: summary.series(definition, set_, "strength") for set_ in ("preserved", "emerged", "removed")}

    def at(set_: str, step: int) -> float:
        p = found[set_].at(step)
        return p.value if p and p.value is not None else 0.0

    up = max((at("preserved", s) + at("emerged", s) for s in payload["steps"]), default=0.0)
    down = max((at("removed", s) for s in payload["steps"]), default=0.0)
    whole = up + down
    columns = []
    for step in payload["steps"]:
        heights = {set_: 100 * at(set_, step) / whole if whole else 0.0 for set_ in found}
        said = ", ".join(f"{set_} {number(at(set_, step))}" for set_ in found)
        columns.append(
            {
                "step": step,
                "bars": {k: Markup(f"{v:.2f}") for k, v in heights.items()},
                "tip": f"step {step}\nstrength in log-odds: {said}",
                "reference": step == payload["reference"],
            }
        )
    recommendation = payload["recommendation"]
    picks = [(NAMES.get(name, name), step) for name, step in recommendation["rivals"].items()]
    return {
        "columns": columns,
        "has_bars": whole > 0,
        "above": Markup(f"{100 * up / whole if whole else 0:.2f}"),
        "definition": definition,
        "keep": recommendation["step"],
        "decided": decided(payload),
        "rivals": picks,
    }
