"""`interplay explain`: one prompt, one model, its interactions as JSON or as a table with a picture; two models: `contrast.py`.

Up to 16 words every coalition is scored and the split is exact. Beyond, or where the user asks for fewer coalitions than there
are, that many are sampled and a sparse split is fitted to them (docs/design/sampled.md). Which of the two it is, and what is
printed, is decided here; nothing is computed here.
"""

import contextlib
import json
import math
import re
import sys
import warnings
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, NamedTuple

from interplay.cli.picture import LEGEND, SPELT_LEGEND, draw, spell
from interplay.cli.show import printable, say
from interplay.errors import InterplayError, SkipSample

if TYPE_CHECKING:
    from interplay.cli.named import Loaded

COALITIONS, ORDER = 2000, 3  # where words are sampled and the user says nothing
HELD_OUT = 0.2  # share of the sampled coalitions that is never fitted, and measures R2
_WATCHED = 1 << 12  # coalitions from which on scoring them all takes long enough to be watched


class Sampling(NamedTuple):
    """How many coalitions are drawn, and up to which order effects are fitted to them."""

    count: int
    order: int


class Explained(NamedTuple):
    """What is printed: the scores, their split, the JSON keys only a sampled split has, and what certifies it, in words."""

    scored: Any
    effects: Any
    full: float
    empty: float
    extra: dict[str, Any]
    statement: str


