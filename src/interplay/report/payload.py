"""The payload's check: `validate` turns what the pipeline gives into a clean copy, or says in one line what is wrong with it.

The schema itself is `interplay.report.schema`. This knows nothing about models, files or pixels, and computes nothing.

Strings are untrusted (words, labels and model names come from data): `validate` replaces control characters and lone
surrogates, nothing else; escaping belongs to the page. Numbers that are not finite become None ("not measured") where the
schema allows None, and are refused where it does not. Keys the schema does not know are refused, except in rows of tables
(`summary`, `task`), which may carry more columns.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from interplay.errors import InterplayError
from interplay.report.schema import Payload

MAX_WORDS = 16
BASES = ("rule", "eval-loss", "last", "only")
STATES = ("preserved", "emerged", "reentered", "initial")


# A control character shows as nothing or as a torn page, a lone surrogate cannot be written as UTF-8, and U+2028/9 end a
# line in old parsers: the first two become U+FFFD, the last two a space.
_BROKEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_LINES = re.compile("[\u2028\u2029]|\r\n?")


def clean(text: str) -> str:
    r"""The same string, without characters that no page can show.

    >>> clean("a\x00b\u2028c")
    'a\ufffdb c'
    """
    return _BROKEN.sub("\ufffd", _LINES.sub(lambda m: "\n" if "\r" in m.group() else " ", text))


def _refuse(where: str, given: object, expected: str) -> InterplayError:
    shown = " ".join(repr(given)[:80].split())
    return InterplayError(
        f"report payload: {where} is {shown}, expected {expected}: rebuild the report from its run folder"
    )


def _string(x: object, where: str) -> str:
    if not isinstance(x, str):
        raise _refuse(where, x, "a string")
    return clean(x)


def _maybe_string(x: object, where: str) -> str | None:
    return None if x is None else _string(x, where)


def _integer(x: object, where: str) -> int:
    if isinstance(x, Integral) and not isinstance(x, bool):
        return int(x)
    if isinstance(x, Real) and not isinstance(x, bool) and float(x).is_integer():
        return int(float(x))
    raise _refuse(where, x, "an integer")


def _number(x: object, where: str) -> float | None:
    if x is None:
        return None
    if isinstance(x, bool) or not isinstance(x, Real):
        raise _refuse(where, x, "a number or null")
    value = float(x)
    return value if math.isfinite(value) else None


def _finite(x: object, where: str) -> float:
    value = _number(x, where)
    if value is None:
        raise _refuse(where, x, "a finite number")
    return value


def _boolean(x: object, where: str) -> bool:
    if not isinstance(x, bool):
        raise _refuse(where, x, "true or false")
    return x


def _scalar(x: object, where: str) -> str | float | int | None:
    if isinstance(x, bool):
        return "yes" if x else "no"
    if isinstance(x, str):
        return clean(x)
    if isinstance(x, Integral):
        return int(x)
    return _number(x, where)


Check = Callable[[Any, str], Any]


def _fields(
    x: object, where: str, need: Mapping[str, Check], may: Mapping[str, Check], extra: bool = False
) -> dict[str, Any]:
    """One mapping, field by field. `may` fields default to what their check makes of None."""
    if not isinstance(x, Mapping):
        raise _refuse(where, x, "a mapping")
    inside = f"{where}." if where != "the payload" else ""
    for key in need:
        if key not in x:
            raise InterplayError(
                f"report payload: {inside}{key} is missing, expected it beside {sorted(map(str, x))[:12]}"
            )
    unknown = [key for key in x if key not in need and key not in may]
    if unknown and not extra:
        raise _refuse(where, unknown[0], f"one of the keys {sorted([*need, *may])}")
    out = {key: check(x[key], f"{inside}{key}") for key, check in need.items()}
    out.update({key: check(x.get(key), f"{inside}{key}") for key, check in may.items()})
    return out


def _list(x: object, where: str, check: Check) -> list[Any]:
    if x is None:
        return []
    if isinstance(x, (str, bytes)) or not isinstance(x, Sequence):
        raise _refuse(where, x, "a list")
    return [check(item, f"{where}[{i}]") for i, item in enumerate(x)]


def _each(check: Check) -> Check:
    return lambda x, where: _list(x, where, check)


def _one_of(allowed: tuple[str, ...]) -> Check:
    def check(x: object, where: str) -> str:
        if not isinstance(x, str) or x not in allowed:
            raise _refuse(where, x, f"one of {', '.join(allowed)}")
        return x

    return check


def _evidence(steps: set[int]) -> Check:
    may = {"lo": _number, "hi": _number, "step": _maybe_step(steps)}
    return lambda x, where: _fields(x, where, {"name": _string, "value": _number}, may)


def _maybe_step(steps: set[int]) -> Check:
    return lambda x, where: None if x is None else _step(steps)(x, where)


def _step(steps: set[int]) -> Check:
    def check(x: object, where: str) -> int:
        step = _integer(x, where)
        if step not in steps:
            raise _refuse(where, step, "one of the payload's steps")
        return step

    return check


def _verdict(steps: set[int]) -> Check:
    def rivals(x: object, where: str) -> dict[str, int | None]:
        if x is None:
            return {}
        if not isinstance(x, Mapping):
            raise _refuse(where, x, "a mapping of rule to step")
        return {
            _string(name, f"a name in {where}"): _maybe_step(steps)(s, f"{where}[{name!r:.60}]")
            for name, s in x.items()
        }

    need: dict[str, Check] = {"step": _maybe_step(steps), "sentence": _string, "rule": _string, "provisional": _boolean}
    basis = _one_of(BASES)
    may: dict[str, Check] = {
        "evidence": _each(_evidence(steps)),
        "rivals": rivals,
        "basis": lambda x, where: None if x is None else basis(x, where),
    }
    return lambda x, where: _fields(x, where, need, may)


def _summary_row(steps: set[int]) -> Check:
    def samples(x: object, where: str) -> int | None:
        value = _number(x, where)
        return None if value is None else int(value)

    def order(x: object, where: str) -> int:
        value = _integer(x, where)
        if not 0 <= value <= MAX_WORDS:
            raise _refuse(where, value, f"an order from 0 to {MAX_WORDS}")
        return value

    need: dict[str, Check] = {
        "reading": _string,
        "step": _step(steps),
        "set": _string,
        "measure": _string,
        "order": order,
    }
    may: dict[str, Check] = dict.fromkeys(("value", "lo", "hi", "null", "null_lo", "null_hi"), _number)
    return lambda x, where: _fields(x, where, need, {**may, "samples": samples}, extra=True)


def _task_row(steps: set[int]) -> Check:
    may = dict.fromkeys(("eval_loss", "train_loss", "accuracy", "accuracy_lo", "accuracy_hi"), _number)
    return lambda x, where: _fields(x, where, {"step": _step(steps)}, may, extra=True)


def _effect(n: int, stated: bool) -> Check:
    def mask(x: object, where: str) -> int:
        value = _integer(x, where)
        if not 0 < value < 1 << n:
            raise _refuse(where, value, f"a mask from 1 to {(1 << n) - 1} ({n} words)")
        return value

    need: dict[str, Check] = {"type": _one_of(("and", "or")), "mask": mask, "effect": _finite}
    if stated:
        need["state"] = _one_of(STATES)
    return lambda x, where: _fields(x, where, need, {}, extra=not stated)


def _word(length: int) -> Check:
    def check(x: object, where: str) -> dict[str, Any]:
        word = _fields(x, where, {"text": _string, "start": _integer, "end": _integer}, {})
        if not 0 <= word["start"] <= word["end"] <= length:
            raise _refuse(
                f"{where}.start, end", (word["start"], word["end"]), f"offsets inside a text of {length} characters"
            )
        return word

    return check


def _probe(steps: set[int]) -> Check:
    numbers = dict.fromkeys(("score_full", "score_empty", "gap", "residual", "sigma", "tau"), _number)

    def check(x: object, where: str) -> dict[str, Any]:
        if not isinstance(x, Mapping):
            raise _refuse(where, x, "a mapping")
        n = _integer(x.get("n"), f"{where}.n")
        if not 1 <= n <= MAX_WORDS:
            raise _refuse(f"{where}.n", n, f"1 to {MAX_WORDS} words")
        length = len(x["text"]) if isinstance(x.get("text"), str) else 0

        def one_step(y: object, at: str) -> dict[str, Any]:
            may: dict[str, Check] = {"interactions": _each(_effect(n, True)), "removed": _each(_effect(n, False))}
            return _fields(y, at, {"step": _step(steps)}, {**numbers, **may})

        need: dict[str, Check] = {
            "id": _string,
            "text": lambda t, at: t if isinstance(t, str) else _string(t, at),  # offsets count the raw characters
            "target": _string,
            "n": _integer,
            "words": _each(_word(length)),
            "steps": _each(one_step),
        }
        probe = _fields(x, where, need, {"label": _maybe_string})
        if len(probe["words"]) != n:
            raise _refuse(f"{where}.words", f"{len(probe['words'])} words", f"n = {n} of them")
        measured = [s["step"] for s in probe["steps"]]
        if len(set(measured)) != len(measured):
            raise _refuse(f"{where}.steps", measured, "each step once")
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
        raise _refuse("the payload", payload, "a mapping")
    given = payload.get("steps")
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        raise _refuse("steps", given, "a list of steps")
    order = [_integer(s, f"steps[{i}]") for i, s in enumerate(given)]
    if order != sorted(set(order)) or order[0] < 0:
        raise _refuse("steps", order, "steps from 0 on, ascending, each once")
    steps = set(order)
    need: dict[str, Check] = {
        "title": _string,
        "subtitle": _string,
        "version": _string,
        "verdict": _verdict(steps),
        "steps": lambda x, where: order,
        "reference": _step(steps),
        "summary": _each(_summary_row(steps)),
    }
    may: dict[str, Check] = {
        "created": _maybe_string,
        "task": _each(_task_row(steps)),
        "probes": _each(_probe(steps)),
        "method": _each(
            lambda x, where: _fields(x, where, {"name": _string, "value": _scalar}, {"note": _maybe_string}),
        ),
        "skipped": _each(lambda x, where: _fields(x, where, {"id": _string, "reason": _string}, {})),
        "notes": _each(_string),
        "settings": lambda x, where: _maybe_string(x, where) or "",
    }
    out = _fields(payload, "the payload", need, may)
    seen: set[tuple[Any, ...]] = set()
    for i, row in enumerate(out["summary"]):
        key = (row["reading"], row["step"], row["set"], row["measure"], row["order"])
        if key in seen:
            raise _refuse(f"summary[{i}]", key, "one row for each reading, step, set, measure and order")
        seen.add(key)
    return out  # ty: ignore[invalid-explicit-return]
