"""One prompt: its line in the list, the explorer's data, the table that replaces it without a script; a fragment for notebooks.

The fragment is a drawing like the explorer's and its table: static SVG, its own style under one class, no script.
"""

import base64
import itertools
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from markupsafe import Markup

from interplay.dynamics.contrast import OUTCOMES
from interplay.report.rows import HEAD_OTHERS, INTERACTION_HEAD, WORD, Part, change, interaction_cells, kind
from interplay.report.text import BIDI, clean, environment, number, percent, plain, short, source, tag

STRONGEST = 200  # interactions carried per unit [ours]; keeps a page of 200 prompts x 20 steps under 3 MB
LISTED = 4  # interactions of a prompt in the tables shown without a script [ours]
LONGEST = 160  # characters of a prompt in the list [ours]
STRETCH = 280  # longest stretch of background text shown, in characters [ours]
DRAWN, IN_TABLE = 24, 200  # interactions in the drawing and the table of a notebook [ours]
LANE, LINE, TOP, BAR = 26.0, 30.0, 104.0, 66.0  # width of an interaction, height of a word, room above, longest bar


def segments(prompt: Part) -> list[tuple[str, int]]:
    """The text cut into stretches: (text, index of the chosen word or -1). Overlapping words: the earlier one counts.

    >>> prompt = {"text": "I am so happy", "words": [{"text": "happy", "start": 8, "end": 13}]}
    >>> segments(prompt)
    [('I am so ', -1), ('happy', 0)]
    """
    out: list[tuple[str, int]] = []
    at = 0
    for i, word in sorted(enumerate(prompt["words"]), key=lambda pair: pair[1]["start"]):
        if word["start"] < at or word["start"] == word["end"]:
            continue
        if word["start"] > at:
            out.append((_stretch(prompt["text"][at : word["start"]]), -1))
        out.append((plain(prompt["text"][word["start"] : word["end"]], WORD), i))
        at = word["end"]
    if at < len(prompt["text"]):
        out.append((_stretch(prompt["text"][at:]), -1))
    return out


def _stretch(text: str) -> str:
    half = STRETCH // 2
    return BIDI.sub("", text if len(text) <= STRETCH else f"{text[:half]} … {text[-half:]}")


