"""Chat templates that lie beside weights: a training may have put one into its checkpoints that its base lacks."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def saved_template(folder: Path) -> str | None:
    """The chat template in a model or adapter folder: `chat_template.jinja`, or the one in `tokenizer_config.json`."""
    try:
        if (file := folder / "chat_template.jinja").is_file():
            return file.read_text(encoding="utf-8")
        found = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template")
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None


def adopt_template(tokenizer: Any, folders: Iterable[Path]) -> str | None:
    """Give a tokenizer without chat template the one that all checkpoints share; a note where that, or another one, is found.

    >>> from types import SimpleNamespace
    >>> adopt_template(SimpleNamespace(chat_template=None), [])
    """
    found = {template for folder in folders if (template := saved_template(folder)) is not None}
    own = tokenizer.chat_template
    if not own and len(found) == 1:
        [tokenizer.chat_template] = found
        return "The base has no chat template: that of the checkpoints' tokenizer was used."
    if not own and found:
        return f"The base has no chat template and the checkpoints have {len(found)} different ones: none was used."
    if own and found - {own}:
        return "Checkpoints have another chat template than the base, whose own was used."
    return None
