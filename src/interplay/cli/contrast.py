"""`interplay explain A B`: one prompt under two models or checkpoints, and what was removed, kept and new between them.

The same words in both, each with its own tau (5 % of its own largest effect), so that a model whose scores merely grew has
lost nothing. The sets come from `dynamics.contrast`; nothing is computed here. Whether a difference means anything is told by
the churn floor: A under a second wording (`--rephrased`).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from interplay.cli.explain import (
    Explained,
    one_prompt,
    payload,
    plan_sampling,
    print_json,
    reason,
    say_remarks,
    score_state,
    scored_name,
    split_exactly,
    tidy,
    warnings_as_lines,
    watched,
)
from interplay.cli.named import Asking, Loaded, Named, load, tokenizers
from interplay.cli.picture import PAIR_LEGEND, Pair, joint, members, spell_pairs, spell_words
from interplay.cli.show import number, say
from interplay.dynamics import measures
from interplay.dynamics.contrast import ContrastSets, PairedInteraction, SetTotal, contrast
from interplay.errors import InterplayError

CAVEAT = (
    "Between two wordings of one model a third to two thirds of the salient interactions change by themselves; "
    '--rephrased "Please answer. {text}" measures that for A.'
)


def contrast_prompt(
    states: Sequence[Named],
    wordings: Sequence[Asking],
    remarks: list[str],
    *,
    prompt: str,
    target: str,
    words: list[str] | None,
    n: int,
    coalitions: int | None,
    order: int | None,
    rephrased: str | None,
    dtype: str,
    top: int,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Score both models on the same words, split, compare, print. Everything that can be refused is refused first."""
    from interplay.data.samples import make_sample
    from interplay.runs.progress import Progress
    from interplay.runs.stages import choose_device, quiet_libraries
    from interplay.scoring.score import prepare

    names = [state.name for state in states]
    # One more wording of A, behind the two sides.
    asked = [*zip((0, 1), wordings, strict=True)]
    if rephrased is not None:
        other = wordings[0]._replace(template=replace(wordings[0].template, template=rephrased))
        if other == wordings[0]:
            raise InterplayError(f"--rephrased {rephrased!r} is the wording A is asked in already: give another one")
        asked.append((0, other))
    with quiet_libraries(), one_prompt(), warnings_as_lines():
        # Which words are drawn depends on the text and the seed alone, not on the wording around it or the tokenizer.
        samples = [make_sample(prompt, target, words=words, n=n, seed=seed, template=a.template) for _, a in asked]
        count = samples[0].n
        if plan_sampling(count, coalitions, order) is not None:
            raise InterplayError(
                f"two models are compared on all coalitions of up to 16 words, not on sampled ones ({count} words"
                f"{'' if coalitions is None else f', --coalitions {coalitions}'}): take fewer words"
            )
        found = tokenizers(states)
        prepared = []
        for (side, a), sample in zip(asked, samples, strict=True):
            try:
                prepared.append(prepare(sample, found[side], a.template, mask=a.mask, target_tokens=a.target_tokens))
            except InterplayError as error:  # what one tokenizer cannot serve, another may
                raise InterplayError(f"{names[side]}: {reason(error)}") from error
        loaded = load(states, found, dtype=dtype, device=choose_device("auto"))
        remarks = [*remarks, *_differences(wordings, loaded, prepared)]
        say_remarks(remarks, count, n, words, None, coalitions, order)
        total = len(asked) * 2**count
        progress = Progress(quiet=quiet or not watched(total))
        explained = []
        with progress.phase("scoring coalitions", total) as advance:
            for i, (side, _) in enumerate(asked):
                scored = score_state(loaded[side], prepared[i], None, lambda done, _, i=i: advance(i * 2**count + done))
                explained.append(split_exactly(scored))
    effects = [e.effects.effects for e in explained]
    sets = contrast(effects[0], effects[1], floor=effects[2] if rephrased is not None else None)
    if as_json:
        print_json(_payload(explained, sets, rephrased))
    else:
        _print(names, target, explained, sets, top)


def _differences(wordings: Sequence[Asking], loaded: Sequence[Loaded], prepared: Sequence[Any]) -> list[str]:
    """What else differs between A and B, or does not, and the reader should know."""
    from interplay.data.prompts import uses_chat

    lines = [ready.note for ready in loaded if ready.note]
    if loaded[0].sha256 == loaded[1].sha256:
        lines.append("A and B have identical weights: no difference between them was learnt")
    if wordings[0].template != wordings[1].template:
        lines.append(
            "A and B are asked in different wordings, each as its run does: give --template, --system or --chat to ask "
            "both alike"
        )
    elif len({uses_chat(ready.base.tokenizer, a.template) for ready, a in zip(loaded, wordings, strict=True)}) > 1:
        lines.append(
            "one of A and B is asked through a chat template, the other has none: give --chat false to ask both alike"
        )
    if prepared[0].target.strip() != prepared[1].target.strip():
        lines.append(
            f"A and B are scored on different tokens of the target, {prepared[0].target!r} and {prepared[1].target!r}: "
            "their tokenizers cut it differently"
        )
    return lines


def _payload(explained: Sequence[Explained], found: ContrastSets, rephrased: str | None) -> dict[str, Any]:
    words = explained[0].scored.words

    def rows(chosen: Sequence[PairedInteraction], *, kept: bool = False) -> list[dict[str, Any]]:
        return [
            {
                "type": change.kind,
                "words": members(words, change.mask),
                "order": change.mask.bit_count(),
                "before": change.before,
                "after": change.after,
                **({"sign_flipped": change.flipped} if kept else {}),
            }
            for change in chosen
        ]

    return {
        "before": payload(explained[0], tidy(explained[0])[0]),
        "after": payload(explained[1], tidy(explained[1])[0]),
        "removed": rows(found.removed),
        "kept": rows(found.kept, kept=True),
        "new": rows(found.new),
        "floor": None
        if (floor := found.floor) is None
        else {
            "template": rephrased,
            "removed": floor.removed_total._asdict(),
            "new": floor.new_total._asdict(),
            "multiples": found.multiples(),
        },
    }


