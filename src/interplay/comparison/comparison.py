"""Several finished run folders, read and laid side by side: which belong together, and where their settings differ.

It reads files and settings, and judges whether the runs can be compared at all; the figures are `comparison_tables`, the
page is `interplay.report.comparison`. It computes nothing from effects.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from interplay.config.settings import Settings
from interplay.config.yaml import difference
from interplay.data.words import short
from interplay.dynamics import Trajectory
from interplay.errors import InterplayError
from interplay.store.reader import RunReader
from interplay.task.metrics import METRICS

Axis = Literal["steps", "epochs"]
TITLES = ("name",)  # settings that name a run and change nothing that is computed
SEED = "training.seed"


@dataclass(frozen=True, eq=False)
class ComparedRun:
    """One finished run as the comparison sees it.

    name          its folder's name, with as much of the path before it as tells it from the others
    settings      as used, every default written out, plain values
    seed          of the training
    epoch_steps   optimiser steps in one pass over the training rows; None where the rows are not known
    prompts        id -> the prompt's text and its chosen words, of the prompts that were measured
    multiples     multiples of the churn floor; None where they were not computed
    """

    name: str
    path: Path
    title: str
    settings: Mapping[str, Any]
    seed: int
    epoch_steps: float | None
    trajectory: Trajectory
    task: pd.DataFrame
    recommendation: Mapping[str, Any]
    prompts: Mapping[str, tuple[str, tuple[str, ...]]]
    multiples: pd.DataFrame | None
    baselines: tuple[str, ...]

    def x(self, step: int, axis: Axis) -> float:
        """Where a step stands on the axis: itself, or how often the training rows had been seen."""
        if axis == "steps":
            return float(step)
        if self.epoch_steps is None:
            raise InterplayError(f"run {short(self.name)} does not know its training rows: compare with --axis steps")
        return round(step / self.epoch_steps, 6)


@dataclass(frozen=True)
class Group:
    """Runs that are shown as one line: their mean, with each run thin beside it. `given`: the user named it."""

    name: str
    runs: tuple[str, ...]
    given: bool = False


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs in the order given, the groups they form, and what a reader must know before comparing them."""

    runs: tuple[ComparedRun, ...]
    groups: tuple[Group, ...]
    axis: Axis
    notes: tuple[str, ...]

    def run(self, name: str) -> ComparedRun:
        """A run by its name."""
        return next(run for run in self.runs if run.name == name)

    @property
    def by_seed(self) -> bool:
        """Whether some group holds several runs, so that trainings can be told apart from prompts."""
        return any(len(group.runs) > 1 for group in self.groups)


def compare_runs(
    paths: Sequence[Path], groups: Mapping[str, Sequence[Path]] | None = None, axis: Axis = "steps"
) -> Comparison:
    """Read the runs and group them.

    Args:
        paths: run folders; those named in `groups` are added where they are not among them.
        groups: name -> run folders. Runs in no group are grouped among themselves: those whose settings differ in nothing
            but `training.seed` (and the run's name) are one.
        axis: `steps`, or `epochs` where every run knows how many rows it was trained on.

    Raises InterplayError for fewer than two runs, a run given twice, and a folder that is no finished run.
    """
    groups = groups or {}
    wanted: dict[Path, Path] = {}
    for path in paths:
        if (key := path.resolve()) in wanted:
            raise InterplayError(f"{str(path)!r} is given twice: name every run once")
        wanted[key] = path
    for path in (path for members in groups.values() for path in members):
        wanted.setdefault(path.resolve(), path)
    if len(wanted) < 2:
        raise InterplayError(f"{len(wanted) or 'no'} run given, expected two or more run folders to compare")
    names = dict(zip(wanted, _names(list(wanted)), strict=True))
    runs = tuple(read_run(path, names[key]) for key, path in wanted.items())
    chosen = {name: [names[path.resolve()] for path in members] for name, members in groups.items()}
    found = _group(runs, chosen)
    for run in runs:
        run.x(0, axis)  # refuses an axis that some run cannot have
    return Comparison(runs, found, axis, _notes(runs))


def read_run(path: Path, name: str | None = None) -> ComparedRun:
    """One finished run folder; InterplayError in one line for anything else."""
    run = RunReader(path)
    run.require_finished()
    with run.intact():
        return _compared(run, name)


