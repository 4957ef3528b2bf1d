"""The trajectory of a run, and what its figures are compared with: churn floors, other baseline LLMs, and views: the
trajectory with another reference step, other words, scores among labels, or another prompt at step 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from interplay.analysis.measured import second_precision
from interplay.config.settings import Settings
from interplay.dynamics import Trajectory, trajectory
from interplay.dynamics.churn import FLOORS, MULTIPLES, Churn, Twin, churn, restrict, shared_words
from interplay.dynamics.sets import MAIN_DEFINITION
from interplay.errors import InterplayError
from interplay.recommendation import recommend
from interplay.report.text import WORDS
from interplay.store.conditions import Measured, Words, baseline_condition, rephrased_name, step_name
from interplay.store.units import Unit


def make_trajectory(
    settings: Settings,
    measured: Measured,
    *,
    condition: Callable[[int], str] = step_name,
    reference: int | None = None,
    rephrased: bool = True,
    baseline: str = "baseline",
) -> Trajectory:
    """The trajectory of a run, or a view of it. Prompts that lack a unit under some step are left out.

    Args:
        condition: names the units of a step; the main ones by default.
        rephrased: whether the churn floor belongs to this view: words and question are the main ones.
        baseline: condition of the baseline LLM; left out where it was not measured.

    Raises InterplayError when no prompt is left, and where a main unit is missing.
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

    return trajectory(
        steps=measured.steps,
        effects=[np.stack([u.effects for u in units]) for units in samples],
        scores=[np.stack([u.scores for u in units]) for units in samples],
        sample_ids=[units[0].header.sample_id for units in samples],
        reference=reference,
        rephrased=effects_of(rephrased_name(reference)) if rephrased else None,
        baseline=effects_of(baseline),
        noise_sigma=[np.array([u.header.noise_sigma for u in units], dtype=np.float64) for units in samples],
        ratio=settings.dynamics.ratio,
        draws=settings.dynamics.draws,
        resamples=settings.dynamics.resamples,
        seed=settings.seed,
    )


