"""From YAML text and `--set a.b=c` to a plain mapping, and how two such mappings differ. Knows nothing of what the keys mean.

Settings files travel between people, so a file is read as hostile: no tags that build objects, no key written twice, no
merge keys and no aliases that unfold into more values than any settings have.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from interplay.bounded import read_bytes
from interplay.data.words import ascii_safe, short
from interplay.errors import InterplayError

MAX_VALUES = 10_000  # the longest settings have some 80 values; an alias bomb has 10^9 [ours]
MAX_BYTES = 1 << 20  # of a settings file; those of a run have 3 KB [ours]
MAX_DIGITS = 300  # of a whole number; a float64 has no more, and Python refuses to write out 4300 [ours]

# What PyYAML raises for text that is no YAML or no value of the tag it claims: its own error, and, for an empty `!!int`, a
# `!!bool maybe`, a `!!timestamp x` or a year 0, what its Python stumbles over.
_UNREADABLE = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


class _UniqueKeys(yaml.SafeLoader):
    """Safe YAML that refuses a key written twice, where plain YAML silently keeps the last."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == "tag:yaml.org,2002:merge":
                raise InterplayError(f"settings line {line}: merge keys (<<) are not read, write the keys out")
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str):
                if key in seen:
                    raise InterplayError(f"settings line {line}: key {short(key)} stands twice, keep one")
                seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; InterplayError in one line for anything else."""
    try:
        raw = parse_yaml(read_bytes(path, MAX_BYTES).decode("utf-8"))
    except FileNotFoundError:
        raise InterplayError(f"no settings file at {str(path)!r}: give a YAML file") from None
    except (OSError, *_UNREADABLE) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else _reason(error)
        raise InterplayError(f"cannot read settings {str(path)!r}: {reason}") from error
    if not isinstance(raw, dict):
        raise InterplayError(f"settings {str(path)!r} hold {type(raw).__name__}, expected a mapping of keys")
    return raw


def _reason(error: Exception) -> str:
    """What an error says, on one line; PyYAML's own are understood without their type."""
    said = ascii_safe(" ".join(str(error).split()))[:200]
    return said if isinstance(error, (yaml.YAMLError, OSError, ValueError)) else f"{type(error).__name__} {said}"


def parse_yaml(text: str) -> Any:
    """One YAML document as plain values.

    >>> parse_yaml("probes: {n: 7}")
    {'probes': {'n': 7}}
    """
    value = _UniqueKeys(text).get_single_data()
    refuse_odd(value)
    return value


def refuse_odd(value: Any) -> None:
    """Refuse what no setting can be: more values than MAX_VALUES (aliases are counted unfolded), NUL, half a surrogate pair,
    whole numbers of hundreds of digits.

    >>> refuse_odd({"name": "a\\0b"})
    Traceback (most recent call last):
    interplay.errors.InterplayError: settings hold the character '\\x00' in 'a\\x00b': remove it
    """
    waiting, count = [value], 0
    while waiting:
        item = waiting.pop()
        count += 1
        if count > MAX_VALUES:
            raise InterplayError(f"settings unfold into more than {MAX_VALUES} values: write them without aliases")
        if isinstance(item, Mapping):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, (list, tuple, set)):
            waiting += item
        elif isinstance(item, str):
            odd = next((c for c in item if c == "\0" or "\ud800" <= c <= "\udfff"), None)
            if odd is not None:
                raise InterplayError(f"settings hold the character {odd!a} in {short(item)}: remove it")
        elif isinstance(item, int) and abs(item) >= 10**MAX_DIGITS:
            raise InterplayError(f"settings hold a whole number of more than {MAX_DIGITS} digits: give a smaller one")


def override(raw: dict[str, Any], assignment: str | tuple[str, Any]) -> dict[str, Any]:
    """A copy of `raw` with one setting replaced: `a.b=c`, or the pair `("a.b", c)` of Python.

    As text, c is read as YAML, so numbers, lists and null are themselves. A mapping is one only in braces: a prompt template
    such as `Text: {text}` stays the text it is.

    >>> override({"probes": {"n": 7, "count": 3}}, "probes.n=8") == override({"probes": {"n": 7, "count": 3}}, ("probes.n", 8))
    True
    """
    if isinstance(assignment, str):
        key, equals, text = assignment.partition("=")
        value = _value(text)
    else:
        key, value = assignment
        equals = "="
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise InterplayError(f"--set {short(assignment)}: write it as section.key=value")
    *parents, leaf = parts
    copy = dict(raw)
    inner = copy
    for parent in parents:
        child = inner.get(parent)
        if child is not None and not isinstance(child, dict):
            raise InterplayError(f"--set {short(assignment)}: {parent!r} is a value, not a section")
        inner[parent] = dict(child or {})
        inner = inner[parent]
    inner[leaf] = value
    return copy


def _value(text: str) -> Any:
    """What stands behind `a.b=`."""
    try:
        value = parse_yaml(text) if text.strip() else ""
    except _UNREADABLE:
        return text
    if isinstance(value, dict) and (not text.lstrip().startswith("{") or text.strip() == "{text}"):
        return text
    return value


def difference(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Human-readable differences between two settings mappings.

    >>> difference({"probes": {"n": 7}, "seed": 0}, {"probes": {"n": 8}, "seed": 0})
    ['probes.n: 7 -> 8']
    """
    lines = []
    for key in sorted(set(old) | set(new), key=str):
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += difference(a, b, f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: {a} -> {b}")
    return lines
