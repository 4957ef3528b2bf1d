"""The format of a run folder: a number in `format.json`. A folder of another format is refused."""

import json
from pathlib import Path

from interplay.errors import InterplayError
from interplay.store.files import write_json

FORMAT = 3
FILE = "format.json"


def check_format(folder: Path) -> None:
    """Refuse a run folder of another format, or of none, with an InterplayError that says what to do."""
    file = folder / FILE
    try:
        number = json.loads(file.read_text(encoding="utf-8"))["format"] if file.exists() else 1
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InterplayError(f"cannot read {str(file)!r}: restore it, or choose another --out") from error
    if number != FORMAT:
        raise InterplayError(
            f"{str(folder)!r} has format {number!r:.20}, and this Interplay reads format {FORMAT}: "
            "choose another --out, or install the version that wrote it"
        )


def write_format(folder: Path) -> None:
    """Mark a folder as of this format, before anything else is written into it."""
    write_json(folder / FILE, {"format": FORMAT})
