"""Which folders of a fine-tuning hold its checkpoints, and what its log says: Trainer, TRL, LLaMA-Factory, unsloth.

All four write `checkpoint-<step>` into an output folder; most leave the final weights in the output folder itself as well.
Nothing is loaded here.
"""

import contextlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from interplay.errors import InterplayError, reason_of
from interplay.models.weights import same_weights, weight_files
from interplay.text import short

STATE = "trainer_state.json"
LOOKED_THROUGH = 1000  # folders, when none was found where it should be  [ours]
SHOWN = 5
HALF = "; it is written half or damaged"


@dataclass(frozen=True)
class Checkpoint:
    """One state of the model: optimiser step, its folder (None: the base itself), and what the folder holds."""

    step: int
    path: Path | None
    kind: str  # "base" | "adapter" | "full"


@dataclass(frozen=True)
class Layout:
    """The checkpoints of one training in the order of their steps, the base first, and what was left out and why."""

    checkpoints: tuple[Checkpoint, ...]
    notes: tuple[str, ...]


def classify(folder: Path) -> str | None:
    """'adapter', 'full' or None for a folder; pickled weights alone are refused.

    Where both an adapter and whole weights lie, those are the base or what the two were merged into: the adapter is it.
    """
    if (folder / "adapter_model.safetensors").exists() and (folder / "adapter_config.json").exists():
        return "adapter"
    if _has_whole(folder):
        return "full"
    pickled = [p.name for pattern in ("adapter_model.bin", "pytorch_model*.bin") for p in sorted(folder.glob(pattern))]
    if pickled:
        raise InterplayError(
            f"{folder} holds pickled weights only ({pickled[0]}), which are not opened: save it again as safetensors"
        )
    return None


def _has_whole(folder: Path) -> bool:
    names = ("model.safetensors", "model.safetensors.index.json")
    return (folder / "config.json").exists() and any((folder / name).exists() for name in names)


def _read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def find_damage(folder: Path, kind: str) -> str | None:
    """Why a folder that `classify` calls `kind` cannot be read, or None; looks at configs and headers, not at tensors.

    A training that was killed, or goes on, leaves its newest checkpoint half written. What Trainer writes after the weights
    (its state, the optimiser's) is not needed.
    """
    from safetensors import SafetensorError, safe_open

    config = folder / ("adapter_config.json" if kind == "adapter" else "config.json")
    try:
        if not isinstance(_read(config), dict):
            return f"{config.name} is not a JSON object"
        files = weight_files(folder, kind)
    except InterplayError as error:
        return str(error).rpartition(": ")[0]
    except (OSError, ValueError) as error:
        return f"{config.name} cannot be read ({_shown(error)})"
    for file in files:
        try:
            with safe_open(file, framework="np"):
                pass
        except (OSError, SafetensorError) as error:
            return f"{file.name} cannot be read ({_shown(error)})"
    return None


def _shown(error: Exception) -> str:
    return short(reason_of(error), 120)[1:-1]


def find_layout(folder: Path, steps: list[int] | None = None) -> Layout:
    """Step 0 (the base), every `checkpoint-<step>` in `folder` and, where its step is known, the final weights in `folder` itself.

    A half-written or damaged checkpoint is left out with a note. The final weights count when `trainer_state.json` gives a
    step that no checkpoint has. With `steps`, only those are returned.

    Raises InterplayError when the folder is missing, holds no checkpoint (naming the folders near it that do), or lacks one
    of `steps` (saying why it was left out).
    """
    if not folder.is_dir():
        raise InterplayError(f"no checkpoints folder at {str(folder)!r}: give the output folder of a training run")
    notes: list[str] = []
    found = _numbered(folder, notes)
    if not found:
        found = {(only := _only_root(folder, notes)).step: only}
    elif final := _final(folder, found, notes):
        found[final.step] = final
    found = {0: Checkpoint(0, None, "base")} | found
    if steps is not None:
        lacking = sorted(set(steps) - set(found))
        if lacking:
            own = [note for note in notes if step_of(Path(note.split(" was left out")[0])) == lacking[0]]
            why = _first(own or notes)
            raise InterplayError(
                f"no checkpoint for step {lacking[0]} in {str(folder)!r}: it holds {sorted(found)}{why}"
            )
        found = {step: found[step] for step in steps}
    return Layout(tuple(found[step] for step in sorted(found)), tuple(notes))


def _first(notes: list[str]) -> str:
    return f" ({notes[0]})" if notes else ""


def step_of(folder: Path) -> int | None:
    """The step in the name of a checkpoint folder; Trainer's half-written `tmp-checkpoint-<step>` has none.

    >>> step_of(Path("out/checkpoint-060")), step_of(Path("out/tmp-checkpoint-60")), step_of(Path("out/checkpoint-best"))
    (60, None, None)
    """
    match = re.fullmatch(r"checkpoint-([0-9]{1,12})", folder.name)
    return int(match[1]) if match else None


