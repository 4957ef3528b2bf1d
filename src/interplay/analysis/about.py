"""What the report says of how a run was made: method table, title, notes and rows left out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import interplay
from interplay.analysis.measured import further
from interplay.config.settings import Settings
from interplay.report.text import WORDS
from interplay.scoring.precision import NARROW
from interplay.scoring.targets import compared_with, likelihood, weak_targets
from interplay.store.conditions import Measured, Record, baseline_condition, step_name
from interplay.store.files import read_json
from interplay.store.units import Unit
from interplay.training.methods import method_title

MAX_SKIPPED_SHOWN = 200
MethodRow = tuple[str, Any, str | None]  # name, value, note


def about(folder: Path, settings: Settings, record: Record, measured: Measured) -> dict[str, Any]:
    """The part of the report that no table holds, as JSON-safe values (`report.json`)."""
    stages = Counter(o.stage for o in record.omitted)
    weak = weak_notes(measured.units, measured.steps, record.among)
    notes = [*record.notes, *(f"{line[:1].upper()}{line[1:]}." for line in weak), *_notes(settings, record, measured)]
    for stage, count in sorted(stages.items()):
        first = next(o for o in record.omitted if o.stage == stage)
        notes.append(f"{count} row{'s' if count > 1 else ''} left out ({stage}); first: {first.id}: {first.reason}")
    rows = _method(folder, settings, record, measured)
    how, t = "checkpoints of a finished training", settings.training
    if t is not None:
        how = f"{method_title(t.method, t.rank)}, learning rate {t.learning_rate:g}, {t.steps} steps"
    source = settings.data.file or settings.data.train or settings.data.prompts
    return {
        "title": settings.name,
        "subtitle": record.subtitle or f"{settings.model.name} · {source} · {how}",
        "version": interplay.__version__,
        "score": compared_with(record.among),
        "method": [
            {"name": name, "value": value, "note": note or WORDS["method"].get(name)} for name, value, note in rows
        ],
        "notes": notes,
        "skipped": [{"id": f"{o.stage}: {o.id}", "reason": o.reason} for o in record.omitted[:MAX_SKIPPED_SHOWN]],
    }


def weak_notes(units: Mapping[str, Sequence[Unit | None]], steps: Sequence[int], among: int) -> list[str]:
    """Notes on targets that the model gives at no step, of the whole vocabulary where known, and that words move at none."""
    whole = [units.get(step_name(step, "vocabulary" if among else "")) for step in steps]
    readings = []
    for i, prompt in enumerate(zip(*(units[step_name(step)] for step in steps), strict=True)):
        if scored := [unit for unit in prompt if unit is not None]:
            free = [unit for column in whole if column and (unit := column[i]) is not None]
            chances = [likelihood(u.scores[-1], len(u.header.target_ids) if free else 1) for u in free or scored]
            moved = max(abs(u.scores[-1] - u.scores[0]) for u in scored)
            readings.append((scored[0].header.target, max(chances), moved))
    where = (" in the whole vocabulary" if all(whole) else " among the labels") if among else ""
    return weak_targets(readings, " at every step", where)


def _notes(settings: Settings, record: Record, measured: Measured) -> list[str]:
    """What these settings leave out or make doubtful."""
    if record.subtitle is not None:  # the callback measures no controls
        return []
    if record.pending:
        return [f"Still being measured, after which this page is written again: {', '.join(record.pending)}."]
    off = [part for part, wanted in list(further(settings).items())[:4] if not wanted]
    notes = [f"Left out by the settings: {', '.join(off)}."] if off else []
    if not settings.prompt.rephrased:
        notes.append(WORDS["missing"]["rephrased"])
    for draw, words in measured.words.items():
        if not any(words):
            notes.append(f"No prompt has words left for another draw (words-{draw}): it is left out.")
    if not settings.baseline:
        notes.append(WORDS["missing"]["baseline"])
    return notes + [kinship(b.name, b.family) for b in measured.baselines if b.same_family]


def kinship(name: str, family: str) -> str:
    """What to know of a baseline LLM of the model's own architecture family."""
    return (
        f"The baseline LLM {name} is of the same architecture family ({family}) as the model: gamma against it may be high "
        "because the two are alike, not because what is learnt generalises."
    )


def _range(values: list[float]) -> str:
    return f"{np.median(values):.2g} (median), {max(values):.2g} (worst)" if values else "not measured"


def _method(folder: Path, settings: Settings, record: Record, measured: Measured) -> list[MethodRow]:
    """How scores and effects were measured, and of what."""
    inputs = read_json(folder / "inputs.json")
    delta = measured.calibration
    headers = [unit.header for units in measured.units.values() for unit in units if unit is not None]
    sizes = sorted({len(prompt["words"]) for prompt in inputs["prompts"]})
    unconverged = sum(not h.converged for h in headers)
    sigmas = [h.noise_sigma for h in headers if h.noise_sigma is not None]
    narrow = "weights, float32 residual stream" if settings.model.dtype in NARROW else "scores"
    hashes = "; ".join(f"{step}: {sha[:10]}" for step, sha in record.weights.items())
    missed = f"{unconverged} of {len(headers)} units missed it"
    effect = f"mean |v(N) − v(∅)| at step 0 is {delta.mean_total_effect:.3g}"
    words = f"{len(inputs['prompts'])}, n = {', '.join(map(str, sizes))} words each"
    scored = f"log p / (1 - p) of the tokens scored (target_tokens: {settings.scoring.target_tokens})"
    drawn = [h.absence_sigma for h in headers if h.absence_sigma > 0]
    rows: list[MethodRow] = [
        ("Model", settings.model.name, f"weights SHA-256 {record.base_sha256[:16]}"),
        ("Checkpoints", ", ".join(map(str, measured.steps)), hashes),
        ("Reference step", measured.reference, None),
        ("Precision", f"{settings.model.dtype} {narrow}, float64 effects", None),
        ("Numerical noise of v", _range(sigmas), None),
        *([("Noise of drawn words", _range(drawn), None)] if drawn else []),
        ("Prompts", words, None),
        ("Score v", f"log-odds of the response {compared_with(record.among)}", scored),
        ("Absent words", record.mask, None),
        ("tau", f"{settings.dynamics.ratio:g} × the largest effect", None),
        ("delta", f"{delta.tolerance:.4g}", f"tolerance of the split; {effect}"),
        ("Duality gap", _range([h.duality_gap for h in headers]), f"asked: {settings.effects.duality_gap:g}; {missed}"),
        ("Universal matching", _range([h.residual for h in headers]), None),
        ("Prompt", "chat template" if record.chat else "plain text", f"hash {record.template_hash}"),
        ("Bootstrap", f"{settings.dynamics.resamples} resamples", None),
        ("Nulls", f"{settings.dynamics.draws} draws each", None),
        ("Seed", settings.seed, None),
    ]
    if record.subtitle is not None:
        return [*rows, *record.method]
    rows += [("Training rows", inputs["rows"]["train"], None), ("Eval rows", inputs["rows"]["eval"], None)]
    for index, (wanted, used) in enumerate(zip(settings.baseline, measured.baselines, strict=True)):
        served = sum(unit is not None for unit in measured.units[baseline_condition(index)])
        family = f"{used.family}{' as the model itself' if used.same_family else ''}"
        said = f"architecture family {family}; {served} prompts, {wanted.few_shot} examples in its prompt; weights {used.sha256[:16]}"
        rows.append(("Baseline LLM", wanted.name, said))
    return rows
