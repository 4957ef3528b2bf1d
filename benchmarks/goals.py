"""What is asked of the measurements, and whether it was reached. Decides from rows; measures and draws nothing."""

import itertools
import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from benchmarks.section import Section


class Goal(NamedTuple):
    """A target: over the rows of one part that match, the worst figure of a column meets the bound. `before` was measured by hand.

    `where` holds the values a row must have; a tuple means any of these, and there must be a row for each combination for
    the goal to be met.
    """

    what: str
    part: str
    column: str
    bound: float
    at_least: bool
    where: Mapping[str, object] = MappingProxyType({})
    unit: str = ""
    before: str = ""  # on commit ef0b9e1, where it was measured


class Outcome(NamedTuple):
    """A goal beside what was measured; `met` is None where not all of it was measured."""

    goal: Goal
    reached: float
    met: bool | None


RANDOM = ("Llama, random", "Qwen2, random")
REAL = "SmolLM2-135M"


def _scoring(tokens: int, bound: float, models: tuple[str, ...], called: str) -> Goal:
    where = {"n": 10, "tokens": tokens, "model": models}
    return Goal(
        f"scoring, n = 10, {tokens} tokens, {called}: against plain batches",
        "scoring",
        "plain / ours",
        bound,
        True,
        where,
        " ×",
    )


def _solving(solver: str, bound: float) -> Goal:
    where = {"n": 10, "delta": "0", "solver": solver}
    return Goal(f"solving, n = 10, one sample: against {solver}", "solve", "times ours, one", bound, True, where, " ×")


def _in_batch(solver: str, bound: float) -> Goal:
    where = {"n": 10, "delta": "0", "solver": solver}
    return Goal(f"solving, n = 10, a batch: against {solver}", "solve", "times ours, batch", bound, True, where, " ×")


def _planted(setting: str, orders: str, solver: str, column: str, noises: tuple[float, ...], bound: float) -> Goal:
    name = setting.format(orders)
    said = " and ".join(f"{noise:g}" for noise in noises)
    where = {"setting": name, "solver": solver, "noise": noises}
    return Goal(f"planted terms, {name}, noise {said}: {column}", "recovery", column, bound, True, where)


GOALS: tuple[Goal, ...] = (
    *(
        _scoring(tokens, bound, *who)
        for tokens, bound in ((60, 5), (200, 6))
        for who in ((RANDOM, "random models"), ((REAL,), "SmolLM2"))
    ),
    Goal(
        "scoring: largest difference to plain float32 passes",
        "scoring",
        "max difference, nats",
        5e-5,
        False,
        {"n": 10, "tokens": (60, 200), "model": (*RANDOM, REAL)},
        " nats",
    ),
    Goal(
        "scoring: peak memory beyond the model, n = 12, SmolLM2",
        "memory",
        "peak beyond them, MB",
        400,
        False,
        {"n": 12, "model": REAL},
        " MB",
    ),
    Goal(
        "scoring: n = 12 and 14 to the end, difference to plain passes",
        "large",
        "max difference, nats",
        5e-5,
        False,
        {"n": (12, 14)},
        " nats",
    ),
    _in_batch("HiGHS, best formulation", 20),
    _solving("HiGHS, best formulation", 20),
    _solving("HiGHS, programme as stated", 20),
    _solving("SGD, dense matrices", 200),
    Goal(
        "solving: certified gap, n = 8 to 16",
        "solve",
        "gap",
        1e-3,
        False,
        {"n": (8, 10, 12, 14, 16), "delta": "0", "solver": "interplay, one sample"},
    ),
    *(
        _planted("n = 10, all scores, orders {}", orders, "interplay extract", column, (0.05,), 0.8)
        for orders, column in (
            ("1-5", "precision"),
            ("1-5", "precision over 10%"),
            ("1-5", "precision, pairs as AND"),
            ("3-5", "precision"),
        )
    ),
    *(
        _planted("n = 20, 2,000 sampled, orders {}", orders, "interplay extract_sampled", "recall", (0.0, 0.02), 0.9)
        for orders in ("1-3", "3-3")
    ),
    Goal(
        "the callback, 400 steps, every = 20: all readings",
        "watching",
        "share of 400 steps, %",
        5,
        False,
        {"model": REAL},
        " %",
        "one reading cost 13 training steps",
    ),
    Goal("demo: solving + report", "demo", "share, %", 10, False, {"part": "of the run: solving and report"}, " %"),
    Goal("demo: first page", "demo", "wall s", 210, False, {"part": "first page"}, " s"),
    Goal("demo: the whole of it", "demo", "wall s", 300, False, {"part": "all"}, " s", "486 s, 833 CPU s"),
    *(
        Goal(
            f"page of 200 prompts at 20 checkpoints: {what}",
            "page",
            column,
            bound,
            False,
            {"prompts": 200},
            unit,
            before,
        )
        for what, column, bound, unit, before in (
            ("its size", "page, MB", 3, " MB", "10.8 MB"),
            ("nodes before anything is opened", "nodes before anything is opened", 20_000, "", "187,000"),
            ("peak memory of the tables", "tables, peak MB", 600, " MB", "1,200 MB"),
        )
    ),
    *(
        Goal(
            f"explain, n = 10, SmolLM2: {what}", "explain", column, bound, False, {"n": 10, "model": REAL}, " s", before
        )
        for what, column, bound, before in (
            ("first picture", "first picture, CPU s", 8, "31 s, with the end"),
            ("of which start-up", "start-up, CPU s", 3, "5.5 s"),
        )
    ),
)


def outcome(goal: Goal, sections: Iterable[Section]) -> Outcome:
    """The worst matching figure; undecided (None) where a figure is NaN, none matches, or something asked for has no row.

    >>> rows = [{"n": 10, "ratio": 9.0}, {"n": 10, "ratio": 7.0}, {"n": 8, "ratio": 1.0}]
    >>> outcome(Goal("speed", "scoring", "ratio", 8, True, {"n": 10}), [Section("", rows, [])])[1:]
    (7.0, False)
    >>> outcome(Goal("speed", "scoring", "ratio", 8, True, {"n": 12}), [Section("", rows, [])])[1:]
    (nan, None)
    """
    wanted = {key: value if isinstance(value, tuple) else (value,) for key, value in goal.where.items()}
    rows = [
        row
        for section in sections
        for row in section.rows
        if goal.column in row and all(row.get(key) in values for key, values in wanted.items())
    ]
    there = {tuple(row[key] for key in wanted) for row in rows}
    complete = all(asked in there for asked in itertools.product(*wanted.values()))
    figures = [float(row[goal.column]) for row in rows]
    known = [figure for figure in figures if not math.isnan(figure)]
    if not known:
        return Outcome(goal, math.nan, None)
    reached = min(known) if goal.at_least else max(known)
    good = reached >= goal.bound if goal.at_least else reached <= goal.bound
    if not good:
        return Outcome(goal, reached, False)  # one figure that fails decides it
    return Outcome(goal, reached, True if complete and len(known) == len(figures) else None)