def _numbered(folder: Path, notes: list[str]) -> dict[int, Checkpoint]:
    """The checkpoints directly inside `folder`, by step."""
    found: dict[int, Checkpoint] = {}
    for path in sorted(folder.iterdir()):
        step = step_of(path)
        if step is None or not path.is_dir():
            continue
        kind = classify(path)
        damage = kind and find_damage(path, kind)
        if kind is None or damage:
            why = f"{damage}{HALF}" if damage else _why_no_weights(path)
            notes.append(f"{path.name} was left out: {why}")
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
        config = (path / "config.json").exists()
        return f"it holds weights without their {'model.safetensors.index.json' if config else 'config.json'}{HALF}"
    inside = sorted(p for p in path.iterdir() if p.is_dir())
    for p in inside:
        if (p / "adapter_model.safetensors").exists():
            return f"its adapter lies deeper, in {p.name}: move the files of that folder up"
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
        raise InterplayError(
            f"{shown} holds no checkpoint-<step> folder with adapter_model.safetensors or model.safetensors"
            f"{_first(notes)}: give the output folder of a training run"
        )
    own = folder if folder.name not in ("", "..") else folder.resolve()
    if (step := step_of(own)) is not None:
        raise InterplayError(
            f"{shown} is one checkpoint, not the folder of a training: give {str(own.parent)!r} and its step ({step})"
        )
    if (damage := find_damage(folder, kind)) is not None:
        raise InterplayError(f"{shown} holds {_KIND[kind]} that cannot be read: {damage}{HALF}, save it again")
    if (step := _global_step(_state(folder))) is None:
        raise InterplayError(
            f"{shown} holds {_KIND[kind]}, but nothing says of which step (no checkpoint-<step> folder, no {STATE}): move it "
            "into a folder checkpoint-<step> and give the folder around that"
        )
    notes.append(f"the only trained weights are the final ones, of step {step}")
    return Checkpoint(step, folder, kind)


def _near(folder: Path) -> list[Path]:
    """Folders with checkpoints one or two levels below, as hyper-parameter searches and folders of runs have them."""
    below = chain(_folders(folder), (inner for child in _folders(folder) for inner in _folders(child)))
    return [path for path in islice(below, LOOKED_THROUGH) if any(step_of(p) is not None for p in _folders(path))]


def _folders(path: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from sorted(p for p in path.iterdir() if p.is_dir())


def _final(folder: Path, found: dict[int, Checkpoint], notes: list[str]) -> Checkpoint | None:
    """The weights in the output folder itself, unless a checkpoint holds the same or their step is not known."""
    try:
        kind = classify(folder)
    except InterplayError:
        return None  # pickles here do not matter: there are checkpoints
    if kind is None:
        return None
    left_out = f"the final weights in {folder.name or str(folder)} were left out:"
    if (damage := find_damage(folder, kind)) is not None:
        notes.append(f"{left_out} {damage}; they are written half or damaged")
        return None
    state, last = _state(folder), found[max(found)]
    step = _global_step(state)
    if step in found:
        return None
    # Trainings that put their best checkpoint back save that one at the end, under the number of the last step.
    for checkpoint in sorted(found.values(), key=lambda c: -c.step):
        assert checkpoint.path is not None
        if checkpoint.kind == kind and same_weights(checkpoint.path, folder, kind):
            if checkpoint is not last:
                notes.append(f"the final weights are those of checkpoint-{checkpoint.step}, which was put back")
            return None
    best = _best_step(state)
    if kind != last.kind:
        notes.append(f"{left_out} {_KIND[kind]}, where the checkpoints are {_KIND[last.kind]} each")
    elif step is None:
        notes.append(f"{left_out} they are those of no checkpoint, and no {STATE} says their step")
    elif step < last.step:
        notes.append(f"{left_out} its {STATE} says step {step}, before the last checkpoint ({last.step})")
    elif best is not None and best != step and best not in found:
        notes.append(f"{left_out} they may be those of step {step} or of the best one, {best}")
    else:
        return Checkpoint(step, folder, kind)
    return None


def _state(folder: Path) -> dict[str, Any]:
    """`trainer_state.json` of a folder; empty where it is missing or damaged."""
    try:
        state = _read(folder / STATE)
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def _step(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _global_step(state: dict[str, Any]) -> int | None:
    return _step(state.get("global_step")) or None


def _best_step(state: dict[str, Any]) -> int | None:
    """The step of the best checkpoint; older trainers give its path only."""
    best, path = _step(state.get("best_global_step")), state.get("best_model_checkpoint")
    return step_of(Path(path)) if best is None and isinstance(path, str) else best


def read_training_log(folder: Path) -> list[dict[str, Any]]:
    """Train loss, learning rate and eval loss by step, as the trainer of an output folder logged them; [] without a log.

    Read from the `trainer_state.json` that reaches furthest, of the output folder or of its newest checkpoint. One dict a
    step: `step`, `loss` (nats, the mean since the entry before; None at a step that was only evaluated), `learning_rate`
    (None where not logged), and `eval_loss` where there is one.
    """
    numbered = [(step, path) for path in _folders(folder) if (step := step_of(path)) is not None]
    places = [folder, *(path for _, path in sorted(numbered)[-1:])]
    state = max((_state(place) for place in places), key=lambda state: _global_step(state) or 0)
    history = state.get("log_history")
    log: dict[int, dict[str, Any]] = {}
    for entry in history if isinstance(history, list) else ():
        step = _step(entry.get("step")) if isinstance(entry, dict) else None
        if step is None:
            continue
        given = {key: x for key in ("loss", "learning_rate", "eval_loss") if (x := _number(entry.get(key))) is not None}
        if "loss" in given or "eval_loss" in given:  # the last entry of a training is a summary of it
            log.setdefault(step, {"step": step, "loss": None, "learning_rate": None}).update(given)
    return [log[step] for step in sorted(log)]


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
