"""The payload: what the page is made of, as typed dicts, and `validate`, which holds a payload against them.

Every figure on the page arrives measured. Strings are untrusted (words, labels and model names come from data): control
characters and lone surrogates are replaced here, escaping belongs to the page. Numbers that are not finite become None ("not
measured"). What is marked `NotRequired` may be missing or None; it is then empty. More keys than these are dropped.
"""

from collections.abc import Mapping
from functools import cache
from numbers import Real
from typing import Annotated, Any, Literal, NotRequired, get_origin, get_type_hints

from pydantic import (
    AfterValidator,
    BeforeValidator,
    InstanceOf,
    PlainValidator,
    StrictBool,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
)
from typing_extensions import TypedDict, is_typeddict  # pydantic's wish for Python before 3.12

from interplay.errors import InterplayError
from interplay.limits import EXACT_WORDS
from interplay.report.text import clean, finite
from interplay.task.metrics import COLUMNS


def _number(x: object) -> float | None:
    if x is not None and (isinstance(x, bool) or not isinstance(x, Real)):
        raise ValueError("expected a number or null")
    return finite(x)


def _finite(x: object) -> float:
    if (value := _number(x)) is None:
        raise ValueError("expected a finite number")
    return value


def _integer(x: object) -> int:
    if isinstance(x, bool) or not isinstance(x, Real) or not float(x).is_integer():
        raise ValueError("expected an integer")
    return int(float(x))


def _order(x: object) -> int:
    if not 0 <= (order := _integer(x)) <= EXACT_WORDS:
        raise ValueError(f"expected an order from 0 to {EXACT_WORDS}")
    return order


def _count(x: object) -> int | None:
    return None if (value := _number(x)) is None else int(value)


def _step(x: object, info: ValidationInfo) -> int:
    if (step := _integer(x)) not in (info.context or ()):
        raise ValueError("expected one of the payload's steps")
    return step


def _maybe_step(x: object, info: ValidationInfo) -> int | None:
    return None if x is None else _step(x, info)


def _cell(x: object) -> str | float | int | None:
    if isinstance(x, str):
        return clean(x)
    return ("no", "yes")[x] if isinstance(x, bool) else x if isinstance(x, int) else _number(x)


def _task_row(x: object, info: ValidationInfo) -> dict[str, Any]:
    if not isinstance(x, Mapping):
        raise ValueError("expected a row of the task's table")
    return {**{key: _number(x.get(key)) for key in COLUMNS}, "step": _step(x.get("step"), info)}


Text = Annotated[str, BeforeValidator(lambda x: clean(x) if isinstance(x, str) else x)]
Number = Annotated[float | None, PlainValidator(_number)]
Finite = Annotated[float, PlainValidator(_finite)]
Integer = Annotated[int, PlainValidator(_integer)]
Count = Annotated[int | None, PlainValidator(_count)]
Step = Annotated[int, PlainValidator(_step)]
MaybeStep = Annotated[int | None, PlainValidator(_maybe_step)]
# Task metrics at one checkpoint, by the names of `COLUMNS`; None where not measured. Losses and KL in nats per token.
TaskRow = Annotated[dict[str, Any], PlainValidator(_task_row)]


def _filled(shape: Any) -> BeforeValidator:
    """Puts an empty list or mapping, False or None where a key that may be left out is missing or None."""
    empty: dict[str, Any] = {}
    for key in shape.__optional_keys__:
        hint = get_type_hints(shape)[key]
        kind = dict if is_typeddict(hint) else get_origin(hint) or hint
        empty[key] = kind if kind in (list, dict, bool, str) else None

    def fill(x: object) -> object:
        if not isinstance(x, Mapping):
            return x
        return {**x, **{key: kind and kind() for key, kind in empty.items() if x.get(key) is None}}

    return BeforeValidator(fill)


class Evidence(TypedDict):
    """One figure behind the recommendation: its name, value and 95 % interval, at a step or not."""

    name: Text
    step: NotRequired[MaybeStep]
    value: Number
    lo: NotRequired[Number]
    hi: NotRequired[Number]


class Recommendation(TypedDict):
    """The checkpoint to keep (None: no recommendation), one sentence, the rule's name, and what rivals would pick.

    `basis` says what decided: "accuracy" or "eval-loss"; "last" where there was no evidence; "only" where nothing was compared;
    "rule" or None: the rule. The headline follows it, so a fallback is never shown as a finding.
    """

    step: MaybeStep
    sentence: Text
    rule: Text
    basis: NotRequired[Literal["rule", "accuracy", "eval-loss", "last", "only"] | None]
    provisional: StrictBool
    evidence: NotRequired[list[Annotated[Evidence, _filled(Evidence)]]]
    rivals: NotRequired[dict[Text, MaybeStep]]  # rival rule -> step; None: it never fired


