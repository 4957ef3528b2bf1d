"""Text for messages, and the hash for orders and draws."""

import hashlib
import re
import shutil
import textwrap
import unicodedata
from collections.abc import Sequence

JOINT = {"and": " & ", "or": " | "}  # what stands between the words of an interaction
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # what no terminal should be given


def stable_hash(*parts: object) -> str:
    """A key for orders and draws that is the same everywhere, unlike `hash()`: hex SHA-256 of the parts' repr [ours]."""
    return hashlib.sha256(repr(parts).encode("utf-8", "backslashreplace")).hexdigest()


def spelt_alike(text: str) -> str:
    """What texts share that differ in case, punctuation, symbols and spaces only; a text of nothing else stays as it is.

    >>> spelt_alike("  I'm HAPPY,  really!"), spelt_alike("?!")
    ('im happy really', '?!')
    """
    kept = "".join(c for c in text.casefold() if unicodedata.category(c)[0] not in "PS")
    return " ".join(kept.split()) or text.strip()


def short(text: object, limit: int = 60) -> str:
    """`text` quoted on one line and cut, fit for a message whatever it holds.

    >>> short("one\\ntwo"), short("x" * 99, 5)
    ("'one\\\\ntwo'", "'xxxxx...'")
    """
    string = str(text)
    return ascii_safe(repr(string[:limit] + ("..." if len(string) > limit else "")))


def told_change(words: Sequence[str], kind: str, before: float, after: float, outcome: str) -> str:
    """What became of one interaction, in words.

    >>> told_change(("store", "spoon"), "and", 0.1, 25.0, "new")
    'store & spoon (AND): +0.10 -> +25.00, a change of +24.90 nats (new)'
    """
    named = f"{JOINT[kind].join(words)} ({kind.upper() if len(words) > 1 else 'one word'})"
    return f"{named}: {before:+.2f} -> {after:+.2f}, a change of {after - before:+.2f} nats ({outcome})"


def printable(text: str) -> str:
    r"""Text without control characters, so that no word of a data set can command the terminal.

    >>> printable("a\x1b[31mb\nc")
    'a�[31mb c'
    """
    return "".join(c if c.isprintable() else (" " if c in "\n\t\r" else "\ufffd") for c in text)


def folded(text: str) -> str:
    """`printable` prose in lines that fit the terminal, at most 100 columns wide: longer ones are hard to read."""
    width = max(min(shutil.get_terminal_size().columns, 100), 20)
    return textwrap.fill(printable(text), width=width, break_long_words=False, break_on_hyphens=False)


def ascii_safe(text: str) -> str:
    """`text` with control, format and surrogate characters and line separators escaped (terminal escapes, right-to-left marks).

    >>> ascii_safe("a\\x1b[31m")
    'a\\\\x1b[31m'
    """
    return "".join(ascii(c)[1:-1] if unicodedata.category(c) in _UNSEEN else c for c in text)


def split_names(spec: str) -> list[str]:
    """Names with commas between them; a comma between two digits is part of a number.

    >>> split_names("not, 1,000，3.14")
    ['not', '1,000', '3.14']
    """
    return [name.strip() for name in re.split(r"(?<!\d),|,(?!\d)|，", spec) if name.strip()]
