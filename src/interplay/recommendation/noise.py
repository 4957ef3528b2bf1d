"""Which candidates the eval rows cannot tell from the best one, and how large a difference they would have shown."""

from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from interplay.dynamics.stats import FEWEST, LEVEL, paired_interval

_Z = NormalDist().inv_cdf
POWER = _Z(0.8)  # standard errors beyond the threshold at which 80 % of true differences are found


class Standing(NamedTuple):
    best: int  # index of the best candidate, the first of ties
    tied: np.ndarray  # [K] whether a candidate cannot be told from the best; true for the best itself
    detectable: (
        float  # smallest difference to the best found with 80 % power; infinite: none can be; NaN: noise is not known
    )


def compare(x: np.ndarray, share_of: float, resamples: int, rng: np.random.Generator) -> Standing:
    """Compare K candidates with the best, at a level of 5 % for all pairs together, so that the best may be found by looking.

    x         [K, rows] where a higher mean is better. All pairs are tested on the same rows: the signs of a row's differences
              are flipped together, and the 95 % quantile of the largest studentised mean is the threshold (`paired_interval`).
              [K, 1]: only the mean is known; then equal ones are tied, or, of shares, those within the binomial error
    share_of  the number of rows behind shares of which only the mean is known; NaN: not known

    >>> hits = np.arange(200) < np.array([[100], [101], [0]])  # right in .5, .505 and none of 200 rows
    >>> found = compare(hits.astype(float), float("nan"), 500, np.random.default_rng(0))
    >>> found.best, found.tied.tolist(), round(found.detectable, 2)
    (1, [True, True, False], 0.04)
    """
    mean, rows, (a, b) = x.mean(axis=1), x.shape[1], np.triu_indices(len(x), 1)
    best, binary = int(mean.argmax()), bool(np.isin(x, (0, 1)).all())
    if rows >= FEWEST:
        every, error = (d.std(axis=-1, ddof=1) / np.sqrt(rows) for d in (x[a] - x[b], x[best] - x))
        found = paired_interval((x[a] - x[b]).T, resamples, rng)
        scale = float(np.max(((found.hi - found.lo) / 2)[every > 0] / every[every > 0], initial=_Z((1 + LEVEL) / 2)))
    elif rows == 1 and np.isfinite(share_of):
        share, rows, binary = (mean * share_of + 1) / (share_of + 2), share_of, True  # a share of 1 has an error, too
        error = np.sqrt((share * (1 - share) + share[best] * (1 - share[best])) / rows)
        scale = _Z(1 - (1 - LEVEL) / 2 / len(a))
    else:
        return Standing(best, mean == mean[best] if rows == 1 else mean < np.inf, float("nan" if rows == 1 else "inf"))
    tied = mean[best] - mean <= scale * error
    # Where every row that changes is gained, k of n rows stand sqrt(k) standard errors from zero: fewer never suffice.
    least = (scale + POWER) ** 2 / rows if binary else 0.0
    visible = max(least, (scale + POWER) * float(error[tied].max()))
    return Standing(best, tied, float("inf") if binary and visible >= 1 else visible)
