"""A run folder's units and task metrics -> `Measured`, under any settings of the analysis, without a model.

Scores become effects here. A checkpoint's are fused with those of the checkpoint before, so that what changes is what must have
changed; a control's with those of the checkpoint it is a control of.
"""

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from interplay.config.settings import EffectSettings, Settings
from interplay.effects.interactions import default_tolerance, paper_tolerance
from interplay.errors import InterplayError
from interplay.store.conditions import (
    Calibration,
    Measured,
    Record,
    Units,
    baseline_condition,
    calibrated_by,
    other_score,
    rephrased_name,
    step_name,
)
from interplay.store.files import cached_json
from interplay.store.units import Unit, load_unit, unit_path, with_effects
from interplay.task.drift import Divergence, Windows
from interplay.task.labels import RowScores
from interplay.task.measured import TaskMeasured, TaskRows

RISE = 0.8  # of the rise of v(N), behind which the answer's format counts as learnt [ours]


def tolerance_of(effects: EffectSettings, mean_total_effect: float, *noise: float) -> float:
    """delta: the one asked for; auto: what the noise asks for [ours]; paper: at least 0.02 |v(N) - v(empty)| [lineage].

    noise: the numerical one, and that of draws of other words.
    """
    if effects.tolerance == "paper":
        return float(paper_tolerance(mean_total_effect, *noise))
    return float(default_tolerance(*noise) if effects.tolerance == "auto" else effects.tolerance)


def calibration_of(units: Iterable[Unit | None], effects: EffectSettings) -> Calibration:
    """Tolerance and noise at a model state, from its units."""
    known = [unit for unit in units if unit is not None]
    noise = [math.nan if unit.header.noise_sigma is None else unit.header.noise_sigma for unit in known]
    found = [(u.scores, sigma, u.header.absence_sigma) for u, sigma in zip(known, noise, strict=True)]
    return calibration(found, effects)


def calibration(found: Sequence[tuple[np.ndarray, float, float]], effects: EffectSettings) -> Calibration:
    """Tolerance and noise from scores of each prompt (the first and last of none and of all words), their noise, NaN where not
    measured, and that of drawn words."""
    scores, noise, drawn = zip(*found, strict=True)
    mean_total_effect = float(np.mean([abs(v[-1] - v[0]) for v in scores]))
    sigma, absence = (float(np.sqrt(np.nanmean(np.square(x)))) for x in (noise, drawn))
    tolerance = tolerance_of(effects, mean_total_effect, sigma, absence)
    return Calibration(tolerance, mean_total_effect, sigma, float(np.mean([np.std(v) for v in scores])), absence)


def second_precision(settings: Settings) -> str | None:
    """The precision of the rounding floor: the one asked for, float32 where that is the run's own, None for none."""
    wanted, own = settings.controls.precision, settings.model.dtype
    if wanted == own:
        return None if own == "float32" else "float32"
    return wanted


def second_mask(settings: Settings) -> str | int | None:
    """What absent words become in the floor `mask`: as asked for, by default a swap, or a neutral token where the run swaps."""
    wanted, own = settings.controls.mask, settings.scoring.mask
    if wanted == "auto":
        return "auto" if own == "swap" else "swap"
    return None if wanted == own else wanted


def further(settings: Settings) -> dict[str, bool]:
    """What can be measured besides the checkpoints, in words, and whether it is wanted."""
    controls = settings.controls
    return {
        "other absent words": second_mask(settings) is not None,
        "another precision": second_precision(settings) is not None,
        "other words of the prompts": controls.draws > 1,
        "a second reference": controls.reference is not None,
        "other wordings": bool(settings.prompt.rephrased),
        "prompts with examples or a format": bool(controls.few_shot or controls.format),
        "baseline LLMs": bool(settings.baseline),
    }


def reference_of(settings: Settings, steps: Sequence[int]) -> int:
    """The reference step: the one asked for, or the first. InterplayError where it was not measured."""
    step = settings.dynamics.reference
    if step is not None and step not in steps:
        raise InterplayError(f"dynamics.reference is {step}, no measured step: choose one of {list(steps)}")
    return steps[0] if step is None else step


