"""A finished run whose files do not belong together, told in one line that names the file where that can be known.

`files.read_json` and `payload.read_table` refuse a file that breaks off. What is left are files with the wrong content: a
flipped bit, a table of another run. Such a thing shows wherever a value is looked up or two files are put together, as any type
of error, so it is caught around all of that. Nothing here is asked while all is well.
"""

import contextlib
import json
from collections.abc import Generator
from pathlib import Path

from interplay.data.words import short
from interplay.errors import InterplayError


@contextlib.contextmanager
def reading(folder: Path) -> Generator[None]:
    """Turn what a damaged file of a run makes of its readers into an InterplayError; the cause stays with it.

    >>> with reading(Path("runs/none")):
    ...     {}["sample"]
    Traceback (most recent call last):
    interplay.errors.InterplayError: the files of the run 'runs/none' do not belong together (KeyError: 'sample'): run the same \
command again with another --out; if that shows it too, it is a mistake of Interplay
    """
    try:
        yield
    except InterplayError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        if (changed := changed_file(folder)) is not None:
            raise InterplayError(
                f"{str(folder / changed)!r} is not as the run wrote it (its SHA-256 is not that of manifest.json): delete it "
                "and run the same command again"
            ) from error
        raise InterplayError(
            f"the files of the run {str(folder)!r} do not belong together ({type(error).__name__}: "
            f"{short(error, 120)[1:-1]}): run the same command again with another --out; if that shows it too, it is a "
            "mistake of Interplay"
        ) from error


def changed_file(folder: Path) -> str | None:
    """The first table or JSON file of a run whose hash is not the one in its manifest; None where all are as written.

    Looks at the files directly in the folder, which readers open; not at units and checkpoints.
    """
    import hashlib

    try:
        listed = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
        for name in sorted(name for name in listed if "/" not in name and name.endswith((".parquet", ".json"))):
            file = folder / name
            if not file.is_file():
                return name
            with open(file, "rb") as f:
                if hashlib.file_digest(f, "sha256").hexdigest() != listed[name]:
                    return name
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return None
