"""The trajectory of a run, and what its figures are compared with: churn floors, other baseline LLMs, and views: the
trajectory with another reference step, other words, the other score of labels, or another prompt at step 0.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd

from interplay.analysis.measured import second_precision
from interplay.config.settings import Settings
from interplay.dynamics import Trajectory, trajectory
from interplay.dynamics.churn import FLOORS, MULTIPLES, Churn, Twin, churn, restrict, shared_words
from interplay.dynamics.sets import MAIN_DEFINITION
from interplay.effects.interactions import paper_tolerance
from interplay.errors import InterplayError
from interplay.recommendation.rule import recommend
from interplay.report.text import WORDS
from interplay.store.conditions import Measured, Units, Words, baseline_condition, rephrased_name, step_name
from interplay.store.units import Unit, with_effects

TOLERANCES = ("tolerance-paper", "tolerance-half", "tolerance-double")
MOST_WORDS = 10  # of a prompt in these views: each unit is split again, about 0.05 s at 8 words [ours]


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
    twins = _effects_under(measured, _rewordings(settings, reference) if rephrased else [])
    others = _effects_under(measured, [baseline])

    return trajectory(
        steps=measured.steps,
        effects=[np.stack([u.effects for u in units]) for units in samples],
        scores=[np.stack([u.scores for u in units]) for units in samples],
        sample_ids=[units[0].header.sample_id for units in samples],
        reference=reference,
        rephrased=[twins[i] for i in chosen] if twins else None,
        baseline=[None if (other := others[i]) is None else other[0] for i in chosen] if others else None,
        noise_sigma=[np.array([u.header.noise_sigma for u in units], dtype=np.float64) for units in samples],
        ratio=settings.dynamics.ratio,
        draws=settings.dynamics.draws,
        seed=settings.seed,
    )


def _effects_under(measured: Measured, conditions: Iterable[str]) -> list[np.ndarray | None]:
    """Effects of every prompt under W conditions, `[W, 2, 2^n]`, None where it has none; empty where none was measured."""
    columns = zip(*(measured.units[name] for name in conditions if name in measured.units), strict=True)
    found = ([u.effects for u in units if u is not None] for units in columns)
    return [np.stack(effects) if effects else None for effects in found]


def _rewordings(settings: Settings, step: int) -> list[str]:
    """The conditions of a step in other wordings."""
    return [f"{step_name(step)}-{rephrased_name(i)}" for i in range(len(settings.prompt.rephrased))]


def _tolerances(settings: Settings, measured: Measured) -> Units:
    """The main units split again under other tolerances; None for many words, which take long.

    Where the tolerance is the noise: the lineage's. Where it is another one: half and twice as much.
    """
    main = [measured.units[step_name(step)] for step in measured.steps]
    first, effects = [u for u in main[0] if u is not None], settings.effects
    own = first[0].header.tolerance
    others = {f"tolerance-{name}": factor * own for name, factor in (("half", 0.5), ("double", 2.0))}
    if effects.tolerance == "auto":
        total = np.mean([abs(u.scores[-1] - u.scores[0]) for u in first])
        others = {"tolerance-paper": float(paper_tolerance(total, 0.0))}
    found: Units = {}
    for name, delta in others.items():
        before: list[Unit | None] = [None] * len(main[0])
        for step, units in zip(measured.steps, main, strict=True):
            small = [u if u is not None and len(u.header.words) <= MOST_WORDS else None for u in units]
            before = [
                u and with_effects(u, delta, effects.duality_gap, b if effects.fuse else None, certain=False)
                for u, b in zip(small, before, strict=True)
            ]
            found[f"{step_name(step)}-{name}"] = before
    return found


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
    if settings.controls.tolerance:
        measured = replace(measured, units=measured.units | _tolerances(settings, measured))
    for name in ("vocabulary", "labels", *draws, "few-shot", "format", *TOLERANCES):
        everywhere = name not in ("few-shot", "format")
        title, note = (f"word draw {name[6:]}", WORDS["views"]["words"]) if name in draws else WORDS["views"][name]

        def condition(step: int, name: str = name, everywhere: bool = everywhere) -> str:
            return f"{step_name(step)}-{name}" if everywhere or step == first else step_name(step)

        columns = [measured.units.get(condition(step), ()) for step in measured.steps]
        if not any(None not in units for units in zip(*columns, strict=False)):
            continue  # no prompt has a unit under every step
        how: dict[str, Any] = {"baseline": f"baseline-{name}"} if everywhere else {"reference": first}
        how = {} if name in TOLERANCES else how
        add(name, title, note, condition=condition, rephrased=False, **how)
    return views, trajectories


def _floors(settings: Settings, measured: Measured) -> tuple[list[Churn], list[dict[str, str]]]:
    churns, notes = [], {}
    main = [measured.units[step_name(step)] for step in measured.steps]
    effects = [np.stack([u.effects for u in units if u is not None]) for units in zip(*main, strict=True)]
    dtype = second_precision(settings)
    for step in (step for step in (measured.reference, measured.second_reference) if step is not None):
        at = step_name(step)
        questions = {"rephrased": _rewordings(settings, step), "mask": [f"{at}-mask"]}
        questions |= {"precision": [f"{at}-{dtype}"], "words": [f"{at}-words-2"], "split": [at]}
        for floor, conditions in questions.items():
            twins = _effects_under(measured, conditions)
            if floor == "split":  # the same scores, split other ways
                twins = [None if u is None else u.alternatives.astype(np.float64) for u in measured.units[at]]
            wordings = max((len(twin) for twin in twins if twin is not None), default=0)
            if not wordings:
                continue
            draws = (measured.words[1], measured.words[2]) if floor == "words" else None
            pairs, shared = _pairs(effects, twins, draws)
            churns.append(churn(pairs, measured.steps, step, floor, ratio=settings.dynamics.ratio))
            title, note, _ = WORDS["floors"][floor]
            said = {"shared": f"{np.mean(shared):.1f}" if shared else "no", "wordings": wordings, "precision": dtype}
            said["absent"] = next(u.header.absent for u in measured.units[conditions[0]] if u is not None)
            notes.setdefault(floor, {"name": floor, "title": title, "note": note.format(**said)})
    return churns, list(notes.values())


def _pairs(
    effects: list[np.ndarray], twins: list[np.ndarray | None], draws: tuple[Words, Words] | None
) -> tuple[list[Twin | None], list[int]]:
    """Each prompt's effects beside its twin's, cut down to the words both have; None where fewer than two are left."""
    pairs, shared = list[Twin | None](), list[int]()
    for index, (e, twin) in enumerate(zip(effects, twins, strict=True)):
        if twin is None or draws is None:
            pairs.append(None if twin is None else Twin(e, twin))
            continue
        a, b = shared_words(draws[0][index] or (), draws[1][index] or ())
        pairs.append(Twin(restrict(e, a), restrict(twin, b)) if len(a) >= 2 else None)
        shared += [len(a)] if len(a) >= 2 else []
    return pairs, shared


def _baselines(settings: Settings, measured: Measured, main: Trajectory) -> list[pd.DataFrame]:
    """gamma against each baseline LLM in the main definition; the first one's is the main trajectory's."""
    frames = []
    for index, baseline in enumerate(measured.baselines):
        made = main if index == 0 else make_trajectory(settings, measured, baseline=baseline_condition(index))
        rows = made.summary[(made.summary["measure"] == "gamma") & (made.summary["definition"] == MAIN_DEFINITION)]
        frames.append(rows.assign(baseline=baseline.name))
    return frames
