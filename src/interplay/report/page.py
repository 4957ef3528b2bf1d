"""The page: payload in, one HTML file out. Pure text work; the only disk it touches is its own templates and `write`'s file.

The file carries everything: style, script and data. Its Content-Security-Policy lets nothing load and only our own script
run (by hash), so that even a hole in the escaping could not run anything. jinja2 escapes every string.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interplay.atomic import write_text
from interplay.report import figures, text
from interplay.report.controls import controls_part
from interplay.report.explorer import explorer_data, explorer_tables
from interplay.report.fidelity import fidelity_part
from interplay.report.pages import render_page
from interplay.report.recommendation import recommendation_part, strip
from interplay.report.rows import Summary, decided
from interplay.report.scales import step_axis
from interplay.report.schema import validate
from interplay.report.task import task_part

STYLES = ("base.css", "charts.css", "figures.css", "explorer.css")
SCRIPTS = ("tips.js", "explorer.js")
DEFINITIONS = {
    "paper": "As in the paper: a pattern counts when its effect exceeds 5 % of the largest one at that step, whatever its sign.",
    "signed": "As in the paper, but a pattern whose effect changed sign counts as another pattern.",
    "fixed-tau": "The threshold of the reference step is held for all steps, so a change of scale alone is seen as such.",
}


def render(payload: Mapping[str, Any]) -> str:
    """The whole page as a string; the same payload gives the same bytes.

    Args:
        payload: see `interplay.report.schema.Payload`; checked first, InterplayError when it is not one.
    """
    p = validate(payload)
    summary = Summary(p)
    x = step_axis(p["steps"])
    return render_page(
        "page.html.j2",
        STYLES,
        SCRIPTS,
        p=p,
        strip=strip(p, summary),
        recommendation=recommendation_part(p, x),
        definitions=[
            {**block, "about": DEFINITIONS.get(block["name"], "")} for block in figures.definitions(p, summary, x)
        ],
        controls=controls_part(p, summary, x),
        fidelity=fidelity_part(p, x),
        task=task_part(p, summary, x),
        prompts=_prompts(p),
        data=text.island(explorer_data(p, x, decided(p))) if p["prompts"] else "",
        tables=explorer_tables(p),
    )


def _prompts(p: dict[str, Any]) -> int:
    """How many prompts the curves are means over: the largest count any row reports."""
    return max((row["samples"] or 0 for row in p["summary"]), default=0) or len(p["prompts"])


def write(payload: Mapping[str, Any], path: str | os.PathLike[str], *, folders: int | None = None) -> Path:
    """Render and put the page at `path`, all or nothing (temporary file beside it, then renamed). Returns the path.

    folders: how many folders right above it may be made where they are missing; None: all.
    """
    target = Path(path)
    write_text(target, render(payload), folders=folders)
    return target
