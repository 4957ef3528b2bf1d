"""How well interactions stand for the model: matching error over the steps, one prompt's scores, strength by rank.

Editorial part only: which charts, with which words and tables; nothing is computed here. [paper eq 2-3; lineage]
"""

from typing import Any

from interplay.report.chart import Line, Panel, cell, draw
from interplay.report.rows import Point, Series, cells, decided, flags_of, point_of
from interplay.report.scales import NumberAxis, StepAxis, value_axis
from interplay.report.schema import Part
from interplay.report.text import interval, number, plain, table

RANK_TICKS = (1, 10, 100, 1_000, 10_000, 100_000)
SHADES = ("s-removed", "s-preserved", "s-all", "s-emerged")


def fidelity_part(payload: Part, x: StepAxis) -> dict[str, Any] | None:
    """Everything of the section; None where nothing of it was measured."""
    fidelity = payload.get("fidelity")
    if not fidelity:
        return None
    panels, errors = _errors(fidelity, payload, x)
    sparsity = _sparsity(fidelity, payload)
    typical = _typical(fidelity)
    matching = [_matching(one, payload) for one in typical]
    if not (panels or sparsity or matching):
        return None
    tables = [t for t in (errors, sparsity and sparsity["table"], _matching_table(typical)) if t]
    return {"panels": panels, "sparsity": sparsity, "matching": matching, "tables": tables}


def _typical(fidelity: Part) -> list[Part]:
    """At each step that has a curve by rank, the prompt of median error; the other prompts are in the explorer."""
    out = []
    for step in [c["step"] for c in fidelity["curves"]]:
        known = [m for m in fidelity["matching"] if m["step"] == step and m["rms"] is not None and len(m["score"]) > 1]
        if known:
            out.append(sorted(known, key=lambda m: (m["rms"] or 0.0, m["prompt"]))[len(known) // 2])
    return out


def _series(fidelity: Part, measure: str) -> Series:
    rows = sorted((r for r in fidelity["rows"] if r["measure"] == measure), key=lambda r: r["step"])
    return Series(measure, tuple(point_of(row) for row in rows))


def _errors(fidelity: Part, payload: Part, x: StepAxis) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    rms, every, r2 = (_series(fidelity, name) for name in ("rms", "rms_all", "r2"))
    panels = []
    if rms.known:
        lines = [Line(rms, "s-all", label="salient only")]
        lines += [Line(every, "s-preserved", label="all", thin=True)] if every.known else []
        null = "random set" if rms.has_null else ""
        panel = Panel("Matching error", "s-all", tuple(lines), "rms / sd of score", "error", null)
        say = "0 is exact, 1 is no better than the mean score. Random set: as many interactions, drawn blindly."
        panels.append(cell(panel, x, value_axis(panel.extent()), flags_of(payload), say=say))
    if r2.known:
        panel = Panel("Explained by the salient", "s-all", (Line(r2, "s-all"),), "R²", "R²", level=(0.0, "mean score"))
        say = "Share of the scores' variance that the salient interactions alone give back."
        panels.append(cell(panel, x, value_axis([*panel.extent(), 1.0]), flags_of(payload), say=say))
    names = {"error, salient only (rms / sd)": rms, "error, all interactions (rms / sd)": every, "R², salient only": r2}
    body = [
        [name, f"{p.step}", *cells(p, True), number(p.samples)] for name, series in names.items() for p in series.points
    ]
    head = ["figure", "step", "value", "95 % interval", "random set", "its 95 % interval", "prompts"]
    return panels, table("Matching error", head, body)


def _sparsity(fidelity: Part, payload: Part) -> dict[str, Any] | None:
    ranks = [float(r) for r in fidelity["ranks"]]
    found = [c for c in fidelity["curves"] if any(v is not None for v in c["value"])]
    if len(ranks) < 2 or not found:
        return None
    keep = payload["recommendation"]["step"] if decided(payload) else None
    drawn = []
    for i, c in enumerate(found):
        css = "s-emerged" if c is found[-1] and i else SHADES[min(i, len(SHADES) - 2)]
        points = (Point(*at) for at in zip(ranks, c["value"], c["lo"], c["hi"], strict=True))
        drawn.append(Line(Series("all", tuple(points)), css, "", f"step {c['step']}"))
    ratio = fidelity["ratio"]
    ticks = tuple(float(t) for t in RANK_TICKS if ranks[0] <= t <= ranks[-1])
    axis = NumberAxis((ranks[0], ranks[-1]), ticks, "rank of the interaction, log scale", log=True)
    tips, body = [], []
    for k, rank in enumerate(fidelity["ranks"]):
        lines = [f"rank {rank}"]
        for c in found:
            ci = interval(c["lo"][k], c["hi"][k])
            kept = " (keep)" if c["step"] == keep else ""
            lines.append(f"step {c['step']}{kept}: {number(c['value'][k])}" + (f" ({ci})" if ci else ""))
            body.append([f"step {c['step']}", f"{rank}", number(c["value"][k]), ci or "–"])
        tips.append((float(rank), "\n".join(lines)))
    head = ["checkpoint", "rank", "share of the strongest", "95 % interval"]
    said = "Strength of interactions by rank, as a share of the strongest"
    level = None if ratio is None else (ratio, f"tau, {100 * ratio:g} %")
    panel = Panel("", "s-all", tuple(drawn), "", "", "", (), level, tips, said, 554.0)
    return {
        "svg": draw(panel, axis, value_axis([0.0, 1.0])),
        "title": "Strength by rank",
        "unit": "share of the strongest",
        "css": "s-all",
        "say": "The steeper the fall, the fewer interactions carry the score. Above the dashed line an interaction counts as "
        "salient. Mean over prompts, 95 % interval.",
        "table": table("Strength by rank", head, body),
    }


def _matching(one: Part, payload: Part) -> dict[str, Any]:
    places = [float(i) for i in range(len(one["score"]))]
    lines = tuple(
        Line(Series(name, tuple(map(Point, places, one[name]))), css, marker)
        for name, css, marker in (
            ("all", "s-preserved", "dots"),
            ("salient", "s-emerged", "dots"),
            ("score", "s-all", ""),
        )
    )
    y = value_axis([*one["score"], *one["salient"], *one["all"]], zero=False)
    axis = NumberAxis((0.0, places[-1]), (), f"{one['of'] or len(places):,} coalitions, lowest score first")
    tips = [
        (
            places[i],
            f"score {number(one['score'][i])}\nall interactions {number(one['all'][i])}\n"
            f"salient only {number(one['salient'][i])} log-odds",
        )
        for i in range(0, len(places), 4)
    ]
    said = f"Scores of prompt {plain(one['prompt'], 60)} at step {one['step']}"
    kept = " · keep" if decided(payload) and one["step"] == payload["recommendation"]["step"] else ""
    return {
        "title": f"Step {one['step']}{kept}",
        "css": "s-all",
        "unit": f"error {number(one['rms'])}",
        "svg": draw(Panel("", "s-all", lines, "", "", tips=tips, said=said), axis, y),
        "say": f"Prompt {plain(one['prompt'], 40)}, {number(one['count'])} salient interactions.",
    }


def _matching_table(typical: list[Part]) -> dict[str, Any] | None:
    body = [
        [one["prompt"], f"{one['step']}", number(one["score"][i]), number(one["all"][i]), number(one["salient"][i])]
        for one in typical
        for i in range(0, len(one["score"]), 3)
    ]
    head = ["prompt", "step", "score (log-odds)", "all interactions", "salient only"]
    return table("Scores against the interactions", head, body)