class Row(TypedDict, total=False):
    """A row of one of the run's tables (docs/design/architecture.md); which columns it has is said in `Payload`."""

    definition: Text
    set: Text
    measure: Text
    view: Text
    baseline: Text
    floor: Text  # rephrased, precision, words
    interaction: Text
    task: Text
    span: Text | None  # "all" checkpoints (or None), or those "after-format"
    step: Step
    reference: Step
    order: Annotated[int, PlainValidator(_order)]  # 0: not by order
    value: Number
    lo: Number
    hi: Number
    null: Number
    null_lo: Number
    null_hi: Number
    samples: Count
    ratio: Number  # None: the floor is zero
    spearman: Number
    checkpoints: Count


BOUNDS, FIGURES = ("lo", "hi"), ("value", "lo", "hi", "null", "null_lo", "null_hi", "samples")
SUMMARY, CHURN = (
    ("definition", "step", "set", "measure", "order"),
    ("reference", "floor", "definition", "set", "measure"),
)


def _columns(need: tuple[str, ...], may: tuple[str, ...]) -> BeforeValidator:
    """The columns of a table; those in `may` are None where they are missing."""

    def pick(x: object) -> object:
        if not isinstance(x, Mapping) or (lacking := [key for key in need if key not in x]):
            raise ValueError(
                f"expected a row with the columns {', '.join(lacking if isinstance(x, Mapping) else need)}"
            )
        return {**{key: x[key] for key in need}, **{key: x.get(key) for key in may}}

    return BeforeValidator(pick)


class About(TypedDict):
    """A view, a floor or a baseline LLM in words; each has the keys that concern it."""

    name: Text
    title: NotRequired[Text | None]
    note: NotRequired[Text | None]
    reference: NotRequired[MaybeStep]
    recommended: NotRequired[MaybeStep]
    basis: NotRequired[Text | None]
    family: NotRequired[Text | None]
    same_family: NotRequired[StrictBool]  # of the model's own family: its agreement says less


class Controls(TypedDict):
    """What controls.json says."""

    views: NotRequired[list[Annotated[About, _filled(About)]]]
    baselines: NotRequired[list[Annotated[About, _filled(About)]]]
    floors: NotRequired[list[Annotated[About, _filled(About)]]]
    notes: NotRequired[list[Text]]


class SparsityCurve(TypedDict):
    """Strength by rank as a share of the strongest, mean over prompts with its interval, at one step."""

    step: Step
    value: list[Number]
    lo: list[Number]
    hi: list[Number]


def _alike(x: Any) -> Any:
    """Lists that are drawn together are equally long."""
    lengths = {key: len(value) for key, value in x.items() if isinstance(value, list)}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"expected equally many numbers, given {lengths}")
    return x


class MatchingCurve(TypedDict):
    """One prompt at one step: scores ascending, and what the logical model says of the same coalitions (log-odds)."""

    prompt: Text
    step: Step
    count: NotRequired[Count]  # salient interactions
    of: NotRequired[Count]  # coalitions, of which the lists hold a part
    rms: NotRequired[Number]
    score: list[Finite]
    salient: list[Finite]
    all: list[Finite]


class Fidelity(TypedDict):
    """How well interactions stand for the model. `ranks` belong to the sparsity curves, `ratio` is tau over the strongest."""

    rows: NotRequired[list[Annotated[Row, _columns(("step", "measure"), FIGURES)]]]
    ranks: NotRequired[list[Integer]]
    ratio: NotRequired[Number]
    curves: NotRequired[list[Annotated[SparsityCurve, AfterValidator(_alike)]]]
    matching: NotRequired[list[Annotated[MatchingCurve, _filled(MatchingCurve), AfterValidator(_alike)]]]


class Word(TypedDict):
    """One chosen word and where it stands in the prompt's text (character offsets, end exclusive)."""

    text: Text
    start: Integer
    end: Integer


class Effect(TypedDict):
    """One interaction: bit i of `mask` = word i; `effect` in log-odds. `state` only for those present at the step."""

    type: Literal["and", "or"]
    mask: Integer
    effect: Finite
    state: NotRequired[Literal["preserved", "emerged", "reentered", "initial"]]


class PromptStep(TypedDict):
    """One prompt at one checkpoint. Scores are log-odds; `duality_gap`: the solver's certificate; `removed`: effects at the reference."""

    step: Step
    score_full: NotRequired[Number]
    score_empty: NotRequired[Number]
    duality_gap: NotRequired[Number]
    residual: NotRequired[Number]
    sigma: NotRequired[Number]
    tau: NotRequired[Number]
    interactions: NotRequired[list[Effect]]
    removed: NotRequired[list[Effect]]


class Prompt(TypedDict):
    """One prompt: its text, target token, gold label, its n chosen words, and what each step holds."""

    id: Text
    text: InstanceOf[str]  # not cleaned: offsets count the characters as they are
    target: Text
    label: NotRequired[Text | None]
    n: Integer
    words: list[Word]
    steps: list[Annotated[PromptStep, _filled(PromptStep)]]


