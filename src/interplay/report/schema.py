"""The payload's schema: what the page is made of, as typed dicts. Nothing here runs; `payload.validate` checks it.

The pipeline fills one nested dict from a run folder. Every figure on the page arrives here measured.
"""

from typing import Literal, NotRequired, TypedDict


class Evidence(TypedDict):
    """One figure behind the verdict: its name, value and 95 % interval (None where there is none), at a step or not."""

    name: str
    step: NotRequired[int | None]
    value: float | None
    lo: float | None
    hi: float | None


class Verdict(TypedDict):
    """The checkpoint to keep (None: no recommendation), one sentence, the rule's name, and what rivals would pick.

    `basis` says what decided: "rule"; "eval-loss" or "last" where there was no evidence to choose; "only" where nothing
    was compared. Left out or None: the rule. The headline follows it, so a fallback is never shown as a finding.
    """

    step: int | None
    sentence: str
    rule: str
    basis: NotRequired[Literal["rule", "eval-loss", "last", "only"] | None]
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


class TaskRow(TypedDict):
    """Task metrics at one checkpoint; losses in nats per token, accuracy 0..1 (left out for free-form data)."""

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
    """The whole page. `steps` ascending; `reference` is one of them; `created` an ISO date or None (then left out)."""

    title: str
    subtitle: str
    version: str
    created: str | None
    verdict: Verdict
    steps: list[int]
    reference: int
    summary: list[SummaryRow]
    task: list[TaskRow]
    probes: list[Probe]
    method: list[MethodRow]
    skipped: list[Skipped]
    notes: list[str]
    settings: str
