"""Settings that ship with the package, one YAML file each."""

from importlib import resources
from pathlib import Path

from interplay.errors import InterplayError


def preset_names() -> tuple[str, ...]:
    """Names of the shipped presets.

    >>> "demo" in preset_names()
    True
    """
    folder = resources.files("interplay.presets")
    return tuple(sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml")))


def preset_path(name: str) -> Path:
    """The YAML file of a preset; InterplayError with the known names otherwise."""
    if name not in preset_names():
        raise InterplayError(f"no preset {name!r}: choose one of {', '.join(preset_names())}")
    return Path(str(resources.files("interplay.presets").joinpath(f"{name}.yaml")))
