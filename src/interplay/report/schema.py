"""The payload: what the page is made of. Models check it; `validate` returns the checked copy as plain dicts.

Strings are untrusted (words, labels and model names come from data): `validate` replaces control characters and lone
surrogates, the page escapes. Numbers that are not finite become None ("not measured"). Unknown keys are dropped, at the top refused.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    StrictBool,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from interplay.errors import InterplayError
from interplay.limits import EXACT_WORDS
from interplay.report.text import cleaned

Part = dict[str, Any]  # a checked payload, or a part of it, after `validate`: the fields of the model of that name


def _known_step(step: int, info: ValidationInfo) -> int:
    if step not in (info.context or ()):
        raise ValueError("expected one of the payload's steps")
    return step


def _ascending(steps: list[int]) -> list[int]:
    if not steps or steps != sorted(set(steps)) or steps[0] < 0:
        raise ValueError("expected steps from 0 on, ascending, each once")
    return steps


Step = Annotated[int, AfterValidator(_known_step)]
Number = float | None


class Figures(BaseModel):
    """A value with its 95 % interval, its null with an interval, and the number of prompts."""

    value: Number = None
    lo: Number = None
    hi: Number = None
    null: Number = None
    null_lo: Number = None
    null_hi: Number = None
    samples: int | None = None


class Evidence(Figures):
    """One figure behind the recommendation, with a step or without one."""

    name: str
    step: Step | None = None


class Recommendation(BaseModel):
    """The checkpoint to keep (None: no recommendation), one sentence, the rule's name, and what rival rules would pick.

    basis: what chose the step: "rule" (or None), "accuracy", "eval-loss"; "last": no evidence; "only": nothing to compare.
    """

    step: Step | None
    sentence: str
    rule: str
    basis: Literal["rule", "accuracy", "eval-loss", "last", "only"] | None = None
    evidence: list[Evidence] = []
    rivals: dict[str, Step | None] = {}  # rival rule -> step; None: it never fired


class SummaryRow(Figures):
    """A row of the trajectory's table (docs/design/architecture.md); of a view's or a baseline LLM's with its name."""

    view: str = ""
    baseline: str = ""
    definition: str
    step: Step
    set: str
    measure: str
    order: Annotated[int, Field(ge=0, le=EXACT_WORDS)]  # 0: all orders together


class FloorRow(Figures):
    """A churn floor at its reference step, or turnover at a step over a floor, with its ratio (None if the floor is zero)."""

    reference: Step
    step: Step | None = None
    floor: str  # rephrased, precision, words
    definition: str
    set: str
    measure: str
    ratio: Number = None


class CorrelationRow(BaseModel):
    """Spearman's rank correlation of an interaction measure with a task metric, over the checkpoints of a span."""

    interaction: str
    task: str
    span: str | None = None  # "all" checkpoints (or None), or those "after-format"
    spearman: Number = None
    lo: Number = None
    hi: Number = None
    checkpoints: int | None = None


class TaskRow(BaseModel, extra="allow"):
    """Task metrics at one checkpoint, by their names in `task.metrics`. Losses and KL in nats per token."""

    step: Step
    __pydantic_extra__: dict[str, Number]  # ty: ignore[incompatible-mutable-override]


class About(BaseModel):
    """A view, a floor or a baseline LLM in words; each has the keys that concern it."""

    name: str
    title: str | None = None
    note: str | None = None
    recommended: Step | None = None
    basis: str | None = None
    family: str | None = None
    same_family: StrictBool = False  # of the trained model's family: its agreement says less


class Controls(BaseModel):
    """What controls.json says."""

    views: list[About] = []
    baselines: list[About] = []
    floors: list[About] = []
    notes: list[str] = []


class SparsityCurve(BaseModel):
    """Strength by rank as a fraction of the strongest at one step: mean over prompts with its interval."""

    step: Step
    value: list[Number]
    lo: list[Number]
    hi: list[Number]


class MatchingCurve(BaseModel):
    """One prompt at one step: scores ascending, and what the logical model says of the same coalitions (log-odds)."""

    prompt: str
    step: Step
    count: int | None = None  # salient interactions
    of: int | None = None  # coalitions; the lists hold some of them
    rms: Number = None
    score: list[float]
    salient: list[float]
    all: list[float]


class FidelityRow(Figures):
    """A row of the fidelity table: `rms`, `rms_all` or `r2` at one step."""

    step: Step
    measure: str


