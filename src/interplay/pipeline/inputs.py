"""From settings to rows, prompts and prompt templates: everything that is known before a model is loaded."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from interplay.config.settings import Settings, WordingSettings
from interplay.data.rows import Row, Sample
from interplay.data.samples import choose_samples, redraw
from interplay.data.sources import read_rows
from interplay.data.splits import split_rows
from interplay.data.stopwords import stop_words
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError
from interplay.scoring.targets import common_opening
from interplay.store.conditions import Omitted, baseline_condition, rephrased_name
from interplay.store.files import sha256_json
from interplay.text import ascii_safe, spelt_alike, stable_hash

_ENOUGH = 100  # rows to choose prompts from that have other words enough: fewer are joined by training rows [ours]


@dataclass(frozen=True)
class Variant:
    """The prompts once more, in another wording or with other words; None where a prompt has no such variant."""

    name: str
    samples: tuple[Sample | None, ...]
    template: PromptTemplate


def row_parts(row: Row) -> list[Any]:
    """All of a row that training and scoring depend on, as JSON."""
    turns = [(m.role, m.content, *(m.thought or ())) for m in row.messages]
    return [row.id, turns, row.text_start, row.target, row.label, *(row.thought or ())]


@dataclass(frozen=True)
class Inputs:
    """Rows and prompts of a run, and the prompts' variants: other wordings keep the words, `draws` keep the wording."""

    train: tuple[Row, ...]
    eval: tuple[Row, ...]
    labels: tuple[str, ...] | None
    prompts: tuple[Sample, ...]
    template: PromptTemplate
    opening: str = ""  # what all answers begin with, where there are no labels
    fillers: tuple[Row, ...] = ()  # whose words may stand in the place of others
    rephrased: tuple[Variant, ...] = ()
    few_shot: Variant | None = None
    format: Variant | None = None
    draws: tuple[Variant, ...] = ()
    baselines: tuple[Variant, ...] = ()
    omitted: tuple[Omitted, ...] = ()
    notes: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        """SHA-256 of all conversations, targets, labels and chosen words: changes when the data does."""
        return sha256_json(
            {
                "train": [row_parts(row) for row in self.train],
                "eval": [row_parts(row) for row in self.eval],
                "prompts": [[row_parts(s.row), [(w.start, w.end) for w in s.words]] for s in self.prompts],
                "labels": self.labels,
            }
        )

    def describe(self) -> dict[str, Any]:
        """What `inputs.json` holds besides the fingerprint: counts, labels, prompts with their words, rows left out."""
        return {
            "rows": {"train": len(self.train), "eval": len(self.eval), "prompts": len(self.prompts)},
            "labels": list(self.labels) if self.labels else None,
            "opening": self.opening,
            "prompts": [
                {
                    "id": s.id,
                    "text": s.row.text,
                    "target": s.row.target,
                    "label": s.row.label,
                    "words": [{"text": w.text, "start": w.start, "end": w.end} for w in s.words],
                }
                for s in self.prompts
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
    turns = itertools.zip_longest(*(groups[name] for name in names))
    in_turn = [row for turn in turns for row in turn if row is not None]
    return tuple((row.text, row.target) for row in in_turn[:count])


def read_inputs(settings: Settings, usable: Callable[[Sample], object]) -> Inputs:
    """Read all data of a run and choose its prompts, none of which has a training text.

    `usable`, first called when all sources are read, raises SkipSample for a sample that the tokenizer cannot serve; the next
    row is then taken. Raises InterplayError when a source cannot be read or no prompt is left.
    """
    data = settings.data
    omitted: list[Omitted] = []
    labels: tuple[str, ...] | None = None
    unused: list[str] = []

    def rows_of(stage: str, template: PromptTemplate, *, first: bool = False) -> tuple[Row, ...]:
        """Rows of "train", "eval" or "prompts" in any wording; none where no source is given. `first`: name skipped rows."""
        nonlocal labels
        source = data.file or getattr(data, stage)
        if source is None:
            return ()
        part = None if data.file else stage
        result = read_rows(source, data.form, columns=data.columns, template=template, join=data.join, part=part)
        unused.extend(result.notes)
        # A single file's skipped rows are named once, with the stage that is always read.
        if first and (data.file is None or stage == "prompts"):
            omitted.extend(Omitted("data" if data.file else stage, s.id, s.reason) for s in result.skipped)
        labels = result.labels if labels is None else labels
        return getattr(split_rows(result.rows, settings.seed), stage) if data.file else result.rows

    train = rows_of("train", settings.template(), first=True)
    template = settings.template(examples(train, settings.prompt.few_shot, settings.seed))
    if template.few_shot:
        train = rows_of("train", template)
    held_out = rows_of("eval", template, first=True)
    source = rows_of("prompts", template, first=True)

    known = {spelt_alike(row.text) for row in train}
    candidates = []
    for row in source:
        if spelt_alike(row.text) in known:
            omitted.append(Omitted("prompts", row.id, "its text is also a training text, a prompt must be held out"))
        else:
            candidates.append(row)
    if not candidates:
        read = f"{data.file or data.prompts}: read {len(source)} rows to choose prompts from, and none is left"
        raise InterplayError(f"{ascii_safe(read)}; {omitted[-1].id}: {omitted[-1].reason}")
    wanted = settings.prompts
    how: dict[str, Any] = {
        "words": wanted.words,
        "language": wanted.language,
        "stop_words": stop_words(wanted.stop_words),
        "check": usable,
    }
    choice = choose_samples(candidates, wanted.count, wanted.n, settings.seed, **how, beside=(*train, *held_out))
    how["background"] = choice.background
    prompts, notes = choice.samples, [*dict.fromkeys(unused), *choice.notes]
    omitted.extend(Omitted("prompts", s.id, s.reason) for s in choice.skipped)
    if seen := sum(spelt_alike(row.text) in known for row in held_out):
        rows = f"{seen} of {len(held_out)} eval rows have a training text"
        notes.append(f"{rows}, but for case and punctuation, so eval loss and accuracy flatter.")

    def reworded(name: str, other: PromptTemplate) -> Variant:
        rows = {row.id: row for row in rows_of("prompts", other)}
        return Variant(name, tuple(replace(sample, row=rows[sample.id]) for sample in prompts), other)

    def redrawn(draw: int) -> Variant:
        """Another draw of words; None for a prompt whose text has no other words than those drawn first."""
        pairs = [(old, redraw(old, draw, wanted.n, settings.seed, **how)) for old in prompts]
        return Variant(f"words-{draw}", tuple(new if new.words != old.words else None for old, new in pairs), template)

    def worded(wording: WordingSettings | None, few_shot: int) -> PromptTemplate:
        shown = examples(train, few_shot, settings.seed) if few_shot else template.few_shot
        return settings.template(shown, wording=wording)

    prompt, controls = settings.prompt, settings.controls
    return Inputs(
        train=seeded_choice(train, data.train_rows, settings.seed, "train"),
        eval=seeded_choice(held_out, data.eval_rows, settings.seed, "eval"),
        labels=labels,
        prompts=prompts,
        template=template,
        fillers=tuple(candidates if len(candidates) >= _ENOUGH else [*candidates, *train]),
        opening="" if labels else common_opening(row.target for row in source),
        rephrased=tuple(reworded(rephrased_name(i), worded(other, 0)) for i, other in enumerate(prompt.rephrased)),
        few_shot=reworded("few-shot", worded(None, controls.few_shot)) if controls.few_shot else None,
        format=reworded("format", worded(controls.format, 0)) if controls.format else None,
        draws=tuple(redrawn(draw) for draw in range(2, controls.draws + 1)),
        baselines=tuple(
            reworded(
                baseline_condition(i),
                PromptTemplate(b.system, b.template, b.chat, examples(train, b.few_shot, settings.seed)),
            )
            for i, b in enumerate(settings.baseline)
        ),
        omitted=tuple(omitted),
        notes=tuple(notes),
    )
