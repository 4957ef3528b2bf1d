"""From settings to rows, probes and prompt templates: everything that is known before a model is loaded.

Probe prompts are held out: a probe whose text is also a training text is left out, with the reason.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from interplay.data.rows import Row, Sample
from interplay.data.samples import choose_samples
from interplay.data.sources import ReadResult, read_rows
from interplay.data.template import PromptTemplate
from interplay.data.words import stable_hash
from interplay.errors import InterplayError
from interplay.runs.files import sha256_json
from interplay.runs.settings import BaselineSettings, Settings


@dataclass(frozen=True)
class Omitted:
    """A row that was not used, where, and why."""

    stage: str
    id: str
    reason: str


@dataclass(frozen=True)
class Inputs:
    """Rows and probes of a run. `rephrased` and `baseline` hold the probes again in another wording, words unchanged."""

    train: tuple[Row, ...]
    eval: tuple[Row, ...]
    labels: tuple[str, ...] | None
    probes: tuple[Sample, ...]
    rephrased: tuple[Sample, ...] | None
    baseline: tuple[Sample, ...] | None
    template: PromptTemplate
    rephrased_template: PromptTemplate | None
    baseline_template: PromptTemplate | None
    omitted: tuple[Omitted, ...]
    notes: tuple[str, ...]

    def fingerprint(self) -> str:
        """SHA-256 of all conversations, targets, labels and chosen words: changes when the data does."""

        def parts(row: Row) -> list:
            return [row.id, [(m.role, m.content) for m in row.messages], row.text_start, row.target, row.label]

        return sha256_json(
            {
                "train": [parts(row) for row in self.train],
                "eval": [parts(row) for row in self.eval],
                "probes": [[parts(s.row), [(w.start, w.end) for w in s.words]] for s in self.probes],
                "labels": self.labels,
            }
        )

    def describe(self) -> dict[str, Any]:
        """What `inputs.json` keeps beside the fingerprint: counts, labels, probes with their words, rows left out."""
        return {
            "rows": {"train": len(self.train), "eval": len(self.eval), "probes": len(self.probes)},
            "labels": list(self.labels) if self.labels else None,
            "probes": [
                {
                    "id": s.id,
                    "text": s.row.text,
                    "target": s.row.target,
                    "label": s.row.label,
                    "words": [{"text": w.text, "start": w.start, "end": w.end} for w in s.words],
                }
                for s in self.probes
            ],
            "omitted": [asdict(o) for o in self.omitted],
        }


def seeded_choice(rows: Sequence[Row], count: int | None, seed: int, what: str) -> tuple[Row, ...]:
    """At most `count` rows, the same for the same seed whatever the order of the file; file order is kept."""
    if count is None or count >= len(rows):
        return tuple(rows)
    ranked = sorted(range(len(rows)), key=lambda i: stable_hash(seed, what, rows[i].id, rows[i].text))
    return tuple(rows[i] for i in sorted(ranked[:count]))


def examples(rows: Sequence[Row], count: int, seed: int) -> tuple[tuple[str, str], ...]:
    """`count` (text, target) pairs for few-shot prompts: seeded, labels in turn, short texts first within a label."""
    groups: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda r: (len(r.text) > 120, stable_hash(seed, "few-shot", r.id, r.text))):
        groups.setdefault(row.label or "", []).append(row)
    names = sorted(groups, key=lambda name: stable_hash(seed, "few-shot-label", name))
    picked: list[Row] = []
    turn = 0
    while len(picked) < min(count, len(rows)):
        for name in names:
            if turn < len(groups[name]) and len(picked) < count:
                picked.append(groups[name][turn])
        turn += 1
    return tuple((row.text, row.target) for row in picked)


def read_inputs(settings: Settings, usable: Callable[[Sample], object]) -> Inputs:
    """Read all data of a run and choose its probes.

    Args:
        usable: raises SkipSample for a sample that the tokenizer cannot serve; the next row is then taken.

    Raises InterplayError when a source cannot be read or no probe is left.
    """
    data, omitted, notes = settings.data, [], []
    plain = settings.template()

    def read(source: str, template: PromptTemplate, stage: str, note: bool = True) -> ReadResult:
        result = read_rows(source, data.form, columns=data.columns or None, template=template)
        if note:
            omitted.extend(Omitted(stage, s.id, s.reason) for s in result.skipped)
        return result

    trained = read(data.train, plain, "train") if data.train else None
    template = settings.template(examples(trained.rows, settings.prompt.few_shot, settings.seed) if trained else ())
    if trained is not None and template.few_shot:
        trained = read(data.train or "", template, "train", note=False)
    held_out = read(data.eval, template, "eval") if data.eval else None
    source = read(data.probes, template, "probes")
    labels = (trained or held_out or source).labels

    known = {row.text.strip() for row in trained.rows} if trained else set()
    candidates = []
    for row in source.rows:
        if row.text.strip() in known:
            omitted.append(Omitted("probes", row.id, "its text is also a training text, a probe must be held out"))
        else:
            candidates.append(row)
    probes = _choose(candidates, settings, usable, omitted, notes)
    if held_out and (seen := sum(row.text.strip() in known for row in held_out.rows)):
        notes.append(f"{seen} of {len(held_out.rows)} eval rows have a training text, so eval loss flatters.")

    baseline_template = None
    if settings.baseline is not None:
        baseline_template = _baseline_template(settings.baseline, trained.rows if trained else (), settings.seed)
    other = settings.template(template.few_shot, rephrased=True) if settings.prompt.rephrased else None
    return Inputs(
        train=seeded_choice(trained.rows, data.train_rows, settings.seed, "train") if trained else (),
        eval=seeded_choice(held_out.rows, data.eval_rows, settings.seed, "eval") if held_out else (),
        labels=labels,
        probes=probes,
        rephrased=_reword(probes, read(data.probes, other, "probes", note=False)) if other else None,
        baseline=_reword(probes, read(data.probes, baseline_template, "probes", note=False))
        if baseline_template
        else None,
        template=template,
        rephrased_template=other,
        baseline_template=baseline_template,
        omitted=tuple(omitted),
        notes=tuple(notes),
    )


def _choose(
    rows: list[Row], settings: Settings, usable: Callable[[Sample], object], omitted: list[Omitted], notes: list[str]
) -> tuple[Sample, ...]:
    choice = choose_samples(rows, settings.probes.count, settings.probes.n, settings.seed, check=usable)
    omitted.extend(Omitted("probes", s.id, s.reason) for s in choice.skipped)
    notes.extend(choice.notes)
    if not choice.samples:
        raise InterplayError(
            f"data.probes {settings.data.probes!r} gave no usable probe prompt" + _first_reason(omitted)
        )
    return choice.samples


def _first_reason(omitted: Sequence[Omitted]) -> str:
    return f" (first: {omitted[0].id}: {omitted[0].reason})" if omitted else ""


def _baseline_template(baseline: BaselineSettings, rows: Sequence[Row], seed: int) -> PromptTemplate:
    return PromptTemplate(
        system=baseline.system,
        template=baseline.template,
        chat=baseline.chat,
        few_shot=examples(rows, baseline.few_shot, seed),
    )


def _reword(probes: Sequence[Sample], result: ReadResult) -> tuple[Sample, ...]:
    """The same probes and words in the wording that `result` was read with."""
    rows = {row.id: row for row in result.rows}
    return tuple(replace(sample, row=rows[sample.id]) for sample in probes)
