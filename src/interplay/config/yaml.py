"""From YAML text and `--set a.b=c` to a plain mapping, and how two such mappings differ. Knows nothing of what the keys mean."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from interplay.errors import InterplayError
from interplay.text import ascii_safe, short

# What PyYAML raises for text that is no YAML or no value of the tag it claims: its own error, and, for an empty `!!int`, a
# `!!bool maybe`, a `!!timestamp x` or a year 0, what its Python stumbles over.
_UNREADABLE = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError)


class _UniqueKeys(yaml.SafeLoader):
    """Safe YAML that refuses a key written twice, where plain YAML silently keeps the last."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str):
                if key in seen:
                    line = key_node.start_mark.line + 1
                    raise InterplayError(f"settings line {line}: key {short(key)} stands twice, keep one")
                seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; InterplayError in one line for anything else."""
    try:
        raw = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InterplayError(f"no settings file at {str(path)!r}: give a YAML file") from None
    except (OSError, *_UNREADABLE) as error:
        raise InterplayError(f"cannot read settings {str(path)!r}: {_reason(error)}") from error
    if not isinstance(raw, dict):
        raise InterplayError(f"settings {str(path)!r} hold {type(raw).__name__}, expected a mapping of keys")
    return raw


def _reason(error: Exception) -> str:
    """What an error says, on one line; PyYAML's own are understood without their type."""
    said = ascii_safe(" ".join(str(error).split()))[:200]
    return said if isinstance(error, (yaml.YAMLError, OSError, ValueError)) else f"{type(error).__name__} {said}"


def parse_yaml(text: str) -> Any:
    """One YAML document as plain values.

    >>> parse_yaml("prompts: {n: 7}")
    {'prompts': {'n': 7}}
    """
    return _UniqueKeys(text).get_single_data()


def override(raw: dict[str, Any], assignment: str | tuple[str, Any]) -> dict[str, Any]:
    """A copy of `raw` with one setting replaced: `a.b=c`, or the pair `("a.b", c)` of Python.

    As text, c is read as YAML, so numbers, lists and null are themselves. A mapping is one only in braces: a prompt template
    such as `Text: {text}` stays the text it is.

    >>> override({"prompts": {"n": 7, "count": 3}}, "prompts.n=8") == override({"prompts": {"n": 7, "count": 3}}, ("prompts.n", 8))
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

    >>> difference({"prompts": {"n": 7}, "seed": 0}, {"prompts": {"n": 8}, "seed": 0})
    ['prompts.n: 7 -> 8']
    """
    lines = []
    for key in sorted(set(old) | set(new), key=str):
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += difference(a, b, f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: {a} -> {b}")
    return lines