def explain_prompt(
    *,
    models: list[str],
    model: str | None,
    base: str | None,
    prompt: str,
    target: str,
    words: list[str] | None,
    n: int,
    coalitions: int | None,
    order: int | None,
    adapter: str | None,
    system: str | None,
    template: str | None,
    chat: Any,
    rephrased: str | None,
    dtype: str,
    top: int,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Score the coalitions, split them, print: one model, or two side by side (`contrast.py`)."""
    from interplay.cli.named import asked, find, load, plain, tokenizers
    from interplay.data.samples import make_sample
    from interplay.data.template import PromptTemplate
    from interplay.data.words import MOST_WORDS, check_n
    from interplay.effects import sample_coalitions
    from interplay.runs.progress import Progress
    from interplay.runs.stages import choose_device, quiet_libraries
    from interplay.scoring.scores import prepare

    check_n(n, most=MOST_WORDS)
    _check_names(models, model, base, adapter, rephrased)
    states = [plain(model, adapter)] if model is not None else [find(name, base) for name in models]
    if adapter is not None and model is None:
        if states[0].adapter is not None or states[0].asking is not None:
            raise InterplayError(f"--adapter {adapter!r} is put on a model: {models[0]!r} is none by itself")
        states = [plain(models[0], adapter)]
    if base is not None and not any(base in (state.weights, state.tokenizer) for state in states):
        raise InterplayError(f"--base {base!r} is for adapters and steps of a run: {' and '.join(models)} need none")
    wordings = [asked(state, states, system=system, template=template, chat=chat) for state in states]
    remarks = [line for state in states for line in state.notes]
    if wordings[0].template == PromptTemplate():
        remarks += [state.hint for state in states if state.hint]
    remarks += [
        f"{name} holds a backslash and an n, not a line break: shells write one as $'...\\n...'"
        for name, text in (("--template", template), ("--rephrased", rephrased))
        if text is not None and "\\n" in text
    ]
    if len(states) == 2:
        from interplay.cli.contrast import contrast_prompt

        contrast_prompt(
            states,
            wordings,
            remarks,
            prompt=prompt,
            target=target,
            words=words,
            n=n,
            coalitions=coalitions,
            order=order,
            rephrased=rephrased,
            dtype=dtype,
            top=top,
            seed=seed,
            as_json=as_json,
            quiet=quiet,
        )
        return
    [asking] = wordings
    with quiet_libraries(), one_prompt(), warnings_as_lines():
        sample = make_sample(prompt, target, words=words, n=n, seed=seed, template=asking.template)
        plan = plan_sampling(sample.n, coalitions, order)
        masks = None if plan is None else sample_coalitions(sample.n, plan.count, seed, order=plan.order)
        found = tokenizers(states)
        prepared = prepare(sample, found[0], asking.template, mask=asking.mask, target_tokens=asking.target_tokens)
        [ready] = load(states, found, dtype=dtype, device=choose_device("auto"))
        if ready.note:
            remarks.append(ready.note)
        say_remarks(remarks, sample.n, n, words, plan, coalitions, order)
        total = 2**sample.n if masks is None else len(masks)
        progress = Progress(quiet=quiet or (masks is None and not watched(total)))
        with progress.phase("scoring coalitions", total) as advance:
            scored = score_state(ready, prepared, masks, lambda done, _: advance(done))
        if plan is None:
            explained = split_exactly(scored)
        else:
            with progress.phase("fitting interactions"):
                explained = _sampled(scored, masks, plan.order, seed)
    interactions, coalition_of = tidy(explained)
    if as_json:
        print_json(payload(explained, interactions))
    else:
        _print_picture(explained, target, interactions, coalition_of, top)


def _check_names(
    models: list[str], model: str | None, base: str | None, adapter: str | None, rephrased: str | None
) -> None:
    """What may stand together on the command line."""
    if not models and model is None:
        raise InterplayError("no model is named: give one (hub name, folder, GGUF file, RUN@STEP), or two to compare")
    if models and model is not None:
        raise InterplayError(f"--model {model!r} and {models[0]!r} are both the model: give one of the two")
    if len(models) > 2:
        raise InterplayError(f"{len(models)} models are named: give one, or two to compare")
    if len(models) == 2 and adapter is not None:
        raise InterplayError("--adapter is for one model: of two, give the adapter's folder itself as A or B")
    if len(models) < 2 and rephrased is not None:
        raise InterplayError("--rephrased measures the floor of a comparison: name two models")
    if model is not None and base is not None:
        raise InterplayError("--base goes with an adapter's folder or RUN@STEP: with --model, give --adapter")


def say_remarks(
    remarks: list[str],
    found: int,
    n: int,
    words: list[str] | None,
    plan: Sampling | None,
    coalitions: int | None,
    order: int | None,
) -> None:
    """What the user should know of what was asked for: fewer words, options without effect, how a run scores."""
    for line in remarks:
        note(line)
    if words is None and found < n:
        note(f"only {found} content words in the prompt, not {n}: all of them are used")
    if plan is None and (coalitions is not None or order is not None):
        note(f"all {2**found:,} coalitions are scored and split exactly: --coalitions and --order do nothing")


def score_state(ready: "Loaded", prepared: Any, masks: Any, progress: Callable[[int, int], None]) -> Any:
    """Scores of one prompt at one model state; a note where rounding drowns them."""
    from interplay.scoring.checkpoints import model_at
    from interplay.scoring.noise import noise_warning
    from interplay.scoring.scores import score_prepared

    with model_at(ready.checkpoint, ready.base) as model:
        scored = score_prepared(model, prepared, coalitions=masks, noise_coalitions=8, progress=progress)
    if (noisy := noise_warning(scored.noise_sigma, float(scored.values.std()), scored.dtype)) is not None:
        note(noisy)
    return scored


def watched(passes: int) -> bool:
    """Whether so many forward passes take long enough for their progress to be shown."""
    return passes >= _WATCHED


def tidy(explained: Explained) -> tuple[list[dict[str, Any]], list[int]]:
    """The salient interactions, strongest first, as in the JSON, and the coalition each is of."""
    frame = explained.effects.to_pandas(words=explained.scored.words)
    interactions = [
        {"type": str(r["type"]), "words": list(r["words"]), "order": int(r["order"]), "effect": float(r["effect"])}
        for r in frame.to_dict("records")
    ]
    return interactions, [int(mask) for mask in frame["mask"]]


def plan_sampling(n: int, coalitions: int | None, order: int | None) -> Sampling | None:
    """What is sampled for n words; None where every coalition is scored. None for what the user left open.

    Up to 16 words all 2^n are scored unless fewer are asked for; `coalitions` is never exceeded. Refuses, before any model
    is loaded, what could not be fitted after all were scored.

    >>> plan_sampling(8, None, None), plan_sampling(8, 2000, 2), plan_sampling(24, None, None)
    (None, None, Sampling(count=2000, order=3))
    >>> plan_sampling(16, 1000, 2)
    Sampling(count=1000, order=2)
    """
    from interplay.data.words import MAX_WORDS
    from interplay.effects.dictionary import MAX_COLUMNS, column_count
    from interplay.effects.sampled import MAX_COALITIONS

    given = COALITIONS if coalitions is None else coalitions
    if not 1 <= given <= MAX_COALITIONS:
        raise InterplayError(
            f"--coalitions is {given}; expected 1..{MAX_COALITIONS:,} forward passes, such as {COALITIONS}"
        )
    if n <= MAX_WORDS and (coalitions is None or given >= 2**n):
        return None
    count, highest = min(given, 2**n), min(ORDER if order is None else order, n)
    least = next(m for m in range(n + 2, 2 * n + 6) if m - round(HELD_OUT * m) >= n + 2)
    if count < least:
        raise InterplayError(
            f"--coalitions is {given}; {n} words need {min(least, 2**n)} or more to be fitted at all, and some {COALITIONS} "
            "to be fitted well"
        )
    if column_count(n, highest) > MAX_COLUMNS:
        fits = max(d for d in range(1, highest) if column_count(n, d) <= MAX_COLUMNS)
        raise InterplayError(
            f"--order {highest} of {n} words makes {column_count(n, highest):,} columns, over {MAX_COLUMNS:,}: "
            f"take --order {fits} or fewer words"
        )
    return Sampling(count, highest)


def split_exactly(scored: Any) -> Explained:
    """The exact split of the scores of all coalitions, certified."""
    from interplay.effects import extract

    full, empty = float(scored.values[-1]), float(scored.values[0])
    # delta as in a run, from this one sample: 0.02 |v(N) - v(empty)| [lineage], at least 3 sigma of noise [ours].
    tolerance = max(0.02 * abs(full - empty), 3 * scored.noise_sigma)
    effects = extract(scored.values, tolerance=tolerance)
    return Explained(
        scored, effects, full, empty, {}, f"certified duality gap {float(effects.gap):.1e}, tolerance {tolerance:.3g}"
    )


def _sampled(scored: Any, masks: Any, order: int, seed: int) -> Explained:
    from interplay.effects import extract_sampled

    n = len(scored.words)
    # The penalty comes from cross-validation, not from the exact road's tolerance: what a language model does above the highest
    # order is far more than its noise or 2 % of the gap, and would be fitted with effects that predict nothing [ours].
    effects = extract_sampled(masks, scored.values, n, order=order, tolerance=None, holdout=HELD_OUT, seed=seed)
    extra = {
        "sampled": True,
        "r2": _or_null(effects.r2),
        "gap_share": _or_null(effects.gap_share),
        "fitted": effects.fitted,
        "held_out": effects.held_out,
        "order": effects.order,
        "columns": effects.columns,
    }
    full, empty = (float(scored.values[masks == mask][0]) for mask in (masks.max(), masks.min()))
    return Explained(scored, effects, full, empty, extra, effects.statement())


def _or_null(value: float) -> float | None:
    return None if math.isnan(value) else value


def payload(explained: Explained, interactions: list[dict[str, Any]]) -> dict[str, Any]:
    """What the JSON says of one model; `interactions` from `tidy`."""
    scored = explained.scored
    return {
        "words": list(scored.words),
        "target": scored.target,
        "score_full": explained.full,
        "score_empty": explained.empty,
        "gap": float(explained.effects.gap),
        "dtype": scored.dtype,
        "noise_sigma": scored.noise_sigma,
        **explained.extra,
        "interactions": interactions,
    }


def print_json(value: dict[str, Any]) -> None:
    """One line on stdout, escaped to ASCII: a word cannot command the terminal it is read on."""
    print(json.dumps(value, allow_nan=False))


def _print_picture(
    explained: Explained, target: str, interactions: list[dict[str, Any]], masks: list[int], top: int
) -> None:
    from interplay.data.words import MAX_WORDS

    scored = explained.scored
    n = len(scored.words)
    say(
        f"log-odds of {scored_name(scored.target, target, len(scored.target_ids))}: {explained.full:+.3f} with all {n} words, "
        f"{explained.empty:+.3f} with none"
    )
    if explained.extra:
        say(explained.statement)
    shown = f"; the strongest {top}" if top < len(interactions) else ""
    say(f"{len(interactions)} salient interactions (|effect| > 5 % of the largest){shown}:")
    print()
    spelt = n > MAX_WORDS
    (spell if spelt else draw)(scored.words, interactions[:top], masks[:top])
    print()
    say(SPELT_LEGEND if spelt else LEGEND)
    certified = "" if explained.extra else f"{explained.statement}, "
    say(f"{certified}{scored.dtype}, noise of v {scored.noise_sigma:.1e} nats")


def note(text: str) -> None:
    """A line for the user on stderr, which no word can command."""
    print(f"interplay: {printable(text)}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def warnings_as_lines() -> Generator[None]:
    """A warning is a line for the user, like every other: not a place in our source, and not on stdout."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        note(" ".join(str(message).split()))

    with warnings.catch_warnings():
        warnings.showwarning = show  # ty: ignore[invalid-assignment]
        yield


@contextlib.contextmanager
def one_prompt() -> Generator[None]:
    """Errors about a row among many say which; here there is but one, and its id is ours."""
    try:
        yield
    except SkipSample as error:
        raise InterplayError(reason(error)) from error


def reason(error: InterplayError) -> str:
    """Why a prompt cannot be used, without the id that we gave it.

    >>> reason(SkipSample("row 'text-0a1b': it is too long"))
    'it is too long'
    """
    return re.sub(r"^(row|sample) 'text-[0-9a-f]+': ", "", str(error))


def scored_name(token: str, target: str, tokens: int = 1) -> str:
    """What is scored, in words: often only the first piece of the target.

    >>> scored_name("s", "sadness"), scored_name(" joy", "joy")
    ("'s', the first token of 'sadness'", "' joy'")
    >>> scored_name("sad", "sadness", 2)
    "'sad', the first 2 tokens of 'sadness'"
    """
    name = repr(printable(token))
    first = "the first token" if tokens == 1 else f"the first {tokens} tokens"
    return name if token.strip() == target.strip() else f"{name}, {first} of {printable(target)!r}"
