"""Refuse a run folder with a link that leads outside, or with a pipe or device: through a link in a folder that came from elsewhere
a run would write or delete the user's files. Links inside the folder are allowed.
"""

import os
from pathlib import Path

from interplay.errors import InterplayError
from interplay.text import short


def refuse_links(folder: Path) -> None:
    """Raise InterplayError that names the entry; opens no file. A folder that does not exist passes.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "units").symlink_to("/tmp")
    >>> refuse_links(folder)
    Traceback (most recent call last):
    interplay.errors.InterplayError: 'units' in the run folder is a link that leads out of it: put the files themselves there
    """
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
