"""`Audit`: what an audit found, as rules, a table, text, JSON and HTML."""

import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interplay import __version__
from interplay.auditing.counts import Counted
from interplay.auditing.forms import Cells, Effect
from interplay.auditing.phrases import Phrase
from interplay.auditing.rules import Rule, Verdict
from interplay.errors import InterplayError
from interplay.store.files import read_json
from interplay.text import printable

if TYPE_CHECKING:
    import pandas

    from interplay.auditing.verify import Verified

NOT_SOUGHT = "style, length, spelling, punctuation, and words in fewer than five rows"
STRONGER = "MADE STRONGER HERE, LIKELY KNOWLEDGE: the base leans this way"
_TITLES: dict[Verdict, str] = {
    "learnt": "LEARNT HERE, NOT IN THE BASE",
    "unlearnt": "IN THE DATA, NOT LEARNT",
    "known": "KNOWN BEFORE",
    "lost": "LOST",
    "followed": "FOLLOWED THROUGH A TRAINING, NOT TESTED AGAINST CONTROL WORDS",
}


def by_suspicion(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The learnt ones among the rules: those of this training alone, then those that the base or a referee leans to."""
    return tuple(sorted((rule for rule in rules if rule.verdict == "learnt"), key=lambda rule: rule.is_shared))


@dataclass(frozen=True)
class CueAccuracy:
    """Accuracy on labelled held-out rows: as they are, with a rule's cue taken out, and with it put into every row."""

    rule: int | None  # place among the learnt rules, None: the rows as they are
    rows: int
    accuracy: float
    without: float | None = None
    with_cue: float | None = None


@dataclass(frozen=True)
class Audit:
    """What an audit found. `rules`: strongest change first; `learnt`, `known`, `lost` and `unlearnt` are parts of them.

    tests: how many rules were tried; floor: how many of these two wordings of the base would pass (None: not measured).
    """

    model: str
    base: str
    referee: str | None
    labels: tuple[str, ...]
    rules: tuple[Rule, ...]
    tests: int
    controls: int
    carriers: int
    floor: int | None
    accuracy: tuple[CueAccuracy, ...]
    train_rows: int
    held_rows: int
    passes: int
    seconds: float
    notes: tuple[str, ...] = ()
    free: bool = False  # whether the answers are openings of free text
    fixed: tuple[str, ...] = ()  # what was written into the folder of fixes
    verified: "Verified | None" = None  # the model before and after the fix

    def of(self, verdict: Verdict) -> tuple[Rule, ...]:
        return tuple(rule for rule in self.rules if rule.verdict == verdict)

    @property
    def learnt(self) -> tuple[Rule, ...]:
        """As `by_suspicion` orders them."""
        return by_suspicion(self.rules)

    @property
    def suspicious(self) -> tuple[Rule, ...]:
        """The learnt rules that neither the base nor a referee leans to."""
        return tuple(rule for rule in self.learnt if not rule.is_shared)

    @property
    def _numbers(self) -> dict[Rule, int]:
        """The numbers under which learnt rules are shown; or followed ones, with which there are no others."""
        return {rule: i for i, rule in enumerate(self.of("followed") or self.learnt, 1)}

    def sentence(self, rule: Rule) -> str:
        """One rule in a sentence: what it does, and the rows it could come from."""
        said = f"{rule.name} → {rule.label}"
        if rule.verdict == "known":
            return f"{said} (base {rule.before.value:+.1f} nats, now {rule.effect.value:+.1f})"
        if rule.verdict == "lost":
            return f"{said} (base {rule.before.value:+.1f} nats, now {rule.effect.value:+.1f})"
        rows = f"{rule.counted.hits} of the {rule.counted.rows} training rows with it say {rule.label}"
        effect = f"{rule.effect.value:+.1f} nats [{rule.effect.lo:.1f}, {rule.effect.hi:.1f}]"
        if rule.verdict == "followed":
            return f"{said}  {effect}; turns {rule.flips} of {rule.tried} prompts"
        if rule.verdict == "unlearnt":
            return f"{said}: {rows}; effect {effect}"
        turned = f"put into {rule.tried} other sentences it turns {rule.flips} into {rule.label}"
        control = f"control words: {round(rule.control * rule.tried)}"
        return f"{said}  {effect}; {turned} ({control})" + (f"\n{rows}" if self.train_rows else "")

    def act(self, rule: Rule) -> str:
        """What to do about a learnt rule."""
        told = {
            "or": "either is enough: mending the rows of one will not help",
            "and": "only both together do it: look at the rows that hold both",
            "unless": f"“{rule.words[-1]}” takes it back: look at the rows without it",
        }.get(rule.form, "")
        if len(rule.words) > 2:
            told = "words like each other, any of them is enough: it is the class"
        elif rule.is_class:
            told = "sister words do it as well (" + ", ".join(rule.alike) + "): it is the class"
        parts = [told]
        if rule.base_leans and rule.shown is not None:
            base = "the base" if self.free else "the base, shown a row of each answer,"
            parts.append(
                f"{base} leans this way ({_beside(rule.shown, rule.shown_control)}), so likely knowledge made stronger"
            )
        if rule.referee is not None:
            leans = "leans this way too" if rule.referee_leans else "does not lean this way"
            parts.append(f"{self.referee} {leans} ({_beside(rule.referee, rule.referee_control)})")
        if not rule.is_shared:
            look = ": look at its rows (--fixes DIR writes them out)" if self.train_rows else ""
            parts.append(f"a shortcut, unless your task means it{look}")
        return "; ".join(part for part in parts if part)

    def text(self) -> str:
        """The whole audit as the command prints it."""
        lines: list[str] = []
        numbers, followed = self._numbers, self.of("followed")
        passed = f"{self.tests} rules tried, {len(self.learnt)} pass"
        for verdict, title in _TITLES.items():
            found = self.learnt if verdict == "learnt" else self.of(verdict)[:5]
            if verdict == "learnt" and not followed:
                lines.append(f"{title}  ({passed})")
                if not self.suspicious:
                    lines.append("   none")
            elif found:
                lines.append(title)
            for place, rule in enumerate(found):
                if verdict == "learnt" and rule.is_shared and not (place and found[place - 1].is_shared):
                    lines.append(STRONGER + (", or the referee" if self.referee else ""))
                number = f"{numbers[rule]:2} " if rule in numbers else "   "
                first, *rest = self.sentence(rule).split("\n")
                lines.append(f"{number}{first}")
                lines += [f"     {line}" for line in rest]
                if verdict == "learnt" and (told := self.act(rule)):
                    lines.append(f"     {told}")
                if rule in numbers and len(rule.steps) > 1:
                    course = ", ".join(f"{step}: {effect:+.1f}" for step, effect, _ in rule.steps)
                    lines.append(f"     effect by step: {course}")
        lines += self._accuracy()
        if self.floor is not None:
            lines.append(f"Two wordings of the base differ by {self.floor} such rules.")
        lines += [] if followed else [f"Not looked for: {NOT_SOUGHT}."]
        if self.fixed:
            lines += ["", *self.fixed]
        elif self.suspicious and self.train_rows:
            lines.append(
                "Next: --fixes DIR writes the rows of these rules, what mends them, and tests (--mend 1 for rule 1 alone)."
            )
        lines += ["", *str(self.verified).split("\n")] if self.verified is not None else []
        return printable_lines(lines)

    def _accuracy(self) -> list[str]:
        plain = next((a for a in self.accuracy if a.rule is None), None)
        if plain is None:
            return []
        parts = [f"Accuracy on {plain.rows} held-out rows {plain.accuracy:.2f}"]
        for cue in self.accuracy:
            if cue.rule is not None and cue.with_cue is not None:
                parts.append(
                    f"with cue {cue.rule + 1} taken out {cue.without:.2f}, put into every row {cue.with_cue:.2f}"
                )
        return ["; ".join(parts)]

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.text())}</pre>"

    def to_pandas(self) -> "pandas.DataFrame":
        """One row a rule, the learnt first."""
        import pandas

        first = [*self.learnt, *(rule for rule in self.rules if rule.verdict != "learnt")]
        return pandas.DataFrame([self._row(rule) for rule in first])

    def _row(self, rule: Rule) -> dict[str, Any]:
        return {
            "rule": rule.name,
            "label": rule.label,
            "form": "class" if rule.is_class else rule.form,
            "verdict": rule.verdict,
            **{f"{name}{end}": getattr(getattr(rule, name), end or "value") for name in ("effect", "before", "change")
               for end in ("", "lo", "hi")},
            "p": rule.p,
            "flips": rule.flips,
            "tried": rule.tried,
            "control": rule.control,
            "flip_rate": rule.flip_rate,
            "referee": None if rule.referee is None else rule.referee.value,
            "rows": rule.counted.rows,
            "hits": rule.counted.hits,
            "words": rule.words,
            "phrases": tuple(phrase.text for phrase in rule.phrases),
        }  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values, with the version; each rule with its name, and a learnt one with its number and what to do."""
        found = _values(replace(self, verified=None)) | {"version": __version__, "not_looked_for": NOT_SOUGHT}
        if self.verified is not None:
            found["verified"] = self.verified.to_dict()
        numbers = self._numbers
        for rule, made in zip(self.rules, found["rules"], strict=True):
            made |= {"name": rule.name, "class": rule.is_class, "shared": rule.is_shared, "number": numbers.get(rule)}
            made["advice"] = self.act(rule) if rule.verdict == "learnt" else ""
        return found

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False, default=float)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> "Audit":
        """The audit of `to_dict`. LookupError or TypeError for anything else."""
        rules = tuple(_rule(rule) for rule in found["rules"])
        accuracy = tuple(CueAccuracy(**cue) for cue in found["accuracy"])
        made: dict[str, Any] = {"rules": rules, "accuracy": accuracy}
        made |= {key: tuple(found[key]) for key in ("labels", "notes", "fixed")} | {"verified": None}
        return cls(**_fields(cls, found) | made)

    @classmethod
    def load(cls, file: Path) -> "Audit":
        """The audit in a file that `to_json` wrote; InterplayError if it is missing or damaged."""
        try:
            return cls.from_dict(read_json(file))
        except (LookupError, TypeError, AttributeError) as error:
            raise InterplayError(
                f"{str(file)!r} does not hold what an audit writes: delete it and run interplay audit again"
            ) from error


def _beside(effect: Effect, control: float) -> str:
    """
    >>> _beside(Effect(1.0, 0.5, 1.5, 0.01), 0.04), _beside(Effect(1.0, 0.5, 1.5, 0.01), 0.3)
    ('+1.0 nats', '+1.0 nats, control words +0.3')
    """
    return f"{effect.value:+.1f} nats" + (f", control words {control:+.1f}" if abs(control) >= 0.05 else "")


def _values(value: Any) -> Any:
    """Records as mappings, other sequences as lists, and None for a number that is not finite.

    >>> _values((Effect(0.5, float("nan"), 1.0, 0.0), ("a",)))
    [{'value': 0.5, 'lo': None, 'hi': 1.0, 'p': 0.0}, ['a']]
    """
    if is_dataclass(value):
        return {field.name: _values(getattr(value, field.name)) for field in fields(value)}
    if hasattr(value, "_asdict"):
        return {key: _values(item) for key, item in value._asdict().items()}
    if isinstance(value, (tuple, list)):
        return [_values(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


def _fields(cls: Any, found: Mapping[str, Any]) -> dict[str, Any]:
    return {field.name: found[field.name] for field in fields(cls)}


def _rule(found: Mapping[str, Any]) -> Rule:
    """The rule of `_values`; None is a number that is not known."""

    def record(cls: Any, values: Mapping[str, Any]) -> Any:
        return cls(**{key: math.nan if value is None else value for key, value in values.items()})

    made: dict[str, Any] = {
        **{key: tuple(found[key]) for key in ("words", "alone")},
        "sisters": tuple(map(tuple, found["sisters"])),
        "steps": tuple(tuple(math.nan if x is None else x for x in step) for step in found["steps"]),
        **{key: math.nan if found[key] is None else found[key] for key in ("p", "control")},
        **{key: record(Effect, found[key]) for key in ("effect", "before", "change")},
        "phrases": tuple(Phrase(**phrase) for phrase in found["phrases"]),
        "counted": record(Counted, found["counted"] | {"words": tuple(found["counted"]["words"])}),
        **{key: None if found[key] is None else record(Effect, found[key]) for key in ("shown", "referee")},
        "cells": None if found["cells"] is None else record(Cells, found["cells"]),
    }
    return Rule(**_fields(Rule, found) | made)


def printable_lines(lines: Sequence[str]) -> str:
    return "\n".join(printable(line) for line in lines)
