"""The report: payload in, one HTML file out.

jinja2 escapes every string, and the page's Content-Security-Policy loads nothing and runs only our own script (by hash).

Payload (made by `interplay.analysis.payload`; plain values, whose strings are untrusted):
title, subtitle, version, score (what v is against), steps (ascending), reference (one of them); recommendation: step, sentence, rule, basis, evidence, rivals;
summary: rows of the trajectory's table. What else a page may hold is in `ABSENT`, with what stands for it where it is left out:
task, views, baselines, floors, multiples, correlations: rows of the tables of those names; controls: what controls.json says;
fidelity: rows, ranks, ratio, curves (step, value, lo, hi by rank), matching (prompt, step, count, of, rms, score, salient, all);
prompts: id, text, target, label, n, floor, words (text, start, end) and steps: step, score_full, score_empty, duality_gap, residual,
sigma, tau, shapley (a value a word), interactions (type, mask, before, effect, outcome, certain, instead); method: name, value, note; skipped: id,
reason. change: a sentence on the strongest change; audit: what audit.json holds of `audit.OF_AUDIT`, rules of `audit.OF_RULE`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interplay.atomic import write_text
from interplay.report import figures, text
from interplay.report.audit import audit_part
from interplay.report.controls import controls_part
from interplay.report.explorer import explorer_data, explorer_tables
from interplay.report.fidelity import fidelity_part
from interplay.report.recommendation import recommendation_part, strip
from interplay.report.rows import Part, Summary, decided
from interplay.report.scales import step_axis
from interplay.report.task import task_part
from interplay.report.text import render_page

ABSENT: Part = {
    **dict.fromkeys(("task", "views", "baselines", "floors", "multiples", "correlations"), ()),
    **dict.fromkeys(("prompts", "method", "skipped", "notes"), ()),
    "controls": dict.fromkeys(("views", "baselines", "floors", "notes"), ()),
    **dict.fromkeys(("audit", "fidelity")),
    "created": None,  # an ISO date
    "score": "",
    "settings": "",
    "change": "",
}
STYLES = ("base.css", "audit.css", "charts.css", "figures.css", "explorer.css")


def complete(payload: Mapping[str, Any]) -> Part:
    """A clean copy of a payload (`text.cleaned`) with everything that may be absent."""
    return ABSENT | text.cleaned(payload)


def render(payload: Mapping[str, Any]) -> str:
    """The whole page as a string; the same payload gives the same bytes."""
    p = complete(payload)
    summary, x = Summary(p), step_axis(p["steps"])
    return render_page(
        "page.html.j2",
        STYLES,
        ("tips.js", "explorer.js"),
        p=p,
        strip=strip(p, summary),
        audit=audit_part(p, x),
        recommendation=recommendation_part(p, x),
        definitions=figures.definitions(p, summary, x),
        controls=controls_part(p, summary, x),
        fidelity=fidelity_part(p, x),
        task=task_part(p, summary, x),
        # How many prompts the curves are means over: the largest count any row reports.
        prompts=max((row["samples"] or 0 for row in p["summary"]), default=0) or len(p["prompts"]),
        data=text.island(explorer_data(p, x, decided(p))) if p["prompts"] else "",
        tables=explorer_tables(p),
    )


def write(payload: Mapping[str, Any], path: str | os.PathLike[str], *, folders: int | None = None) -> Path:
    """Render and put the page at `path`, all or nothing; returns the path.

    folders: how many missing folders above it may be made (None: all).
    """
    write_text(Path(path), render(payload), folders=folders)
    return Path(path)
