"""How every figure looks and how it is written: one style in a context, vector text, the same bytes for the same figure."""

import io
import itertools
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interplay.atomic import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"all": "#2b3037", "preserved": "#0a6e7d", "emerged": "#b9510a", "removed": "#69727e"}
MARKERS = {"all": "o", "preserved": "o", "emerged": "D", "removed": "s"}
CYCLE = ("#0063a8", "#b9510a", "#00795c", "#9a3f83", "#7d6000", "#2b3037", "#b3273b", "#4a7fa5")
DASHES = ("-", "--", ":", "-.")
MUTED = "#5b626b"
PANEL = (2.35, 1.9)  # inches: three panels fill the width of a page's text
_NO_DATE: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}


def styled() -> AbstractContextManager[None]:
    """Our settings of matplotlib, and only here, whatever the caller or a matplotlibrc has chosen."""
    import matplotlib

    return matplotlib.rc_context(fname=Path(__file__).with_name("paper.mplstyle"))


def save(figure: "Figure", path: Path) -> Path:
    """Write a figure whole or not at all; the format is the path's suffix. Call inside `styled`. Returns the path."""
    kind = path.suffix.removeprefix(".")
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata=_NO_DATE[kind])
    write_bytes(path, buffer.getvalue(), folders=None)
    return path


def panels(count: int, most: int = 3, **options: Any) -> tuple["Figure", list["Axes"]]:
    """A figure of equal panels, at most `most` side by side, row by row; what is left of the grid stays empty."""
    from matplotlib.figure import Figure

    columns = min(most, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, **options).flat)
    for axis in axes[count:]:
        axis.set_axis_off()
    return figure, axes[:count]


def steps_axis(axis: "Axes", steps: Sequence[int]) -> None:
    """Checkpoints on x: to scale if even, else on a scale that is linear to the first step and logarithmic beyond.

    Ticks whose labels would run into each other are left out, the ends last.
    """
    ordered = sorted(set(steps))
    gaps = [b - a for a, b in itertools.pairwise(ordered)]
    if gaps and max(gaps) > 4 * min(gaps):
        first = next(step for step in ordered if step > 0)
        axis.set_xscale("symlog", base=2, linthresh=first, linscale=0.5)  # so the first step is as far as a doubling
    scale = axis.get_xaxis().get_transform()
    at = {step: float(scale.transform(float(step))) for step in ordered}
    lo, hi = at[ordered[0]], at[ordered[-1]]
    width = (hi - lo) or 20.0
    axis.set_xlim(*(float(scale.inverted().transform(x)) for x in (lo - 0.05 * width, hi + 0.05 * width)))
    ticks: list[int] = []
    for step in dict.fromkeys([ordered[0], ordered[-1], *ordered]):
        room = 0.028 * (len(str(step)) + 1.2) * width
        if all(abs(at[step] - at[tick]) >= room for tick in ticks):
            ticks.append(step)
    axis.set_xticks(sorted(ticks))
    axis.set_xticks([], minor=True)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_xlabel("optimiser step")


def name(text: str, most: int = 60) -> str:
    """A name from data as a label: one line, printable, and never with the underscore that hides a legend's entry.

    >>> name("a\\nb"), name("_x")
    ('a b', ' _x')
    """
    shown = "".join(c if c.isprintable() else " " for c in text)
    shown = shown if len(shown) <= most else shown[: most - 1] + "…"
    return f" {shown}" if shown.startswith("_") else shown