def _consistent(prompt: Prompt) -> Prompt:
    """Words lie inside the text, masks inside the words, and each step is there once."""
    n, steps = prompt["n"], [unit["step"] for unit in prompt["steps"]]
    if not 1 <= n <= EXACT_WORDS or len(prompt["words"]) != n:
        raise ValueError(f"expected n from 1 to {EXACT_WORDS} and as many words, given {n} and {len(prompt['words'])}")
    if not all(0 <= word["start"] <= word["end"] <= len(prompt["text"]) for word in prompt["words"]):
        raise ValueError(f"expected words with offsets inside a text of {len(prompt['text'])} characters")
    if len(set(steps)) < len(steps):
        raise ValueError(f"expected each step once, given {steps}")
    for unit in prompt["steps"]:
        if wrong := [e["mask"] for e in [*unit["interactions"], *unit["removed"]] if not 0 < e["mask"] < 1 << n]:
            raise ValueError(
                f"expected masks from 1 to {(1 << n) - 1} ({n} words), given {wrong[0]} at step {unit['step']}"
            )
    return prompt


class MethodRow(TypedDict):
    """One line of "how it was measured"."""

    name: Text
    value: Annotated[str | float | int | None, PlainValidator(_cell)]
    note: NotRequired[Text | None]


class Skipped(TypedDict):
    """A row of data that could not be used, and why."""

    id: Text
    reason: Text


def _once(rows: list[Row]) -> list[Row]:
    seen = {(r["definition"], r["step"], r["set"], r["measure"], r["order"]) for r in rows}
    if len(seen) < len(rows):
        raise ValueError("expected one row for each definition, step, set, measure and order")
    return rows


class Payload(TypedDict):
    """The whole page. `steps` ascending; `reference` is one of them; `created` an ISO date or None (then left out)."""

    title: Text
    subtitle: Text
    version: Text
    created: NotRequired[Text | None]
    recommendation: Annotated[Recommendation, _filled(Recommendation)]
    steps: list[Integer]
    reference: Step
    summary: Annotated[list[Annotated[Row, _columns(SUMMARY, FIGURES)]], AfterValidator(_once)]
    task: NotRequired[list[TaskRow]]
    views: NotRequired[list[Annotated[Row, _columns(("view", *SUMMARY), FIGURES)]]]
    baselines: NotRequired[list[Annotated[Row, _columns(("baseline", *SUMMARY), FIGURES)]]]
    floors: NotRequired[list[Annotated[Row, _columns(CHURN, ("value", *BOUNDS, "samples"))]]]
    multiples: NotRequired[list[Annotated[Row, _columns((*CHURN, "step"), ("ratio", *BOUNDS))]]]
    correlations: NotRequired[
        list[Annotated[Row, _columns(("interaction", "task"), ("span", "spearman", *BOUNDS, "checkpoints"))]]
    ]
    controls: NotRequired[Annotated[Controls, _filled(Controls)]]
    fidelity: NotRequired[Annotated[Fidelity, _filled(Fidelity)] | None]
    prompts: NotRequired[list[Annotated[Prompt, _filled(Prompt), AfterValidator(_consistent)]]]
    method: NotRequired[list[Annotated[MethodRow, _filled(MethodRow)]]]
    skipped: NotRequired[list[Skipped]]
    notes: NotRequired[list[Text]]
    settings: NotRequired[Text]


@cache
def _adapter() -> TypeAdapter[Payload]:
    return TypeAdapter(Annotated[Payload, _filled(Payload)])


def validate(payload: Payload | Mapping[str, Any]) -> Payload:
    """A checked, cleaned copy of `payload`; InterplayError (one line, with the place of the fault) when it is not one.

    >>> validate({"title": "a run", "steps": [40, 0]})
    Traceback (most recent call last):
      ...
    interplay.errors.InterplayError: report payload: steps is [40, 0], expected steps from 0 on, ascending, each once: rebuild the report from its run folder
    """
    given = payload if isinstance(payload, Mapping) else {}
    for key in given:
        if key not in Payload.__annotations__:
            raise _refused("the payload", key, f"expected one of the keys {', '.join(Payload.__annotations__)}")
    steps = given.get("steps")
    whole = isinstance(steps, list) and all(isinstance(s, Real) for s in steps)
    if whole and (not steps or steps != sorted(set(steps)) or steps[0] < 0):
        raise _refused("steps", steps, "expected steps from 0 on, ascending, each once")
    try:
        return _adapter().validate_python(payload, context=steps if whole else ())
    except ValidationError as error:
        # In the order of the fields, so a fault in the steps comes before what they make wrong elsewhere.
        first = next((e for e in error.errors() if e["loc"][:1] == ("steps",)), error.errors()[0])
        where = "".join(f"[{at}]" if isinstance(at, int) else f".{at:.60}" for at in first["loc"]).removeprefix(".")
        said = first["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
        raise _refused(where or "the payload", first["input"], said) from None


def _refused(where: str, given: object, said: str) -> InterplayError:
    if said == "Field required":
        where, said = f"{where} is missing", ""
    elif isinstance(given, Mapping):
        where = f"{where}: "
    else:
        where = f"{where} is {' '.join(repr(given)[:80].split())}, "
    return InterplayError(f"report payload: {where}{said}: rebuild the report from its run folder")
