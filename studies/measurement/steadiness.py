"""How steady splits are: python -m studies.measurement.steadiness RUN [RUN ...]

Reads the scores of the checkpoints of finished runs. For each way to split: the Jaccard index of the sets of changes (over 5 % of
the largest of the prompt) between three runs whose ties are broken otherwise (costs 1 + 1e-3 U[0, 1]), and under a tolerance 10 %
wider; its cost in |c|_1 over the optimum; how much changes, in nats; and CPU milliseconds a table.
"""

import sys
import time
from itertools import combinations
from pathlib import Path

import numpy as np

from interplay.effects import sparse
from interplay.store.units import load_unit

WAYS = [  # fused, omega, delta as a fraction of the mean total effect; 3e-5: about the noise of float32
    (fused, omega, delta) for delta in (0.02, 3e-5) for fused in (False, True) for omega in (0.01, sparse.OMEGA)
]


def scores(run: Path) -> np.ndarray:
    """[prompts, steps, 2^n] of a run whose prompts have the same number of words."""
    steps = sorted(p for p in (run / "units").iterdir() if p.name[5:].isdecimal())
    names = sorted(file.name for file in steps[0].iterdir())
    return np.array([[load_unit(step / name).scores for step in steps] for name in names])


def chain(u: np.ndarray, delta: float, omega: float, fused: bool, seed: int | None) -> np.ndarray:
    """Effects [prompts, steps, 2, 2^n], each checkpoint after the one before."""
    count, length = len(u), u.shape[-1]
    costs = None if seed is None else 1 + 1e-3 * np.random.default_rng(seed).random((count, 2, length))
    found: list[np.ndarray] = []
    for t in range(u.shape[1]):
        reference = found[-1] if found and fused else None
        how = {"reference": reference, "tie": sparse.Tie(omega, costs)}
        split = sparse.solve(u[:, t], np.full(count, delta), 1e-3, 20_000, **how)
        found.append(np.stack([split.and_effects, split.or_effects], 1))
    return np.stack(found, 1)


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    over = [np.abs(x) > 0.05 * np.abs(x).max((-2, -1), keepdims=True) for x in (a, b)]
    both, either = (over[0] & over[1]).sum((-2, -1)), (over[0] | over[1]).sum((-2, -1))
    return float((both[either > 0] / either[either > 0]).mean())


def main(runs: list[Path]) -> None:
    tables = [scores(run) for run in runs]
    print(
        "| split | omega | delta | next | from first | next, delta + 10 % | from first | cost | change, next | from first | ms |"
    )
    for fused, omega, fraction in WAYS:
        rows = []
        for v in tables:
            u = v - v[..., :1]
            delta = fraction * float(np.abs(u[:, 0, -1]).mean())
            begun = time.process_time()
            three = [chain(u, delta, omega, fused, seed) for seed in (None, 1, 2)]
            spent = 1000 * (time.process_time() - begun) / (3 * u.shape[0] * u.shape[1])
            wider = chain(u, 1.1 * delta, omega, fused, None)
            best = np.abs(chain(u, delta, 1e-3, False, None)).sum((-2, -1))
            row = []
            for change in (lambda c: np.diff(c, axis=1), lambda c: c[:, 1:] - c[:, :1]):
                row.append(
                    [
                        np.mean([jaccard(change(a), change(b)) for a, b in combinations(three, 2)]),
                        jaccard(change(three[0]), change(wider)),
                        np.abs(change(three[0])).sum((-2, -1)).mean(),
                    ]
                )
            cost = (np.abs(three[0]).sum((-2, -1)) / best).mean(0)
            rows.append(
                [row[0][0], row[1][0], row[0][1], row[1][1], cost.mean(), cost.max(), row[0][2], row[1][2], spent]
            )
        m = np.mean(rows, 0)
        said = f"| {'fused' if fused else 'alone'} | {omega} | {fraction} | " + " | ".join(f"{x:.3f}" for x in m[:4])
        print(f"{said} | {m[4]:.4f}, {m[5]:.4f} | {m[6]:.2f} | {m[7]:.2f} | {m[8]:.0f} |", flush=True)


if __name__ == "__main__":
    main([Path(run) for run in sys.argv[1:]])
