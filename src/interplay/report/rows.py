"""The summary table, looked up: one series over the steps for a definition, set, measure and order; and rows of tables."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from interplay.report.text import interval, number, short

Part = dict[str, Any]  # a payload, or a part of it
WORD = 40  # longest word shown, in characters [ours]
HEAD_OTHERS = "in other splits"  # that are as sparse within 1 %
INTERACTION_HEAD = ("words", "type", "before", "now", "change", "what happened", HEAD_OTHERS)
DECIDED = ("rule", "accuracy", "eval-loss", "base")  # bases that choose a step; `rule`: by interactions, under a view


def decided(payload: Part) -> bool:
    """Whether there was evidence to choose the step; without it the step is only a default."""
    recommendation = payload["recommendation"]
    return recommendation.get("basis") in (None, *DECIDED) and recommendation["step"] is not None


def shown_step(payload: Part) -> int:
    """The step whose prompts and changes are shown: the one to keep, or the last where that is not after the reference or has none."""
    keep = payload["recommendation"]["step"]
    return keep if keep in payload["steps"] and keep > payload["reference"] else payload["steps"][-1]


class Point(NamedTuple):
    """One value with its interval and its null; None if not measured."""

    step: float
    value: float | None
    lo: float | None = None
    hi: float | None = None
    null: float | None = None
    null_lo: float | None = None
    null_hi: float | None = None
    samples: int | None = None


class Series(NamedTuple):
    """Points over the steps, ascending, without steps that have no row."""

    set: str
    points: tuple[Point, ...]

    @property
    def known(self) -> bool:
        return any(p.value is not None for p in self.points)

    @property
    def course(self) -> bool:
        """Whether there are two points, so that there is something to draw."""
        return sum(p.value is not None for p in self.points) > 1

    @property
    def has_null(self) -> bool:
        return any(p.null is not None for p in self.points)

    def at(self, step: float) -> Point | None:
        return next((p for p in self.points if p.step == step), None)


class Summary:
    """All series of a payload, by definition, set, measure and order."""

    def __init__(self, payload: Part):
        self.steps: Sequence[int] = payload["steps"]
        self._curves = series_by(payload["summary"], "definition", "set", "measure", "order")
        self.definitions = list(dict.fromkeys(row["definition"] for row in payload["summary"]))
        self.orders = sorted({row["order"] for row in payload["summary"]} - {0})

    def series(self, definition: str, set_: str, measure: str, order: int = 0) -> Series:
        """One series; empty if the table does not hold it."""
        return self._curves.get((definition, set_, measure, order), Series("", ()))

    def anywhere(self, set_: str, measure: str, order: int = 0) -> Series:
        """A measure that does not depend on the definition (l1, sd, noise ...): from the first definition that holds it."""
        every = (self.series(definition, set_, measure, order) for definition in self.definitions)
        return next((series for series in every if series.known), Series("", ()))


def series_by(rows: Iterable[Part], *keys: str, field: str = "value") -> dict[tuple[Any, ...], Series]:
    """The rows of a table as series over the steps, by the values of the columns `keys`."""
    found: dict[tuple[Any, ...], list[Point]] = {}
    for row in sorted(rows, key=lambda r: r["step"]):
        figures = (row.get(key) for key in (field, "lo", "hi", "null", "null_lo", "null_hi", "samples"))
        found.setdefault(tuple(row[key] for key in keys), []).append(Point(row["step"], *figures))
    return {key: Series("", tuple(points)) for key, points in found.items()}


def cells(p: Point | None, null: bool = False) -> list[str]:
    """Value and interval for a table, with those of the null if asked for; en dashes for what is not known.

    >>> cells(Point(0, 1.0, 0.5, 1.5), null=True), cells(None)
    (['1.00', '0.50 to 1.50', '–', '–'], ['–', '–'])
    """
    p = p or Point(0, None)
    out = [number(p.value), interval(p.lo, p.hi) or "–"]
    return [*out, number(p.null), interval(p.null_lo, p.null_hi) or "–"] if null else out


def table_rows(name: str, series: Series, null: bool = False) -> list[list[str]]:
    """Rows of a table for one series: name, step, `cells` and the number of prompts."""
    return [[name, f"{p.step}", *cells(p, null), number(p.samples)] for p in series.points]


def brief(p: Point | None) -> str:
    """Value with its interval in brackets.

    >>> brief(Point(0, 1.0, 0.5, 1.5)), brief(None)
    ('1.00 (0.50 to 1.50)', '–')
    """
    ci = interval(p.lo, p.hi) if p else ""
    return number(p.value if p else None) + (f" ({ci})" if ci else "")


def task_series(task: Iterable[Part], key: str) -> Series:
    """One task metric as a series, with an interval where the rows carry one."""
    rows = sorted(task, key=lambda row: row["step"])
    points = [Point(row["step"], row.get(key), row.get(f"{key}_lo"), row.get(f"{key}_hi")) for row in rows]
    return Series(key, tuple(p for p in points if p.value is not None))


def flags_of(payload: Part) -> dict[str, int]:
    """The steps every chart marks: the one to keep (without evidence, the default), and a later reference."""
    step, reference, flags = payload["recommendation"]["step"], payload["reference"], {}
    if step is not None:
        flags["keep" if decided(payload) else "default"] = step
    if reference not in (payload["steps"][0], step):
        flags["ref"] = reference
    return flags


def change(effect: Mapping[str, Any]) -> float:
    """What an interaction is ranked by: its change, or where there is no state before its effect."""
    return effect["effect"] - effect.get("before", 0.0)


def interaction_cells(words: Sequence[str], effect: Mapping[str, Any]) -> list[Any]:
    """One interaction as a row under `INTERACTION_HEAD`; without a state before: words, type, effect.

    >>> interaction_cells(["not", "good"], {"type": "and", "mask": 3, "before": 0.5, "effect": 2.0, "outcome": "stronger"})[1:]
    ['AND', '+0.50', '+2.00', '+1.50', 'stronger', '–']
    """
    shown = [names(words, effect), kind(effect)]
    if "before" in effect:
        shown += [number(effect["before"], signed=True), number(effect["effect"], signed=True)]
    shown += [number(change(effect), signed=True), *([effect["outcome"]] if "before" in effect else [])]
    return [*shown, in_other_splits(words, effect)]


def in_other_splits(words: Sequence[str], effect: Mapping[str, Any]) -> Markup | str:
    """Whether an interaction stands in every split that is as sparse, or what stands in its place.

    >>> in_other_splits(["not", "good"], {"certain": 1.0, "instead": None})
    Markup('the same')
    """
    if effect.get("certain") is None:
        return "–"
    if effect["instead"] is None:
        return Markup("the same")
    other = {"type": effect["instead"][0], "mask": effect["instead"][1]}
    return Markup("{} of them; else {}, {}").format(f"{effect['certain']:.0%}", names(words, other), kind(other))


def kind(effect: Mapping[str, Any]) -> str:
    """AND, OR, or "one word", for which the two are the same."""
    return "one word" if int(effect["mask"]).bit_count() == 1 else effect["type"].upper()


def names(words: Sequence[str], effect: Mapping[str, Any]) -> Markup:
    """The words of an interaction, in order, each isolated: "happy + thanks" (AND), "happy / thanks" (OR)."""
    chosen = [short(word, WORD) for i, word in enumerate(words) if int(effect["mask"]) >> i & 1]
    return Markup(" + " if effect["type"] == "and" else " / ").join(chosen)
