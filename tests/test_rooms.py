"""The rooms of the package: data flow one way, no two modules import each other, and every module says what it is."""

import ast
from collections import defaultdict
from pathlib import Path

import interplay

SOURCE = Path(interplay.__file__).parent
# A room may import from itself and from rooms above it in this list; so may the modules of the package itself.
ROOMS = (
    ("errors",),
    ("extras", "limits", "process", "secrets", "text"),
    ("atomic",),
    ("data",),
    ("models",),
    ("config",),
    ("scoring",),
    ("effects",),
    ("dynamics",),
    ("recommendation",),
    ("task",),
    ("training",),
    ("store",),
    ("report",),
    ("analysis",),
    ("exports",),
    ("comparison",),
    ("runfolder",),
    ("pipeline",),
    ("explanation",),
    ("auditing",),
    ("parallel",),
    ("callback",),
    ("axolotl",),
    ("presets",),
    ("verbs",),
    ("cli",),
)
RANK = {name: rank for rank, names in enumerate(ROOMS) for name in names}
ARRAYS_ONLY = ("effects", "dynamics", "recommendation")
LIBRARIES = {"torch", "transformers", "typer", "rich", "peft", "trl", "datasets"}
GPU = {
    "effects/projection.py",
    "effects/sparse.py",
    "effects/moebius.py",
}  # torch arrays, where the caller asks for a device


def imports(path: Path) -> list[str]:
    """Every module that a file imports, anywhere in it, in full."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports out in full"
            found += [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(SOURCE.rglob("*.py"))}
ARROWS = {name: {m for m in imports(path) if m in FILES and m != name} for name, path in FILES.items()}


def room_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] != "__main__" else None


def test_every_room_is_in_the_list():
    assert {room_of(name) for name in FILES} - {None} == set(RANK)


def test_rooms_import_upwards_only():
    wrong = [
        f"{name} imports {target}"
        for name, targets in ARROWS.items()
        for target in targets
        if (own := room_of(name)) and (other := room_of(target)) and own != other and RANK[other] >= RANK[own]
    ]
    assert not wrong, "\n".join(sorted(wrong))


def test_no_modules_import_each_other():
    """No circle, imports inside functions included."""
    left = {name: set(targets) - {"interplay"} for name, targets in ARROWS.items() if name != "interplay"}
    packages = defaultdict(set)  # a package whose __init__ imports from its own modules is no circle with them
    for name in left:
        packages[name.rpartition(".")[0]].add(name)
    for name, targets in left.items():
        targets -= {parent for parent in packages if name.startswith(f"{parent}.")}
    # Whoever imports none of those that are left, or is imported by none of them, is in no circle.
    while free := [
        name for name, targets in left.items() if not targets & left.keys() or not any(name in t for t in left.values())
    ]:
        for name in free:
            del left[name]
    assert not left, f"these modules import each other: {sorted(left)}"


def test_the_core_sees_arrays_only():
    for name, path in FILES.items():
        if room_of(name) in ARRAYS_ONLY:
            heavy = {m.partition(".")[0] for m in imports(path)} & LIBRARIES
            if path.relative_to(SOURCE).as_posix() in GPU:
                heavy -= {"torch"}
            assert not heavy, f"{name} imports {', '.join(sorted(heavy))}"


def test_every_module_says_what_it_is():
    for name, path in FILES.items():
        text = path.read_text(encoding="utf-8")
        assert not text.strip() or ast.get_docstring(ast.parse(text)), f"{name} opens without a docstring"
