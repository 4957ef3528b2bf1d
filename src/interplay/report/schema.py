"""The payload's schema: what the page is made of, as typed dicts. Nothing here runs; `payload.validate` checks it.

The pipeline fills one nested dict from a run folder. Every figure on the page arrives here measured.
"""

from typing import Literal, NotRequired, TypedDict

SUMMARY_NUMBERS = ("value", "lo", "hi", "null", "null_lo", "null_hi")
BOUNDED = (  # those that come with an interval where rows were resampled
    "accuracy", "macro_f1", "exact_match", "rouge_l", "kl_base", "retention_ppl", "ood_accuracy", "ood_macro_f1",
)  # fmt: skip
TASK_COLUMNS = (
    "eval_loss", "train_loss", "rows", "kl_base_reverse", "ood_loss",
    *(f"{name}{end}" for name in BOUNDED for end in ("", "_lo", "_hi")),
)  # fmt: skip


class Evidence(TypedDict):
    """One figure behind the verdict: its name, value and 95 % interval (None where there is none), at a step or not."""

    name: str
    step: NotRequired[int | None]
    value: float | None
    lo: float | None
    hi: float | None


class Verdict(TypedDict):
    """The checkpoint to keep (None: no recommendation), one sentence, the rule's name, and what rivals would pick.

    `basis` says what decided: "accuracy", "eval-loss" or "rule"; "last" where there was no evidence; "only" where nothing was compared.
    Left out or None: the rule. The headline follows it, so a fallback is never shown as a finding.
    """

    step: int | None
    sentence: str
    rule: str
    basis: NotRequired[Literal["rule", "accuracy", "eval-loss", "last", "only"] | None]
    provisional: bool
    evidence: list[Evidence]
    rivals: dict[str, int | None]  # rival rule -> step; None: it never fired


class SummaryRow(TypedDict):
    """One row of the trajectory's summary table (docs/design/architecture.md); NaN arrives as None."""

    reading: str
    step: int
    set: str
    measure: str
    order: int  # 0 = not by order
    value: float | None
    lo: float | None
    hi: float | None
    null: float | None
    null_lo: float | None
    null_hi: float | None
    samples: int | None


class ViewRow(SummaryRow):
    """A summary row of the same trajectory computed another way; `view` names the way."""

    view: str


class BaselineRow(SummaryRow):
    """gamma against one baseline LLM, by its display name."""

    baseline: str


class FloorRow(TypedDict):
    """What one meaningless variation of the reference checkpoint removes or emerges by itself."""

    reference: int
    floor: str  # rephrased, precision, words
    reading: str
    set: str
    measure: str
    value: float | None
    lo: float | None
    hi: float | None
    samples: int | None


class MultipleRow(TypedDict):
    """What is removed or emerged at a step, as a multiple of a floor; `ratio` None: the floor is zero."""

    reference: int
    floor: str
    reading: str
    set: str
    measure: str
    step: int
    ratio: float | None
    lo: float | None
    hi: float | None


class CorrelationRow(TypedDict):
    """Spearman's rho over checkpoints between a measure of interactions and a column of the task table."""

    interaction: str
    task: str
    span: str  # "all" checkpoints, or those "after-format"
    rho: float | None
    lo: float | None
    hi: float | None
    checkpoints: int | None


class ViewAbout(TypedDict):
    """A view in words: what differs, what it says, and which checkpoint it would recommend."""

    name: str
    title: str | None
    note: str | None
    reference: int | None
    recommended: int | None
    basis: str | None


class BaselineAbout(TypedDict):
    """A baseline LLM; of the same family as the model, its agreement says less."""

    name: str
    family: str | None
    same_family: bool


class FloorAbout(TypedDict):
    """A churn floor in words."""

    name: str
    title: str | None
    note: str | None


class Controls(TypedDict):
    """What controls.json says."""

    views: list[ViewAbout]
    baselines: list[BaselineAbout]
    floors: list[FloorAbout]
    notes: list[str]


