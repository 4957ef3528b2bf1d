"""Settings that ship with the package, one YAML file each, and `needs.json`: what each of them needs, estimated."""

import json
from pathlib import Path
from typing import Any

from interplay.errors import InterplayError


def preset_names() -> tuple[str, ...]:
    """Names of the shipped presets; the two that run on a laptop first.

    >>> preset_names()[:3]
    ('demo', 'goemotions', 'gemma-3-4b-dolly')
    """
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.yaml"))
    first = ("demo", "goemotions")
    return (*first, *(name for name in names if name not in first))


def preset_path(name: str) -> Path:
    """The YAML file of a preset; InterplayError with the known names otherwise."""
    if name not in preset_names():
        raise InterplayError(f"no preset {name!r}: choose one of {', '.join(preset_names())}")
    return Path(__file__).parent / f"{name}.yaml"


def preset_needs() -> list[dict[str, Any]]:
    """What each preset needs on one GPU, in gigabytes: `download_gb`, and `memory_*_gb` of training, of scoring, of both without
    baseline LLMs. `gated`: models whose licence must be accepted on the hub."""
    return json.loads((Path(__file__).parent / "needs.json").read_text(encoding="utf-8"))
