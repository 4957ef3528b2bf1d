"""The report: payload in, one HTML file out.

jinja2 escapes every string, and the page's Content-Security-Policy loads nothing and runs only our own script (by hash).

Payload (made by `interplay.analysis.payload`; plain values, whose strings are untrusted):
title, subtitle, version, score (what v is against), steps (ascending), reference (one of them); recommendation: step, sentence, rule, basis, evidence, rivals;
summary: rows of the trajectory's table. What else a page may hold is in `ABSENT`, with what stands for it where it is left out:
task, views, baselines, floors, multiples, correlations: rows of the tables of those names; controls: what controls.json says;
fidelity: rows, ranks, ratio, curves (step, value, lo, hi by rank), matching (prompt, step, count, of, rms, score, salient, all);
prompts, gone through once: id, text, target, label, n, floor, words (text, start, end) and steps: step, score_full, score_empty,
duality_gap, residual, sigma, tau, rms, shapley (a value a word), interactions (type, mask, before, effect, outcome, certain, instead);
method: name, value, note; skipped: id, reason. audit: what audit.json holds of `audit.OF_AUDIT`, rules of `audit.OF_RULE`.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from interplay.atomic import write_text
from interplay.report import figures, text
from interplay.report.audit import audit_part
from interplay.report.changes import Changes
from interplay.report.controls import controls_part
from interplay.report.explorer import STRONGEST, listed, packed
from interplay.report.fidelity import fidelity_part
from interplay.report.recommendation import recommendation_part
from interplay.report.rows import INTERACTION_HEAD, Part, Summary, decided, shown_step
from interplay.report.scales import step_axis
from interplay.report.task import correlations_part, steps_part
from interplay.report.text import render_page

ABSENT: Part = {
    **dict.fromkeys(("task", "views", "baselines", "floors", "multiples", "correlations"), ()),
    **dict.fromkeys(("prompts", "method", "skipped", "notes"), ()),
    "controls": dict.fromkeys(("views", "baselines", "floors", "notes"), ()),
    **dict.fromkeys(("audit", "fidelity")),
    "created": None,  # an ISO date
    "score": "",
    "settings": "",
}
STYLES = ("base.css", "learnt.css", "charts.css", "figures.css", "explorer.css")


def complete(payload: Mapping[str, Any]) -> Part:
    """A clean copy of a payload (`text.cleaned`) with everything that may be absent; an iterator of prompts is left as it is."""
    return ABSENT | text.cleaned(payload)


def render(payload: Mapping[str, Any]) -> str:
    """The whole page as a string; the same payload gives the same bytes."""
    p = complete(payload)
    summary, shown, x = Summary(p), shown_step(p), step_axis(sorted({*p["steps"], *(row["step"] for row in p["task"])}))
    changes, lines, data = Changes(p["reference"], shown), [], []
    for prompt in map(text.cleaned, p["prompts"]):  # one at a time: all of them take much memory
        changes.add(prompt)
        lines.append(listed(prompt, p["reference"], shown))
        data.append(packed(prompt, p["steps"]))
    explorer = {
        "steps": p["steps"],
        "score": text.plain(p["score"]),
        "at": [round(x.of(step), 4) for step in p["steps"]],
    }
    explorer |= {"reference": p["reference"], "shown": shown, "most": STRONGEST, "prompts": data}
    explorer["keep"] = p["recommendation"]["step"] if decided(p) else None
    return render_page(
        "page.html.j2",
        STYLES,
        ("tips.js", "explorer.js"),
        p=p,
        shown=shown,
        decided=decided(p),
        learnt=audit_part(p) or changes.part(),
        rise=changes.score(p["score"]),
        recommendation=recommendation_part(p),
        course=steps_part(p, summary, x),
        measures=figures.measures_part(p, summary, x),
        controls=controls_part(p, summary, x),
        fidelity=fidelity_part(p, x),
        correlations=correlations_part(p),
        # How many prompts the curves are means over: the largest count any row reports.
        samples=max((row["samples"] or 0 for row in p["summary"]), default=0) or len(lines),
        data=text.island(explorer) if lines else "",
        prompts=sorted(enumerate(lines), key=lambda line: not line[1]["changed"]),
        head=[{"before": f"step {p['reference']}", "now": f"step {shown}"}.get(h, h) for h in INTERACTION_HEAD],
    )


def write(
    payload: Mapping[str, Any],
    path: str | os.PathLike[str],
    *,
    folders: int | None = None,
    advance: Callable[[], None] | None = None,
) -> Path:
    """Render and put the page at `path`, all or nothing; returns the path.

    folders: how many missing folders above it may be made (None: all). advance: told of each prompt.
    """
    if advance is not None:
        payload = {**payload, "prompts": _each(payload["prompts"], advance)}
    write_text(Path(path), render(payload), folders=folders)
    return Path(path)


def _each(items: Iterable[Any], advance: Callable[[], None]) -> Iterator[Any]:
    for item in items:
        yield item
        advance()
