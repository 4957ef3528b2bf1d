"""Names of curves, each placed near its curve where there is most room: boxes, crossings and a small search.

Units are those of the chart (an SVG view box), y downwards.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

CHAR = 6.6  # generous width of a character at the charts' 11 px

Spot = tuple[float, float]
Frame = tuple[float, float, float, float]  # left, right, top, bottom of the area that has to contain the labels


class Box(NamedTuple):
    """The box of a text; its baseline is 3 units above `bottom`."""

    left: float
    top: float
    right: float
    bottom: float


def place(names: Sequence[tuple[str, Sequence[Spot]]], curves: Sequence[Sequence[Spot]], frame: Frame) -> list[Box]:
    """One box for each name (text and its curve), in order: near the curve, off all curves, off each other.

    >>> place([("ab", [(50.0, 50.0)])], [[(50.0, 50.0)]], (0.0, 100.0, 0.0, 100.0))  # 13.2 wide, 6 above its curve
    [Box(left=43.4, top=34.0, right=56.6, bottom=47.0)]
    """
    taken: list[Box] = []
    for text, curve in names:
        best: tuple[float, Box] | None = None
        half = len(text) * CHAR / 2
        middles = [((a + c) / 2, (b + d) / 2) for (a, b), (c, d) in itertools.pairwise(curve)]
        for x, y in [*curve, *middles]:
            for dx in (0.0, half, -half):
                for dy in (-6.0, 13.0, -12.0, 19.0):
                    box = _box(half, x + dx, y + dy, frame)
                    cost = abs(dy) / 8 + abs(dx) / 60 + 2 * _crossings(box, curves)
                    cost += sum(40.0 for other in taken if _overlap(box, other)) + 6.0 * _near(x, y, curve, curves)
                    if best is None or cost < best[0]:
                        best = (cost, box)
        taken.append(best[1] if best else _box(half, frame[0], frame[2], frame))
    return taken


def _box(half: float, x: float, y: float, frame: Frame) -> Box:
    left, right, top, bottom = frame
    x = min(max(x, left + half), right - half)
    y = min(max(y, top + 9), bottom - 3)
    return Box(x - half, y - 10, x + half, y + 3)


def _overlap(a: Box, b: Box) -> bool:
    return a.left < b.right and b.left < a.right and a.top < b.bottom and b.top < a.bottom


def _near(x: float, y: float, own: Sequence[Spot], curves: Sequence[Sequence[Spot]]) -> int:
    """How many other curves pass so close to a spot that a label there could be taken for theirs."""
    return sum(
        any(
            x1 <= x <= x2 and x1 < x2 and abs(y1 + (y2 - y1) * (x - x1) / (x2 - x1) - y) < 16
            for (x1, y1), (x2, y2) in itertools.pairwise(curve)
        )
        for curve in curves
        if curve is not own
    )


def _crossings(box: Box, curves: Sequence[Sequence[Spot]]) -> float:
    """How much of the curves a label covers: samples of every segment inside its box."""
    left, top, right, bottom = box.left - 2, box.top - 1, box.right + 2, box.bottom + 1
    inside = 0
    for curve in curves:
        for (x1, y1), (x2, y2) in zip(curve, curve[1:] or curve, strict=False):
            if x2 < left or x1 > right or max(y1, y2) < top or min(y1, y2) > bottom:
                continue
            for k in range(13):
                x, y = x1 + (x2 - x1) * k / 12, y1 + (y2 - y1) * k / 12
                inside += left < x < right and top < y < bottom
    return float(inside)