def _compared(run: RunReader, name: str | None) -> ComparedRun:
    path, settings, inputs, trajectory = run.path, run.settings, run.inputs, run.trajectory
    measured = set(trajectory.sample_ids)
    texts = {
        p["id"]: (p["text"], tuple(word["text"] for word in p["words"]))
        for p in inputs["prompts"]
        if p["id"] in measured
    }
    return ComparedRun(
        name=name or path.resolve().name,
        path=path,
        title=settings.name,
        settings=settings.model_dump(mode="json"),
        seed=_seed(settings),
        epoch_steps=_epoch_steps(settings, inputs["rows"]["train"]),
        trajectory=trajectory,
        task=run.task,
        recommendation=run.recorded,
        prompts=texts,
        multiples=run.optional_table("multiples"),
        baselines=tuple(baseline.name for baseline in settings.baseline),
    )


def _seed(settings: Settings) -> int:
    own = settings.training.seed if settings.training is not None else None
    return settings.seed if own is None else own


def _epoch_steps(settings: Settings, rows: int | None) -> float | None:
    if settings.training is None or not rows:
        return None
    return rows / (settings.training.batch_size * settings.training.accumulation)


def _names(paths: Sequence[Path]) -> list[str]:
    """The last parts of each path, as few as tell all of them apart.

    >>> _names([Path("/a/lora/run"), Path("/a/full/run")])
    ['lora/run', 'full/run']
    """
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names