def second_reference(settings: Settings, units: Units, steps: Sequence[int], reference: int, among: int) -> int | None:
    """The second reference step: the one asked for, or the first at which v(N) has made 80 % of its rise [ours].

    Until then v(N) mostly says that the answer's format is learnt. None at the end, where it never rises, and where v is `among`
    labels and nothing else was scored.
    """
    wanted = settings.controls.reference
    if wanted is None:
        return None
    if wanted != "auto":
        if wanted not in steps:
            raise InterplayError(f"controls.reference is {wanted}, no measured step: choose one of {list(steps)}")
        return wanted if reference != wanted else None
    later, question = [step for step in steps if step >= reference], "vocabulary" if among else ""
    if step_name(reference, question) not in units:
        return None
    full = {s: np.mean([u.scores[-1] for u in units[step_name(s, question)] if u is not None]) for s in later}
    goal = full[reference] + RISE * (max(full.values()) - full[reference])
    found = next((step for step in later[1:-1] if full[step] >= goal), None)
    return found if goal > full[reference] else None


def control_settings(settings: Settings) -> dict[str, Any]:
    """The settings that decide what a control's condition is, as JSON values for a run's record."""
    dumped = settings.model_dump(mode="json", include={"prompt": {"rephrased"}, "controls": True, "baseline": True})
    kept = {name: dumped["controls"][name] for name in ("few_shot", "format", "both_scores")}
    kept["mask"] = second_mask(settings)
    return {"rephrased": dumped["prompt"]["rephrased"], "baseline": dumped["baseline"], **kept}


def asked_conditions(settings: Settings, record: Record, reference: int, second: int | None) -> set[str]:
    """Every condition that an analysis under these settings uses; draws that no prompt has words for are none."""
    controls = settings.controls
    draws = [f"words-{k}" for k in range(2, controls.draws + 1) if k not in record.words or any(record.words[k])]
    other = [other_score(record.among)] if controls.both_scores else []
    everywhere = [*other, *(draws if controls.draw_steps == "all" else [])]
    dtype = second_precision(settings)
    first, at_reference = step_name(record.steps[0]), step_name(reference)
    asked = {step_name(step) for step in record.steps}
    asked |= {f"{step_name(step)}-{question}" for step in record.steps for question in everywhere}
    rewordings = [rephrased_name(i) for i in range(len(settings.prompt.rephrased))]
    others = ["mask"] if second_mask(settings) is not None else []
    asked |= {f"{at_reference}-{question}" for question in (*rewordings, *others, *draws, *([dtype] if dtype else []))}
    asked |= {f"{step_name(second)}-{question}" for question in rewordings[:1] if second is not None}
    asked |= {f"{first}-few-shot"} if controls.few_shot else set()
    asked |= {f"{first}-format"} if controls.format is not None else set()
    asked |= {baseline_condition(index) for index in range(len(settings.baseline))}
    asked |= {f"{baseline_condition(0)}-{question}" for question in everywhere if settings.baseline}
    return asked


def _unmeasured(settings: Settings, record: Record, asked: set[str]) -> list[str]:
    """What an analysis needs that was not measured: settings with another wording or model, else conditions."""
    old, new = record.controls, control_settings(settings)
    if not old:
        return sorted(asked - record.conditions.keys())
    other = [f"controls.{name}" for name in ("few_shot", "format") if new[name] and new[name] != old[name]]
    if new["rephrased"] != old["rephrased"][: len(new["rephrased"])]:
        other.append("prompt.rephrased")
    if new["mask"] is not None and new["mask"] != old["mask"]:
        other.append("controls.mask")
    if new["baseline"] != old["baseline"][: len(new["baseline"])]:
        other.append("baseline")
    lacking = sorted(asked - record.conditions.keys())
    if old["both_scores"]:  # it was left out where it cannot be asked
        lacking = [name for name in lacking if not name.endswith(f"-{other_score(record.among)}")]
    return other or lacking


def fused_with(condition: str, steps: Sequence[int]) -> str | None:
    """The condition whose effects those of another one are fused with; None: they stand alone.

    A checkpoint follows the one before, in each wording and score that is measured at all of them. A control at one checkpoint
    follows the checkpoint itself. Baseline LLMs and other words stand alone.

    >>> [fused_with(f"step-000010{c}", (0, 10)) for c in ("", "-vocabulary", "-words-2", "-rephrased")]
    ['step-000000', 'step-000000-vocabulary', 'step-000000-words-2', 'step-000010']
    >>> fused_with("step-000000", (0, 10)), fused_with("baseline-labels", (0, 10))
    (None, None)
    """
    if (found := re.fullmatch(r"(step-(\d+))(-.*)?", condition)) is None:
        return None
    step, at, view = int(found[2]), found[1], found[3] or ""
    if re.fullmatch(r"(-labels|-vocabulary|-words-\d+)?", view):
        earlier = [s for s in steps if s < step]
        return f"{step_name(earlier[-1])}{view}" if earlier else None
    return at


