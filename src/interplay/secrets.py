"""Access tokens and passwords in text: hidden in messages, refused in settings."""

import re
from collections.abc import Mapping
from typing import Any

from interplay.errors import InterplayError

# Hugging Face, OpenAI, GitHub, GitLab, AWS, Slack, JWT, Bearer by their shape; passwords by their place in a URL.
_SECRET = re.compile(
    r"\b(?:hf|api_org)_[A-Za-z0-9]{16,}|\bsk-[\w-]{16,}|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*|(?<=\bBearer )[\w.~+/=-]{8,}"
    r"|(?<=://)[^/\s@'\"]+(?=@)|(?<=[?&]token=)[^&\s'\"]+"
)


def redact(text: str) -> str:
    """The text with every token and password replaced by `***`.

    >>> redact("401 for https://me:pass-word@huggingface.co/api?token=abc&x=1")
    '401 for https://***@huggingface.co/api?token=***&x=1'
    >>> redact("cannot get 'hf_abcdefghijklmnopqrstuvwxyz'"), redact("http://localhost:8080/x, step-000040")
    ("cannot get '***'", 'http://localhost:8080/x, step-000040')
    """
    return _SECRET.sub("***", text)


def refuse_secrets(raw: Any, key: str = "") -> None:
    """Refuse settings that hold a token or password. Raises InterplayError that names the key, never the value.

    >>> refuse_secrets({"model": {"name": "https://me:word@huggingface.co/owner/name"}})
    Traceback (most recent call last):
    interplay.errors.InterplayError: settings key model.name holds an access token or a password, which would be written into \
the run folder: take it out and log in with hf auth login
    """
    try:
        if isinstance(raw, Mapping):
            for name, value in raw.items():
                refuse_secrets(value, f"{key}.{name}" if key else f"{name}")
        elif isinstance(raw, list | tuple):
            for value in raw:
                refuse_secrets(value, key)
    except RecursionError:  # YAML can write a list that holds itself
        raise InterplayError(
            f"settings key {redact(key)[:120]} is nested too deeply: write it without anchors"
        ) from None
    if isinstance(raw, str) and redact(raw) != raw:
        raise InterplayError(
            f"settings key {redact(key)[:120]} holds an access token or a password, which would be written into the run "
            "folder: take it out and log in with hf auth login"
        )
