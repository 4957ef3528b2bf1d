"""Optional packages: which extra installs each, and the error when one is missing."""

import importlib.util
from collections.abc import Collection

from interplay.errors import InterplayError

# import name -> extra
EXTRAS = {
    "trl": "train",
    "datasets": "train",
    "rouge_score": "answers",
    "matplotlib": "figures",
    "gguf": "gguf",
    "jieba": "zh",
    "sudachipy": "ja",
    "sudachidict_small": "ja",
    "icu4py": "icu",
    "bitsandbytes": "qlora",
    "ray": "ray",
}


def missing(*packages: str) -> list[str]:
    """Those of the packages, by import name, that are not installed."""
    return [package for package in packages if importlib.util.find_spec(package) is None]


def install_command(packages: Collection[str]) -> str:
    """The pip command that installs the extras of these packages.

    >>> install_command(["trl", "datasets", "gguf"])
    "pip install 'interplay[gguf,train]'"
    """
    return f"pip install 'interplay[{','.join(sorted({EXTRAS[package] for package in packages}))}]'"


def require(*packages: str, what: str, otherwise: str = "") -> None:
    """Raise InterplayError unless the packages are installed. `what` needs them; `otherwise`: what the user can do instead."""
    if absent := missing(*packages):
        hint = f"{install_command(absent)}, or {otherwise}" if otherwise else install_command(absent)
        raise InterplayError(f"{what} needs {' and '.join(absent)}, not installed here: {hint}")
