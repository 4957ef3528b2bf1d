"""One chart of a comparison: the same measure of several runs on one pair of axes, each with its interval over prompts.

A group of several trainings is drawn as their mean, thick, with each training thin beside it. Every line is told apart three
times: by colour, by dashes and by the letter at its end. Static SVG; it decides nothing about which measures there are.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

from markupsafe import Markup

from interplay.report.scales import StepAxis, ValueAxis, step_axis, tick_label
from interplay.report.text import interval, number, plain, tag

WIDTH, HEIGHT = 356.0, 214.0
LEFT, RIGHT, TOP, BOTTOM = 42.0, 22.0, 10.0, 36.0
COLOURS = 8  # of the style sheet; dashes change too, so 32 lines differ
MARK = "M-2.8 0a2.8 2.8 0 1 0 5.6 0a2.8 2.8 0 1 0-5.6 0z"
APART = 11.0  # height of a letter at a line's end


class Dot(NamedTuple):
    """One value at x, its interval over prompts and its null; None where not measured."""

    x: float
    value: float
    lo: float | None = None
    hi: float | None = None
    null: float | None = None


class Curve(NamedTuple):
    """One run, or one group's mean with its runs in `thin` (their names and dots).

    number   place in the legend: colour, dashes and letter follow from it
    kept     x of the checkpoints recommended, with the name of the run each belongs to
    """

    name: str
    number: int
    dots: tuple[Dot, ...]
    thin: tuple[tuple[str, tuple[Dot, ...]], ...] = ()
    kept: tuple[tuple[str, float], ...] = ()


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


def shared_axis(positions: Sequence[float], caption: str) -> StepAxis:
    """One axis for every chart of the page: steps, or epochs.

    >>> shared_axis([0.0, 0.5, 1.0], "epoch").caption
    'epoch'
    """
    found = step_axis(cast("list[int]", sorted(set(positions))))
    scale = found.caption.removeprefix("optimiser step")
    return found._replace(caption=f"{caption}s, evenly spaced" if scale == found.caption else caption + scale)


def extent(curves: Sequence[Curve]) -> list[float | None]:
    """Every value that has to fit on the value axis."""
    out: list[float | None] = []
    for curve in curves:
        for dot in curve.dots:
            out += [dot.value, dot.lo, dot.hi, dot.null]
        out += [dot.value for _, dots in curve.thin for dot in dots]
    return out


class _Frame(NamedTuple):
    x: StepAxis
    y: ValueAxis

    def px(self, x: float) -> float:
        return LEFT + 6 + self.x.of(cast("int", x)) * (WIDTH - LEFT - RIGHT - 12)

    def py(self, value: float) -> float:
        return HEIGHT - BOTTOM - self.y.at(value) * (HEIGHT - TOP - BOTTOM)


def draw(curves: Sequence[Curve], x: StepAxis, y: ValueAxis, said: str, null_name: str = "") -> Markup:
    """All the curves as one <svg>; `said` names it for a screen reader."""
    f = _Frame(x, y)
    parts = [_grid(f)]
    parts += [_band(f, curve) for curve in curves]
    parts += [_null(f, curve) for curve in curves]
    for curve in reversed(curves):
        css = style(curve.number)
        parts += [_path(f, dots, f"curve seed {css}") for _, dots in curve.thin]
        parts.append(_path(f, curve.dots, f"curve {css}"))
        parts += [_mark(f, dot, css) for dot in curve.dots]
        parts.append(_rings(f, curve))
    parts.append(_letters(f, curves))
    parts.append(_points(f, curves, null_name))
    box = {"class": "chart", "viewBox": f"0 0 {WIDTH:g} {HEIGHT:g}", "role": "img", "aria-label": plain(said)}
    return tag("svg", box, *parts)


def sample(number: int) -> Markup:
    """The line of one run as the legend shows it."""
    css = style(number)
    line = tag("path", {"class": f"curve {css}", "d": "M1 9H39"})
    mark = tag("path", {"class": f"mark {css}", "d": MARK, "transform": "translate(20 9)"})
    return tag("svg", {"viewBox": "0 0 40 18", "aria-hidden": "true", "class": "sample"}, line, mark)


def _grid(f: _Frame) -> Markup:
    parts = []
    for tick in f.y.ticks:
        py = f.py(tick)
        axis = {"x1": LEFT, "x2": WIDTH - RIGHT, "y1": py, "y2": py, "class": "zero" if tick == 0 else "grid"}
        parts += [tag("line", axis), tag("text", {"x": LEFT - 6, "y": py + 3.8, "class": "tick end"}, tick_label(tick))]
    bottom = HEIGHT - BOTTOM
    for x in f.x.steps:
        parts.append(tag("line", {"x1": f.px(x), "x2": f.px(x), "y1": bottom, "y2": bottom + 3.5, "class": "axis"}))
    for x in _labelled(f):
        parts.append(tag("text", {"x": f.px(x), "y": bottom + 15, "class": "tick mid"}, f"{x:.4g}"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(tag("text", {"x": middle, "y": HEIGHT - 4, "class": "name mid"}, f.x.caption))
    return Markup("").join(parts)


def _labelled(f: _Frame) -> list[float]:
    """The positions whose labels fit side by side, the ends first."""
    placed: list[tuple[float, float, float]] = []
    ends = [f.x.steps[0], f.x.steps[-1]]
    for x in [*ends, *f.x.steps]:
        half, at = len(f"{x:.4g}") * 3.6 + 3.5, f.px(x)
        if all(at + half <= lo or at - half >= hi for lo, hi, _ in placed):
            placed.append((at - half, at + half, x))
    return [x for *_, x in placed]


def _line(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _path(f: _Frame, dots: Sequence[Dot], css: str) -> Markup:
    if len(dots) < 2:
        return Markup("")
    return tag("path", {"class": css, "d": _line([(f.px(d.x), f.py(d.value)) for d in dots])})


def _band(f: _Frame, curve: Curve) -> Markup:
    known = [(f.px(d.x), f.py(d.lo), f.py(d.hi)) for d in curve.dots if d.lo is not None and d.hi is not None]
    if len(known) == 1:  # one checkpoint: a bar as wide as its marker
        ((x, lo, hi),) = known
        known = [(x - 4, lo, hi), (x + 4, lo, hi)]
    if not known:
        return Markup("")
    around = [(x, hi) for x, _, hi in known] + [(x, lo) for x, lo, _ in reversed(known)]
    return tag("path", {"class": f"band {style(curve.number)}", "d": _line(around) + "z"})


def _null(f: _Frame, curve: Curve) -> Markup:
    points = [(f.px(d.x), f.py(d.null)) for d in curve.dots if d.null is not None]
    if len(points) == 1:
        points = [(points[0][0] - 8, points[0][1]), (points[0][0] + 8, points[0][1])]
    css = f"chance r-{curve.number % COLOURS}"
    return tag("path", {"class": css, "d": _line(points)}) if points else Markup("")


def _mark(f: _Frame, dot: Dot, css: str) -> Markup:
    at = f"translate({f.px(dot.x):.1f} {f.py(dot.value):.1f})"
    return tag("path", {"class": f"mark {css}", "d": MARK, "transform": at})


def _rings(f: _Frame, curve: Curve) -> Markup:
    """A ring where each run's recommended checkpoint lies, on that run's own line."""
    lines = dict(curve.thin) or {curve.name: curve.dots}
    parts = []
    for name, x in curve.kept:
        dot = next((d for d in lines.get(name, ()) if d.x == x), None)
        if dot is not None:
            spot = {"cx": f.px(x), "cy": f.py(dot.value), "r": 5.2, "class": f"ring r-{curve.number % COLOURS}"}
            parts.append(tag("circle", spot))
    return Markup("").join(parts)


def _letters(f: _Frame, curves: Sequence[Curve]) -> Markup:
    """The letter of each line at its end, pushed apart where lines end together."""
    ends = sorted((f.py(c.dots[-1].value), f.px(c.dots[-1].x), c.number) for c in curves if c.dots)
    at: list[float] = []
    for y, _, _ in ends:
        at.append(max(y, at[-1] + APART) if at else y)
    over = max(0.0, (at[-1] if at else 0.0) - (HEIGHT - BOTTOM))
    parts = []
    for (_, x, n), y in zip(ends, at, strict=True):
        where = {"x": x + 9, "y": y - over + 4, "class": f"letter r-{n % COLOURS}"}
        parts.append(tag("text", where, letter(n)))
    return Markup("").join(parts)


def _points(f: _Frame, curves: Sequence[Curve], null_name: str) -> Markup:
    """Invisible columns that carry the figures of all lines at one place of the axis."""
    everywhere = [f.px(x) for x in f.x.steps]
    parts = []
    for x in f.x.steps:
        text = _tooltip(curves, x, f.x.caption, null_name)
        if not text:
            continue
        px = f.px(x)
        left = max((a for a in everywhere if a < px), default=2 * LEFT - px)
        right = min((a for a in everywhere if a > px), default=2 * WIDTH - px)
        a, b = max((left + px) / 2, LEFT - 4), min((right + px) / 2, WIDTH)
        hit = tag("rect", {"class": "hit", "x": a, "y": TOP, "width": b - a, "height": HEIGHT - TOP - BOTTOM})
        guide = tag("line", {"class": "guide", "x1": px, "x2": px, "y1": TOP, "y2": HEIGHT - BOTTOM})
        parts.append(tag("g", {"class": "pt"}, tag("title", None, text), hit, guide))
    return Markup("").join(parts)


def _tooltip(curves: Sequence[Curve], x: float, caption: str, null_name: str) -> str:
    lines = []
    for curve in curves:
        dot = next((d for d in curve.dots if d.x == x), None)
        if dot is None:
            continue
        ci = interval(dot.lo, dot.hi)
        said = f"{letter(curve.number)} {plain(curve.name, 60)}: {number(dot.value)}" + (f" (95 %: {ci})" if ci else "")
        trainings = [d.value for _, dots in curve.thin for d in dots if d.x == x]
        if trainings:
            said += f"; {len(trainings)} trainings {number(min(trainings))} to {number(max(trainings))}"
        if dot.null is not None and null_name:
            said += f"; {null_name} {number(dot.null)}"
        lines.append(said)
    return "\n".join([f"{caption.partition(',')[0].removesuffix('s')} {x:.4g}", *lines]) if lines else ""
