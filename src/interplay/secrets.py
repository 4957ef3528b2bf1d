"""Access tokens and passwords: finding them in text, so that none is printed, kept in settings or drawn on a page.

Known shapes (Hugging Face, OpenAI, GitHub, AWS, Slack, JWT, Bearer), credentials in URLs, and the values of environment
variables whose names say that they are secret. A key without a shape of its own that stands in no such variable is not found.
Texts of a data set are data and are left as they are. Knows nothing about runs.
"""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from interplay.errors import InterplayError

HIDDEN = "***"

# Messages cut long names, so a token that ends in an ellipsis counts from its first character on.
_CUT = r"(?=\.\.\.|…)"
_SHAPES = (
    ("an access token", re.compile(rf"\b(?:hf|api_org)_(?:[A-Za-z0-9]{{16,}}|[A-Za-z0-9]+{_CUT})")),
    ("an access token", re.compile(rf"\bsk-(?:[A-Za-z0-9_-]{{16,}}|[A-Za-z0-9_-]+{_CUT})")),
    ("an access token", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[\w-]{16,})")),
    ("an access token", re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bxox[abeoprs]-[A-Za-z0-9-]{10,}")),
    ("an access token", re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*")),
    ("an access token", re.compile(r"(?<=\bBearer )[\w.~+/=-]{8,}", re.IGNORECASE)),
    (
        "a key in a URL",
        re.compile(
            r"(?<=[?&;])((?:[\w-]*[_-])?(?:token|secret|password|passwd|signature|credential|api[_-]?key|key)=)[^&\s'\"]+",
            re.IGNORECASE,
        ),
    ),
    # user:password@ of any scheme, with or without the name; cut off before its @ too, where it is no port.
    (
        "a password in a URL",
        re.compile(r"(?<=://)(?:[^/\s@'\"]+(?=@)|[^/\s:@'\"]*:(?!\d*(?:[/\s'\"?#]|$))[^/\s@'\"]+)"),
    ),
)
_SECRET_NAME = re.compile(
    r"(?:^|_)(?:TOKEN|SECRET|PASSWORD|PASSWD|APIKEY|API_KEY|ACCESS_KEY|SECRET_KEY|PRIVATE_KEY|CREDENTIALS?)(?:_|$)"
)
_NOT_THE_VALUE = re.compile(r"_(?:FILE|PATH|DIR|URL|URI|ID|NAME|TYPE)$")
_SHORTEST = 8  # characters of a variable's value that are looked for: shorter ones are switches and numbers [ours]
_CUT_SHORTEST = 12  # of the beginning of one, where a message cut it [ours]


def redact(text: str) -> str:
    """The text with every token, password and value of a secret variable replaced by `***`.

    >>> redact("401 for https://me:pass-word@huggingface.co/api?token=abc&x=1")
    '401 for https://***@huggingface.co/api?token=***&x=1'
    >>> redact("cannot get 'hf_abcdefghijklmnopqrstuvwxyz'"), redact("http://localhost:8080/x, step-000040")
    ("cannot get '***'", 'http://localhost:8080/x, step-000040')
    """
    for value in _values():
        text = _without(text, value)
    for _, shape in _SHAPES:
        text = shape.sub(lambda found: (found[1] if found.re.groups else "") + HIDDEN, text)
    return text


def found_secret(text: str) -> str | None:
    """What kind of secret a text holds, in words; None where none is found.

    >>> found_secret("hub:owner/name"), found_secret("https://me:word@host/x")
    (None, 'a password in a URL')
    """
    for kind, shape in _SHAPES:
        if shape.search(text):
            return kind
    return "the value of a secret variable" if any(value in text for value in _values()) else None


def refuse_secrets(raw: Mapping[str, Any], prefix: str = "") -> None:
    """Refuse settings that hold a secret: they are written into the run folder and onto its page.

    Raises InterplayError that names the key, never the value.

    >>> refuse_secrets({"model": {"name": "https://me:word@huggingface.co/owner/name"}})
    Traceback (most recent call last):
    interplay.errors.InterplayError: settings key model.name holds a password in a URL, which would be written into the run \
folder: take it out and log in with hf auth login
    """
    for key, text in _texts(raw, prefix):
        kind = found_secret(text)
        if kind is not None:
            raise InterplayError(
                f"settings key {redact(key)[:120]} holds {kind}, which would be written into the run folder: take it out and "
                "log in with hf auth login"
            )


def _texts(value: Any, where: str) -> Iterator[tuple[str, str]]:
    """Every string in nested settings, keys too, with its path."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            inner = f"{where}.{key}" if where else f"{key}"
            yield where or "settings", f"{key}"
            yield from _texts(item, inner)
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            yield from _texts(item, where)
    elif isinstance(value, str):
        yield where or "settings", value


def _values() -> list[str]:
    """Values of the environment variables that are secret by their names, as they are and as a URL writes them; longest first."""
    found = set()
    for name, value in os.environ.items():
        secret = _SECRET_NAME.search(name.upper()) and not _NOT_THE_VALUE.search(name.upper())
        # A path is a place of a secret: taking it for one would blot out every other path that begins alike.
        if secret and len(value) >= _SHORTEST and not os.path.exists(value):
            found |= {value, quote(value, safe="", errors="replace")}
    return sorted(found, key=len, reverse=True)


def _without(text: str, value: str) -> str:
    """The text without a value, also where only its beginning is left of it."""
    text = text.replace(value, HIDDEN)
    begin = value[:_CUT_SHORTEST]
    at = text.find(begin) if len(begin) == _CUT_SHORTEST else -1
    while at >= 0:
        end = at + len(begin)
        while end < len(text) and end - at < len(value) and text[end] == value[end - at]:
            end += 1
        text = text[:at] + HIDDEN + text[end:]
        at = text.find(begin, at + len(HIDDEN))
    return text
