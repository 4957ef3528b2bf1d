"""What stands first under each absence: python -m studies.measurement.conjunction_table SCORES.npz STEP"""

import sys
from collections import Counter

import numpy as np

from interplay import extract

LAW = 0b100001  # of six words, the first and the last


def first(effects: np.ndarray) -> tuple[str, int]:
    row, mask = np.unravel_index(int(np.abs(effects).argmax()), effects.shape)
    return ("AND", "OR")[row], int(mask)


def main(file: str, step: str) -> None:
    stored = np.load(file)
    seconds = dict(stored["seconds"].tolist())
    names = [name for name in stored if name.endswith(f"@{step}") and not name.startswith("sigma")]
    truth = stored[f"swap@{step}"]
    print(
        "| absence | delta | law first: at the end | of the changes | law, nats | otherwise first | v(empty) | r with swaps | CPU s |"
    )
    for name in names:
        mask, tuned, base = name.split("@")[0], stored[name], stored[f"{name.split('@')[0]}@0"]
        sigma = stored[f"sigma:{name}"]
        ways = {"exact": 0.0, "noise": sigma, "paper": np.maximum(0.02 * np.abs(tuned[:, -1] - tuned[:, 0]), sigma)}
        for said, delta in ways.items():
            if said == "noise" and not sigma.any():
                continue
            before = extract(base, delta)
            after = extract(tuned, delta, reference=before)
            state = [first(e) for e in after.effects]
            moved = [first(e) for e in after.effects - before.effects]
            hits = [sum(x == ("AND", LAW) for x in some) for some in (state, moved)]
            law = (after.effects - before.effects)[:, 0, LAW]
            orders = Counter(f"{kind} of {mask.bit_count()}" for kind, mask in state if (kind, mask) != ("AND", LAW))
            r = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(tuned, truth, strict=True)])
            print(
                f"| {mask!r} | {said} {np.mean(delta):.2g} | {hits[0]} | {hits[1]} of {len(tuned)} | {law.min():.1f} to {law.max():.1f} | "
                f"{', '.join(f'{k}: {v}' for k, v in orders.most_common(3))} | {tuned[:, 0].mean():.1f} | {r:.2f} | {float(seconds[name]):.0f} |"
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
