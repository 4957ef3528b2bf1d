"""Which folders of a fine-tuning hold its checkpoints, and what its log says: Trainer, TRL, LLaMA-Factory, unsloth, accelerate.

The first four write `checkpoint-<step>` into an output folder; most leave the final weights in the folder itself as well.
Loops of one's own, as accelerate's examples, write `step_<n>` or `epoch_<n>`, and `best` or `final` beside them.
"""

import contextlib
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from interplay.errors import InterplayError, reason_of
from interplay.models.weights import same_weights, tensors_end, weight_files

STATE = "trainer_state.json"
SHOWN = 5
HALF = "; it is written half or damaged"
_FRONT = r"(?:checkpoint|ckpt)[-_]?"
_STEP = re.compile(rf"(?:{_FRONT}|(?:{_FRONT})?(?:global[-_]?)?(?:step|iter)[-_=]?)([0-9]{{1,12}})")
_EPOCH = re.compile(rf"(?:{_FRONT})?epoch[-_=]?([0-9]{{1,12}})")
_NAMED = re.compile(rf"(?:{_FRONT}|model[-_])?(best|final|last|latest)(?:[-_](?:model|checkpoint|adapter|lora))?")
_LOGGED = re.compile(r"loss|learning_rate|eval_(.+_)?loss")
_RENAME = "name their folder checkpoint-<step>"


@dataclass(frozen=True)
class Checkpoint:
    """One state of the model: optimiser step, its folder (None: the base itself), and what the folder holds."""

    step: int
    path: Path | None
    kind: str  # "base" | "adapter" | "full"


class Layout(NamedTuple):
    """The checkpoints of one training in the order of their steps, the base first, and what was left out and why."""

    checkpoints: tuple[Checkpoint, ...]
    notes: tuple[str, ...]


def classify(folder: Path) -> str | None:
    """'adapter' (also where whole weights lie next to it), 'full' or None for a folder; pickled weights alone are refused."""
    if (folder / "adapter_model.safetensors").exists() and (folder / "adapter_config.json").exists():
        return "adapter"
    if _has_whole(folder):
        return "full"
    pickled = [p.name for pattern in ("adapter_model.bin", "pytorch_model*.bin") for p in sorted(folder.glob(pattern))]
    if pickled:
        raise InterplayError(f"{folder} holds pickled weights only ({pickled[0]}): save it again as safetensors")
    return None


def _has_whole(folder: Path) -> bool:
    names = ("model.safetensors", "model.safetensors.index.json")
    return (folder / "config.json").exists() and any((folder / name).exists() for name in names)


def find_damage(folder: Path, kind: str) -> str | None:
    """Why a folder that `classify` calls `kind` cannot be read, or None; looks at configs and headers, not at tensors."""
    config = folder / ("adapter_config.json" if kind == "adapter" else "config.json")
    try:
        if not isinstance(json.loads(config.read_text(encoding="utf-8")), dict):
            return f"{config.name} is not a JSON object"
        files = weight_files(folder, kind)
    except InterplayError as error:
        return str(error).rpartition(": ")[0]
    except (OSError, ValueError) as error:
        return f"{config.name} cannot be read ({reason_of(error, 120)})"
    for file in files:
        try:
            ends = tensors_end(file)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            return f"{file.name} cannot be read ({reason_of(error, 120)})"
        if ends != (size := file.stat().st_size):
            return f"{file.name} cannot be read (its header speaks of {ends} bytes, it has {size})"
    return None


def find_layout(folder: Path, steps: list[int] | None = None) -> Layout:
    """Step 0 (the base), every whole checkpoint in `folder` that a step or an epoch names, and what `best`, `final` and
    `folder` itself hold when `trainer_state.json` gives them a step that no checkpoint has. With `steps`, only those.

    Raises InterplayError when the folder is missing, holds no checkpoint, or lacks one of `steps`.
    """
    if not folder.is_dir():
        raise InterplayError(f"no checkpoints folder at {str(folder)!r}: give the output folder of a training run")
    notes: list[str] = []
    found = numbered(folder, notes)
    for path in sorted(p for p in folder.iterdir() if p.is_dir() and _NAMED.fullmatch(p.name)):
        if named := _final(path, found, notes):
            found[named.step] = named
    if not found:
        found = {(only := _only_root(folder, notes)).step: only}
    elif final := _final(folder, found, notes):
        found[final.step] = final
    found = {0: Checkpoint(0, None, "base")} | found
    if steps is not None:
        if lacking := sorted(set(steps) - set(found)):
            own = [note for note in notes if step_of(Path(note.split(" was left out")[0])) == lacking[0]]
            why = f" ({(own or notes)[0]})" if notes else ""
            raise InterplayError(f"no checkpoint for step {lacking[0]} in {str(folder)!r}, only {sorted(found)}{why}")
        found = {step: found[step] for step in steps}
    return Layout(tuple(found[step] for step in sorted(found)), tuple(notes))


