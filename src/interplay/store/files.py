"""JSON of a run, hashes of files, and the sweeping of what a killed process left behind."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from interplay.atomic import is_left_over, write_text
from interplay.errors import InterplayError
from interplay.text import short

WORK = ".work"  # the subfolder with the lock, while a process works on the run


def write_json(path: Path, value: Any, *, folders: int = 0) -> None:
    """Write JSON, keys sorted, NaN refused: the same value gives the same bytes. `folders` as for `atomic.replacing`."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    write_text(path, text, folders=folders)


def read_json(path: Path, kind: type = dict) -> Any:
    """JSON of a file of a run, an object or the `kind` that it holds; InterplayError when it is missing or damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InterplayError(f"{str(path.parent)!r} has no {path.name}: is it a finished run folder?") from None
    except (OSError, ValueError) as error:
        raise InterplayError(
            f"cannot read {str(path)!r} ({short(error, 200)[1:-1]}): delete it and run the same command again"
        ) from error
    if not isinstance(value, kind):
        raise InterplayError(f"{str(path)!r} does not hold what a run writes: delete it and run the same command again")
    return value


def cache_json(path: Path, key: str, value: dict[str, Any], *, folders: int = 0) -> None:
    """Keep a small result under the hash of the question it answers; `cached_json` gives it back."""
    write_json(path, {"key": key, "sha256": sha256_json(value), "value": value}, folders=folders)


def cached_json(path: Path, key: str | None = None) -> dict[str, Any] | None:
    """What `cache_json` left, or None when it is absent, damaged, or answers another question than `key`."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        value = kept["value"]
        whole = key in (None, kept["key"]) and isinstance(value, dict) and kept["sha256"] == sha256_json(value)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return value if whole else None


def _files(folder: Path) -> list[Path]:
    """Every file below a folder but those of the lock, sorted; links are neither listed nor entered."""
    found = (Path(root, name) for root, _, names in os.walk(folder) for name in names)
    files = sorted(path for path in found if path.is_file() and not path.is_symlink())
    return [path for path in files if path.relative_to(folder).parts[0] != WORK]


def result_files(folder: Path) -> list[Path]:
    """Every file below a folder, sorted, but half-written ones and the lock's; links are not followed."""
    return [path for path in _files(folder) if not path.name.endswith(".tmp")]


def sweep(folder: Path) -> None:
    """Remove the temporary files that a process killed while writing left; others may write there meanwhile."""
    for path in _files(folder):
        if is_left_over(path):
            path.unlink(missing_ok=True)


def sha256_json(value: Any) -> str:
    """SHA-256 of a value's canonical JSON, keys sorted."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True, default=str).encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
