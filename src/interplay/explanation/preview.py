"""The first pictures of a prompt, before all its coalitions are scored: words alone and left out, then pairs."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from interplay.explanation.answers import Standing
from interplay.explanation.text import InteractionRow, Printout, names_of
from interplay.scoring.scores import UnitScores

_PAIRS = 8  # pairs shown [ours]


def ends(n: int) -> NDArray[np.uint64]:
    """No word, each word alone, all but each word, all words: [2n + 2] coalitions.

    >>> ends(3).tolist()
    [0, 1, 2, 4, 6, 5, 3, 7]
    """
    whole = (1 << n) - 1
    alone = [1 << i for i in range(n)]
    return np.array([0, *alone, *(whole - word for word in alone), whole], dtype=np.uint64)


def pairs(n: int) -> NDArray[np.uint64]:
    """Each two words alone: [n (n - 1) / 2] coalitions.

    >>> pairs(3).tolist()
    [3, 5, 6]
    """
    return np.array([1 << i | 1 << j for i in range(n) for j in range(i + 1, n)], dtype=np.uint64)


def word_picture(scored: Sequence[UnitScores], standing: Sequence[Standing], of: int) -> str:
    """The picture of the scores of `ends` under one or two models: a line a word, what it adds to no word and to all others.

    standing: of each target. `of`: coalitions that will be scored.
    """
    out, words, n = Printout(terminal=True), scored[0].words, scored[0].n
    out.say(f"PRELIMINARY, from {2 * n + 2} of {of:,} coalitions; the split of all of them replaces it", bold=True)
    for one, place in zip(scored, standing, strict=False):
        out.say(
            f"{one.target!r}: {place.said}; log-odds {one.values[-1]:+.3f} with all words, {one.values[0]:+.3f} with none"
        )
    out.say("What a word adds, the mean of its gains beside no other word and beside all others (nats):")
    means = [(v[1 : n + 1] - v[0] + v[-1] - v[n + 1 : -1]) / 2 for v in (one.values for one in scored)]
    each = zip(*(mean.tolist() for mean in means), strict=True)
    out.spell(names_of(words), [InteractionRow("", 1 << i, values) for i, values in enumerate(each)])
    return "\n".join([*out.lines, ""])


def pair_picture(alone: UnitScores, together: UnitScores) -> str:
    """The strongest of `pairs`: what two words add beyond each alone, which `alone` has, scores of `ends`."""
    out, n = Printout(terminal=True), alone.n
    single = dict(zip(ends(n)[: n + 1].tolist(), alone.values[: n + 1].tolist(), strict=True))
    beyond = {
        mask: v - sum(single[1 << i] for i in range(n) if mask >> i & 1) + single[0]
        for mask, v in zip(pairs(n).tolist(), together.values.tolist(), strict=True)
    }
    strongest = sorted(beyond, key=lambda mask: -abs(beyond[mask]))[:_PAIRS]
    out.say("PRELIMINARY: what two words add beside no other word, beyond each alone (nats):", bold=True)
    out.spell(names_of(alone.words), [InteractionRow("and", mask, (beyond[mask],)) for mask in strongest])
    return "\n".join([*out.lines, ""])