def step_of(folder: Path) -> int | None:
    """The step in the name of a checkpoint folder; Trainer's half-written `tmp-checkpoint-<step>` has none.

    >>> step_of(Path("out/checkpoint-060")), step_of(Path("out/step_60")), step_of(Path("out/tmp-checkpoint-60"))
    (60, 60, None)
    """
    match = _STEP.fullmatch(folder.name)
    return int(match[1]) if match else None


def place_of(folder: Path) -> tuple[bool, int] | None:
    """Where a folder's name puts it among the checkpoints of its training: those named by epoch, then by step."""
    step, epoch = step_of(folder), _EPOCH.fullmatch(folder.name)
    return (True, step) if step is not None else (False, int(epoch[1])) if epoch else None


def newest(folder: Path) -> Path | None:
    """The last of the checkpoints inside a folder, by their names."""
    return next(iter(_newest_first(folder)), None)


def _newest_first(folder: Path) -> list[Path]:
    places = sorted(((place, path) for path in folder.glob("*/") if (place := place_of(path))), reverse=True)
    return [path for _, path in places]


def _steps_in(folder: Path, notes: list[str]) -> list[tuple[int, Path]]:
    """The steps of the folders inside `folder` that are named by one, or by an epoch."""
    places = sorted(path for path in folder.iterdir() if path.is_dir())
    found = [(step, path) for path in places if (step := step_of(path)) is not None]
    epochs = {path: int(match[1]) for path in places if (match := _EPOCH.fullmatch(path.name))}
    states = {path: read_state(path).global_step for path in epochs}
    if epochs and not all(states.values()):  # some have no state: only their order is known
        if found:
            notes.append(f"{min(epochs).name} was left out: no {STATE} says its step; {_RENAME}")
            return found
        first = min(epochs.values())
        states = {path: epoch + (first == 0) for path, epoch in epochs.items()}  # step 0 is the base
        start = f"step {first or 1} is {min(epochs, key=lambda path: epochs[path]).name}"
        notes.append(f"the checkpoints are named by epoch and no {STATE} says their steps: {start}")
    return found + [(step, path) for path, step in states.items()]


def numbered(folder: Path, notes: list[str]) -> dict[int, Checkpoint]:
    """The whole checkpoints directly inside `folder`, by step; `notes` gets what was left out. Reads no weights."""
    found: dict[int, Checkpoint] = {}
    for step, path in _steps_in(folder, notes):
        kind = classify(path)
        damage = kind and find_damage(path, kind)
        if kind is None or damage:
            notes.append(f"{path.name} was left out: {f'{damage}{HALF}' if damage else _why_no_weights(path)}")
            continue
        if step in found:
            raise InterplayError(f"{found[step].path} and {path.name} are both step {step}: remove one of them")
        if kind == "adapter" and _has_whole(path):
            notes.append(f"{path.name} holds an adapter and whole weights: the adapter on the base given is measured")
        found[step] = Checkpoint(step, path, kind)
    return found


def _why_no_weights(path: Path) -> str:
    if (path / "adapter_model.safetensors").exists():
        return f"it holds an adapter without its adapter_config.json{HALF}"
    if any(path.glob("model*.safetensors")):
        if (path / "config.json").exists():
            return f"it holds weights without their model.safetensors.index.json{HALF}"
        return f"it holds weights without their config.json{HALF}, or is accelerate's state: then add the base's config.json"
    inside = sorted(p for p in path.iterdir() if p.is_dir())
    for p in inside:
        if (p / "adapter_model.safetensors").exists() or _has_whole(p):
            return f"its weights lie deeper, in {p.name}: move the files of that folder up"
    if any(p.name.startswith("global_step") for p in inside):
        return "it holds DeepSpeed's shards only: gather them (its zero_to_fp32.py --safe_serialization writes safetensors)"
    if any(p.name.startswith("pytorch_model_fsdp") for p in inside):
        return "it holds FSDP's shards only: merge them (accelerate merge-weights writes safetensors)"
    return "it holds no adapter_model.safetensors and no model.safetensors with their configs"


_KIND = {"adapter": "an adapter", "full": "a whole model"}


def _only_root(folder: Path, notes: list[str]) -> Checkpoint:
    """The final weights in a folder without checkpoints, or an error that says which folder to give."""
    shown, kind = repr(str(folder)), classify(folder)
    if kind is None:
        near = _near(folder) if not notes else []
        if len(near) == 1:
            raise InterplayError(f"{shown} holds no checkpoint-<step> folder itself: give {str(near[0])!r}")
        if near:
            first = ", ".join(repr(str(p)) for p in near[:SHOWN]) + (", ..." if len(near) > SHOWN else "")
            raise InterplayError(f"{shown} holds {len(near)} trainings: give one of them ({first})")
        why = f" ({notes[0]})" if notes else ""
        raise InterplayError(f"{shown} holds no checkpoint-<step> folder with weights{why}: give a training's folder")
    own = folder if folder.name not in ("", "..") else folder.resolve()
    if (step := step_of(own)) is not None:
        raise InterplayError(f"{shown} is one checkpoint of a training: give {str(own.parent)!r} and its step ({step})")
    if (damage := find_damage(folder, kind)) is not None:
        raise InterplayError(f"{shown} holds {_KIND[kind]} that cannot be read: {damage}{HALF}, save it again")
    if not (step := read_state(folder).global_step):
        unknown = f"{shown} holds {_KIND[kind]}, but nothing says of which step"
        raise InterplayError(f"{unknown}: move it into a folder checkpoint-<step> in it")
    notes.append(f"the only trained weights are the final ones, of step {step}")
    return Checkpoint(step, folder, kind)


