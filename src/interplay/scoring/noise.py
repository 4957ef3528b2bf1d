"""When is an evaluation too noisy to explain? The measured noise of v against the spread of v over coalitions.

Noise of v becomes false interactions: symmetric, cancelling, of high order, just like those that fine-tuning is said to
remove. Float32 is far below these limits; bfloat16 is not (docs/evidence/benchmarks.md, docs/design/scoring.md).
"""

import math

# As fractions of sd(v). At n = 8 noise of the first size loses 4 of the 20 strongest effects, the second half of them  [ours]
FLAGGED, REFUSED = 0.02, 0.1
NARROW = ("bfloat16", "float16")


def noise_fraction(sigma: float, spread: float) -> float:
    """sigma / sd(v); NaN where the noise was not measured, infinite where v does not vary but its noise does.

    >>> noise_fraction(0.5, 2.0), noise_fraction(0.0, 0.0), noise_fraction(0.1, 0.0)
    (0.25, 0.0, inf)
    """
    if math.isnan(sigma):
        return math.nan
    return sigma / spread if spread > 0 else (0.0 if sigma == 0 else math.inf)


def noise_warning(sigma: float, spread: float, dtype: str) -> str | None:
    """One line about a 16-bit evaluation that is too noisy, or None.

    >>> print(noise_warning(0.1, 0.5, "bfloat16"))
    bfloat16 scores have a noise of 0.1 nats, 20 % of the spread of v: more than half of the strongest effects are rounding; use float32
    """
    fraction = noise_fraction(sigma, spread)
    if dtype not in NARROW or not fraction > FLAGGED:
        return None
    worth = (
        "more than half of the strongest effects are" if fraction > REFUSED else "one in five strong effects or more is"
    )
    size = f"{fraction:.0%}".replace("%", " %") if math.isfinite(fraction) else "all"
    return f"{dtype} scores have a noise of {sigma:.2g} nats, {size} of the spread of v: {worth} rounding; use float32"
