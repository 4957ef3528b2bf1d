"""Finished runs that are compared: which of them form a group, and what weakens the comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from interplay.config.loading import difference
from interplay.dynamics.sets import MAIN_DEFINITION
from interplay.errors import InterplayError
from interplay.store.reader import RunReader
from interplay.text import short

# Settings in which two trainings of one kind may differ: the run's name, and what is measured besides the main trajectory.
NOT_TRAINING = ("name", "controls", "task")


class ComparedRun(RunReader):
    """A finished run, and its name among the others: its folder's, with as much of the path as tells it from them."""

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(path)
        self.name = name

    @cached_property
    def values(self) -> dict[str, Any]:
        """The settings as plain values, every default written out."""
        return self.settings.model_dump(mode="json")

    @property
    def seed(self) -> int:
        """Seed of the training."""
        own = self.settings.training.seed if self.settings.training is not None else None
        return self.settings.seed if own is None else own

    @cached_property
    def texts(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """The text and the chosen words of each prompt that was measured, by its id."""
        measured = set(self.trajectory.sample_ids)
        prompts = (p for p in self.inputs["prompts"] if p["id"] in measured)
        return {p["id"]: (p["text"], tuple(word["text"] for word in p["words"])) for p in prompts}

    def x(self, step: int, axis: str) -> float:
        """Position of a step on the axis: the step itself, or the passes over the training rows up to it."""
        if axis == "steps":
            return float(step)
        training, rows = self.settings.training, self.inputs["rows"]["train"]
        if training is None or not rows:
            raise InterplayError(f"run {short(self.name)} does not know its training rows: compare with --axis steps")
        return round(step / (rows / (training.batch_size * training.accumulation)), 6)


class Group(NamedTuple):
    """Runs that are shown as one line: their mean, with each run thin next to it. `given`: the user named it."""

    name: str
    runs: tuple[str, ...]
    given: bool = False


@dataclass(frozen=True, eq=False, repr=False)
class ComparedRuns:
    """Two or more runs in the order given, the groups they form, and how they are compared."""

    runs: tuple[ComparedRun, ...]
    groups: tuple[Group, ...]
    axis: str = "steps"
    definition: str = MAIN_DEFINITION

    def run(self, name: str) -> ComparedRun:
        """A run by its name."""
        return next(run for run in self.runs if run.name == name)


def read_run(path: Path, name: str | None = None) -> ComparedRun:
    """One finished run folder; InterplayError in one line for anything else."""
    run = ComparedRun(path, name or path.resolve().name)
    run.require_finished()
    with run.intact():  # all that a comparison reads is read here
        _ = run.texts, run.task, run.recorded, run.score, run.table("multiples"), run.inputs["rows"]["train"]
    return run


def run_names(paths: Sequence[Path]) -> list[str]:
    """The last parts of each path, as few as tell all of them apart.

    >>> run_names([Path("/a/lora/run"), Path("/a/full/run")])
    ['lora/run', 'full/run']
    """
    names = []
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names


def same_training(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without those in which two trainings of one kind may differ.

    >>> same_training({"name": "a", "training": {"seed": 1, "steps": 9}})
    {'training': {'steps': 9}}
    """
    kind = {key: value for key, value in settings.items() if key not in NOT_TRAINING}
    if isinstance(training := kind.get("training"), Mapping):
        kind["training"] = {key: value for key, value in training.items() if key != "seed"}
    return kind


def group_runs(runs: Sequence[ComparedRun], given: Mapping[str, Sequence[str]]) -> tuple[Group, ...]:
    """The user's groups first, then runs of one kind of training together, in the order given."""
    owner: dict[str, str] = {}
    for name, members in given.items():
        for member in members:
            if member in owner:
                raise InterplayError(f"--group: run {short(member)} is named twice, put every run into one group")
            owner[member] = name
    kinds: list[list[ComparedRun]] = []
    for run in (run for run in runs if run.name not in owner):
        for kind in kinds:
            same = same_training(kind[0].values) == same_training(run.values)
            if same and run.seed not in {other.seed for other in kind}:
                kind.append(run)
                break
        else:
            kinds.append([run])
    groups = [Group(name, tuple(members), True) for name, members in given.items()]
    groups += [Group(_group_name(kind, kinds), tuple(run.name for run in kind)) for kind in kinds]
    if len({group.name for group in groups}) == len(groups):
        return tuple(groups)
    return tuple(  # two kinds share a name: add which runs they are
        g if g.given or len(g.runs) == 1 else g._replace(name=f"{g.name} ({', '.join(g.runs)})") for g in groups
    )


def _group_name(kind: Sequence[ComparedRun], kinds: Sequence[Sequence[ComparedRun]]) -> str:
    """One run: its name. Several: the settings that set them apart from the other kinds, or the name in their settings."""
    if len(kind) == 1:
        return kind[0].name
    own = same_training(kind[0].values)
    others = [same_training(other[0].values) for other in kinds if other is not kind]
    keys = list(dict.fromkeys(key for other in others for key in changed_keys(own, other)))
    apart = [f"{key.rpartition('.')[2]} {setting(kind[0], key, 24)}" for key in keys[:2]]
    return ", ".join(apart) if apart and len(keys) <= 3 else kind[0].settings.name


def changed_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Which keys two settings differ in, with their sections.

    >>> changed_keys({"prompts": {"n": 7}, "seed": 0}, {"prompts": {"n": 8}, "seed": 0})
    ['prompts.n']
    """
    return [line.partition(": ")[0] for line in difference(old, new)]


def setting(run: ComparedRun, key: str, longest: int = 80) -> str:
    """One setting as text, such as `training.method`; an en dash for null and for a section that is absent."""
    value: Any = run.values
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    text = "–" if value is None else str(value)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def shared_prompts(first: ComparedRun, *others: ComparedRun) -> list[str]:
    """Ids of the prompts that all the runs measured with the same text and the same words, sorted."""
    return sorted(i for i, prompt in first.texts.items() if all(other.texts.get(i) == prompt for other in others))