def _strongest(effects: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Strongest change first; ties in a fixed order, so that the page is the same bytes every time."""
    return sorted(effects, key=lambda e: (-abs(change(e)), -abs(e["effect"]), e["mask"], e["type"]))


def packed(prompt: Part, steps: Sequence[int]) -> str:
    """What explorer.js draws of one prompt, as base64 of deflated JSON.

    Interactions are (mask * 2 + is_or), strongest change first, effects whole multiples of `unit`: the prompt's largest / 9999.
    """
    every = [e for step in prompt["steps"] for e in step["interactions"]]
    unit = max((abs(e[end]) for e in every for end in ("before", "effect")), default=0.0) / 9999 or 1.0
    units = {step["step"]: _unit(step, unit) for step in prompt["steps"]}
    data = _about(prompt, plain) | {
        "unit": unit,
        "words": [plain(w["text"], WORD) or "(blank)" for w in prompt["words"]],
        "floor": prompt["floor"],
        "units": [units.get(step) for step in steps],
    }
    said = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(said.encode(), 9)).decode()


def _unit(step: Part, unit: float) -> dict[str, Any]:
    fields = ("score_full", "score_empty", "duality_gap", "residual", "sigma", "tau", "rms")
    shown = _strongest(step["interactions"])[:STRONGEST]
    before, effect = ([round(e[end] / unit) for e in shown] for end in ("before", "effect"))
    return {
        "v": [_digits(step.get(f)) for f in fields],
        "n": len(step["interactions"]),
        "m": [_code(e["type"], e["mask"]) for e in shown],
        "b": before,
        "e": effect,
        "o": "".join(e["outcome"][:1] for e in shown),  # no two of `OUTCOMES` begin alike
        "s": [None if (share := e.get("certain")) is None else round(100 * share) for e in shown],
        "i": [None if (i := e.get("instead")) is None else _code(*i) for e in shown],
        "w": [_digits(value) for value in step["shapley"]],
    }


def _code(kind: str, mask: int) -> int:
    return mask << 1 | (kind == "or")


def _digits(x: float | None) -> float | None:
    return None if x is None else float(f"{x:.4g}")


def listed(prompt: Part, reference: int, shown: int) -> Part:
    """One line of the list of prompts: its text, what it answers, and a table of its changes for those without a script."""
    steps = {step["step"]: step for step in prompt["steps"]}
    before, now = (steps[at]["score_full"] if at in steps else None for at in (reference, shown))
    answers = [None if v is None else v > 0 for v in (before, now)]
    step = steps.get(shown)
    words, ranked = [word["text"] for word in prompt["words"]], _strongest(step["interactions"]) if step else []
    return _about(prompt, short) | {
        "line": short(" ".join(prompt["text"].split()), LONGEST),
        "chances": [percent(before), percent(now)],
        "changed": None not in answers and answers[0] is not answers[1],
        "counts": [(name, n) for name in OUTCOMES if (n := sum(e["outcome"] == name for e in ranked))],
        "body": [interaction_cells(words, e) for e in ranked[:LISTED]],
    }


def _about(prompt: Part, shown: Callable[[str, int], str]) -> dict[str, Any]:
    label = None if prompt["label"] is None else shown(prompt["label"], 40)
    about = {"id": shown(prompt["id"], 80), "target": shown(prompt["target"], 40), "label": label}
    return about | {"text": segments(prompt)}


def explanation_html(
    words: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    *,
    values: Mapping[str, Sequence[Any]] = MappingProxyType({}),
    title: str = "",
    note: str = "",
    text: str = "",
) -> str:
    """A fragment of HTML with the drawing of some interactions and a table of them, strongest first.

    Args:
        words: the words of the prompt that were masked, in the order of the text.
        rows: interactions: `type` ("and" or "or"), `mask` (bit i = word i) and `effect` in log-odds; of a change also `before`
            and `outcome`, and the change is drawn; `certain` and `instead` where other splits are known.
        values: the columns of a table of the words: first the words, then numbers.
        title, note: above and below; text: the prompt. Untrusted like every other string.

    >>> html = explanation_html(["not", "<b>"], [{"type": "and", "mask": 3, "effect": -1.5}])
    >>> "<script" in html, "<b>" in html, "&lt;b&gt;" in html, "\u22121.50" in html
    (False, False, True, True)
    """
    ranked = _strongest(rows)
    shown = [clean(word) for word in words]
    parts = {
        "title": clean(title),
        "note": clean(note),
        "text": clean(text),
        "drawing": _drawing(shown, ranked[:DRAWN]) if ranked else "",
        "head": INTERACTION_HEAD
        if ranked and "before" in ranked[0]
        else ("words", "type", "effect (log-odds)", HEAD_OTHERS),
        "listed": [interaction_cells(shown, row) for row in ranked[:IN_TABLE]],
        "total": len(ranked),
        "values_head": [name.replace("_", " ") for name in values],
        "values": [
            [short(clean(word), WORD), *(number(x, signed=True) for x in row)]
            for word, *row in zip(*values.values(), strict=True)
        ],
    }
    style = Markup(source("explanation.css").rstrip())
    return environment().get_template("explanation.html.j2").render(parts, style=style)


def explanation_page(fragments: Sequence[str]) -> str:
    """An offline page without a script of what `explanation_html` gave.

    >>> "default-src 'none'" in explanation_page(["<p>a</p>"])
    True
    """
    parts = [Markup(fragment) for fragment in fragments]
    return environment().get_template("explanations.html.j2").render(parts=parts)


def _drawing(words: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Words down the middle; each interaction is a bar over dots at its words, to the left where it lowers the score."""
    names = [plain(word, 20) or "(blank)" for word in words]
    down, up = ([row for row in rows if (change(row) < 0) is negative] for negative in (True, False))
    middle = max(96.0, 8.0 * max(map(len, names), default=0) + 24)
    left = max(130.0, 8 + LANE * len(down))
    right = left + middle
    width, tall = right + max(130.0, 8 + LANE * len(up)), TOP + LINE * len(names) + 6
    most = max(abs(change(row)) for row in rows) or 1.0
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
    said = f"{len(rows)} strongest interactions; the table below lists them"
    box = {"viewBox": f"0 0 {width:g} {tall:g}", "width": f"{width:g}", "height": f"{tall:g}", "role": "img"}
    return tag("svg", {**box, "aria-label": said}, *parts)


def _chord(
    words: Sequence[str], row: Mapping[str, Any], ys: Sequence[float], x: float, base: float, most: float
) -> Markup:
    part, either = abs(change(row)) / most, row["type"] == "or"
    high, r = max(1.0, part * BAR), 3.6 + 2.4 * part
    chosen = [plain(word, 40) for i, word in enumerate(words) if int(row["mask"]) >> i & 1]
    tip = f"{(' / ' if either else ' + ').join(chosen)}\n{kind(row)}, {number(change(row), signed=True)} log-odds"
    bar = {"class": "fill", "x": x - 6, "y": base - high, "width": 12.0, "height": high}
    parts = [tag("title", None, tip), tag("rect", bar)]
    for a, b in itertools.pairwise(ys):
        stem = {"class": "stem or" if either else "stem", "x1": x, "x2": x, "y1": a + r, "y2": b - r}
        parts.append(tag("line", stem))
    parts += [tag("circle", {"class": "open" if either else "fill", "cx": x, "cy": y, "r": r}) for y in ys]
    return tag("g", {"class": "down" if change(row) < 0 else "up"}, *parts)
