"""One prompt under one model state -> its units: tolerance, the key of the question, scores, effects. Knows no other prompt.

Which units a run needs is decided in `extraction`, who computes them in `jobs`.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from interplay.config.settings import Settings
from interplay.effects import default_tolerance, extract
from interplay.errors import InterplayError
from interplay.pipeline.states import ModelState
from interplay.scoring.noise import REFUSED, noise_fraction, noise_warning
from interplay.scoring.scores import Prepared, UnitScores, score_prepared, score_together
from interplay.store.files import cache_json, cached_json, sha256_json
from interplay.store.units import Unit, UnitHeader, load_unit, save_unit, unit_path


@dataclass(frozen=True, eq=False)
class Question:
    """One prompt under one model state: what one unit answers. Plain data, so that it can be sent to another process.

    condition: name of the model state and the wording, over all prompts; index: which prompt it is.
    state: which model; None where it is at hand already.
    """

    condition: str
    index: int
    step: int
    base_sha256: str
    weights_sha256: str  # of the checkpoint's own files: an adapter says nothing without its base
    prepared: Prepared
    tolerance: float
    settings: Settings
    state: ModelState | None = None

    def key(self) -> str:
        """Hash of everything that the unit's content depends on."""
        return sha256_json(
            [
                self.base_sha256,
                self.weights_sha256,
                _question(self.prepared),
                _scoring(self.settings),
                self.settings.effects.model_dump(),
                self.tolerance,
            ]
        )

    def saved(self, folder: Path) -> Unit | None:
        """The valid unit on disk."""
        return load_unit(unit_path(folder, self.condition, self.index), self.key())

    def save(self, folder: Path, unit: Unit) -> None:
        """Write its unit."""
        save_unit(unit_path(folder, self.condition, self.index), unit)


@dataclass(frozen=True)
class Calibration:
    """Tolerance delta and what it comes from, in nats: means over the prompts at one model state."""

    tolerance: float
    mean_total_effect: float  # |v(N) - v(empty)|
    noise_sigma: float  # root mean square numerical noise of v
    spread: float  # standard deviation of v over coalitions


SURVEYED = 8  # coalitions a prompt from which tolerance and noise are estimated; none and all are two of them [ours]


def survey(model, prompts: Sequence[Prepared], settings: Settings) -> Calibration:
    """The tolerance for one model, from a few coalitions a prompt, evaluated as the units will be.

    delta = 0.02 |v(N) - v(empty)|, mean over samples at step 0, held fixed over steps [lineage], and never under three
    standard deviations of the measured numerical noise of v [ours].
    """
    gaps, squares, spreads = [], [], []
    for p in prompts:
        last = (1 << len(p.spans)) - 1
        few = np.unique(np.linspace(0, last, min(SURVEYED, last + 1)).round().astype(np.uint64))
        scored = score_prepared(
            model,
            p,
            coalitions=few,
            batch_tokens=settings.scoring.batch_tokens,
            noise_coalitions=max(settings.scoring.noise_coalitions, 2),
        )
        gaps.append(abs(scored.values[-1] - scored.values[0]))
        squares.append(scored.noise_sigma**2)
        spreads.append(np.std(scored.values))
    mean_total_effect, sigma = float(np.mean(gaps)), float(np.sqrt(np.mean(squares)))
    wanted = settings.effects.tolerance
    tolerance = float(default_tolerance(mean_total_effect, sigma)) if wanted == "auto" else float(wanted)
    return Calibration(tolerance, mean_total_effect, sigma, float(np.mean(spreads)))


def refuse_noise(found: Calibration, settings: Settings, warn: Callable[[str], None]) -> None:
    """InterplayError where rounding would make the effects meaningless; a warning where it takes a part of them."""
    dtype = settings.model.dtype
    said = noise_warning(found.noise_sigma, found.spread, dtype)
    if said is None:
        return
    if noise_fraction(found.noise_sigma, found.spread) > REFUSED and not settings.scoring.accept_noise:
        raise InterplayError(f"model.dtype: {said}, or set scoring.accept_noise to true to go on all the same")
    warn(f"model.dtype: {said}")


def calibrate(
    file: Path,
    model_open: Callable[[], AbstractContextManager[Any]],
    prompts: Sequence[Prepared | None],
    settings: Settings,
    sha: str,
) -> Calibration:
    """`survey` of one model state, kept in `file`."""
    usable = [p for p in prompts if p is not None]
    key = sha256_json([sha, [_question(p) for p in usable], settings.effects.tolerance, _scoring(settings)])
    if (kept := cached_json(file, key)) is not None:
        return Calibration(**kept)
    with model_open() as model:
        found = survey(model, usable, settings)
    cache_json(file, key, asdict(found))
    return found


def _scoring(settings: Settings) -> dict[str, Any]:
    """The scoring settings that scores depend on."""
    return settings.scoring.model_dump(exclude={"accept_noise"}) | {"dtype": settings.model.dtype}


def _question(p: Prepared) -> list[Any]:
    return [
        p.sample.id,
        list(p.input_ids),
        [list(s) for s in p.spans],
        list(p.target_ids),
        p.mask_id,
        [list(label) for label in p.among or ()],
    ]


def measure(folder: Path, model: Any, questions: Sequence[Question | None]) -> list[Unit | None]:
    """All units of a condition for a model that is at hand, from disk where valid; None where there is no question."""
    units: list[Unit | None] = []
    for question in questions:
        unit = None if question is None else question.saved(folder)
        if unit is None and question is not None:
            [unit] = compute(model, [question])
            question.save(folder, unit)
        units.append(unit)
    return units


def compute(model: Any, questions: Sequence[Question]) -> list[Unit]:
    """The units of several questions about one prompt, from one evaluation.

    They differ in what is asked behind the prompt (and in their tolerance), never in model, prompt, words or settings. A
    unit's bytes do not depend on which others are asked for with it.
    """
    scoring = questions[0].settings.scoring
    scores = score_together(
        model,
        [question.prepared for question in questions],
        batch_tokens=scoring.batch_tokens,
        noise_coalitions=scoring.noise_coalitions,
    )
    return [_solve(question, scored) for question, scored in zip(questions, scores, strict=True)]


def _solve(question: Question, scored: UnitScores) -> Unit:
    # One unit at a time, so that its bytes do not depend on which others had to be computed.
    effects = extract(scored.values, tolerance=question.tolerance, duality_gap=question.settings.effects.duality_gap)
    header = UnitHeader(
        key=question.key(),
        condition=question.condition,
        step=question.step,
        sample_id=scored.sample_id,
        words=scored.words,
        target=scored.target,
        target_ids=scored.target_ids,
        mask_id=scored.mask_id,
        dtype=scored.dtype,
        noise_sigma=None if math.isnan(scored.noise_sigma) else scored.noise_sigma,
        weights_sha256=question.weights_sha256,
        prompt_sha256=scored.prompt_sha256,
        tolerance=question.tolerance,
        objective=float(effects.objective),
        duality_gap=float(effects.duality_gap),
        residual=float(effects.residual),
        iterations=int(effects.iterations),
        converged=bool(effects.converged),
    )
    return Unit(header, scored.values, np.stack([effects.and_effects, effects.or_effects]))
