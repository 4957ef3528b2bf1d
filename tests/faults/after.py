"""What must hold after a fault, for the tests and the soak alike: whole units stay, and one clear line says what to do."""

from pathlib import Path

from shim import Ended

from interplay.store.units import load_unit

ADVICE = ("make room", "choose another", "run the same command", "restore", "delete", "give another")


State = tuple[bytes, tuple[int, int] | None]


def whole_units(folder: Path) -> dict[str, State]:
    """Units that are whole on disk (their hash holds), with their scores and what tells whether one was written again: time and
    inode, None of a unit that is not split yet, since it is written once more then."""
    found = {}
    for path in sorted(folder.glob("units/*/*.safetensors")):
        if (unit := load_unit(path)) is not None:
            state = path.stat()
            written = (state.st_mtime_ns, state.st_ino) if len(unit.effects) else None
            found[path.relative_to(folder).as_posix()] = (unit.scores.tobytes(), written)
    return found


def lost_units(before: dict[str, State], folder: Path) -> list[str]:
    """Units that were whole before and are gone, damaged, or were computed again."""
    now = whole_units(folder)
    return [
        name
        for name, (scores, written) in before.items()
        if name not in now or now[name][0] != scores or (written is not None and now[name][1] != written)
    ]


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
