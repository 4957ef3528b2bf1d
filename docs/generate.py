"""A hook of mkdocs: the settings reference and the command-line reference, generated from the code at every build.

`python docs/generate.py` prints both pages.
"""

import re
import sys
from datetime import date
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer.main
from pydantic import BaseModel
from pydantic_core import PydanticUndefined


def section_of(field: Any) -> type[BaseModel] | None:
    """The model class of a settings field that is a section (or a list of sections), else None."""
    kinds = [field.annotation, *get_args(field.annotation)]
    kinds += [inner for kind in kinds for inner in get_args(kind)]
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def cell(text: object) -> str:
    """Text for a cell of a Markdown table."""
    return re.sub(r"\s+", " ", str(text)).replace("|", "\\|").replace("<", "&lt;")


def shown(value: object) -> str:
    """A default as YAML would write it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, tuple) else str(value)


PLAIN = {int: "whole number", float: "number", str: "text", bool: "true or false", date: "a date", type(None): "null"}


def in_words(kind: Any) -> list[str]:
    """A type as the values a user may give."""
    if get_origin(kind) is Annotated:
        return in_words(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return [str(value) for value in get_args(kind)]
    if get_origin(kind) in (Union, UnionType):
        return list(dict.fromkeys(word for part in get_args(kind) for word in in_words(part)))
    if get_origin(kind) in (tuple, list):
        return ["a list"]
    if get_origin(kind) is dict:
        return ["keys and values"]
    return [PLAIN.get(kind, "a section")]


def kind_of(field: Any) -> str:
    """The type of a field and its limits, in words."""
    signs = (("> ", "gt"), ("≥ ", "ge"), ("< ", "lt"), ("≤ ", "le"))
    limits = [
        f"{sign}{limit}"
        for meta in field.metadata
        for sign, name in signs
        if (limit := getattr(meta, name, None)) is not None
    ]
    return ", ".join([*in_words(field.annotation), *limits])


def settings_page() -> str:
    """Every settings key: its type, default and meaning."""
    from interplay.config.settings import Settings

    lines = [
        "# Settings",
        "",
        "Every key of a configuration, generated from `interplay.config.settings`. Give them in a YAML file or as",
        "`--set section.key=value`. Unknown keys are refused. *Paper*, *lineage* and *ours* say whose choice a default is.",
    ]

    def section(model: type[BaseModel], prefix: str) -> None:
        rows, inner = [], []
        for name, field in model.model_fields.items():
            below = section_of(field)
            if below is not None and prefix == "":
                inner.append((name, below))
                continue
            default = field.default if field.default is not PydanticUndefined else None
            given = "required" if field.is_required() else f"`{cell(shown(default))}`"
            if field.default_factory is not None or isinstance(default, BaseModel):
                given = "a section"
            rows.append(f"| `{prefix}{name}` | {cell(kind_of(field))} | {given} | {cell(field.description or '')} |")
        title = prefix.rstrip(".") or "Top level"
        lines.extend(["", f"## {title}", "", cell((model.__doc__ or "").strip().split("\n\n")[0]), ""])
        lines.extend(["| key | type | default | meaning |", "|---|---|---|---|", *rows])
        for name, below in inner:
            section(below, f"{prefix}{name}.")

    section(Settings, "")
    return "\n".join(lines) + "\n"


def cli_page() -> str:
    """Every verb with its arguments and options."""
    from interplay.cli.app import app

    command = typer.main.get_command(app)
    lines = [
        "# Command line",
        "",
        "Generated from the code; `interplay VERB --help` says the same. Errors are one line on stderr and exit code 2.",
    ]
    for name, verb in sorted(command.commands.items()):  # ty: ignore[unresolved-attribute]
        lines += ["", f"## interplay {name}", "", (verb.help or "").strip(), ""]
        lines += ["| argument or option | default | meaning |", "|---|---|---|"]
        for parameter in verb.params:
            names = ", ".join(f"`{option}`" for option in (*parameter.opts, *parameter.secondary_opts))
            if parameter.param_type_name == "argument":
                names = f"`{parameter.metavar or parameter.name.upper()}`"
            default = parameter.default
            default = (
                "required"
                if parameter.required
                else ""
                if default is None or callable(default)
                else f"`{shown(default)}`"
            )
            lines.append(f"| {names} | {default} | {cell(getattr(parameter, 'help', '') or '')} |")
        if verb.epilog:
            lines += [
                "",
                "```sh",
                *(line.strip() for line in verb.epilog.replace("\b", "").strip().splitlines()[1:]),
                "```",
            ]
    return "\n".join(lines) + "\n"


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages to the site."""
    from mkdocs.structure.files import File

    for path, page in (("reference/settings.md", settings_page), ("reference/cli.md", cli_page)):
        files.append(File.generated(config, path, content=page()))
    return files


if __name__ == "__main__":
    sys.stdout.write(settings_page() + "\n" + cli_page())
