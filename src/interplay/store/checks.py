"""What a run folder must be before it is read: of today's format, and without pipes, devices or links that lead outside."""

import json
import os
from pathlib import Path

from interplay.errors import InterplayError
from interplay.store.files import write_json
from interplay.text import short

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


def refuse_links(folder: Path) -> None:
    """Raise InterplayError that names the entry. A folder that does not exist passes."""
    root = Path(os.path.realpath(folder))
    for place, folders, files in os.walk(root):  # links to folders are listed, not entered
        for entry in (Path(place, name) for name in (*folders, *files)):
            name = short(str(entry.relative_to(root)), 120)
            if entry.is_symlink():
                if not Path(os.path.realpath(entry)).is_relative_to(root):
                    raise InterplayError(
                        f"{name} in the run folder is a link that leads out of it: put the files themselves there"
                    )
            elif entry.exists() and not entry.is_file() and not entry.is_dir():
                raise InterplayError(f"{name} in the run folder is not a file or folder (a pipe or device): remove it")
