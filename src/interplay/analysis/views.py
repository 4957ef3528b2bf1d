"""Views: the same trajectory computed another way, and what every figure is held against. Units in, tables out.

A view differs from the main trajectory in one thing: the reference step, the pool v is measured in, the words, or the prompt
that step 0 was asked with. Churn floors and other baseline LLMs are tables of their own. Nothing here computes a score.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from interplay.config.settings import Settings
from interplay.dynamics import Trajectory, trajectory
from interplay.dynamics.churn import FLOORS, MULTIPLES, Churn, Twin, churn, restrict, shared_words
from interplay.errors import InterplayError
from interplay.recommendation import recommend
from interplay.store.conditions import Measured, Words, baseline_condition, rephrased_name, step_name
from interplay.store.units import Unit


@dataclass(frozen=True)
class View:
    """One other way to look: `note` says in a sentence what it tells; `recommended` is the checkpoint it would keep."""

    name: str
    title: str
    note: str
    trajectory: Trajectory
    recommended: int | None
    basis: str | None


def make_trajectory(
    settings: Settings,
    measured: Measured,
    *,
    condition: Callable[[int], str] = step_name,
    reference: int | None = None,
    rephrased: bool = True,
    baseline: str = "baseline",
) -> Trajectory:
    """The trajectory of a run, or a view of it.

    Args:
        condition: names the units of a step; the main ones by default.
        reference: another reference step.
        rephrased: whether the churn floor belongs to this view; it does where the words and the question are the main ones.
        baseline: condition of the baseline LLM; left out where nobody measured it.

    Prompts that lack a unit under some step are left out. Raises InterplayError when none is left.
    """
    reference = measured.reference if reference is None else reference
    columns = list(zip(*(measured.units[condition(step)] for step in measured.steps), strict=True))
    chosen = [i for i, units in enumerate(columns) if all(u is not None for u in units)]
    if (condition is step_name and len(chosen) < len(columns)) or not chosen:
        raise InterplayError("a unit is missing from the run: run the same command again to compute it")
    samples = [[u for u in columns[i] if u is not None] for i in chosen]

    def effects_of(name: str) -> list[np.ndarray | None] | None:
        found = measured.units.get(name)
        return None if found is None else [None if (u := found[i]) is None else u.effects for i in chosen]

    def sigma(unit: Unit) -> float:
        return float("nan") if unit.header.noise_sigma is None else unit.header.noise_sigma

    return trajectory(
        steps=measured.steps,
        effects=[np.stack([u.effects for u in units]) for units in samples],
        scores=[np.stack([u.scores for u in units]) for units in samples],
        sample_ids=[units[0].header.sample_id for units in samples],
        reference=reference,
        rephrased=effects_of(rephrased_name(reference)) if rephrased else None,
        baseline=effects_of(baseline),
        noise_sigma=[np.array([sigma(u) for u in units]) for units in samples],
        ratio=settings.effects.ratio,
        draws=settings.dynamics.draws,
        resamples=settings.dynamics.resamples,
        seed=settings.seed,
    )


def make_controls(
    settings: Settings, measured: Measured, main: Trajectory, task: pd.DataFrame
) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Every view, floor and baseline LLM that was measured: the tables by name, and what `controls.json` says of them."""
    views = _views(settings, measured, task)
    churns, floor_notes = _floors(settings, measured)
    notes = []
    if len(measured.baselines) == 1:
        notes.append("One baseline LLM: how far gamma depends on the choice of it is not known; give two or more.")
    about = {
        "views": [
            {
                "name": v.name,
                "title": v.title,
                "note": v.note,
                "reference": v.trajectory.reference,
                "recommended": v.recommended,
                "basis": v.basis,
                "samples": len(v.trajectory.sample_ids),
            }
            for v in views
        ],
        "baselines": [asdict(b) for b in measured.baselines],
        "floors": floor_notes,
        "second_reference": measured.second_reference,
        "notes": notes,
    }
    summaries = [v.trajectory.summary.assign(view=v.name) for v in views]
    per_sample = [v.trajectory.per_sample.assign(view=v.name) for v in views]
    tables = {
        "views": _together(summaries, ["view", *main.summary.columns]),
        "views_samples": _together(per_sample, ["view", *main.per_sample.columns]),
        "floors": _together([c.floors for c in churns], FLOORS),
        "multiples": _together([c.multiples for c in churns], MULTIPLES),
        "baselines": _together(_baselines(settings, measured, main), ["baseline", *main.summary.columns]),
    }
    return tables, about


