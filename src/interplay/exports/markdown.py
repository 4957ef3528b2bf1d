"""Markdown that leaves a run, from templates. They escape nothing: text from data goes in as `card.inert` or plain words."""

from typing import Any

from jinja2 import Environment, PackageLoader


def fill(template: str, **values: Any) -> str:
    """A template of this room, filled."""
    loader = PackageLoader("interplay.exports", "templates")
    env = Environment(loader=loader, trim_blocks=True, lstrip_blocks=True)
    return env.get_template(template).render(values).rstrip() + "\n"
