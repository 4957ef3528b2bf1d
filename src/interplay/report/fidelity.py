"""How well interactions reproduce the model: error over the steps, one prompt's scores, strength by rank [paper eq 2-3]."""

import math
from typing import Any

from interplay.report.chart import Line, Panel, cell
from interplay.report.rows import Part, Point, Series, decided, flags_of, series_by, table_rows
from interplay.report.scales import StepAxis, value_axis
from interplay.report.text import WORDS, interval, number, plain, table

RANK_TICKS = (1, 10, 100, 1_000, 10_000, 100_000)
SHADES = ("s-removed", "s-preserved", "s-all", "s-emerged")
CURVES = (("all", "s-preserved", "dots"), ("salient", "s-emerged", "dots"), ("score", "s-all", ""))


def fidelity_part(payload: Part, x: StepAxis) -> dict[str, Any] | None:
    """Everything of the section; None if nothing of it was measured."""
    fidelity = payload.get("fidelity")
    if not fidelity:
        return None
    panels, errors = _errors(fidelity, payload, x)
    sparsity = _sparsity(fidelity, payload)
    typical = [m for m in fidelity["matching"] if len(m["score"]) > 1]
    if not (panels or sparsity or typical):
        return None
    body = [
        [one["prompt"], f"{one['step']}", *(number(one[key][i]) for key in ("score", "all", "salient"))]
        for one in typical
        for i in range(0, len(one["score"]), 3)
    ]
    head = ["prompt", "step", "score (log-odds)", "all interactions", "salient only"]
    tables = [errors, table("Scores against the interactions", head, body)]
    panels += [sparsity] if sparsity else []
    return {
        "panels": panels,
        "matching": [_matching(one, payload) for one in typical],
        "tables": [t for t in tables if t],
    }


def _errors(fidelity: Part, payload: Part, x: StepAxis) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    found = series_by(fidelity["rows"], "measure")
    rms, every, r2 = (found.get((name,), Series("", ())) for name in ("rms", "rms_all", "r2"))
    panels = []
    if rms.course:
        lines = [Line(rms, "s-all", label="salient only")]
        lines += [Line(every, "s-preserved", label="all", thin=True)] if every.known else []
        null = "random set" if rms.has_null else ""
        panel = Panel(
            "Matching error", "s-all", tuple(lines), "rms / sd of score", "error", null, width=540.0, height=230.0
        )
        panels.append(cell(panel, x, value_axis(panel.extent()), flags_of(payload), say=WORDS["fidelity"]["rms"]))
    names = {"error, salient only (rms / sd)": rms, "error, all interactions (rms / sd)": every, "R², salient only": r2}
    body = [row for name, series in names.items() for row in table_rows(name, series, True)]
    head = ["figure", "step", "value", "95 % interval", "random set", "its 95 % interval", "prompts"]
    return panels, table("Matching error", head, body)


def _sparsity(fidelity: Part, payload: Part) -> dict[str, Any] | None:
    ranks = [float(r) for r in fidelity["ranks"]]
    found = [c for c in fidelity["curves"] if any(v is not None for v in c["value"])]
    if len(ranks) < 2 or not found:
        return None
    keep = payload["recommendation"]["step"] if decided(payload) else None
    lines = []
    for i, c in enumerate(found):
        css = "s-emerged" if c is found[-1] and i else SHADES[min(i, len(SHADES) - 2)]
        points = tuple(map(Point, ranks, c["value"], c["lo"], c["hi"]))
        lines.append(Line(Series("all", points), css, "", f"step {c['step']}"))
    ratio = fidelity["ratio"]
    ticks = tuple(float(t) for t in RANK_TICKS if ranks[0] <= t <= ranks[-1])
    places = tuple(sorted({*ranks, *ticks}))
    at = tuple(math.log(rank / ranks[0]) / math.log(ranks[-1] / ranks[0]) for rank in places)
    axis = StepAxis(places, at, "rank of the interaction, log scale", ticks)
    tips, body = [], []
    for k, rank in enumerate(fidelity["ranks"]):
        tip = [f"rank {rank}"]
        for c in found:
            value, ci = number(c["value"][k]), interval(c["lo"][k], c["hi"][k])
            tip.append(f"step {c['step']}{' (keep)' * (c['step'] == keep)}: {value}" + (f" ({ci})" if ci else ""))
            body.append([f"step {c['step']}", f"{rank}", value, ci or "–"])
        tips.append((float(rank), "\n".join(tip)))
    said = "Strength of interactions by rank, as a fraction of the strongest"
    level = None if ratio is None else (ratio, f"tau, {100 * ratio:g} %")
    look: dict[str, Any] = {"level": level, "tips": tips, "said": said, "width": 540.0, "height": 230.0}
    panel = Panel("Strength by rank", "s-all", tuple(lines), "fraction of the strongest", "", **look)
    head = ["checkpoint", "rank", "fraction of the strongest", "95 % interval"]
    every = table("Strength by rank", head, body)
    return cell(panel, axis, value_axis([0.0, 1.0]), say=WORDS["fidelity"]["rank"], table=every)


def _matching(one: Part, payload: Part) -> dict[str, Any]:
    places = [float(i) for i in range(len(one["score"]))]
    lines = tuple(Line(Series(name, tuple(map(Point, places, one[name]))), css, mark) for name, css, mark in CURVES)
    y = value_axis([*one["score"], *one["salient"], *one["all"]], zero=False)
    at = tuple(i / places[-1] for i in places)
    axis = StepAxis(tuple(places), at, f"{one['of'] or len(places):,} coalitions, lowest score first", ())
    tips = []
    for i in range(0, len(places), 4):
        score, every, salient = (number(one[key][i]) for key in ("score", "all", "salient"))
        tips.append((places[i], f"score {score}\nall interactions {every}\nsalient only {salient} log-odds"))
    said = f"Scores of prompt {plain(one['prompt'], 60)} at step {one['step']}"
    kept = " · keep" if decided(payload) and one["step"] == payload["recommendation"]["step"] else ""
    panel = Panel(
        f"Step {one['step']}{kept}",
        "s-all",
        lines,
        f"error {number(one['rms'])}",
        "",
        tips=tips,
        said=said,
        width=540.0,
        height=230.0,
    )
    say = f"Prompt {plain(one['prompt'], 40)}, {number(one['count'])} salient interactions."
    return cell(panel, axis, y, say=say)