def _together(frames: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    frames = [f for f in frames if len(f)]
    return pd.concat(frames, ignore_index=True)[list(columns)] if frames else pd.DataFrame(columns=list(columns))


def _views(settings: Settings, measured: Measured, task: pd.DataFrame) -> list[View]:
    first = measured.steps[0]
    views: list[View] = []

    def add(name: str, title: str, note: str, **how: Any) -> None:
        made = make_trajectory(settings, measured, **how)
        verdict = recommend(made, task, resamples=settings.dynamics.resamples, seed=settings.seed)
        # What interactions say under this view: eval rows, which decide, are the same under all of them.
        step = verdict.rivals.get("interactions")
        views.append(View(name, title, note, made, step or verdict.step, "rule" if step else verdict.basis))

    def complete(name: Callable[[int], str]) -> bool:
        """Whether some prompt has a unit under every step."""
        if any(name(step) not in measured.units for step in measured.steps):
            return False
        return any(
            all(u is not None for u in units)
            for units in zip(*(measured.units[name(step)] for step in measured.steps), strict=True)
        )

    if (second := measured.second_reference) is not None:
        add(
            f"reference-{second}",
            f"sets relative to step {second}",
            f"Removed, preserved and emerged since step {second}, after most of the answer's format was learnt.",
            reference=second,
        )
    if complete(among := lambda step: f"{step_name(step)}-labels"):
        add(
            "labels",
            "log-odds among the labels",
            "v against the other labels only: learning that the answer is a label at all no longer counts.",
            condition=among,
            rephrased=False,
            baseline="baseline-labels",
        )
    for draw in range(2, settings.controls.draws + 1):
        if complete(drawn := lambda step, draw=draw: f"{step_name(step)}-words-{draw}"):
            add(
                f"words-{draw}",
                f"word draw {draw}",
                "Other words of the same prompts: how much of a figure is the choice of words.",
                condition=drawn,
                rephrased=False,
                baseline=f"baseline-words-{draw}",
            )
    for name, title, note in (
        (
            "few-shot",
            "step 0 with examples",
            "Step 0 is the base model shown examples in its prompt, so it knows the answer's format.",
        ),
        ("format", "step 0 told the format", "Step 0 is the base model told in its prompt how to answer."),
    ):
        if f"{step_name(first)}-{name}" in measured.units and complete(
            other := lambda step, name=name: f"{step_name(step)}-{name}" if step == first else step_name(step)
        ):
            add(name, title, note, condition=other, reference=first, rephrased=False)
    return views


_FLOOR_NOTES = {
    "rephrased": ("another wording", "the same checkpoint and words, one or two words of the template changed"),
    "precision": ("another precision", "the same checkpoint, words and template, scored in {precision}"),
    "words": (
        "another draw of words",
        "the same checkpoint, interactions among the words that both draws hold ({shared} a prompt)",
    ),
}


def _floors(settings: Settings, measured: Measured) -> tuple[list[Churn], list[dict[str, str]]]:
    churns, notes = [], {}
    references = [step for step in (measured.reference, measured.second_reference) if step is not None]
    for step in references:
        main = [measured.units[step_name(s)] for s in measured.steps]
        effects = [np.stack([u.effects for u in units if u is not None]) for units in zip(*main, strict=True)]
        for floor, name in (
            ("rephrased", rephrased_name(step)),
            *(("precision", f"{step_name(step)}-{dtype}") for dtype in ("bfloat16", "float16", "float32", "float64")),
            ("words", f"{step_name(step)}-words-2"),
        ):
            if (twins := measured.units.get(name)) is None or not any(twins):
                continue
            draws = (measured.words[1], measured.words[2]) if floor == "words" else None
            pairs, shared = _pairs(effects, twins, draws)
            churns.append(
                churn(
                    pairs,
                    measured.steps,
                    step,
                    floor,
                    ratio=settings.effects.ratio,
                    resamples=settings.dynamics.resamples,
                    seed=settings.seed,
                )
            )
            title, note = _FLOOR_NOTES[floor]
            shared_words_said = f"{np.mean(shared):.1f}" if shared else "no"
            notes[floor] = {
                "name": floor,
                "title": title,
                "note": note.format(precision=name.rpartition("-")[2], shared=shared_words_said),
            }
    return churns, list(notes.values())


def _pairs(
    effects: list[np.ndarray], twins: list[Unit | None], draws: tuple[Words, Words] | None
) -> tuple[list[Twin | None], list[int]]:
    """Each prompt's effects beside its twin's, cut down to the words both have; None where fewer than two are left."""
    pairs: list[Twin | None] = []
    shared = []
    for index, (e, twin) in enumerate(zip(effects, twins, strict=True)):
        if twin is None:
            pairs.append(None)
            continue
        if draws is None:
            pairs.append(Twin(e, twin.effects))
            continue
        a, b = shared_words(draws[0][index] or (), draws[1][index] or ())
        if len(a) < 2:
            pairs.append(None)
            continue
        shared.append(len(a))
        pairs.append(Twin(restrict(e, a), restrict(twin.effects, b)))
    return pairs, shared


def _baselines(settings: Settings, measured: Measured, main: Trajectory) -> list[pd.DataFrame]:
    """gamma against each baseline LLM in the paper's definition; the first one's is the main trajectory's."""
    frames = []
    for index, baseline in enumerate(measured.baselines):
        made = main if index == 0 else make_trajectory(settings, measured, baseline=baseline_condition(index))
        rows = made.summary[(made.summary["measure"] == "gamma") & (made.summary["definition"] == "paper")]
        frames.append(rows.assign(baseline=baseline.name))
    return frames
