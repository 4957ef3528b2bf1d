"""What the report says about how a run was made: the rows of its method table, its title, notes and rows left out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import interplay
from interplay.config.settings import Settings
from interplay.data.prompts import template_hash, uses_chat
from interplay.data.rows import Sample
from interplay.data.template import PromptTemplate
from interplay.pipeline.inputs import Inputs, Omitted
from interplay.pipeline.measure import Calibration
from interplay.pipeline.stages import Context, States
from interplay.scoring.noise import NARROW
from interplay.store.conditions import Measured, baseline_condition
from interplay.training.methods import method_title

MAX_SKIPPED_SHOWN = 200
MethodRow = tuple[str, Any, str | None]  # name, value, note


def about_run(
    context: Context,
    inputs: Inputs,
    states: States,
    measured: Measured,
    delta: Calibration,
    tokenizer,
    mask_id: int,
) -> dict[str, Any]:
    """The part of the report that no table holds, as JSON-safe values; kept in `report.json`."""
    settings = context.settings
    rows = measured_rows(
        settings,
        measured,
        delta,
        samples=inputs.prompts,
        template=inputs.template,
        base_sha256=states.base.sha256,
        hashes=states.hashes,
        tokenizer=tokenizer,
        mask_id=mask_id,
    )
    said = "loss per response token with end of turn; accuracy = likeliest label, Wilson interval"
    rows += [("Training rows", len(inputs.train), None), ("Eval rows", len(inputs.eval), said)]
    for index, (wanted, used) in enumerate(zip(settings.baseline, measured.baselines, strict=True)):
        served = sum(unit is not None for unit in measured.units.get(baseline_condition(index), []))
        family = f"{used.family}{' as the model itself' if used.same_family else ''}"
        said = f"architecture family {family}; {served} prompts, {wanted.few_shot} examples in its prompt; weights {used.sha256[:16]}"
        rows.append(("Baseline LLM", wanted.name, said))
    return about(settings.name, _subtitle(settings), rows, context.notes, context.omitted)


def about(
    title: str, subtitle: str, method: Sequence[MethodRow], notes: Sequence[str], omitted: Sequence[Omitted]
) -> dict[str, Any]:
    """What `report.json` keeps, whoever measured: rows left out are counted among the notes and listed with their reasons."""
    stages = Counter(o.stage for o in omitted)
    notes = list(notes)
    for stage, count in sorted(stages.items()):
        reasons = [o for o in omitted if o.stage == stage]
        notes.append(
            f"{count} row{'s' if count > 1 else ''} left out ({stage}); first: {reasons[0].id}: {reasons[0].reason}"
        )
    return {
        "title": title,
        "subtitle": subtitle,
        "version": interplay.__version__,
        "method": [{"name": name, "value": value, "note": note} for name, value, note in method],
        "notes": notes,
        "skipped": [{"id": f"{o.stage}: {o.id}", "reason": o.reason} for o in omitted[:MAX_SKIPPED_SHOWN]],
    }


def _subtitle(settings: Settings) -> str:
    t = settings.training
    if t is None:
        how = "checkpoints of a finished training"
    else:
        how = f"{method_title(t.method, t.rank)}, learning rate {t.learning_rate:g}, {t.steps} steps"
    return f"{settings.model.name} · {settings.data.file or settings.data.train or settings.data.prompts} · {how}"


def _range(values: list[float], digits: str = ".2g") -> str:
    return f"{np.median(values):{digits}} (median), {max(values):{digits}} (worst)" if values else "not measured"


def measured_rows(
    settings: Settings,
    measured: Measured,
    delta: Calibration,
    *,
    samples: Sequence[Sample],
    template: PromptTemplate,
    base_sha256: str,
    hashes: Mapping[int, str],
    tokenizer,
    mask_id: int,
) -> list[MethodRow]:
    """How scores and effects were measured, and of what: the rows that a run and a training's callback share.

    hashes: of the weights at each measured step, in the order of the steps.
    """
    units = [unit for condition in measured.units.values() for unit in condition if unit is not None]
    headers = [unit.header for unit in units]
    sizes = sorted({sample.n for sample in samples})
    unconverged = sum(not h.converged for h in headers)
    sigmas = [h.noise_sigma for h in headers if h.noise_sigma is not None]
    return [
        ("Model", settings.model.name, f"weights SHA-256 {base_sha256[:16]}"),
        (
            "Checkpoints",
            ", ".join(map(str, measured.steps)),
            "; ".join(f"{step}: {sha[:10]}" for step, sha in hashes.items()),
        ),
        (
            "Reference step",
            measured.reference,
            "preserved, emerged and removed are relative to it; the first step in the paper",
        ),
        (
            "Precision",
            f"{settings.model.dtype} {'weights, float32 residual stream' if settings.model.dtype in NARROW else 'scores'}, "
            "float64 effects",
            "16-bit rounding looks like noise interactions",
        ),
        (
            "Numerical noise of v",
            _range(sigmas),
            "the packed evaluation against plain float32 forward passes, nats",
        ),
        (
            "Prompts",
            f"{len(samples)}, n = {', '.join(map(str, sizes))} words each",
            "content words of the user's text, drawn with a per-sample seed; held out from training",
        ),
        ("Score v", _score_name(settings), "log p / (1 - p) of the gold response's first tokens"),
        (
            "Masked word",
            f"{tokenizer.convert_ids_to_tokens(mask_id)} (id {mask_id})",
            "each of its tokens; length and positions stay",
        ),
        (
            "tau",
            f"{settings.effects.ratio:g} × the largest effect",
            "an effect above it is salient; per sample and step",
        ),
        (
            "delta",
            f"{delta.tolerance:.4g}",
            f"tolerance of the split; mean |v(N) − v(∅)| at step 0 is {delta.mean_total_effect:.3g}",
        ),
        (
            "Duality gap",
            _range([h.duality_gap for h in headers]),
            f"asked: {settings.effects.duality_gap:g}; {unconverged} of {len(units)} units missed it",
        ),
        (
            "Universal matching",
            _range([h.residual for h in headers]),
            "worst |v − reconstruction| over all 2^n coalitions, at most delta",
        ),
        (
            "Prompt",
            "chat template" if uses_chat(tokenizer, template) else "plain text",
            f"hash {template_hash(tokenizer, template)}",
        ),
        ("Bootstrap", f"{settings.dynamics.resamples} resamples over prompts", "95 % percentile intervals"),
        ("Nulls", f"{settings.dynamics.draws} draws each", "churn floor, random signs, permuted words, random subsets"),
        ("Seed", settings.seed, "data, words, training, nulls"),
    ]


def _score_name(settings: Settings) -> str:
    m = settings.scoring.target_tokens
    what = "the first response token" if m == 1 else f"the first {m} response tokens, teacher-forced"
    return f"log-odds of {what}{' among the labels' if settings.scoring.among_labels else ''}"
