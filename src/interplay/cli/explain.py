"""`interplay explain`: one prompt, one model, its interactions as JSON or as a table with a picture.

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
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

from interplay.cli.picture import LEGEND, SPELT_LEGEND, draw, spell
from interplay.cli.show import printable, say
from interplay.errors import InterplayError, SkipSample

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
    model: str,
    prompt: str,
    target: str,
    words: list[str] | None,
    n: int,
    coalitions: int | None,
    order: int | None,
    adapter: str | None,
    system: str | None,
    template: str,
    chat: Any,
    dtype: str,
    top: int,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Score the coalitions, split them, print."""
    from interplay.data.samples import make_sample
    from interplay.data.template import PromptTemplate
    from interplay.data.words import MOST_WORDS, check_n
    from interplay.effects import sample_coalitions
    from interplay.runs.progress import Progress
    from interplay.runs.stages import choose_device, quiet_libraries
    from interplay.scoring.checkpoints import Checkpoint, classify, model_at
    from interplay.scoring.models import load_model
    from interplay.scoring.noise import noise_warning
    from interplay.scoring.score import prepare, score_prepared

    check_n(n, most=MOST_WORDS)
    wording = PromptTemplate(system=system, template=template, chat=chat)
    with quiet_libraries(), _of_the_prompt(), _warnings_as_lines():
        sample = make_sample(prompt, target, words=words, n=n, seed=seed, template=wording)
        plan = plan_sampling(sample.n, coalitions, order)
        masks = None if plan is None else sample_coalitions(sample.n, plan.count, seed, order=plan.order)
        loaded = load_model(model, dtype=dtype, device=choose_device("auto"))
        prepared = prepare(sample, loaded.tokenizer, wording)
        state = Checkpoint(0, None, "base")
        if adapter is not None:
            path = Path(adapter)
            if not path.is_dir() or classify(path) != "adapter":
                raise InterplayError(f"--adapter {adapter!r} is no adapter folder: it needs adapter_model.safetensors")
            state = Checkpoint(1, path, "adapter")
        with model_at(state, loaded) as ready:
            if words is None and sample.n < n:
                _note(f"only {sample.n} content words in the prompt, not {n}: all of them are used")
            if plan is None and (coalitions is not None or order is not None):
                _note(
                    f"all {2**sample.n:,} coalitions are scored and split exactly: --coalitions and --order do nothing"
                )
            total = 2**sample.n if masks is None else len(masks)
            progress = Progress(quiet=quiet or (masks is None and total < _WATCHED))
            with progress.phase("scoring coalitions", total) as advance:
                scored = score_prepared(
                    ready, prepared, coalitions=masks, noise_coalitions=8, progress=lambda done, _: advance(done)
                )
        if (noisy := noise_warning(scored.noise_sigma, float(scored.values.std()), scored.dtype)) is not None:
            _note(noisy)
        if plan is None:
            explained = _exact(scored)
        else:
            with progress.phase("fitting interactions"):
                explained = _sampled(scored, masks, plan.order, seed)
    frame = explained.effects.to_pandas(words=scored.words)
    interactions = [
        {"type": str(r["type"]), "words": list(r["words"]), "order": int(r["order"]), "effect": float(r["effect"])}
        for r in frame.to_dict("records")
    ]
    if as_json:
        _print_json(explained, interactions)
    else:
        _print_picture(explained, target, interactions, [int(m) for m in frame["mask"]], top)


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


def _exact(scored: Any) -> Explained:
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


def _print_json(explained: Explained, interactions: list[dict[str, Any]]) -> None:
    scored = explained.scored
    payload = {
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
    print(json.dumps(payload, allow_nan=False))  # escaped to ASCII: a word cannot command the terminal it is read on


def _print_picture(
    explained: Explained, target: str, interactions: list[dict[str, Any]], masks: list[int], top: int
) -> None:
    from interplay.data.words import MAX_WORDS

    scored = explained.scored
    n = len(scored.words)
    say(
        f"log-odds of {scored_name(scored.target, target)}: {explained.full:+.3f} with all {n} words, "
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


def _note(text: str) -> None:
    print(f"interplay: {printable(text)}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _warnings_as_lines() -> Generator[None]:
    """A warning is a line for the user, like every other: not a place in our source, and not on stdout."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        _note(" ".join(str(message).split()))

    with warnings.catch_warnings():
        warnings.showwarning = show  # ty: ignore[invalid-assignment]
        yield


@contextlib.contextmanager
def _of_the_prompt() -> Generator[None]:
    """Errors about a row among many say which; here there is but one, and its id is ours."""
    try:
        yield
    except SkipSample as error:
        raise InterplayError(re.sub(r"^(row|sample) 'text-[0-9a-f]+': ", "", str(error))) from error


def scored_name(token: str, target: str) -> str:
    """What is scored, in words: often only the first piece of the target.

    >>> scored_name("s", "sadness"), scored_name(" joy", "joy")
    ("'s', the first token of 'sadness'", "' joy'")
    """
    name = repr(printable(token))
    return name if token.strip() == target.strip() else f"{name}, the first token of {printable(target)!r}"
