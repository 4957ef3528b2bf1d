"""The penalised programme on sampled coalitions, solved exactly on a working set and certified over all columns.

    min over c and a free intercept   1/(2m) |y - b - Phi c|^2 + penalty (sum_S w_S |c_S| + mu/2 sum_S r_S c_S^2)

w and r are those of the exact solver (`sparse.py`): 1 and 0.01 for order 1, 1 + omega/2 and 1 above, so ties are broken the
same way. mu is tiny: ties only, and regular linear systems.
"""

import numpy as np
from numpy.typing import NDArray

from interplay.effects.dictionary import Rows
from interplay.effects.sparse import ORDER_COST, ORDER_ONE

Array = NDArray[np.float64]

RIDGE = 1e-5  # mu, scores in units of their standard deviation [ours]
DEBIAS = 1e-4  # part of the penalty that stays when a support is refitted: settles ties among its columns [ours]
INDEPENDENT = 1e-7  # least eigenvalue of a support's products, against its largest column, to be plain least squares
TIE = 1e-4  # columns this near to entering count as tied; more than what mu changes (mu times an effect)
BATCH = 64  # columns that may join the working set after one correlation, at least
EXACT = 1e-10  # of the penalty: rounding
ROUNDS = 200  # correlations for one penalty, at most
STEPS = 20_000  # linear systems for one penalty, at most


def weights(orders: NDArray[np.int64]) -> tuple[Array, Array]:
    """Cost w of one unit of effect, and mu r, by order: what makes one of several answers of equal cost the answer."""
    return np.where(orders == 1, 1.0, ORDER_COST), np.where(orders == 1, RIDGE * ORDER_ONE, RIDGE)


def dual_gap(rows: Rows, y: Array, index: NDArray[np.int64], value: Array) -> float:
    """Certified relative gap of c as an answer to: the least sum w|c| that misses y by no more, in root mean square, than c.

    The dual is max <y, z> - |r| |z| s.t. |Phi'z| <= w, sum z = 0, with r the residual of c; z = r / max(|Phi'r| / w) is feasible.
    """
    columns = rows.columns(index)
    r = y - columns @ value
    r = r - r.mean()
    w, _ = weights(rows.dictionary.orders)
    cost = float(w[index] @ np.abs(value))
    if cost == 0.0:
        return 0.0
    largest = float((np.abs(rows.correlate(r)) / w).max())
    if largest <= 0.0:
        return 1.0  # a residual without any correlation proves nothing
    return min(1.0, max(0.0, 1.0 - float((columns @ value) @ r) / largest / cost))