def _print(
    names: Sequence[str],
    target: str,
    explained: Sequence[Explained],
    found: ContrastSets,
    top: int,
) -> None:
    a, b = explained[:2]
    scored = a.scored
    for letter, name in zip("AB", names, strict=True):
        say(f"{letter}: {name}")
    say(f"v: log-odds of {scored_name(scored.target, target, len(scored.target_ids))}")
    print()
    _print_figures(a, b)
    words = spell_words(scored.words)
    strongest = max((abs(x) for c in (*found.removed, *found.kept, *found.new) for x in c[2:4]), default=1.0)
    for title, chosen in (("Kept", found.kept), ("Removed", found.removed), ("New", found.new)):
        shown = f"; the strongest {top}" if top < len(chosen) else ""
        say(f"{title}: {len(chosen) or 'none'}{shown}", bold=True)
        if chosen:
            pairs = [
                Pair(c.kind, c.mask, (c.before, c.after), c.salient, "sign flipped" if c.flipped else "")
                for c in chosen[:top]
            ]
            spell_pairs(words, pairs, strongest)
        print()
    say(_sentence(words, found))
    say(CAVEAT if found.floor is None else _floor_sentence(found, found.floor))
    print()
    say(PAIR_LEGEND)
    sides = (
        f"{letter}: {e.statement}, noise of v {e.scored.noise_sigma:.1e} nats"
        for letter, e in zip("AB", (a, b), strict=True)
    )
    say(f"{'; '.join(sides)}; {scored.dtype}")


def _print_figures(a: Explained, b: Explained) -> None:
    """The two models in figures, side by side."""

    def rho(e: Explained) -> float:
        kept = e.effects.salient()
        return float(measures.rho(e.effects.effects, np.stack([kept.and_, kept.or_])))

    rows = [
        (f"v(N), all {len(a.scored.words)} words", *(f"{e.full:+.3f}" for e in (a, b))),
        ("v(empty), none of them", *(f"{e.empty:+.3f}" for e in (a, b))),
        ("p of the target, all words", *(f"{_probability(e.full):.3g}" for e in (a, b))),
        ("L1, sum of all |effects|", *(f"{float(e.effects.objective):.3f}" for e in (a, b))),
        ("salient interactions", *(str(int(sum(m.sum() for m in e.effects.salient()[:2]))) for e in (a, b))),
        ("rho, their uncancelled share", *(number(rho(e)) for e in (a, b))),
    ]
    print(" " * 30 + f"{'A':>10}{'B':>10}")
    for label, *cells in rows:
        print(f"{label:<30}" + "".join(f"{cell:>10}" for cell in cells))
    print()


def _probability(log_odds: float) -> float:
    """
    >>> _probability(0.0), _probability(-800.0)
    (0.5, 0.0)
    """
    return float(np.exp(-np.logaddexp(0.0, -log_odds)))


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def _be(count: int, many: str) -> str:
    """
    >>> _be(1, "were"), _be(1, "are"), _be(0, "are")
    ('was', 'is', 'are')
    """
    return many if count != 1 else {"were": "was", "are": "is"}[many]


def _sentence(words: Sequence[str], found: ContrastSets) -> str:
    """What happened, in words."""
    flips = sum(c.flipped for c in found.kept)
    turned = f" ({flips} with {'its' if flips == 1 else 'their'} sign flipped)" if flips else ""
    lines = [
        f"From A to B, {found.removed_total.count} of {found.salient[0]} salient interactions {_be(found.removed_total.count, 'were')} removed "
        f"({_percent(found.removed_total.strength_share)} of the strength), {len(found.kept)} kept{turned}, and "
        f"{found.new_total.count} of B's {found.salient[1]} {_be(found.new_total.count, 'are')} new "
        f"({_percent(found.new_total.strength_share)} of the strength)."
    ]
    for what, chosen, side in (("new", found.new, 3), ("removed", found.removed, 2)):
        if chosen:
            strongest = chosen[0]
            spelt = joint(strongest.kind).join(members(words, strongest.mask))
            kind = strongest.kind.upper() + ", " if strongest.mask.bit_count() > 1 else ""
            lines.append(f"The strongest {what} one is {spelt} ({kind}{strongest[side]:+.3f}).")
    return " ".join(lines)


def _floor_sentence(found: ContrastSets, floor: ContrastSets) -> str:
    """What a second wording of A alone changes, and how many times that the change from A to B is."""

    multiples = found.multiples()

    def times(name: str, own: SetTotal) -> str:
        count, share = multiples[name].values()
        if count is None or share is None:
            return "beyond counting in that, which is none" if own.count else "none, as there"
        return f"{count:.2f} times that in number, {share:.2f} times in share of strength"

    gone, come = floor.removed_total, floor.new_total
    return (
        f"Between the two wordings of A, where nothing was learnt, {gone.count} of {floor.salient[0]} {_be(gone.count, 'were')} "
        f"removed ({_percent(gone.strength_share)} of the strength) and {come.count} of {floor.salient[1]} "
        f"{_be(come.count, 'are')} new ({_percent(come.strength_share)}). From A to B, removed is "
        f"{times('removed', found.removed_total)}; new is {times('new', found.new_total)}."
    )
