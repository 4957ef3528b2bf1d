"""How well the interactions stand for the model: matching error on all coalitions, and how few of them are strong.

Pure arrays. The equations are [paper eq 2-3] (universal matching: with all interactions the logical model gives back every
score, up to the solver's tolerance); that a few salient ones nearly suffice is the sparsity claim of the line of work
[lineage]. It neither extracts effects (`effects/`) nor says which are salient (`sets`).
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from interplay.effects.moebius import reconstruct as scores_of
from interplay.errors import InterplayError

Array = NDArray[Any]


class Matching(NamedTuple):
    """Error of the logical model over all 2^n coalitions, `[..]` each.

    rms   root mean square error over the standard deviation of the scores: 0 = exact, 1 = no better than their mean
    r2    1 - rms^2, the share of the scores' variance that is explained; negative = worse than their mean
    """

    rms: Array
    r2: Array


def reconstruct(effects: ArrayLike, v_empty: ArrayLike, mask: ArrayLike | None = None) -> Array:
    """Scores of the logical model made of the interactions in `mask`: `[.., 2, 2^n]`, `[..]` -> `[.., 2^n]`  [paper eq 3].

    effects   row 0 AND, row 1 OR, in log-odds; v_empty the score with no word; mask boolean like effects, None = all

    >>> import numpy as np
    >>> e = np.array([[0.0, 2, 3, 4], [0, 0, 0, 5]])       # AND {0}: 2, {1}: 3, {0, 1}: 4; OR {0, 1}: 5
    >>> reconstruct(e, 1.0)                                # 1; 1+2+5; 1+3+5; 1+2+3+4+5
    array([ 1.,  8.,  9., 15.])
    >>> reconstruct(e, 1.0, abs(e) > 3)                    # AND {0, 1} and OR {0, 1} alone: 1; 1+5; 1+5; 1+4+5
    array([ 1.,  6.,  6., 10.])
    """
    e = np.asarray(effects, dtype=np.float64)
    if e.ndim < 2 or e.shape[-2] != 2:
        raise InterplayError(f"effects have shape {list(e.shape)}; expected [.., 2, 2^n], row 0 AND and row 1 OR")
    if mask is not None:
        e = np.where(np.asarray(mask, dtype=bool), e, 0.0)
    return scores_of(e[..., 0, :], e[..., 1, :], v_empty)


def matching(effects: ArrayLike, scores: ArrayLike, mask: ArrayLike | None = None) -> Matching:
    """Error of the logical model made of the interactions in `mask` against the scores `[.., 2^n]`, on all coalitions.

    The score with no word is given to the model, as in the paper. Where all scores are the same there is no spread to
    measure against, and both figures are NaN.

    >>> import numpy as np
    >>> e = np.array([[0.0, 0, 0, 4], [0, 0, 0, 0]])       # one AND of two words
    >>> matching(e, [1.0, 1, 1, 5])                        # exact
    Matching(rms=array(0.), r2=array(1.))
    >>> found = matching(e, [1.0, 1, 1, 5], e > 9)         # 1 everywhere: mean square error 16/4 = 4, variance 3
    >>> round(float(found.rms), 4), round(float(found.r2), 4)
    (1.1547, -0.3333)
    """
    v = np.asarray(scores, dtype=np.float64)
    model = reconstruct(effects, v[..., 0], mask)
    if model.shape != v.shape:
        raise InterplayError(f"scores have shape {list(v.shape)}; expected {list(model.shape)}, as the effects")
    spread = v.std(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rms = np.where(spread > 0, np.sqrt(((v - model) ** 2).mean(axis=-1)) / spread, np.nan)
    return Matching(rms, np.asarray(1 - rms**2))


def sorted_strength(effects: ArrayLike, ranks: ArrayLike) -> Array:
    """Strength of the interactions at the given ranks (1 = strongest) as a share of the strongest: `[.., 2, 2^n]` -> `[.., R]`.

    AND and OR together. Ranks beyond the number of interactions give 0, as interactions that are not there; effects that are
    all zero give NaN.

    >>> import numpy as np
    >>> sorted_strength(np.array([[0.0, -4, 1, 0], [0, 0, 0, 2]]), [1, 2, 3, 4, 99])
    array([1.  , 0.5 , 0.25, 0.  , 0.  ])
    """
    e = np.asarray(effects, dtype=np.float64)
    if e.ndim < 2 or e.shape[-2] != 2:
        raise InterplayError(f"effects have shape {list(e.shape)}; expected [.., 2, 2^n], row 0 AND and row 1 OR")
    at = np.asarray(ranks)
    if at.ndim != 1 or not np.issubdtype(at.dtype, np.integer) or (at < 1).any():
        raise InterplayError(f"ranks are {np.array2string(at, threshold=6)}; expected whole numbers from 1 on")
    size = -np.sort(-np.abs(e.reshape(*e.shape[:-2], -1)), axis=-1)
    found = np.where(at <= size.shape[-1], size[..., np.minimum(at, size.shape[-1]) - 1], 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return found / size[..., :1]
