"""Settings from YAML and `a.b=c` overrides, back to YAML, how two differ, and what is wrong with them in one line."""

import difflib
import hashlib
import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import to_jsonable_python

from interplay.config.settings import Settings
from interplay.errors import InterplayError
from interplay.secrets import refuse_secrets
from interplay.text import ascii_safe, short

# What PyYAML raises for text that is not YAML, and for a value its tag does not allow (`!!bool maybe`, an empty `!!int`).
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
    said = ascii_safe(" ".join(str(error).split()))[:200]
    return said if isinstance(error, (yaml.YAMLError, OSError, ValueError)) else f"{type(error).__name__} {said}"


def parse_yaml(text: str) -> Any:
    """One YAML document as plain values."""
    return _UniqueKeys(text).get_single_data()


def override(raw: dict[str, Any], assignment: str | tuple[str, Any]) -> dict[str, Any]:
    """A copy of `raw` with one setting replaced: `a.b=c`, or the pair `("a.b", c)` of Python.

    As text, c is read as YAML; a mapping needs braces, so that a prompt template such as `Text: {text}` stays text.
    """
    key, equals, text = assignment.partition("=") if isinstance(assignment, str) else (assignment[0], "=", "")
    value = _value(text) if isinstance(assignment, str) else assignment[1]
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
    try:
        value = parse_yaml(text) if text.strip() else ""
    except _UNREADABLE:
        return text
    if isinstance(value, dict) and (not text.lstrip().startswith("{") or text.strip() == "{text}"):
        return text
    return value


