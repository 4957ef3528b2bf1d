"""What closes what is HTML, the report, the comparison and the fragment for notebooks: escaping templates, inlined style and script, the hash that alone may run."""

import base64
import hashlib
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from interplay.report import text


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
    env.filters.update(short=text.short, plain=text.plain, num=text.number, interval=text.interval)
    return env


def render_page(template: str, styles: Sequence[str], scripts: Sequence[str], **parts: Any) -> str:
    """One offline page: the template with its parts, every string escaped; only `scripts` may run."""
    script = "\n".join(source(name) for name in scripts)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    style = Markup("\n".join(source(name) for name in styles))
    parts |= {"style": style, "script": Markup(script), "script_hash": f"sha256-{digest}"}
    return environment().get_template(template).render(parts)