def _active_set(H: Array, q: Array, pen: Array, c: Array, slack: float = EXACT) -> Array:
    """Feature-sign search (Lee et al. 2006): min 1/2 c'Hc - q'c + pen|c| from c; a zero stays while its gradient exceeds pen by less than `slack` of it."""
    c = c.copy()
    batch = len(c)
    consistent = False  # whether c solves the linear system of its own signs
    for _ in range(STEPS):
        sign = np.sign(c)
        added = np.empty(0, dtype=np.int64)
        if consistent:
            g = H @ c - q
            excess = np.where(sign == 0, np.abs(g) - pen, -np.inf)
            order = np.argsort(-excess, kind="stable")[:batch]
            added = order[excess[order] > slack * pen[order]]
            if not len(added):
                return c
            sign[added] = -np.sign(g[added])
        active = np.flatnonzero(sign)
        if not len(active):
            consistent = True
            continue
        s, now, cost = sign[active], c[active], pen[active]
        A, b = H[np.ix_(active, active)], q[active]
        target = np.linalg.solve(A, b - cost * s)
        if (target * s > 0).all():
            c[active] = target
            consistent = True
            batch = len(c)
            continue
        # Walk: the objective along the segment is convex, with kinks where a coefficient crosses zero.
        d = target - now
        with np.errstate(divide="ignore", invalid="ignore"):
            kink = np.where((now != 0) & (target * s <= 0), -now / d, np.nan)
        t = np.unique(np.append(kink[np.isfinite(kink)], 1.0))
        Ad = A @ d
        slope = float(now @ Ad - b @ d)
        rise = np.abs(now + t[:, None] * d) @ cost - np.abs(now) @ cost
        change = 0.5 * float(d @ Ad) * t * t + slope * t + rise
        best = int(np.argmin(change))
        if change[best] >= 0.0 and len(added):
            if batch == 1:  # no descent left at rounding
                return c
            batch = max(1, len(added) // 4)
            continue
        moved = now + t[best] * d
        moved[kink == t[best]] = 0.0
        if change[best] >= 0.0:  # rounding: leave the face anyway
            moved[np.nanargmin(kink)] = 0.0
        c[active] = moved
        consistent = False
    return c


def _refined(columns: Array, y: Array, pull: Array, ridge: Array) -> Array:
    """The least 1/(2m) |y - columns c|^2 + pull'c + 1/2 c'diag(ridge)c, by QR: from the columns' products, with a ridge of 1e-12,
    undetermined directions come out to 1e-5 only, differently on each processor.
    """
    k = len(pull)
    scaled = np.vstack(
        [np.column_stack([columns, y]) / np.sqrt(len(y)), np.eye(k, k + 1) * np.append(np.sqrt(ridge), 0)]
    )
    upper = np.asarray(np.linalg.qr(scaled, mode="r"))
    factor = upper[:k, :k]
    return np.linalg.solve(factor, upper[:k, k] - np.linalg.solve(factor.T, pull))


class Path:
    """Solutions for falling penalties on one set of rows; each starts from the last. y in units where its sd is about 1."""

    def __init__(self, rows: Rows, y: Array) -> None:
        self.rows = rows
        self.y = y - y.mean()
        self.w, self.mu = weights(rows.dictionary.orders)
        m = len(rows)
        self.correlation = rows.correlate(self.y) / m  # of the current residual with every column, over m
        self.largest = float((np.abs(self.correlation) / self.w).max(initial=0.0))
        self.penalty = self.largest  # of the last solution: from here up the answer is zero
        self.index = np.empty(0, dtype=np.int64)  # the working set, its centred columns, their products
        self.columns = np.empty((m, 0))
        self.gram = np.empty((0, 0))
        self.product = np.empty(0)
        self.value = np.empty(0)

    def _join(self, index: NDArray[np.int64]) -> None:
        m = len(self.rows)
        new = self.rows.columns(index)
        new -= new.mean(0)
        across, inside = self.columns.T @ new / m, new.T @ new / m
        self.gram = np.block([[self.gram, across], [across.T, inside]])
        self.columns = np.hstack([self.columns, new])
        self.index = np.concatenate([self.index, index])
        self.product = np.concatenate([self.product, new.T @ self.y / m])
        self.value = np.concatenate([self.value, np.zeros(len(index))])

    def _leave(self, stay: NDArray[np.bool_]) -> None:
        # dropping a few columns costs more than carrying them
        if 4 * stay.sum() < 3 * len(stay):
            keep = np.flatnonzero(stay)
            self.gram, self.columns = self.gram[np.ix_(keep, keep)], self.columns[:, keep]
            self.index, self.product, self.value = self.index[keep], self.product[keep], self.value[keep]

    def solve(self, penalty: float, duality_gap: float, ties: bool = False) -> float:
        """Solve at this penalty (at most the last one), to the relative gap over all columns, which is returned.

        The answer is in `value`, for the columns `index`. `ties`: go on until every column that would do as well is in the
        working set, so that mu chooses among all of them.
        """
        score = np.abs(self.correlation) / self.w
        self._leave((self.value != 0) | (score[self.index] >= 0.5 * penalty))
        outside = np.ones(len(self.w), dtype=bool)
        outside[self.index] = False
        # sequential strong rule (Tibshirani et al. 2012): what is likely to enter; the correlation below checks it
        likely = np.flatnonzero(outside & (score >= max(2.0 * penalty - self.penalty, 0.5 * penalty)))
        likely = likely[np.argsort(-score[likely], kind="stable")][: max(BATCH, 2 * np.count_nonzero(self.value))]
        if len(likely):
            self._join(np.sort(likely))
        reached = 1.0
        for _ in range(ROUNDS):
            cost = penalty * self.w[self.index]
            H = self.gram + np.diag(penalty * self.mu[self.index])
            self.value = _active_set(H, self.product, cost, self.value, EXACT if ties else 0.1 * duality_gap)
            fitted = self.columns @ self.value
            r = self.y - fitted
            self.correlation = self.rows.correlate(r) / len(self.rows)
            score = np.abs(self.correlation) / self.w
            total = float(self.w[self.index] @ np.abs(self.value))
            worst = float(score.max())
            reached = 0.0 if total == 0 else 1.0 - float(fitted @ r) / len(self.rows) / worst / total
            outside[self.index] = False
            margin = -TIE if ties else 0.25 * duality_gap
            violators = np.flatnonzero(outside & (score > penalty * (1.0 + margin)))
            if (reached <= duality_gap and not ties) or not len(violators):
                break
            first = np.argsort(-score[violators], kind="stable")[: max(BATCH, np.count_nonzero(self.value))]
            self._join(np.sort(violators[first]))
        self.penalty = penalty
        return max(reached, 0.0)

    def refit(self) -> tuple[NDArray[np.int64], Array]:
        """Columns and coefficients of the last solution's support without its shrinkage: least squares, with a DEBIAS part of the
        penalty where columns are dependent. Coefficients that would change their sign are dropped."""
        chosen = np.flatnonzero(self.value)
        value = self.value[chosen]
        while len(chosen):
            gram, product = self.gram[np.ix_(chosen, chosen)], self.product[chosen]
            penalty = DEBIAS * self.penalty
            cost, ridge = penalty * self.w[self.index[chosen]], penalty * self.mu[self.index[chosen]]
            after = _active_set(gram + np.diag(ridge), product, cost, value)
            same = after * value > 0
            if same.all():
                value = after
                if float(np.linalg.eigvalsh(gram)[0]) > INDEPENDENT * float(gram.diagonal().max()):
                    final = np.linalg.solve(gram, product)
                else:
                    final = _refined(self.columns[:, chosen], self.y, cost * np.sign(value), ridge)
                value = final if (final * value > 0).all() else value
                break
            chosen, value = chosen[same], value[same]
        return self.index[chosen], value