def make_controls(
    settings: Settings, measured: Measured, main: Trajectory, task: pd.DataFrame
) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Every view, floor and baseline LLM that was measured: the tables by name, and what `controls.json` says of them."""
    views, trajectories = _views(settings, measured, task)
    churns, floors = _floors(settings, measured)
    summaries = [track.summary.assign(view=name) for name, track in trajectories.items()]
    per_sample = [track.per_sample.assign(view=name) for name, track in trajectories.items()]
    tables = {
        "views": _together(summaries, ["view", *main.summary.columns]),
        "views_samples": _together(per_sample, ["view", *main.per_sample.columns]),
        "floors": _together([c.floors for c in churns], FLOORS),
        "multiples": _together([c.multiples for c in churns], MULTIPLES),
        "baselines": _together(_baselines(settings, measured, main), ["baseline", *main.summary.columns]),
    }
    one = "One baseline LLM: how far gamma depends on the choice of it is not known; give two or more."
    about = {
        "views": views,
        "baselines": [asdict(b) for b in measured.baselines],
        "floors": floors,
        "second_reference": measured.second_reference,
        "notes": [one] if len(measured.baselines) == 1 else [],
    }
    return tables, about


def _together(frames: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    frames = [f for f in frames if len(f)]
    return pd.concat(frames, ignore_index=True)[list(columns)] if frames else pd.DataFrame(columns=list(columns))


def _views(
    settings: Settings, measured: Measured, task: pd.DataFrame
) -> tuple[list[dict[str, Any]], dict[str, Trajectory]]:
    """What each view is and which checkpoint it would keep, and its trajectory by name."""
    views: list[dict[str, Any]] = []
    trajectories: dict[str, Trajectory] = {}

    def add(name: str, title: str, note: str, **how: Any) -> None:
        track = trajectories[name] = make_trajectory(settings, measured, **how)
        found = recommend(track, task, resamples=settings.dynamics.resamples, seed=settings.seed)
        # What interactions say under this view: eval rows, which decide, are the same under all of them.
        step = found.rivals.get("interactions")
        views.append(
            {
                "name": name,
                "title": title,
                "note": note,
                "reference": track.reference,
                "recommended": step or found.step,
                "basis": "rule" if step else found.basis,
                "samples": len(track.sample_ids),
            }
        )

    if (second := measured.second_reference) is not None:
        add(
            f"reference-{second}",
            f"sets relative to step {second}",
            f"Removed, preserved and emerged since step {second}, after most of the answer's format was learnt.",
            reference=second,
        )
    draws = [f"words-{draw}" for draw in range(2, settings.controls.draws + 1)]
    first = measured.steps[0]
    for name in ("labels", *draws, "few-shot", "format"):
        everywhere = name not in ("few-shot", "format")
        title, note = (f"word draw {name[6:]}", WORDS["views"]["words"]) if name in draws else WORDS["views"][name]

        def condition(step: int, name: str = name, everywhere: bool = everywhere) -> str:
            return f"{step_name(step)}-{name}" if everywhere or step == first else step_name(step)

        columns = [measured.units.get(condition(step), ()) for step in measured.steps]
        if not any(None not in units for units in zip(*columns, strict=False)):
            continue  # no prompt has a unit under every step
        how: dict[str, Any] = {"baseline": f"baseline-{name}"} if everywhere else {"reference": first}
        add(name, title, note, condition=condition, rephrased=False, **how)
    return views, trajectories


def _floors(settings: Settings, measured: Measured) -> tuple[list[Churn], list[dict[str, str]]]:
    churns, notes = [], {}
    main = [measured.units[step_name(step)] for step in measured.steps]
    effects = [np.stack([u.effects for u in units if u is not None]) for units in zip(*main, strict=True)]
    dtype = second_precision(settings)
    asked = {"ratio": settings.dynamics.ratio, "resamples": settings.dynamics.resamples, "seed": settings.seed}
    for step in (measured.reference, measured.second_reference):
        for floor, question in (("rephrased", "rephrased"), ("precision", dtype), ("words", "words-2")):
            twins = [] if step is None else measured.units.get(f"{step_name(step)}-{question}", [])
            if step is None or not any(twins):
                continue
            draws = (measured.words[1], measured.words[2]) if floor == "words" else None
            pairs, shared = _pairs(effects, twins, draws)
            churns.append(churn(pairs, measured.steps, step, floor, **asked))
            title, note, _ = WORDS["floors"][floor]
            note = note.format(precision=dtype, shared=f"{np.mean(shared):.1f}" if shared else "no")
            notes[floor] = {"name": floor, "title": title, "note": note}
    return churns, list(notes.values())


def _pairs(
    effects: list[np.ndarray], twins: list[Unit | None], draws: tuple[Words, Words] | None
) -> tuple[list[Twin | None], list[int]]:
    """Each prompt's effects beside its twin's, cut down to the words both have; None where fewer than two are left."""
    pairs: list[Twin | None] = []
    shared = []
    for index, (e, twin) in enumerate(zip(effects, twins, strict=True)):
        pair = None
        if twin is not None and draws is None:
            pair = Twin(e, twin.effects)
        elif twin is not None and draws is not None:
            a, b = shared_words(draws[0][index] or (), draws[1][index] or ())
            if len(a) >= 2:
                shared.append(len(a))
                pair = Twin(restrict(e, a), restrict(twin.effects, b))
        pairs.append(pair)
    return pairs, shared


def _baselines(settings: Settings, measured: Measured, main: Trajectory) -> list[pd.DataFrame]:
    """gamma against each baseline LLM in the main definition; the first one's is the main trajectory's."""
    frames = []
    for index, baseline in enumerate(measured.baselines):
        made = main if index == 0 else make_trajectory(settings, measured, baseline=baseline_condition(index))
        rows = made.summary[(made.summary["measure"] == "gamma") & (made.summary["definition"] == MAIN_DEFINITION)]
        frames.append(rows.assign(baseline=baseline.name))
    return frames
