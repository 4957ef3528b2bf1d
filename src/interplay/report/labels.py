"""Names of curves, each placed near its curve where there is most room. Units are those of the SVG view box, y downwards."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

CHAR = 6.6  # generous width of a character at the charts' 11 px

Spot = tuple[float, float]


class Box(NamedTuple):
    """The box of a text; its baseline is 3 units above `bottom`."""

    left: float
    top: float
    right: float
    bottom: float

    def near(self, spots: Sequence[Spot], room: float) -> int:
        """How many spots lie less than `room` from the box."""
        left, top, right, bottom = self.left - room, self.top - room, self.right + room, self.bottom + room
        return sum(left < x < right and top < y < bottom for x, y in spots)

    def overlaps(self, other: "Box") -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


def place(names: Sequence[tuple[str, Sequence[Spot]]], curves: Sequence[Sequence[Spot]], area: Box) -> list[Box]:
    """One box inside `area` for each name (text and its curve): near that curve, off all curves, off each other.

    >>> place([("ab", [(50.0, 50.0)])], [[(50.0, 50.0)]], Box(0.0, 0.0, 100.0, 100.0))  # 13.2 wide, 6 above its curve
    [Box(left=43.4, top=34.0, right=56.6, bottom=47.0)]
    """
    dense = [_sampled(curve) for curve in curves]
    taken: list[Box] = []
    for text, curve in names:
        half = len(text) * CHAR / 2
        others = [spot for own, spots in zip(curves, dense, strict=True) if own is not curve for spot in spots]
        best = (float("inf"), area)
        for x, y in _sampled(curve)[::3]:
            middle = min(max(x, area.left + half), area.right - half)
            for dy in (-6.0, 13.0, -12.0, 19.0):
                base = min(max(y + dy, area.top + 9), area.bottom - 3)
                box = Box(middle - half, base - 10, middle + half, base + 3)
                covered = sum(box.near(spots, 2.0) for spots in dense)
                cost = abs(dy) / 8 + 2 * covered + 0.5 * box.near(others, 9.0) + 40 * sum(map(box.overlaps, taken))
                best = min(best, (cost, box))
        taken.append(best[1])
    return taken


def _sampled(curve: Sequence[Spot]) -> list[Spot]:
    """The spots of a curve with eleven more on each stretch between two."""
    between = [
        (x1 + (x2 - x1) * k / 12, y1 + (y2 - y1) * k / 12)
        for (x1, y1), (x2, y2) in itertools.pairwise(curve)
        for k in range(12)
    ]
    return [*between, *curve[-1:]]
