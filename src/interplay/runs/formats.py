"""The format of a run folder, by a number in `format.json`: newer ones are refused, older ones brought up to date.

1   no `format.json`; `inputs.json` had one fingerprint for all data and nothing of the prompt
2   `format.json`; `inputs.json` knows rows apart and the prompts' texts and tokens, so that a difference can be named

What is read from a folder (units, tables, settings) is the same in 1 and 2, so readers take both as they are; a migration
happens when the run is gone on with. Units, kept answers and `callback.json` have format marks of their own.
"""

from pathlib import Path

from interplay import bounded
from interplay.errors import InterplayError
from interplay.runs.files import write_json

FORMAT = 2
FILE = "format.json"


def read_format(folder: Path) -> int:
    """The format of a run folder; InterplayError when it is newer than this Interplay, or the file says nothing."""
    file = folder / FILE
    try:
        said = bounded.read_json(file)
    except FileNotFoundError:
        return 1
    except (OSError, ValueError) as error:
        raise InterplayError(f"cannot read {str(file)!r} ({error}): restore it, or choose another --out") from error
    number = said.get("format") if isinstance(said, dict) else None
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise InterplayError(f"{str(file)!r} holds no format number: restore it, or choose another --out")
    if number > FORMAT:
        raise InterplayError(
            f"{str(folder)!r} was written by a newer Interplay (format {number}, this one reads up to {FORMAT}): "
            "pip install --upgrade interplay"
        )
    return number


def write_format(folder: Path) -> None:
    """Mark a folder as of this format; call it when all of a migration is done."""
    write_json(folder / FILE, {"format": FORMAT})