class Fidelity(BaseModel):
    """How well interactions reproduce the model. `ranks` belong to the sparsity curves, `ratio` is tau over the strongest."""

    rows: list[FidelityRow] = []
    ranks: list[int] = []
    ratio: Number = None
    curves: list[SparsityCurve] = []
    matching: list[MatchingCurve] = []


class Word(BaseModel):
    """One chosen word and its place in the prompt's text (character offsets, end exclusive)."""

    text: str
    start: int
    end: int


class Effect(BaseModel):
    """One interaction: bit i of `mask` = word i; `effect` in log-odds. `state` only for those present at the step."""

    type: Literal["and", "or"]
    mask: int
    effect: float
    state: Literal["preserved", "emerged", "reentered", "initial"] = "initial"


class PromptStep(BaseModel):
    """One prompt at one checkpoint. Scores are log-odds; `duality_gap`: the solver's certificate; `removed`: effects at the reference."""

    step: Step
    score_full: Number = None
    score_empty: Number = None
    duality_gap: Number = None
    residual: Number = None
    sigma: Number = None
    tau: Number = None
    interactions: list[Effect] = []
    removed: list[Effect] = []


class Prompt(BaseModel):
    """One prompt: its text, target token, gold label, its n chosen words, and its interactions at each step."""

    id: str
    text: str
    target: str
    label: str | None = None
    n: Annotated[int, Field(ge=1, le=EXACT_WORDS)]
    words: list[Word]
    steps: list[PromptStep]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        """Words lie inside the text, masks inside the words."""
        if len(self.words) != self.n:
            raise ValueError(f"expected {self.n} words, given {len(self.words)}")
        if not all(0 <= word.start <= word.end <= len(self.text) for word in self.words):
            raise ValueError(f"expected words with offsets inside a text of {len(self.text)} characters")
        for unit in self.steps:
            if wrong := [e.mask for e in [*unit.interactions, *unit.removed] if not 0 < e.mask < 1 << self.n]:
                raise ValueError(f"expected masks from 1 to {(1 << self.n) - 1}, given {wrong[0]} at step {unit.step}")
        return self


class MethodRow(BaseModel):
    """One line of "how it was measured"."""

    name: str
    value: Annotated[
        str | float | int | None, BeforeValidator(lambda x: ("no", "yes")[x] if isinstance(x, bool) else x)
    ]
    note: str | None = None


class Skipped(BaseModel):
    """A row of data that could not be used."""

    id: str
    reason: str


class Payload(BaseModel, extra="forbid"):
    """The whole page. `steps` ascending; `reference` is one of them; `created` an ISO date, or None to leave it out."""

    steps: Annotated[
        list[int], AfterValidator(_ascending)
    ]  # first, so that a fault in the steps comes before what they make wrong elsewhere
    title: str
    subtitle: str
    version: str
    created: str | None = None
    recommendation: Recommendation
    reference: Step
    summary: list[SummaryRow]
    task: list[TaskRow] = []
    views: list[SummaryRow] = []
    baselines: list[SummaryRow] = []
    floors: list[FloorRow] = []
    multiples: list[FloorRow] = []
    correlations: list[CorrelationRow] = []
    controls: Controls = Controls()
    fidelity: Fidelity | None = None
    prompts: list[Prompt] = []
    method: list[MethodRow] = []
    skipped: list[Skipped] = []
    notes: list[str] = []
    settings: str = ""


def validate(payload: Mapping[str, Any]) -> Part:
    """A checked, cleaned copy of `payload` (fields: `Payload`); InterplayError with the place of the fault if it does not fit.

    >>> validate({"title": "a run", "steps": [40, 0]})
    Traceback (most recent call last):
      ...
    interplay.errors.InterplayError: report payload: steps is [40, 0], expected steps from 0 on, ascending, each once: rebuild the report from its run folder
    """
    given = cleaned(payload)
    steps = given.get("steps")
    try:
        return Payload.model_validate(given, context=steps if isinstance(steps, list) else []).model_dump()
    except ValidationError as error:
        first = error.errors()[0]
    where = "".join(f"[{at}]" if isinstance(at, int) else f".{at:.60}" for at in first["loc"]).removeprefix(".")
    said = first["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    if first["type"] == "missing":
        where, said = f"{where} is missing", ""
    elif isinstance(first["input"], Mapping):
        where = f"{where}: "
    else:
        where = f"{where} is {' '.join(repr(first['input'])[:80].split())}, "
    raise InterplayError(f"report payload: {where}{said}: rebuild the report from its run folder")
