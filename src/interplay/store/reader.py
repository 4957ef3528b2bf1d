"""The one reader of a run folder: settings, JSON files and tables, each read when first asked for. `interplay.Run` adds verbs."""

import contextlib
import itertools
import json
import math
from collections.abc import Generator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from interplay.config.settings import Settings
from interplay.dynamics import Trajectory
from interplay.dynamics.contrast import outcomes
from interplay.dynamics.result import frame
from interplay.dynamics.sets import MAIN_DEFINITION, RATIO, SETS, changed, thresholds
from interplay.effects.certainty import certainty
from interplay.effects.interactions import chosen_names
from interplay.errors import InterplayError
from interplay.store.conditions import rephrased_name, step_name
from interplay.store.files import read_json, sha256_file
from interplay.store.folder import RunFolder
from interplay.text import short

_DAMAGE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)  # what readers make of wrong content


class RunReader:
    """What a run folder holds. Raises InterplayError when something is read that is damaged, missing or not a run's."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @cached_property
    def settings(self) -> Settings:
        """The settings the run was made with, every default written out."""
        return RunFolder(self.path).settings()

    @property
    def finished(self) -> bool:
        """Whether the run is whole: the manifest is written last."""
        return RunFolder(self.path).manifest.exists()

    def require_finished(self) -> None:
        """Refuse a folder that is not a run, and a run that is not finished."""
        _ = self.settings
        if not self.finished:
            raise InterplayError(f"{str(self.path)!r} is an unfinished run: run the same command again to finish it")

    def has(self, name: str) -> bool:
        """Whether the run has a file of this name."""
        return (self.path / name).exists()

    def json(self, name: str) -> Any:
        """A JSON file of the run, by its file name."""
        _ = self.settings
        return read_json(self.path / name)

    def table(self, name: str) -> pd.DataFrame:
        """A table of the run by its name without `.parquet`: task, units, trajectory, trajectory_samples, trajectory_sets,
        views, views_samples, floors, multiples, baselines, correlations or fidelity. Its columns are those of an export."""
        _ = self.settings
        return read_table(self.path, f"{name}.parquet")

    @cached_property
    def trajectory(self) -> Trajectory:
        """What became of the interactions over the checkpoints: `trajectory.get("strength", "emerged")` is one curve."""
        _ = self.settings
        return Trajectory.load(self.path)

    @cached_property
    def task(self) -> pd.DataFrame:
        """The task's metrics, one row a step."""
        return self.table("task")

    @cached_property
    def units(self) -> pd.DataFrame:
        """One row per prompt and condition: scores and effects with their certificate."""
        return self.table("units")

    @cached_property
    def recorded(self) -> Mapping[str, Any]:
        """What the run recommended when it finished (`recommendation.json`)."""
        return self.json("recommendation.json")

    @cached_property
    def inputs(self) -> Mapping[str, Any]:
        """Prompts with their words, labels and numbers of rows (`inputs.json`)."""
        return self.json("inputs.json")

    @property
    def score(self) -> str:
        """What v, the log-odds of a target, is against: `among 8 labels`, or `against the whole vocabulary`."""
        return self.json("report.json")["score"]

    @property
    def steps(self) -> tuple[int, ...]:
        """The measured steps, ascending."""
        return self.trajectory.steps

    def effects(self, sample: str, step: int) -> np.ndarray:
        """Effects `[2, 2^n]` of one prompt at a step, row 0 AND, row 1 OR."""
        return self._effects(sample, step_name(step))

    def alternatives(self, sample: str, step: int) -> np.ndarray:
        """Other splits of one prompt at a step, `[K, 2, 2^n]`, as sparse within 1 %."""
        unit = self._unit(sample, step_name(step))
        return np.array(unit["alternatives"], dtype=np.float64).reshape(-1, 2, len(unit["scores"]))

    def words(self, sample: str) -> list[str]:
        """The chosen words of one prompt, in the order of the text."""
        return [str(word) for word in self._unit(sample, step_name(self.trajectory.reference))["words"]]

    def listed(self, sample: str, step: int, definition: str = MAIN_DEFINITION) -> pd.DataFrame:
        """The interactions of one prompt that are in any set at a step, or changed, strongest change first, words as a tuple.

        Columns: definition, step, sample, kind, mask, order, words, effect, effect_reference, change (effect - effect_reference),
        outcome (`dynamics.contrast.outcomes`), tau, certain, instead and exchangeable_with (of the change, as in
        `ChangedInteraction`; at the reference of the effect), and one boolean for each set.
        """
        ratio = self.trajectory.settings.get("ratio", RATIO)
        member = np.stack(self.trajectory.membership(sample, step, definition))  # [sets, 2, 2^n]
        every = np.stack([self.effects(sample, t) for t in self.steps])
        at, reference = self.steps.index(step), self.steps.index(self.trajectory.reference)
        now, before = every[at], every[reference]
        kind, mask = np.nonzero(member.any(axis=0) | changed(before, now, ratio))
        rank = np.lexsort((-np.abs(now[kind, mask]), -np.abs(now - before)[kind, mask]))
        kind, mask = kind[rank], mask[rank]
        names, others = self.words(sample), [self.alternatives(sample, t) for t in (step, self.trajectory.reference)]
        if step == self.trajectory.reference:
            sure = certainty(now, others[0], [*zip(kind.tolist(), mask.tolist(), strict=True)])
        else:
            sure = certainty(now - before, others[0] - others[1], [*zip(kind.tolist(), mask.tolist(), strict=True)])
        columns: dict[str, Any] = {
            "definition": definition,
            "step": step,
            "sample": sample,
            "kind": np.array(("and", "or"))[kind],
            "mask": mask,
            "order": np.bitwise_count(mask.astype(np.uint64)).astype(np.int64),
            "words": [chosen_names(names, m) for m in mask],
            "effect": now[kind, mask],
            "effect_reference": before[kind, mask],
            "change": (now - before)[kind, mask],
            "outcome": outcomes(before, now, thresholds(every, "common", ratio)[at])[kind, mask].astype(object),
            "tau": thresholds(every, definition, ratio)[at],
            "certain": np.array([share for share, _ in sure], dtype=np.float64),
            "instead": pd.Series([other for _, other in sure], dtype=object),
            "exchangeable_with": pd.Series([o and (o[0], chosen_names(names, o[1])) for _, o in sure], dtype=object),
        }
        return pd.DataFrame(columns | {name: member[i][kind, mask] for i, name in enumerate(SETS)})

    def changes(self, step: int | None = None) -> pd.DataFrame:
        """What changed in the interactions of all prompts from the reference to a step, strongest first: the columns of `listed`.

        step: None is the recommended step, or the last where that is not after the reference. Left out are changes of at most 5 %
        of the prompt's largest. `floor` is its largest |change| between two wordings at the reference, NaN where not measured.
        """
        if step is None:
            kept = self.recorded["step"]
            step = self.steps[-1] if kept is None or kept <= self.trajectory.reference else kept
        tables = []
        for sample in self.trajectory.sample_ids:
            found = self.listed(sample, step)
            effects = [self.effects(sample, t) for t in (self.trajectory.reference, step)]
            moved = changed(*effects, self.trajectory.settings.get("ratio", RATIO))
            own = moved[(found["kind"] == "or").astype(int), found["mask"]]
            tables.append(found[own].assign(floor=self.floor(sample)))
        return pd.concat(tables).sort_values("change", key=abs, ascending=False, kind="stable", ignore_index=True)

    def floor(self, sample: str) -> float:
        """The largest |change| of a prompt by another wording at the reference, nats; NaN where not measured."""
        reference, known = self.trajectory.reference, self._places
        wordings = (step_name(reference, rephrased_name(i)) for i in itertools.count())
        twins = itertools.takewhile(lambda name: (name, sample) in known, wordings)
        changes = [np.abs(self._effects(sample, name) - self.effects(sample, reference))[:, 1:].max() for name in twins]
        return float(max(changes, default=math.nan))

    @contextlib.contextmanager
    def intact(self) -> Generator[None]:
        """Around code that combines files of the run: InterplayError where their contents do not fit together."""
        try:
            yield
        except InterplayError:
            raise
        except _DAMAGE as error:
            if (changed := changed_file(self.path)) is not None:
                raise InterplayError(
                    f"{str(self.path / changed)!r} is not as the run wrote it (its SHA-256 is not that of manifest.json): "
                    "delete it and run the same command again"
                ) from error
            said = short(error, 120)[1:-1]
            what = f"missing {said}" if isinstance(error, KeyError) else f"{type(error).__name__}: {said}"
            raise InterplayError(
                f"Run folder {str(self.path)!r} is inconsistent ({what}). Run again with a new --out; if it happens again, "
                "please report a bug."
            ) from error

    @cached_property
    def _places(self) -> dict[tuple[str, str], int]:
        """The row of `units` of each condition and prompt."""
        pairs = zip(self.units["condition"], self.units["sample_id"], strict=True)
        return {pair: row for row, pair in enumerate(pairs)}

    def unit(self, sample: str, step: int) -> pd.Series:
        """The row of `units` of one prompt at a step."""
        return self._unit(sample, step_name(step))

    def _unit(self, sample: str, condition: str) -> pd.Series:
        return self.units.iloc[self._places[condition, sample]]

    def _effects(self, sample: str, condition: str) -> np.ndarray:
        row = self._places[condition, sample]
        return np.stack([self.units[name].iat[row] for name in ("and_effects", "or_effects")])


def read_table(folder: Path, name: str) -> pd.DataFrame:
    """A parquet table of a run; InterplayError when the run has not come that far, or the file is not such a table."""
    path = folder / name
    try:
        return frame(pq.read_table(path, partitioning=None))  # no columns from folders that are called name=value
    except FileNotFoundError:
        raise InterplayError(
            f"{str(folder)!r} has no {name}, the run is unfinished: run the same command again"
        ) from None
    # pyarrow's own errors are of these types, and so is what pandas makes of a column that it does not know.
    except (OSError, ValueError, TypeError, LookupError, ArithmeticError, NotImplementedError) as error:
        raise InterplayError(
            f"cannot read {str(path)!r} ({short(error, 160)[1:-1]}): delete it and run the same command again"
        ) from error


def changed_file(folder: Path) -> str | None:
    """The first table or JSON file directly in a run folder whose hash is not that of the manifest, or None."""
    try:
        listed = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
        for name in sorted(name for name in listed if "/" not in name and name.endswith((".parquet", ".json"))):
            file = folder / name
            if not file.is_file() or sha256_file(file) != listed[name]:
                return name
    except (OSError, *_DAMAGE):
        pass
    return None