def read_measured(folder: Path, settings: Settings, record: Record) -> Measured:
    """Everything that the tables are made from; effects under other settings are solved again. Writes nothing.

    Raises InterplayError where a unit or task metric is missing or damaged, or was never measured.
    """
    reference = reference_of(settings, record.steps)
    prompts = len(record.words[1])
    solved_again: dict[Path, Unit] = {}
    solved: Units = {}
    calibrations: dict[str, Calibration] = {}
    first = step_name(record.steps[0])

    def units(condition: str) -> list[Unit | None]:
        """The units of a condition, split; those that they are fused with, or calibrated by, have been read before."""
        loaded = {index: load_unit(unit_path(folder, condition, index)) for index in record.conditions[condition]}
        if any(unit is None or unit.header.condition != condition for unit in loaded.values()):
            raise InterplayError("a unit is missing from the run: run the same command again to compute it")
        if (of := calibrated_by(condition, first)) == condition:
            calibrations[of] = calibration_of(loaded.values(), settings.effects)
        found: list[Unit | None] = [None] * prompts
        before = solved.get(fused_with(condition, record.steps) or "", found) if settings.effects.fuse else found
        for index, unit in loaded.items():
            assert unit is not None
            how = calibrations[of].tolerance, settings.effects.duality_gap, before[index]
            found[index] = split = with_effects(unit, *how)
            if split is not unit:
                solved_again[unit_path(folder, condition, index)] = split
        solved[condition] = found
        return found

    both = ("", "vocabulary") if settings.controls.both_scores else ("",)
    names = [step_name(step, question) for step in record.steps for question in both]
    main = {name: units(name) for name in names if name in record.conditions}
    second = second_reference(settings, main, record.steps, reference, record.among)
    asked = asked_conditions(settings, record, reference, second)
    if lacking := _unmeasured(settings, record, asked):
        shown = ", ".join(lacking[:3]) + (f" and {len(lacking) - 3} more" if len(lacking) > 3 else "")
        raise InterplayError(
            f"these settings need units that were not measured ({shown}): run `interplay run {folder}/settings.yaml "
            f"--out {folder}` with the same --set"
        )
    rest = sorted(asked & record.conditions.keys() - main.keys(), key=lambda name: (len(name), name))  # steps ascending
    others = {name: units(name) for name in rest}
    return Measured(
        steps=record.steps,
        reference=reference,
        units=main | others,
        task=read_task(folder, record),
        calibration=calibrations[first],
        second_reference=second,
        baselines=record.baselines[: len(settings.baseline)],
        words={draw: words for draw, words in record.words.items() if draw <= settings.controls.draws},
        solved_again=solved_again,
    )


def read_task(folder: Path, record: Record) -> TaskMeasured:
    """The task metrics of a run, row by row. Raises InterplayError where a file of them is missing or damaged."""
    return TaskMeasured(tuple(_task(folder, step, record) for step in record.steps), record.gold, record.ood_gold)


def _array(values: Sequence[float | None]) -> np.ndarray:
    return np.array(values, dtype=np.float64)  # None becomes NaN


def _task(folder: Path, step: int, record: Record) -> TaskRows:
    """What a checkpoint's two task files say, as arrays."""
    files = {"step": f"{step_name(step)}.json", "answers": f"answers-{step:06d}.json"}
    found = {kind: cached_json(folder / "task" / name) for kind, name in files.items() if kind in record.task}
    if None in found.values():
        raise InterplayError(f"task metrics of step {step} are missing from the run: run the same command again")
    said, answers = found.get("step") or {}, found.get("answers") or {}

    def scores(name: str) -> RowScores | None:
        if (cached := said.get(name)) is None:
            return None
        predicted = None if cached["predicted"] is None else np.array(cached["predicted"])
        return RowScores(_array(cached["nll"]), np.array(cached["tokens"]), predicted)

    kl, windows, written = said.get("kl"), said.get("retention"), answers.get("answers")
    return TaskRows(
        step,
        labels=scores("eval"),
        ood=scores("ood"),
        kl=Divergence(_array(kl["forward"]), _array(kl["reverse"])) if kl else None,
        retention=Windows(_array(windows["nll"]), np.array(windows["tokens"])) if windows else None,
        exact=_array([a["exact"] for a in written]) if written else None,
        rouge=_array([a["rouge_l"] for a in written]) if written else None,
    )
