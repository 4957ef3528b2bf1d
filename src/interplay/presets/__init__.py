"""Settings that ship with the package, one YAML file each. What a preset needs is in `needs`."""

from pathlib import Path

from interplay.errors import InterplayError

# What runs on a laptop first, then the pairs of the paper in its order; others follow by name.
_FIRST = (
    "demo",
    "goemotions",
    "qwen2.5-3b-goemotions",
    "qwen2.5-7b-goemotions",
    "llama-2-7b-goemotions",
    "llama-3-8b-goemotions",
    "qwen2.5-3b-unilaw",
    "qwen2.5-7b-unilaw",
    "gemma-3-4b-dolly",
)


def preset_names() -> tuple[str, ...]:
    """Names of the shipped presets.

    >>> preset_names()[:3]
    ('demo', 'goemotions', 'qwen2.5-3b-goemotions')
    """
    found = {path.stem for path in Path(__file__).parent.glob("*.yaml")}
    return (*(name for name in _FIRST if name in found), *sorted(found - set(_FIRST)))


def preset_path(name: str) -> Path:
    """The YAML file of a preset; InterplayError with the known names otherwise."""
    if name not in preset_names():
        raise InterplayError(f"no preset {name!r}: choose one of {', '.join(preset_names())}")
    return Path(__file__).parent / f"{name}.yaml"
