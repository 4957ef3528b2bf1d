"""The payload's check: `validate` turns what the pipeline gives into a clean copy, or says in one line what is wrong with it.

The schema itself is `interplay.report.schema`. This knows nothing about models, files or pixels, and computes nothing.

Strings are untrusted (words, labels and model names come from data): `validate` replaces control characters and lone
surrogates, nothing else; escaping belongs to the page. Numbers that are not finite become None ("not measured") where the
schema allows None, and are refused where it does not. Keys the schema does not know are refused, except in rows of tables
(`summary`, `task`, `views` and the like), which may carry more columns. Tables of controls may be missing:
a run made without them has none.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from interplay.report.checks import (
    Check,
    boolean,
    each,
    fields,
    finite,
    integer,
    maybe_string,
    number,
    one_of,
    refuse,
    scalar,
    string,
)
from interplay.report.schema import SUMMARY_NUMBERS, TASK_COLUMNS, Payload

MAX_WORDS = 16
BASES = ("rule", "accuracy", "eval-loss", "last", "only")
STATES = ("preserved", "emerged", "reentered", "initial")


def _evidence(steps: set[int]) -> Check:
    may = {"lo": number, "hi": number, "step": _maybe_step(steps)}
    return lambda x, where: fields(x, where, {"name": string, "value": number}, may)


def _maybe_step(steps: set[int]) -> Check:
    return lambda x, where: None if x is None else _step(steps)(x, where)


def _step(steps: set[int]) -> Check:
    def check(x: object, where: str) -> int:
        step = integer(x, where)
        if step not in steps:
            raise refuse(where, step, "one of the payload's steps")
        return step

    return check


def _verdict(steps: set[int]) -> Check:
    def rivals(x: object, where: str) -> dict[str, int | None]:
        if x is None:
            return {}
        if not isinstance(x, Mapping):
            raise refuse(where, x, "a mapping of rule to step")
        return {
            string(name, f"a name in {where}"): _maybe_step(steps)(s, f"{where}[{name!r:.60}]") for name, s in x.items()
        }

    need: dict[str, Check] = {"step": _maybe_step(steps), "sentence": string, "rule": string, "provisional": boolean}
    basis = one_of(BASES)
    may: dict[str, Check] = {
        "evidence": each(_evidence(steps)),
        "rivals": rivals,
        "basis": lambda x, where: None if x is None else basis(x, where),
    }
    return lambda x, where: fields(x, where, need, may)


def _samples(x: object, where: str) -> int | None:
    value = number(x, where)
    return None if value is None else int(value)


def _order(x: object, where: str) -> int:
    value = integer(x, where)
    if not 0 <= value <= MAX_WORDS:
        raise refuse(where, value, f"an order from 0 to {MAX_WORDS}")
    return value


def _row(need: Mapping[str, Check], numbers: Sequence[str]) -> Check:
    """A row of a table: named columns, numbers or None, `samples` where there is one; more columns are left out."""
    may: dict[str, Check] = {**dict.fromkeys(numbers, number), "samples": _samples}
    return lambda x, where: fields(x, where, need, may, extra=True)


def _summary_row(steps: set[int], *names: str) -> Check:
    """A row of the summary; `names` are further text columns (which view, which baseline LLM)."""
    text = dict.fromkeys((*names, "reading", "set", "measure"), string)
    return _row({**text, "step": _step(steps), "order": _order}, SUMMARY_NUMBERS)


def _task_row(steps: set[int]) -> Check:
    may = dict.fromkeys(TASK_COLUMNS, number)
    return lambda x, where: fields(x, where, {"step": _step(steps)}, may, extra=True)


def _span(x: object, where: str) -> str:
    return "all" if x is None else string(x, where)


def _correlation(x: object, where: str) -> dict[str, Any]:
    need: dict[str, Check] = {"interaction": string, "task": string}
    may: dict[str, Check] = {**dict.fromkeys(("rho", "lo", "hi"), number), "checkpoints": _samples, "span": _span}
    return fields(x, where, need, may, extra=True)


def _controls(steps: set[int]) -> Check:
    """What controls.json says: names and sentences for views, floors and baseline LLMs."""
    maybe = _maybe_step(steps)
    about: dict[str, Check] = {"title": maybe_string, "note": maybe_string}
    view: dict[str, Check] = {**about, "reference": maybe, "recommended": maybe, "basis": maybe_string}
    family: dict[str, Check] = {
        "family": maybe_string,
        "same_family": lambda x, where: False if x is None else boolean(x, where),
    }
    named: dict[str, Check] = {"name": string}

    def rows(may: Mapping[str, Check]) -> Check:
        return each(lambda x, where: fields(x, where, named, may, extra=True))

    may: dict[str, Check] = {
        "views": rows(view),
        "baselines": rows(family),
        "floors": rows(about),
        "notes": each(string),
    }
    return lambda x, where: fields({} if x is None else x, where, {}, may, extra=True)


def _fidelity(steps: set[int]) -> Check:
    """Matching error and sparsity; lists that belong together must be equally long."""

    def alike(x: dict[str, Any], where: str, names: Sequence[str], length: int) -> dict[str, Any]:
        for name in names:
            if len(x[name]) != length:
                raise refuse(f"{where}.{name}", f"{len(x[name])} numbers", f"{length} of them")
        return x

    def matching(x: object, where: str) -> dict[str, Any]:
        curves = ("score", "salient", "all")
        need: dict[str, Check] = {"probe": string, "step": _step(steps), **dict.fromkeys(curves, each(finite))}
        may: dict[str, Check] = {"count": _samples, "of": _samples, "rms": number}
        one = fields(x, where, need, may)
        return alike(one, where, curves[1:], len(one["score"]))

    def check(x: object, where: str) -> dict[str, Any] | None:
        if x is None:
            return None
        curve: dict[str, Check] = dict.fromkeys(("value", "lo", "hi"), each(number))
        may: dict[str, Check] = {
            "rows": each(_row({"step": _step(steps), "measure": string}, SUMMARY_NUMBERS)),
            "ranks": each(integer),
            "ratio": number,
            "curves": each(lambda y, at: fields(y, at, {"step": _step(steps), **curve}, {})),
            "matching": each(matching),
        }
        out = fields(x, where, {}, may)
        for i, one in enumerate(out["curves"]):
            alike(one, f"{where}.curves[{i}]", ("value", "lo", "hi"), len(out["ranks"]))
        return out

    return check


def _effect(n: int, stated: bool) -> Check:
    def mask(x: object, where: str) -> int:
        value = integer(x, where)
        if not 0 < value < 1 << n:
            raise refuse(where, value, f"a mask from 1 to {(1 << n) - 1} ({n} words)")
        return value

    need: dict[str, Check] = {"type": one_of(("and", "or")), "mask": mask, "effect": finite}
    if stated:
        need["state"] = one_of(STATES)
    return lambda x, where: fields(x, where, need, {}, extra=not stated)


def _word(length: int) -> Check:
    def check(x: object, where: str) -> dict[str, Any]:
        word = fields(x, where, {"text": string, "start": integer, "end": integer}, {})
        if not 0 <= word["start"] <= word["end"] <= length:
            raise refuse(
                f"{where}.start, end", (word["start"], word["end"]), f"offsets inside a text of {length} characters"
            )
        return word

    return check


def _probe(steps: set[int]) -> Check:
    numbers = dict.fromkeys(("score_full", "score_empty", "gap", "residual", "sigma", "tau"), number)

    def check(x: object, where: str) -> dict[str, Any]:
        if not isinstance(x, Mapping):
            raise refuse(where, x, "a mapping")
        n = integer(x.get("n"), f"{where}.n")
        if not 1 <= n <= MAX_WORDS:
            raise refuse(f"{where}.n", n, f"1 to {MAX_WORDS} words")
        length = len(x["text"]) if isinstance(x.get("text"), str) else 0

        def one_step(y: object, at: str) -> dict[str, Any]:
            may: dict[str, Check] = {"interactions": each(_effect(n, True)), "removed": each(_effect(n, False))}
            return fields(y, at, {"step": _step(steps)}, {**numbers, **may})

        need: dict[str, Check] = {
            "id": string,
            "text": lambda t, at: t if isinstance(t, str) else string(t, at),  # offsets count the raw characters
            "target": string,
            "n": integer,
            "words": each(_word(length)),
            "steps": each(one_step),
        }
        probe = fields(x, where, need, {"label": maybe_string})
        if len(probe["words"]) != n:
            raise refuse(f"{where}.words", f"{len(probe['words'])} words", f"n = {n} of them")
        measured = [s["step"] for s in probe["steps"]]
        if len(set(measured)) != len(measured):
            raise refuse(f"{where}.steps", measured, "each step once")
        return probe

    return check


def validate(payload: Payload | Mapping[str, Any]) -> Payload:
    """A checked, cleaned copy of `payload`; InterplayError (one line, with the path of the fault) when it is not one.

    >>> validate({"title": "a run"})
    Traceback (most recent call last):
      ...
    interplay.errors.InterplayError: report payload: steps is None, expected a list of steps: rebuild the report from its run folder
    """
    if not isinstance(payload, Mapping):
        raise refuse("the payload", payload, "a mapping")
    given = payload.get("steps")
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        raise refuse("steps", given, "a list of steps")
    order = [integer(s, f"steps[{i}]") for i, s in enumerate(given)]
    if order != sorted(set(order)) or order[0] < 0:
        raise refuse("steps", order, "steps from 0 on, ascending, each once")
    steps = set(order)
    need: dict[str, Check] = {
        "title": string,
        "subtitle": string,
        "version": string,
        "verdict": _verdict(steps),
        "steps": lambda x, where: order,
        "reference": _step(steps),
        "summary": each(_summary_row(steps)),
    }
    churn = ("floor", "reading", "set", "measure")
    may: dict[str, Check] = {
        "created": maybe_string,
        "task": each(_task_row(steps)),
        "views": each(_summary_row(steps, "view")),
        "baselines": each(_summary_row(steps, "baseline")),
        "floors": each(_row({**dict.fromkeys(churn, string), "reference": _step(steps)}, ("value", "lo", "hi"))),
        "multiples": each(
            _row(
                {**dict.fromkeys(churn, string), "reference": _step(steps), "step": _step(steps)}, ("ratio", "lo", "hi")
            )
        ),
        "correlations": each(_correlation),
        "controls": _controls(steps),
        "fidelity": _fidelity(steps),
        "probes": each(_probe(steps)),
        "method": each(
            lambda x, where: fields(x, where, {"name": string, "value": scalar}, {"note": maybe_string}),
        ),
        "skipped": each(lambda x, where: fields(x, where, {"id": string, "reason": string}, {})),
        "notes": each(string),
        "settings": lambda x, where: maybe_string(x, where) or "",
    }
    out = fields(payload, "the payload", need, may)
    seen: set[tuple[Any, ...]] = set()
    for i, row in enumerate(out["summary"]):
        key = (row["reading"], row["step"], row["set"], row["measure"], row["order"])
        if key in seen:
            raise refuse(f"summary[{i}]", key, "one row for each reading, step, set, measure and order")
        seen.add(key)
    return out  # ty: ignore[invalid-explicit-return]
