"""The interactions of one prompt as a fragment of HTML for notebooks: a drawing like the explorer's, and its table.

Static SVG, its own style under one class, no script, every string escaped.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from interplay.report.explorer import kind, names
from interplay.report.text import clean, environment, number, plain, source, tag

DRAWN, LISTED = 24, 200  # interactions in the drawing and in the table [ours]
LANE, LINE, TOP, BAR = 26.0, 30.0, 104.0, 66.0  # width of an interaction, height of a word, room above, longest bar


def explanation_html(
    words: Sequence[str], rows: Sequence[Mapping[str, Any]], *, title: str = "", note: str = ""
) -> str:
    """A fragment of HTML with the drawing of some interactions and a table of them, strongest first.

    Args:
        words: the words of the prompt that were masked, in the order of the text.
        rows: interactions: `type` ("and" or "or"), `mask` (bit i = word i) and `effect` in log-odds.
        title, note: above and below; untrusted like every other string.

    >>> html = explanation_html(["not", "<b>"], [{"type": "and", "mask": 3, "effect": -1.5}])
    >>> "<script" in html, "<b>" in html, "&lt;b&gt;" in html, "\u22121.50" in html
    (False, False, True, True)
    """
    ranked = sorted(rows, key=lambda row: -abs(row["effect"]))
    shown = [clean(word) for word in words]
    listed = [(names(shown, row), kind(row), number(float(row["effect"]), signed=True)) for row in ranked[:LISTED]]
    drawing = _drawing(shown, ranked[:DRAWN]) if ranked else ""
    about = {"title": clean(title), "note": clean(note), "drawing": drawing, "listed": listed, "total": len(ranked)}
    return (
        environment()
        .get_template("explanation.html.j2")
        .render(about, style=Markup(source("explanation.css").rstrip()))
    )


def _drawing(words: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Words down the middle; each interaction is a bar over dots at its words, to the left where it lowers the score."""
    names = [plain(word, 20) or "(blank)" for word in words]
    down, up = ([row for row in rows if (row["effect"] < 0) is negative] for negative in (True, False))
    middle = max(96.0, 8.0 * max(map(len, names), default=0) + 24)
    left = max(130.0, 8 + LANE * len(down))
    right = left + middle
    width, tall = right + max(130.0, 8 + LANE * len(up)), TOP + LINE * len(names) + 6
    most = max(abs(row["effect"]) for row in rows) or 1.0
    base, centre = TOP - 12, (left + right) / 2

    def at(i: int) -> float:
        return TOP + LINE * (i + 0.5)

    texts = [("mid", centre, at(i) + 5, name) for i, name in enumerate(names)]
    for y, said in ((base + 4, "0"), (base - BAR + 4, number(most)), (base - BAR / 2 + 4, "log-odds")):
        texts.append(("mid small", centre, y, said))
    texts.append(("end small", left - 4, 12.0, "← lowers the score"))
    texts.append(("small", right + 4, 12.0, "raises the score →"))
    parts = [tag("text", {"class": css, "x": x, "y": y}, text) for css, x, y, text in texts]
    for side, start, step in ((down, left, -LANE), (up, right, LANE)):
        for y in (base, *map(at, range(len(names)))) if side else ():
            staff = {"class": "staff", "x1": start, "x2": start + step * len(side), "y1": y, "y2": y}
            parts.append(tag("line", staff))
        for k, row in enumerate(side):
            ys = [at(i) for i in range(len(words)) if int(row["mask"]) >> i & 1]
            parts.append(_chord(words, row, ys, start + step * (k + 0.5), base, most))
    said = f"{len(rows)} strongest interactions by effect on the score; the table below lists them"
    box = {"viewBox": f"0 0 {width:g} {tall:g}", "width": f"{width:g}", "height": f"{tall:g}", "role": "img"}
    return tag("svg", {**box, "aria-label": said}, *parts)


def _chord(
    words: Sequence[str], row: Mapping[str, Any], ys: Sequence[float], x: float, base: float, most: float
) -> Markup:
    part, either = abs(row["effect"]) / most, row["type"] == "or"
    high, r = max(1.0, part * BAR), 3.6 + 2.4 * part
    chosen = [plain(word, 40) for i, word in enumerate(words) if int(row["mask"]) >> i & 1]
    tip = f"{(' / ' if either else ' + ').join(chosen)}\n{kind(row)}, {number(float(row['effect']), signed=True)} log-odds"
    bar = {"class": "fill", "x": x - 6, "y": base - high, "width": 12.0, "height": high}
    parts = [tag("title", None, tip), tag("rect", bar)]
    for a, b in itertools.pairwise(ys):
        stem = {"class": "stem or" if either else "stem", "x1": x, "x2": x, "y1": a + r, "y2": b - r}
        parts.append(tag("line", stem))
    parts += [tag("circle", {"class": "open" if either else "fill", "cx": x, "cy": y, "r": r}) for y in ys]
    return tag("g", {"class": "down" if row["effect"] < 0 else "up"}, *parts)
