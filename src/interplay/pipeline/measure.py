"""One prompt under one model state -> its units: the key of the question, scores; and the noise and size of scores."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from interplay.analysis.measured import calibration
from interplay.config.settings import Settings
from interplay.errors import InterplayError
from interplay.pipeline.states import ModelState
from interplay.scoring.precision import REFUSED, noise_fraction, noise_warning
from interplay.scoring.scores import Guard, Prepared, score_prepared, score_together
from interplay.store.conditions import Calibration
from interplay.store.files import sha256_json
from interplay.store.units import Unit, UnitHeader, load_unit, save_unit, unit_path, unsplit


@dataclass(frozen=True, eq=False)
class Question:
    """One prompt under one model state: what one unit answers. Plain data.

    condition: name of the model state and the wording; index: which prompt it is.
    state: which model; None where it is loaded already.
    """

    condition: str
    index: int
    step: int
    base_sha256: str
    weights_sha256: str  # of the checkpoint's own files: an adapter says nothing without its base
    prepared: Prepared
    settings: Settings
    state: ModelState | None = None

    def key(self) -> str:
        """Hash of everything that the unit's scores depend on."""
        return sha256_json([self.base_sha256, self.weights_sha256, _question(self.prepared), _scoring(self.settings)])

    def saved(self, folder: Path) -> Unit | None:
        """The unit on disk whose scores are valid."""
        return load_unit(unit_path(folder, self.condition, self.index), self.key())

    def save(self, folder: Path, unit: Unit) -> None:
        save_unit(unit_path(folder, self.condition, self.index), unit)


SURVEYED = 8  # coalitions a prompt from which tolerance and noise are estimated; none and all are two of them [ours]


def survey(model, prompts: Sequence[Prepared], settings: Settings, advance: Callable[[], None]) -> Calibration:
    """Tolerance and noise for one model before there are units, from a few coalitions a prompt; tells of each prompt."""
    found = []
    for p in prompts:
        last = (1 << len(p.spans)) - 1
        few = np.unique(np.linspace(0, last, min(SURVEYED, last + 1)).round().astype(np.uint64))
        again = max(settings.scoring.noise_coalitions, 2)
        batch = settings.scoring.batch_tokens
        scored = score_prepared(model, p, coalitions=few, batch_tokens=batch, noise_coalitions=again)
        found.append((scored.values, scored.noise_sigma, scored.absence_sigma))
        advance()
    return calibration(found, settings.effects)


def refuse_noise(found: Calibration, settings: Settings, warn: Callable[[str], None]) -> None:
    """InterplayError where rounding would make the effects meaningless; a warning where it takes a part of them."""
    dtype = settings.model.dtype
    if (said := noise_warning(found.noise_sigma, found.spread, dtype)) is None:
        return
    if noise_fraction(found.noise_sigma, found.spread) > REFUSED and not settings.scoring.accept_noise:
        raise InterplayError(f"model.dtype: {said}, or set scoring.accept_noise to true to go on all the same")
    warn(f"model.dtype: {said}")


def _scoring(settings: Settings) -> dict[str, Any]:
    """The scoring settings that scores depend on, besides what a question holds."""
    return settings.scoring.model_dump(exclude={"accept_noise", "mask", "swap_draws"}) | {"dtype": settings.model.dtype}


def _question(p: Prepared) -> list[Any]:
    return [p.sample.id, p.input_ids, p.spans, p.target_ids, p.absence.fills, p.absence.vocabulary, p.among or ()]


def measure(
    folder: Path, model: Any, questions: Sequence[Question | None], guard: Guard | None = None
) -> list[Unit | None]:
    """All units of a condition for a loaded model, from disk where valid; None where there is no question."""
    units: list[Unit | None] = []
    for question in questions:
        unit = None if question is None else question.saved(folder)
        if unit is None and question is not None:
            [unit] = compute(model, [question], guard)
            question.save(folder, unit)
        units.append(unit)
    return units


def compute(model: Any, questions: Sequence[Question], guard: Guard | None = None) -> list[Unit]:
    """The units of several questions about one prompt and model state, from one evaluation, without effects."""
    how, asked = questions[0].settings.scoring, [question.prepared for question in questions]
    passes: dict[str, Any] = {"batch_tokens": how.batch_tokens, "noise_coalitions": how.noise_coalitions}
    scores = score_together(model, asked, **passes, guard=guard)
    same = ("sample_id", "words", "target", "target_ids", "absent", "absence_sigma", "dtype", "prompt_sha256")
    new: list[Unit] = []
    for question, scored in zip(questions, scores, strict=True):
        header = UnitHeader(
            key=question.key(),
            condition=question.condition,
            step=question.step,
            noise_sigma=None if math.isnan(scored.noise_sigma) else scored.noise_sigma,
            weights_sha256=question.weights_sha256,
            **{name: getattr(scored, name) for name in same},
        )
        new.append(unsplit(header, scored.values))
    return new
