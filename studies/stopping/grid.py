"""The cells of the study: one training each. `cells(size)` gives them in the order they are run.

Every prefix is usable: the part that rules were tuned on comes first and is small, the hold-out part decides. It differs
from the tuning part in its seeds (rows, order, LoRA's start, label noise), has a noise level and a data set of its own.
"""

from dataclasses import dataclass

# At batch 8 an epoch is 30 steps (GoEmotions, 240 rows) or 20 (embedded, 160 rows): trained for five to six of them.
MEASURED = {
    "goemotions": (0, 10, 20, 30, 45, 60, 90, 120, 160),
    "emotions": (0, 5, 10, 20, 30, 40, 60, 80, 120),
}
ROWS = {"goemotions": 240, "emotions": 160}
RATES = {"lora": {"usual": 3e-4, "high": 1e-3}, "full": {"usual": 5e-5, "high": 1.5e-4}}


@dataclass(frozen=True)
class Cell:
    """One training: data, method, learning rate, share of wrong labels, seed, and whether rules were tuned on it."""

    data: str
    method: str
    rate: str
    noise: float
    seed: int
    part: str  # tuning or hold-out

    @property
    def name(self) -> str:
        return f"{self.data}-{self.method}-{self.rate}-noise{round(100 * self.noise):02d}-s{self.seed}"

    @property
    def learning_rate(self) -> float:
        return RATES[self.method][self.rate]

    @property
    def steps(self) -> tuple[int, ...]:
        return MEASURED[self.data]

    @property
    def rows(self) -> int:
        return ROWS[self.data]


def _cells(data: str, plan: list[tuple[str, str, float]], seed: int, part: str) -> list[Cell]:
    return [Cell(data, method, rate, noise, seed, part) for method, rate, noise in plan]


_EVERY = [(m, r, noise) for noise in (0.0, 0.4, 0.2) for m in ("lora", "full") for r in ("usual", "high")]
_TUNING = {
    "emotions": [("lora", "usual", 0.0), ("full", "usual", 0.4)],
    "goemotions": [("full", "usual", 0.0), ("lora", "usual", 0.4)],
}
_SMALL = [
    ("lora", "usual", 0.4),
    ("full", "usual", 0.0),
    ("full", "usual", 0.2),
    ("lora", "usual", 0.0),
    ("lora", "high", 0.2),
    ("full", "usual", 0.4),
]


def cells(size: str = "small") -> list[Cell]:
    """`small`: hours of two CPU cores. `full`: every combination with three seeds, for a GPU.

    >>> len(cells("small")), len(cells("full"))
    (20, 72)
    >>> {cell.seed for cell in cells() if cell.part == "tuning"} & {cell.seed for cell in cells() if cell.part == "hold-out"}
    set()
    """
    if size not in ("small", "full"):
        raise ValueError(f"size {size!r}: small or full")
    tuning = [cell for data in MEASURED for cell in _cells(data, _TUNING[data], 0, "tuning")]
    if size == "small":
        # Both data sets and all kinds of training from the start, so that a part of the grid is a small grid.
        one, more = (_cells(data, _SMALL, 1, "hold-out") for data in ("emotions", "goemotions"))
        two = _cells("emotions", _SMALL[:4], 2, "hold-out")
        trios = zip(one, more[3:] + more[:3], [*two, None, None], strict=True)
        return tuning + [cell for trio in trios for cell in trio if cell]
    rest = [c for seed in (1, 2) for data in MEASURED for c in _cells(data, _EVERY, seed, "hold-out")]
    known = {(c.data, c.method, c.rate, c.noise) for c in tuning}
    left = [c for data in MEASURED for c in _cells(data, _EVERY, 0, "tuning")]
    return tuning + [c for c in left if (c.data, c.method, c.rate, c.noise) not in known] + rest