def same_training(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without what two trainings of one kind may differ in: the training's seed, the run's name, and what was
    measured beside the main trajectory (controls and task measures change neither).

    >>> same_training({"name": "a", "training": {"seed": 1, "steps": 9}})
    {'training': {'steps': 9}}
    """
    kept = {key: value for key, value in settings.items() if key not in (*TITLES, "controls", "task")}
    section, _, leaf = SEED.partition(".")
    if isinstance(kept.get(section), Mapping):
        kept[section] = {key: value for key, value in kept[section].items() if key != leaf}
    return kept


def _group(runs: Sequence[ComparedRun], given: Mapping[str, Sequence[str]]) -> tuple[Group, ...]:
    """The user's groups first, then runs of one kind of training together, in the order given."""
    owner: dict[str, str] = {}
    for name, members in given.items():
        for member in members:
            if member in owner:
                raise InterplayError(f"--group: run {short(member)} is named twice, put every run into one group")
            owner[member] = name
    kinds: list[list[ComparedRun]] = []
    for run in (run for run in runs if run.name not in owner):
        key = same_training(run.settings)
        home = next(
            (
                kind
                for kind in kinds
                if same_training(kind[0].settings) == key and run.seed not in {r.seed for r in kind}
            ),
            None,
        )
        if home is None:
            kinds.append([run])
        else:
            home.append(run)
    found = [Group(name, tuple(members), True) for name, members in given.items()]
    found += [Group(_group_name(kind, kinds), tuple(run.name for run in kind)) for kind in kinds]
    if len({group.name for group in found}) < len(found):  # two kinds may share a name: say which runs they are
        found = [
            g if g.given or len(g.runs) == 1 else replace(g, name=f"{g.name} ({', '.join(g.runs)})") for g in found
        ]
    return tuple(found)


def _group_name(kind: Sequence[ComparedRun], kinds: Sequence[Sequence[ComparedRun]]) -> str:
    """A run alone is called by its folder; several by what sets them apart from the other kinds, or by their title."""
    if len(kind) == 1:
        return kind[0].name
    others = [same_training(other[0].settings) for other in kinds if other is not kind]
    keys = dict.fromkeys(key for other in others for key in changed_keys(same_training(kind[0].settings), other))
    apart = [f"{key.rpartition('.')[2]} {_said(lookup(kind[0].settings, key), 24)}" for key in list(keys)[:2]]
    return ", ".join(apart) if apart and len(keys) <= 3 else kind[0].title


def changed_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Which keys two settings differ in, with their sections.

    >>> changed_keys({"prompts": {"n": 7}, "seed": 0}, {"prompts": {"n": 8}, "seed": 0})
    ['prompts.n']
    """
    return [line.partition(": ")[0] for line in difference(old, new)]


def lookup(settings: Mapping[str, Any], key: str) -> Any:
    """The value behind a key with its sections; None where a section is absent.

    >>> lookup({"prompts": {"n": 7}, "training": None}, "prompts.n")
    7
    """
    value: Any = settings
    for part in key.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def _said(value: Any, most: int = 80) -> str:
    text = "–" if value is None else str(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def setting_table(runs: Sequence[ComparedRun]) -> pd.DataFrame:
    """What differs between the runs' settings: one row a key, one column a run, values as text (an en dash: null)."""
    keys: dict[str, None] = {}
    for run in runs[1:]:
        keys.update(dict.fromkeys(changed_keys(runs[0].settings, run.settings)))
    rows = [{"setting": key, **{run.name: _said(lookup(run.settings, key)) for run in runs}} for key in sorted(keys)]
    return pd.DataFrame(rows, columns=["setting", *(run.name for run in runs)])


def overview(comparison: Comparison) -> pd.DataFrame:
    """One row a run: its group, the checkpoint recommended, the best by eval loss and by accuracy, and its last figures."""
    rows = []
    for run in comparison.runs:
        last = max(run.trajectory.steps)
        row: dict[str, Any] = {
            "run": run.name,
            "group": next(group.name for group in comparison.groups if run.name in group.runs),
            "seed": run.seed,
            "last_step": last,
            "recommended": run.recommendation["step"],
            "basis": run.recommendation.get("basis"),
        }
        for key in ("eval_loss", "accuracy"):
            known = run.task.dropna(subset=[key]) if key in run.task else run.task.iloc[:0]
            known = known.sort_values("step").set_index("step")[key] if len(known) else pd.Series(dtype=float)
            best = None if known.empty else METRICS[key].best(known)
            row |= {f"best_{key}_step": best, f"best_{key}": None if best is None else float(known[best])}
        for key in ("eval_loss", "accuracy", "macro_f1", "kl_base", "retention_ppl", "ood_accuracy"):
            row[f"last_{key}"] = _last(run.task, key, last)
        for measure, name in (
            *((m, "all") for m in ("cancelled_per_sd", "rho")),
            ("strength", "emerged"),
            ("strength", "removed"),
        ):
            curve = run.trajectory.get(measure, name)["value"]
            value = float(curve[last]) if last in curve.index else math.nan
            row[f"last_{measure}" + ("" if name == "all" else f"_{name}")] = None if math.isnan(value) else value
        rows.append(row)
    return pd.DataFrame(rows)


def _last(task: pd.DataFrame, key: str, step: int) -> float | None:
    if key not in task:
        return None
    found = task.loc[task["step"] == step, key].dropna()
    return float(found.iloc[0]) if len(found) else None


def shared_prompts(first: ComparedRun, *others: ComparedRun) -> list[str]:
    """Ids of the prompts that all the runs measured with the same text and the same words, sorted."""
    return sorted(i for i, prompt in first.prompts.items() if all(other.prompts.get(i) == prompt for other in others))


def _notes(runs: Sequence[ComparedRun]) -> tuple[str, ...]:
    """What makes a comparison weaker than it looks, in sentences."""
    notes = []
    shared = len(shared_prompts(*runs))
    most = max(len(run.prompts) for run in runs)
    if shared < most or len({len(run.prompts) for run in runs}) > 1:
        sizes = ", ".join(f"{run.name}: {len(run.prompts)}" for run in runs)
        notes.append(
            f"The runs were not measured on the same prompts and words: {shared} are shared by all ({sizes}). Curves are means "
            "over each run's own prompts; paired differences use the shared ones only."
        )
    if len({run.trajectory.reference for run in runs}) > 1:
        said = ", ".join(f"{run.name}: {run.trajectory.reference}" for run in runs)
        notes.append(f"Removed, preserved and emerged are relative to different reference steps ({said}).")
    if len({run.baselines for run in runs}) > 1:
        said = "; ".join(f"{run.name}: {', '.join(run.baselines) or 'none'}" for run in runs)
        notes.append(f"gamma was measured against different baseline LLMs ({said}).")
    if len({lookup(run.settings, "model.name") for run in runs}) > 1:
        notes.append(
            "Different models: log-odds of one model are not those of another, so compare what is free of scale (shares, rho, "
            "gamma, strength over spread)."
        )
    for i, run in enumerate(runs):
        twin = next((other for other in runs[:i] if other.trajectory.summary.equals(run.trajectory.summary)), None)
        if twin is not None:
            notes.append(
                f"{twin.name} and {run.name} have the very same figures: copies of one run, or one seed twice."
            )
    return tuple(notes)
