"""How every figure looks and how it is written: one style in a context, vector text, the same bytes for the same figure."""

import contextlib
import io
import itertools
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interplay.atomic import write_bytes
from interplay.errors import InterplayError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("svg", "pdf", "png")
COLOURS = {"all": "#2b3037", "preserved": "#0a6e7d", "emerged": "#b9510a", "removed": "#69727e"}
MARKERS = {"all": "o", "preserved": "o", "emerged": "D", "removed": "s"}
CYCLE = ("#0063a8", "#b9510a", "#00795c", "#9a3f83", "#7d6000", "#2b3037", "#b3273b", "#4a7fa5")
DASHES = ("-", "--", ":", "-.")
MUTED = "#5b626b"
PANEL = (2.35, 1.9)  # inches: three panels fill the width of a page's text
_RC: dict[str, Any] = {
    "font.size": 8,
    "font.family": ["sans-serif"],
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#dfdbd3",
    "grid.linewidth": 0.6,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.4,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "interplay",
    "pdf.fonttype": 42,
    "text.parse_math": False,  # names come from data; a dollar sign is a dollar sign
    "axes.unicode_minus": True,
    "savefig.dpi": 200,
}
_NO_DATE: dict[str, dict[str, Any]] = {
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
    "png": {"Software": None},
}


@contextlib.contextmanager
def styled() -> Generator[None]:
    """Our settings of matplotlib, for the figures that are made and written inside."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the caller, or a matplotlibrc, has chosen
        for key, value in _RC.items():
            matplotlib.rcParams[key] = value  # ty: ignore[invalid-assignment]
        yield


def save(figure: "Figure", path: Path) -> Path:
    """Write a figure whole or not at all; the format is the path's suffix. Call inside `styled`. Returns the path."""
    kind = path.suffix.removeprefix(".")
    if kind not in FORMATS:
        raise InterplayError(f"{kind!r} is not a format of figures: choose one of {', '.join(FORMATS)}")
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=_NO_DATE[kind])
    write_bytes(path, buffer.getvalue(), folders=None)
    return path


def panels(count: int, most: int | None = None, **options: Any) -> tuple["Figure", list["Axes"]]:
    """A figure of `count` equal panels, at most `most` in a row (default: all), with room for labels."""
    from matplotlib.figure import Figure

    columns = min(most or count, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, **options).flat)
    for axis in axes[count:]:
        axis.set_axis_off()
    return figure, axes[:count]


def steps_axis(axis: "Axes", steps: Sequence[int], label: bool = True) -> None:
    """Checkpoints on x: to scale if even, else linear up to the first step and logarithmic beyond."""
    ordered = sorted(set(steps))
    gaps = [b - a for a, b in itertools.pairwise(ordered)]
    if gaps and max(gaps) > 4 * min(gaps) and ordered[0] >= 0:
        first = next(step for step in ordered if step > 0)
        axis.set_xscale("function", functions=_logarithmic_from(first))
    axis.set_xlim(*_padded(axis, ordered))
    axis.set_xticks(_spread(axis, ordered), minor=False)
    axis.set_xticks([], minor=True)
    axis.xaxis.set_major_formatter("{x:g}")
    if label:
        axis.set_xlabel("optimiser step")


def _logarithmic_from(first: int) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """A scale that is linear up to `first` and logarithmic beyond, and its inverse."""
    import numpy as np

    def forward(x: Any) -> Any:
        y = np.asarray(x, float) / first
        return np.where(y <= 1, y, 1 + np.log2(np.maximum(y, 1)))

    def backward(z: Any) -> Any:
        y = np.asarray(z, float)
        return first * np.where(y <= 1, y, np.exp2(np.maximum(y, 1) - 1))

    return forward, backward


def _padded(axis: "Axes", steps: list[int]) -> tuple[float, float]:
    if len(steps) == 1:
        return steps[0] - 1, steps[0] + 1
    scale = axis.get_xaxis().get_transform()
    lo, hi = (scale.transform(float(step)) for step in (steps[0], steps[-1]))
    room, back = 0.05 * (hi - lo), scale.inverted().transform
    return float(back(lo - room)), float(back(hi + room))


def _spread(axis: "Axes", steps: list[int]) -> list[int]:
    """Steps whose labels do not overlap, the ends first."""
    scale = axis.get_xaxis().get_transform()
    at = {step: float(scale.transform(float(step))) for step in steps}
    width = (at[steps[-1]] - at[steps[0]]) or 1.0
    labelled: set[int] = set()
    for step in [steps[0], steps[-1], *steps[1:-1]]:
        need = 0.028 * (len(str(step)) + 1.2)
        if all(abs(at[step] - at[other]) / width >= need for other in labelled):
            labelled.add(step)
    return sorted(labelled)


def name(text: str, most: int = 60) -> str:
    """A name from data as a label: one line, printable, and never with the underscore that hides a legend's entry.

    >>> name("a\\nb"), name("_x")
    ('a b', ' _x')
    """
    shown = "".join(c if c.isprintable() else " " for c in text)
    shown = shown if len(shown) <= most else shown[: most - 1] + "…"
    return f" {shown}" if shown.startswith("_") else shown
