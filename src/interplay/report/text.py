"""Words and numbers as HTML shows them, and the templates of the pages: every string escaped, style and script inlined."""

import base64
import hashlib
import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from numbers import Integral, Real
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

MINUS = "\u2212"
# Marks that turn the direction of the text after them: harmless inside <bdi>, not in an attribute or a tooltip.
BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# Control characters and lone surrogates, which UTF-8 cannot hold, become U+FFFD; U+2028/9 and the CR of a CRLF a space.
_BROKEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_LINES = re.compile("[\u2028\u2029]|\r(?=\n)")


def clean(text: str) -> str:
    r"""The same string without characters that no page can show; equally long, so that offsets still hold.

    >>> clean("a\x00b\u2028c\r\nd\re")
    'a\ufffdb c \nd\ne'
    """
    if type(text) is str and text.isprintable():
        return text
    return _BROKEN.sub("\ufffd", _LINES.sub(" ", text).replace("\r", "\n"))


def cleaned(value: Any) -> Any:
    """A copy with every string `clean`, numpy's numbers as Python's, and numbers that are not finite as None.

    >>> cleaned({"a": ["x\\x00", float("nan"), True]})
    {'a': ['x\ufffd', None, True]}
    """
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, (list, tuple)):
        return [cleaned(item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, Integral)):  # Python's own types first: an abstract one takes ten times as long
        return int(value)
    if isinstance(value, (float, Real)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, (dict, Mapping)):
        return {clean(str(key)): cleaned(item) for key, item in value.items()}
    return value


def number(x: float | int | None, signed: bool = False) -> str:
    """About three digits, a true minus sign, no exponent between 1e-3 and 1e6; an en dash for "not measured".

    >>> number(0.04567), number(12.34), number(1234.5), number(-3), number(None)
    ('0.046', '12.3', '1,234', '\u22123', '–')
    >>> number(0.5, signed=True), number(1.2e-7)
    ('+0.50', '1.2e\u22127')
    """
    if x is None or not math.isfinite(x):
        return "–"
    size = abs(x)
    if isinstance(x, int) or (size >= 1e6 and size < 1e15 and x == int(x)):
        text = f"{int(size):,}"
    elif size == 0:
        text = "0"
    elif size < 1e-3 or size >= 1e6:
        text = f"{size:.1e}".replace("e-0", "e-").replace("e+0", "e").replace("-", MINUS)
    else:
        digits = next((digits for below, digits in ((0.0995, 3), (9.995, 2), (99.95, 1)) if size < below), 0)
        text = f"{size:,.{digits}f}"
    if x < 0:
        return MINUS + text
    return "+" + text if signed and x > 0 else text


def interval(lo: float | None, hi: float | None) -> str:
    """A 95 % interval in words, or nothing. An end is 0 where the other is a thousand times as large.

    >>> interval(1.0, 2.5), interval(8.2e-4, 1.58), interval(None, 2.5)
    ('1.00 to 2.50', '0 to 1.58', '')
    """
    if lo is None or hi is None:
        return ""
    least = max(abs(lo), abs(hi)) / 1000
    return " to ".join(number(end if abs(end) > least else 0) for end in (lo, hi))


def table(caption: str, head: Sequence[str], body: Sequence[Sequence[Any]], words: int = 1) -> dict[str, Any] | None:
    """A table behind a fold, the first `words` columns being text; None if it would be empty."""
    return {"caption": caption, "head": head, "body": body, "words": words} if body else None


def percent(log_odds: float | None) -> str:
    """The probability behind a log-odds score.

    >>> percent(0.0), percent(-40.0)
    ('50 %', '< 0.1 %')
    """
    if log_odds is None:
        return "–"
    p = 100 / (1 + math.exp(-max(-700.0, min(700.0, log_odds))))
    if p < 0.1:
        return "< 0.1 %"
    if p > 99.9:
        return "> 99.9 %"
    return f"{p:.1f} %" if p < 10 or p > 90 else f"{p:.0f} %"


def plain(text: str, most: int = 300) -> str:
    r"""For attributes, tooltips and SVG text: one line, no direction marks, at most `most` characters.

    >>> plain("a\u202eb\nc"), plain("x" * 9, 5)
    ('ab c', 'xxxx…')
    """
    text = " ".join(BIDI.sub("", text[: 4 * most]).split())
    return text if len(text) <= most else text[: most - 1] + "…"


def short(text: str, most: int = 80) -> Markup:
    """Untrusted text in the flow of the page: isolated in direction, and cut if very long (the rest in its title).

    >>> short("<b>")
    Markup('<bdi>&lt;b&gt;</bdi>')
    >>> short("abcdef", 4)
    Markup('<bdi title="abcdef">abc…</bdi>')
    """
    if len(text) <= most:
        return Markup("<bdi>{}</bdi>").format(text)
    return Markup('<bdi title="{}">{}…</bdi>').format(plain(text), text[: most - 1])


def island(data: Any) -> Markup:
    r"""JSON that cannot leave a <script> element.

    >>> island({"a": "</script>&"})
    Markup('{"a":"\\u003c/script\\u003e\\u0026"}')
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)


def tag(name: str, attributes: dict[str, Any] | None = None, *inside: Any) -> Markup:
    """One element, everything escaped that is not Markup; attributes that are None are left out; floats get two digits.

    >>> tag("text", {"x": 1.234, "class": None}, "a<b")
    Markup('<text x="1.23">a&lt;b</text>')
    """
    start = f"<{name}"
    for key, value in (attributes or {}).items():
        if value is not None:
            shown = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else escape(value)
            start += f' {key}="{shown}"'
    if not inside and name in {"path", "rect", "line", "circle"}:
        return Markup(f"{start}/>")
    return Markup(f"{start}>{''.join(map(escape, inside))}</{name}>")


def source(name: str) -> str:
    """The text of a template, style sheet or script that ships with the report."""
    return resources.files("interplay.report").joinpath("templates", name).read_text(encoding="utf-8")


WORDS = tomllib.loads(source("words.toml"))


@cache
def environment() -> Environment:
    """Templates that escape every string."""
    env = Environment(
        autoescape=True,  # select_autoescape() would be off for *.html.j2
        loader=FunctionLoader(source),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(short=short, plain=plain, num=number, interval=interval)
    return env


def render_page(template: str, styles: Sequence[str], scripts: Sequence[str], **parts: Any) -> str:
    """One offline page: the template with its parts, every string escaped; only `scripts` may run."""
    script = "\n".join(source(name) for name in scripts)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    style = Markup("\n".join(source(name) for name in styles))
    parts |= {"style": style, "script": Markup(script), "script_hash": f"sha256-{digest}"}
    return environment().get_template(template).render(parts)
