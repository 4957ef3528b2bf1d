"""Tests that say whether a rule is back: a file of texts with and without its words, and asking a model both.

The file is JSON lines: a header with the rules, the answers and the wording, then one pair of texts a line.
"""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from interplay.atomic import write_text
from interplay.auditing.asking import Asked, Opening, find_wording, free_wording
from interplay.auditing.forms import Effect, effect_over
from interplay.data.tables import Unreadable, read_table
from interplay.data.template import PromptTemplate
from interplay.dynamics.stats import Figure, wilson
from interplay.errors import InterplayError
from interplay.explanation.names import find_model, load
from interplay.models.checkpoints import model_at
from interplay.models.loading import load_tokenizer
from interplay.models.vocabulary import adopt_template
from interplay.pipeline.progress import Progress
from interplay.pipeline.stages import quiet_libraries
from interplay.text import printable, short


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


class TestedRule(_Strict):
    """One rule: its number, in words, its words, the answer they must not turn to, and the highest flip rate that passes."""

    number: int
    rule: str
    words: tuple[str, ...]
    label: str = Field(alias="not")
    threshold: float = Field(ge=0, le=1)
    flip_rate: float | None = None  # of the model that the rule was found in


class Case(_Strict):
    """A text without the words of the rule with this number, and with them."""

    rule: int
    without: str
    cued: str = Field(alias="with")


class Tests(_Strict):
    """The content of a file of tests: how a model is asked, the answers it has, the rules, and the texts of each."""

    interplay_tests: Literal[1] = 1  # the format
    model: str = ""  # that the rules were found in, and its base
    base: str = ""
    labels: tuple[str, ...]
    free: bool = False  # the labels are openings of free answers
    wording: PromptTemplate
    rules: tuple[TestedRule, ...] = Field(min_length=1)
    texts: tuple[Case, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits_together(self) -> "Tests":
        numbers = [rule.number for rule in self.rules]
        if len({*numbers}) < len(numbers) or {*numbers} != {case.rule for case in self.texts}:
            raise ValueError("every rule needs a number of its own, and texts")
        if len({*self.labels}) < len(self.labels) or len(self.labels) + self.free < 2:
            raise ValueError("labels must be two or more different ones")
        if stray := [rule.label for rule in self.rules if rule.label not in self.labels]:
            raise ValueError(f"the rules turn to {short(stray[0])}, which is none of the labels")
        return self

    def write(self, path: Path) -> None:
        header = self.model_dump(mode="json", by_alias=True, exclude={"texts"})
        lines = [header, *(case.model_dump(by_alias=True) for case in self.texts)]
        write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))

    @classmethod
    def read(cls, path: Path) -> "Tests":
        """Raises InterplayError for a file that is missing, broken, or not one of tests."""
        (_, header), *texts = read_table(path)[0]
        if isinstance(header, Unreadable) or "interplay_tests" not in header:
            raise InterplayError(
                f"{path}: line 1 is no header of tests: give the tests.jsonl of interplay audit --fixes"
            )
        for place, record in texts:
            if isinstance(record, Unreadable):
                raise InterplayError(f"{path}: {place}: {record.reason}")
        try:
            return cls.model_validate(header | {"texts": [record for _, record in texts]})
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(map(str, problem["loc"])) or "tests"
            raise InterplayError(f"{path}: {where}: {problem['msg']}; given {short(problem['input'])}") from None


@dataclass(frozen=True)
class Checked:
    """A rule in a model: `flips` of the `tried` texts that are answered otherwise without its words turn to its label with them.

    rate: of flips, with its Wilson interval. effect: nats that the words add to the log-odds of the label, over all texts.
    """

    rule: TestedRule
    flips: int
    tried: int
    rate: Figure
    effect: Effect

    @property
    def back(self) -> bool:
        return self.rate.value > self.rule.threshold

    @property
    def name(self) -> str:
        return printable(f"{self.rule.number}  {self.rule.rule} → {self.rule.label}")