def difference(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Human-readable differences between two settings mappings."""
    lines = []
    for key in sorted(set(old) | set(new), key=str):
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += difference(a, b, f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: {a} -> {b}")
    return lines


def assignments(settings: Mapping[str, Any] | Iterable[str] | None) -> list[Any]:
    """Overrides as `load_settings` takes them, from `{"a.b": c}`, `["a.b=c"]` or one `"a.b=c"`."""
    if isinstance(settings, str):
        return [settings]
    return list(settings.items() if isinstance(settings, Mapping) else settings or ())


def load_settings(source: Path | Mapping[str, Any], overrides: Iterable[str | tuple[str, Any]] = ()) -> Settings:
    """Settings from a YAML file (or a mapping) and overrides: `a.b=c`, whose values are read as YAML, or `("a.b", c)`.

    Raises InterplayError in one line that names the key, what was given and what is expected.
    """
    raw = read_yaml(source) if isinstance(source, Path) else dict(source)
    for assignment in overrides:
        raw = override(raw, assignment)
    refuse_secrets(raw)
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        raise InterplayError(_problem(error)) from error


def _section(field: Any) -> type[BaseModel] | None:
    candidates = [field.annotation, *getattr(field.annotation, "__args__", ())]
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)


def _keys(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    """Every settings key with its path, sections too."""
    for name, field in model.model_fields.items():
        yield prefix + name
        if (section := _section(field)) is not None:
            yield from _keys(section, f"{prefix}{name}.")


def _located(loc: tuple) -> tuple[list[str], list[str]]:
    """Where a problem is, as keys without pydantic's own marks; and the names known in the last section on the way."""
    model: type[BaseModel] | None = Settings
    path: list[str] = []
    known: list[str] = []
    for part in loc:
        if model is not None and isinstance(part, str):  # a number: the place in a list of sections
            known = list(model.model_fields)
            path.append(part)
            model = _section(model.model_fields[part]) if part in known else None
    return path, known


def _nearest(path: list[str], known: list[str]) -> str:
    """What the user may have meant: a like name in the section, the same name in another, an abbreviation, the nearest."""
    prefix = "".join(f"{part}." for part in path[:-1])
    key = path[-1].lower()
    if near := difflib.get_close_matches(key, known, n=1, cutoff=0.6):
        return f"did you mean {prefix + near[0]!r}?"
    if elsewhere := [name for name in _keys() if name.rpartition(".")[2] == key]:
        return f"did you mean {elsewhere[0]!r}?"
    letters = ".*".join(map(re.escape, key[:40]))
    if short_for := [name for name in known if re.match(letters, name)]:
        return f"did you mean {prefix + min(short_for, key=len)!r}?"
    # Where none is like it, one of its length: prompts.m may be meant to be prompts.n.
    near = min(known, key=lambda k: (-difflib.SequenceMatcher(None, key, k).ratio(), abs(len(k) - len(key))))
    return f"the nearest known is {prefix + near!r}; known here: {', '.join(known)}"


_PLAIN = (
    (r"^Value error, ", ""),
    (r"^Input should be (greater|less)", r"expected a number \1"),
    (r"^Input should be ", "expected "),
    (r" or instance of \w+$", ""),
    (r"a valid dictionary", "a section of keys"),
    (r"a valid tuple", "a list"),
    (r", unable to .*$", ""),
)


def _problem(error: ValidationError) -> str:
    """The first problem in one line; unknown keys go first, since a misspelt key explains what is missing."""
    problems = error.errors()
    first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    path, known = _located(first["loc"])
    where = ".".join(path) or "settings"
    if first["type"] == "extra_forbidden":
        return f"unknown settings key {short(where)}: {_nearest(path, known)}"
    if first["type"] == "missing":
        return f"settings key {where!r} is missing: it must be given"
    # A field of several types has one problem for each of them.
    said = [problem["msg"] for problem in problems if _located(problem["loc"])[0] == path]
    for pattern, plain in _PLAIN:
        said = [re.sub(pattern, plain, message) for message in said]
    message = " or ".join(dict.fromkeys(said)).replace(" or expected ", " or ")
    if first["type"] == "value_error":
        return f"settings: {message}" if where == "settings" else f"settings key {where!r}: {message}"
    return f"settings key {where!r}: {message}; given {short(first['input'])}"


def dump_settings(settings: Settings) -> str:
    """Settings as YAML with every default written out; loading it gives the same settings."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)


def commented(given: Mapping[str, Any], model: type[BaseModel] = Settings, indent: str = "") -> str:
    """Settings as YAML that explains itself: keys with their descriptions, the others of each section commented out.

    >>> print(commented({"name": "a", "model": {"name": "b"}}).splitlines()[0])
    name: a  # title of the report
    """
    lines, others = [], []
    for key, field in model.model_fields.items():
        section, value = None if indent else _section(field), given.get(key)
        if section is not None and isinstance(value, Mapping):
            said = (section.__doc__ or "").partition(".")[0]
            lines += ["", f"{key}:  # {said}", commented(value, section, "  ").rstrip("\n")]
        elif section is not None and key not in given:
            others.append(key)
        else:
            value = value if key in given else to_jsonable_python(field.get_default(call_default_factory=True))
            line = f"{indent}{'' if key in given else '#'}{key}: {_in_a_line(key, value)}"
            said = f"# {field.description}" if field.description else ""
            if len(line) + len(said) > 118:
                lines += [*textwrap.wrap(said, 118, initial_indent=indent, subsequent_indent=f"{indent}# "), line]
            else:
                lines.append(f"{line}  {said}".rstrip())
    if others:
        lines += ["", f"# More sections, with defaults: {', '.join(others)}"]
    return "\n".join(lines) + "\n"


def _in_a_line(key: str, value: Any) -> str:
    text = yaml.safe_dump({key: value}, default_flow_style=True, allow_unicode=True, width=1 << 20)[len(key) + 3 : -2]
    return json.dumps(value) if "\n" in text else text


def default_folder(settings: Settings) -> Path:
    """`runs/NAME-HASH`: the same measurement under the same name finds its run again, however it is analysed."""
    slug = re.sub(r"[^a-z0-9]+", "-", settings.name.lower()).strip("-")[:40] or "run"
    measurement = json.dumps(settings.measurement(), sort_keys=True).encode()
    return Path("runs") / f"{slug}-{hashlib.sha256(measurement).hexdigest()[:8]}"
