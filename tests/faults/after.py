"""What must hold after a fault, for the tests and the soak alike: whole units stay, and one clear line says what to do."""

from pathlib import Path

from shim import Ended

from interplay.store.units import load_unit

ADVICE = ("make room", "choose another", "run the same command", "restore", "delete", "give another")


def whole_units(folder: Path) -> dict[str, tuple[int, int]]:
    """Units that are whole on disk (their hash holds), with what tells whether one was written again: time and inode."""
    found = {}
    for path in sorted(folder.glob("units/*/*.safetensors")):
        if load_unit(path) is not None:
            state = path.stat()
            found[path.relative_to(folder).as_posix()] = (state.st_mtime_ns, state.st_ino)
    return found


def lost_units(before: dict[str, tuple[int, int]], folder: Path) -> list[str]:
    """Units that were whole before and are gone, damaged, or were computed again."""
    now = whole_units(folder)
    return [name for name, state in before.items() if now.get(name) != state]


def complaint(ended: Ended) -> str | None:
    """What is wrong with how a command reported an error that the user can mend, or None."""
    lines = ended.err.splitlines()
    if ended.code != 2:
        return f"exit code {ended.code}, not 2: {ended.err[-700:]}"
    if len(lines) != 1:
        return f"{len(lines)} lines on stderr, not 1: {ended.err[-700:]}"
    if not lines[0].startswith("interplay: "):
        return f"not a line of ours: {lines[0]}"
    if not any(advice in lines[0] for advice in ADVICE):
        return f"it does not say what to do: {lines[0]}"
    return None