@dataclass(frozen=True)
class Tested:
    """What a model did with the tests, a row for each rule; `str` is a table."""

    model: str
    rows: tuple[Checked, ...]
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether no rule is back."""
        return not any(row.back for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        rows = [
            row.rule.model_dump(mode="json", by_alias=True)
            | {"flips": row.flips, "tried": row.tried, "rate": finite(row.rate), "effect": finite(row.effect)}
            | {"back": row.back}
            for row in self.rows
        ]
        return {"model": self.model, "passed": self.passed, "rows": rows, "notes": list(self.notes)}

    def __str__(self) -> str:
        cells = [("rule", "turns", "flip rate", "at most", "effect", "")]
        for r in self.rows:
            rate, limit = told(r.rate), f"{r.rule.threshold:.2f}"
            verdict = "BACK" if r.back else "passed"
            cells.append((r.name, f"{r.flips} of {r.tried}", rate, limit, f"{r.effect.value:+.1f}", verdict))
        return aligned(cells)


def finite(figure: Figure | Effect) -> dict[str, float | None]:
    """A figure for JSON, which has no NaN."""
    return {name: value if math.isfinite(value) else None for name, value in figure._asdict().items()}


def told(figure: Figure) -> str:
    return f"{figure.value:.2f} [{figure.lo:.2f}, {figure.hi:.2f}]"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their cells, the first one flush left.

    >>> print(aligned([("a", "n"), ("bc", "10")]))
    a    n
    bc  10
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    return "\n".join("  ".join(cells).rstrip() for cells in lines)


def check(asked: Asked, tests: Tests) -> tuple[Checked, ...]:
    """Ask a model all texts of the tests. InterplayError for a rule that it cannot be tested for."""
    asked([text for case in tests.texts for text in (case.without, case.cued)])
    found = []
    for rule in tests.rules:
        label, cases = asked.labels.index(rule.label), [case for case in tests.texts if case.rule == rule.number]
        before, after = asked([case.without for case in cases]), asked([case.cued for case in cases])
        known = ~np.isnan(before + after).any(1)
        other = known & ~asked.gives(before, label)
        flips, tried = int((other & asked.gives(after, label)).sum()), int(other.sum())
        if not tried:
            why = f"{short(rule.label)} is the answer to all {known.sum()} texts that can be asked without its words"
            raise InterplayError(f"rule {rule.number} cannot be tested: {why}")
        found.append(Checked(rule, flips, tried, wilson(flips, tried), effect_over((after - before)[:, label])))
    return tuple(found)


def asking(tests: Tests, tokenizer: Any) -> Asked:
    """The wording of the tests, without a model yet. InterplayError for answers that the tokenizer cannot tell apart."""
    worded = free_wording if tests.free else find_wording
    wording = worded([case.without for case in tests.texts], tests.labels, tokenizer, tests.wording)
    scored = [question.ids if isinstance(question, Opening) else question.target for question in wording.questions.each]
    if len({*wording.labels}) < len(tests.labels) or len({*scored}) < len(scored):
        alike = [label for label, ids in zip(wording.labels, scored, strict=True) if scored.count(ids) > 1]
        wrong = alike or [label for label in tests.labels if label not in wording.labels]
        names = ", ".join(map(short, wrong[:4]))
        raise InterplayError(
            f"this model's tokenizer cannot tell these labels from others, or not encode them: {names}"
        )
    return Asked(None, wording)


def check_model(
    model: Any, file: str | os.PathLike[str], base: str | None, dtype: str, device: str, progress: Progress
) -> Tested:
    """`interplay.test`."""
    tests, state = Tests.read(Path(file)), find_model(model, base)
    if base is not None and base not in (state.weights, state.tokenizer):
        raise InterplayError(f"base {base!r} is for adapters and steps of a run: {state.name} needs none")
    with quiet_libraries(progress):
        notes, tokenizer = [*state.notes], state.given.tokenizer if state.given else None
        if tokenizer is None:
            tokenizer = load_tokenizer(state.tokenizer, revision=state.revision, trained=state.adapter)
            if state.adapter is not None and (said := adopt_template(tokenizer, [state.adapter])):
                notes.append(said)
        asked = asking(tests, tokenizer)  # before weights are loaded
        with progress.phase("loading the weights"):
            [ready] = load([state], [tokenizer], dtype=dtype, device=device)
        with (
            model_at(ready.checkpoint, ready.base) as asked.model,
            progress.phase("asking the tests") as asked.progress,
        ):
            return Tested(state.name, check(asked, tests), (*notes, *([ready.note] if ready.note else [])))