class FidelityRow(TypedDict):
    """One figure of the logical model at a step: `measure` rms or r2 (salient interactions only), rms_all or r2_all."""

    step: int
    measure: str
    value: float | None
    lo: float | None
    hi: float | None
    null: float | None
    null_lo: float | None
    null_hi: float | None
    samples: int | None


class SparsityCurve(TypedDict):
    """Strength by rank as a share of the strongest, mean over prompts with its interval, at one step."""

    step: int
    value: list[float | None]
    lo: list[float | None]
    hi: list[float | None]


class MatchingCurve(TypedDict):
    """One prompt at one step: scores ascending, and what the logical model says of the same coalitions (log-odds)."""

    probe: str
    step: int
    count: int | None  # salient interactions
    of: int | None  # coalitions, of which the lists hold a part
    rms: float | None
    score: list[float]
    salient: list[float]
    all: list[float]


class Fidelity(TypedDict):
    """How well interactions stand for the model. `ranks` belong to the sparsity curves, `ratio` is tau over the strongest."""

    rows: list[FidelityRow]
    ranks: list[int]
    ratio: float | None
    curves: list[SparsityCurve]
    matching: list[MatchingCurve]


class TaskRow(TypedDict):
    """Task metrics at one checkpoint; None or left out where not measured.

    Losses and KL in nats per token; accuracy, macro F1, exact match and ROUGE-L 0..1; perplexity >= 1. The columns are
    `TASK_COLUMNS`; those named here are the ones that every run has had.
    """

    step: int
    eval_loss: NotRequired[float | None]
    train_loss: NotRequired[float | None]
    accuracy: NotRequired[float | None]
    accuracy_lo: NotRequired[float | None]
    accuracy_hi: NotRequired[float | None]


class Word(TypedDict):
    """One chosen word and where it stands in the probe's text (character offsets, end exclusive)."""

    text: str
    start: int
    end: int


class Effect(TypedDict):
    """One interaction: bit i of `mask` = word i; `effect` in log-odds. `state` only for those present at the step."""

    type: Literal["and", "or"]
    mask: int
    effect: float
    state: NotRequired[Literal["preserved", "emerged", "reentered", "initial"]]


class ProbeStep(TypedDict):
    """One probe at one checkpoint. Scores are log-odds; `gap`: the solver's certificate; `removed`: effects at the reference."""

    step: int
    score_full: float | None
    score_empty: float | None
    gap: float | None
    residual: float | None
    sigma: float | None
    tau: float | None
    interactions: list[Effect]
    removed: list[Effect]


class Probe(TypedDict):
    """One probe prompt: its text, target token, gold label (or None), its n chosen words, and what each step holds."""

    id: str
    text: str
    target: str
    label: str | None
    n: int
    words: list[Word]
    steps: list[ProbeStep]


class MethodRow(TypedDict):
    """One line of "how it was measured"."""

    name: str
    value: str | float | int | None
    note: NotRequired[str | None]


class Skipped(TypedDict):
    """A row of data that could not be used, and why."""

    id: str
    reason: str


class Payload(TypedDict):
    """The whole page. `steps` ascending; `reference` is one of them; `created` an ISO date or None (then left out).

    May be left out: task, views to fidelity (no such control), probes and everything after them.
    """

    title: str
    subtitle: str
    version: str
    created: str | None
    verdict: Verdict
    steps: list[int]
    reference: int
    summary: list[SummaryRow]
    task: list[TaskRow]
    views: list[ViewRow]
    baselines: list[BaselineRow]
    floors: list[FloorRow]
    multiples: list[MultipleRow]
    correlations: list[CorrelationRow]
    controls: Controls
    fidelity: Fidelity | None
    probes: list[Probe]
    method: list[MethodRow]
    skipped: list[Skipped]
    notes: list[str]
    settings: str
