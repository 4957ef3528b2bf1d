"""Checks of single values: each takes what was given and where it stood, and gives it back clean or refuses it in one line.

`payload` puts them together into the schema. Strings are untrusted: control characters and lone surrogates are replaced,
nothing else. Numbers that are not finite become None where None is allowed.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from interplay.errors import InterplayError

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


def refuse(where: str, given: object, expected: str) -> InterplayError:
    shown = " ".join(repr(given)[:80].split())
    return InterplayError(
        f"report payload: {where} is {shown}, expected {expected}: rebuild the report from its run folder"
    )


def string(x: object, where: str) -> str:
    if not isinstance(x, str):
        raise refuse(where, x, "a string")
    return clean(x)


def maybe_string(x: object, where: str) -> str | None:
    return None if x is None else string(x, where)


def integer(x: object, where: str) -> int:
    if isinstance(x, Integral) and not isinstance(x, bool):
        return int(x)
    if isinstance(x, Real) and not isinstance(x, bool) and float(x).is_integer():
        return int(float(x))
    raise refuse(where, x, "an integer")


def number(x: object, where: str) -> float | None:
    if x is None:
        return None
    if isinstance(x, bool) or not isinstance(x, Real):
        raise refuse(where, x, "a number or null")
    value = float(x)
    return value if math.isfinite(value) else None


def finite(x: object, where: str) -> float:
    value = number(x, where)
    if value is None:
        raise refuse(where, x, "a finite number")
    return value


def boolean(x: object, where: str) -> bool:
    if not isinstance(x, bool):
        raise refuse(where, x, "true or false")
    return x


def scalar(x: object, where: str) -> str | float | int | None:
    if isinstance(x, bool):
        return "yes" if x else "no"
    if isinstance(x, str):
        return clean(x)
    if isinstance(x, Integral):
        return int(x)
    return number(x, where)


Check = Callable[[Any, str], Any]


def fields(
    x: object, where: str, need: Mapping[str, Check], may: Mapping[str, Check], extra: bool = False
) -> dict[str, Any]:
    """One mapping, field by field. `may` fields default to what their check makes of None."""
    if not isinstance(x, Mapping):
        raise refuse(where, x, "a mapping")
    inside = f"{where}." if where != "the payload" else ""
    for key in need:
        if key not in x:
            raise InterplayError(
                f"report payload: {inside}{key} is missing, expected it beside {sorted(map(str, x))[:12]}"
            )
    unknown = [key for key in x if key not in need and key not in may]
    if unknown and not extra:
        raise refuse(where, unknown[0], f"one of the keys {sorted([*need, *may])}")
    out = {key: check(x[key], f"{inside}{key}") for key, check in need.items()}
    out.update({key: check(x.get(key), f"{inside}{key}") for key, check in may.items()})
    return out


def list_of(x: object, where: str, check: Check) -> list[Any]:
    if x is None:
        return []
    if isinstance(x, (str, bytes)) or not isinstance(x, Sequence):
        raise refuse(where, x, "a list")
    return [check(item, f"{where}[{i}]") for i, item in enumerate(x)]


def each(check: Check) -> Check:
    return lambda x, where: list_of(x, where, check)


def one_of(allowed: tuple[str, ...]) -> Check:
    def check(x: object, where: str) -> str:
        if not isinstance(x, str) or x not in allowed:
            raise refuse(where, x, f"one of {', '.join(allowed)}")
        return x

    return check
