"""The package as a stranger meets it: quick help, documented commands, a complete public face."""

import inspect
import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import typer

import interplay
from interplay.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
SOURCE = Path(interplay.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
COMMAND = typer.main.get_command(app)
VERBS = sorted(COMMAND.commands)  # ty: ignore[unresolved-attribute]


def python(code: str, **more: str) -> str:
    env = os.environ | {"PYTHONPATH": str(SOURCE.parent)} | more
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    return done.stdout


def test_help_is_quick_and_loads_no_model_library():
    """Under 0.5 s of CPU in one of three tries, since the first may have to compile bytecode."""
    code = """
import resource, sys
sys.argv = ["interplay", "--help"]
from interplay.cli import main
try:
    main()
except SystemExit as stop:
    assert stop.code == 0
used = resource.getrusage(resource.RUSAGE_SELF)
heavy = {"torch", "transformers", "trl", "peft", "datasets", "pandas", "numpy", "scipy", "pyarrow"} & set(sys.modules)
import json
print("\\x00" + json.dumps([used.ru_utime + used.ru_stime, sorted(heavy)]))
"""
    for _ in range(3):
        used, loaded = json.loads(python(code).partition("\0")[2])
        assert loaded == []
        if used < 0.5:
            return
    raise AssertionError(f"{used} s")


def test_import_loads_no_model_library():
    code = "import sys, interplay; print({'torch', 'transformers', 'numpy', 'pandas'} & set(sys.modules))"
    assert python(code).strip() == "set()"


def test_settings_are_read_before_heavy_imports():
    """A typing error must not cost ten seconds."""
    code = """
import sys
sys.argv = ["interplay", "run", "preset:demo", "--set", "seeed=1"]
from interplay.cli import main
try:
    main()
except SystemExit as stop:
    print(stop.code, {"torch", "transformers"} & set(sys.modules))
"""
    assert python(code).strip() == "2 set()"


def test_verbs():
    assert VERBS == [
        "audit",
        "card",
        "compare",
        "demo",
        "diff",
        "explain",
        "export",
        "init",
        "presets",
        "recommend",
        "report",
        "run",
        "test",
        "track",
    ]


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_and_option_has_help_and_a_place_in_the_documentation(verb):
    command = COMMAND.commands[verb]  # ty: ignore[unresolved-attribute]
    assert command.help
    assert command.help.strip().endswith(".")
    for parameter in command.params:
        if parameter.name != "help":
            assert getattr(parameter, "help", None), f"{verb} {parameter.name} says nothing"
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    assert any(f"interplay {verb}" in page.read_text(encoding="utf-8") for page in pages)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("interplay tr", ["track"]), ("interplay run --da", ["--data"]), ("interplay init my", [])],
    ids=["verb", "option", "file"],
)
def test_shells_complete_without_a_model_library(typed, offered):
    """What bash asks for; where nothing is offered, it completes files."""
    code = """
import atexit, sys
sys.argv = ["interplay"]
atexit.register(lambda: print({"torch", "transformers", "numpy", "pandas"} & set(sys.modules)))
from interplay.cli import main
main()
"""
    asked = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    assert python(code, _INTERPLAY_COMPLETE="complete_bash", **asked).split() == [*offered, "set()"]
    assert "complete -o default" in python(code, _INTERPLAY_COMPLETE="source_bash")


IN_PYTHON = {
    "card": interplay.card,
    "compare": interplay.compare,
    "diff": interplay.diff,
    "explain": interplay.explain,
    "export": interplay.export,
    "init": interplay.init,
    "recommend": interplay.recommend,
    "report": interplay.Run.report,
    "run": interplay.run,
    "test": interplay.test,
    "track": interplay.track,
}
# What only one side has: how to print, progress, and the two ways to name models on a command line.
COMMAND_ONLY = {"as_json", "quiet", "models", "open_page", "html", "prompts"}
PYTHON_ONLY = {"self", "quiet", "progress"}
ALIASES = {"run_folder": "self", "run": "run", "path": "out", "overrides": "settings"}


@pytest.mark.parametrize("verb", IN_PYTHON)
def test_a_verb_and_its_function_have_the_same_names_and_defaults(verb):
    (callback,) = (c.callback for c in app.registered_commands if c.callback.__name__ == verb)
    theirs = {ALIASES.get(name, name): p.default for name, p in inspect.signature(callback).parameters.items()}
    ours = {ALIASES.get(name, name): p.default for name, p in inspect.signature(IN_PYTHON[verb]).parameters.items()}
    assert theirs.keys() - COMMAND_ONLY - PYTHON_ONLY == ours.keys() - COMMAND_ONLY - PYTHON_ONLY
    for name in theirs.keys() & ours.keys():
        default = ours[name]
        default = ",".join(default) if isinstance(default, tuple) else default
        if (verb, name) not in {
            ("compare", "runs"),
            ("explain", "model"),
            ("explain", "prompt"),
        }:  # required, but --group, A and --prompts stand in for them
            assert (theirs[name] or None) == (default or None), name


@pytest.mark.parametrize("verb", VERBS)
def test_options_are_spelt_as_their_names(verb):
    special = {"settings": "--set", "overrides": "--set", "as_json": "--json", "open_page": "--open"}
    for parameter in COMMAND.commands[verb].params:  # ty: ignore[unresolved-attribute]
        if parameter.param_type_name == "option":
            name = special.get(parameter.name, f"--{parameter.name.replace('_', '-')}")
            assert name in parameter.opts, parameter.opts


def test_all_is_complete_and_every_name_is_there():
    assert interplay.__all__ == sorted(interplay.__all__)
    assert set(interplay.__all__) == {*interplay._WHERE, "__version__"}
    assert dir(interplay) == interplay.__all__
    for name, module in interplay._WHERE.items():
        assert getattr(interplay, name) is getattr(import_module(module), name)
    with pytest.raises(AttributeError, match="has no attribute 'nope'"):
        interplay.nope  # noqa: B018
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", interplay.__version__)


def test_names_of_packages_exist():
    for module in MODULES:
        if module.name == "__init__.py":
            package = import_module(".".join(["interplay", *module.parent.relative_to(SOURCE).parts]))
            assert [name for name in getattr(package, "__all__", []) if not hasattr(package, name)] == []


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_names_a_machine():
    """Spelt in two halves, so that this file does not name what it looks for."""
    marks = [b"/ro" + b"ot/", b"/t" + b"mp/", b"/wo" + b"rk/", b"/home" + b"/u"]
    named = [
        (path.relative_to(ROOT).as_posix(), mark.decode())
        for path in tracked()
        for mark in marks
        if mark in path.read_bytes()
    ]
    assert named == []


def test_no_pickle_is_tracked():
    assert [p.name for p in tracked() if p.suffix in (".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib")] == []


def test_presets_ship_with_the_package():
    assert {p.name for p in (SOURCE / "presets").glob("*.yaml")} >= {"demo.yaml", "goemotions.yaml"}