def _near(folder: Path) -> list[Path]:
    """Folders with checkpoints one or two levels below, as hyper-parameter searches and folders of runs have them."""
    found: set[Path] = set()
    with contextlib.suppress(OSError):  # a folder that may not be read
        for pattern in ("*/*/", "*/*/*/"):
            found |= {path.parent for path in folder.glob(pattern) if place_of(path)}
    return sorted(found)


def _final(folder: Path, found: dict[int, Checkpoint], notes: list[str]) -> Checkpoint | None:
    """The weights in the output folder itself, or in one named `best` or `final`, unless a checkpoint holds the same or
    their step is not known."""
    try:
        kind = classify(folder)
    except InterplayError:
        return None  # pickles here do not matter: there are checkpoints
    if kind is None:
        return None
    named = _NAMED.fullmatch(folder.name)
    weights = f"the {'' if named else 'final '}weights in {folder.name or folder}"
    left_out = f"{weights} were left out:"
    if (damage := find_damage(folder, kind)) is not None:
        notes.append(f"{left_out} {damage}; they are written half or damaged")
        return None
    state = read_state(folder)
    step = state.global_step
    if step in found:
        return None
    last = found[max(found)] if found else Checkpoint(0, None, kind)
    # Trainings that put their best checkpoint back save that one at the end, under the number of the last step.
    for checkpoint in sorted(found.values(), key=lambda c: -c.step):
        assert checkpoint.path is not None
        if checkpoint.kind == kind and same_weights(checkpoint.path, folder, kind):
            if checkpoint is not last:
                notes.append(f"{weights} are those of {checkpoint.path.name}")
            return None
    best, path = state.best_global_step, state.best_model_checkpoint
    if best is None and path is not None:  # older trainers give the path only
        best = step_of(Path(path))
    if kind != last.kind:
        notes.append(f"{left_out} {_KIND[kind]}, where the checkpoints are {_KIND[last.kind]} each")
    elif not step:
        notes.append(f"{left_out} they are those of no checkpoint, and no {STATE} says their step; {_RENAME}")
    elif named and named[1] == "best":
        return Checkpoint(step, folder, kind)
    elif step < last.step:
        notes.append(f"{left_out} its {STATE} says step {step}, before the last checkpoint ({last.step})")
    elif best not in (None, step, *found):
        notes.append(f"{left_out} they may be those of step {step} or of the best one, {best}")
    else:
        return Checkpoint(step, folder, kind)
    return None


class TrainerState(BaseModel):
    """What is read of `trainer_state.json`."""

    model_config = ConfigDict(strict=True)

    global_step: int = 0
    best_metric: float | None = None
    best_global_step: int | None = None
    best_model_checkpoint: str | None = None
    log_history: list[dict[str, Any]] = []


def read_state(folder: Path) -> TrainerState:
    """The state in a folder; empty where it is missing or damaged."""
    try:
        return TrainerState.model_validate_json((folder / STATE).read_bytes())
    except (OSError, ValidationError):
        return TrainerState()


def furthest_state(folder: Path) -> tuple[TrainerState, list[str]]:
    """Of the states in an output folder, in `best` or `final`, and in its newest checkpoint where it can be read, the one that
    reaches furthest; and which ones cannot be read. Empty where there is none."""
    named, notes, found = [path for path in folder.glob("*/") if _NAMED.fullmatch(path.name)], [], [TrainerState()]
    for place in (folder, *named, *_newest_first(folder)):
        state = read_state(place)
        if state.global_step:
            found.append(state)
            if place_of(place):
                break
        elif (place / STATE).exists():
            notes.append(f"the {STATE} in {place.name or place} cannot be read{HALF}")
    return max(found, key=lambda state: state.global_step), notes


def read_training_log(folder: Path) -> list[dict[str, Any]]:
    """Train loss, learning rate and eval losses by step, as the trainer of an output folder logged them; [] without a log.

    Of the `trainer_state.json` that reaches furthest. One dict a step: `step`, `loss` (nats, the mean since the entry before;
    None at a step that was only evaluated), `learning_rate` (or None), and `eval_loss` or `eval_<name>_loss` of each eval set.
    """
    log: dict[int, dict[str, Any]] = {}
    for entry in furthest_state(folder)[0].log_history:
        logged = {key: x for key, x in entry.items() if _LOGGED.fullmatch(key) and isinstance(x, int | float)}
        given = {key: float(x) for key, x in logged.items() if math.isfinite(x)}
        if set(given) - {"learning_rate"} and isinstance(entry.get("step"), int):  # the last entry is a summary
            log.setdefault(entry["step"], {"step": entry["step"], "loss": None, "learning_rate": None}).update(given)
    return [log[step] for step in sorted(log)]
