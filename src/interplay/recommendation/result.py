"""What a recommendation is; without NumPy, so that a log alone is read at once."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

RULE = (
    "highest eval accuracy; without labels, or of what accuracy cannot tell from the best, lowest eval loss; of what cannot be "
    "told from that the earliest, the base model included; without eval rows the last"
)


class Evidence(NamedTuple):
    """One figure behind a recommendation, at one step, with its 95 % interval."""

    name: str
    step: int
    value: float
    lo: float
    hi: float


@dataclass(frozen=True)
class Recommendation:
    """Which checkpoint to keep, and why.

    step         the checkpoint; 0 for the base model
    rule         name of the rule
    basis        what decided: `accuracy` or `eval-loss` of the eval rows; `base` if by these no checkpoint beats the base
                 model; `last` without eval rows, so without evidence; `only` if there was nothing to compare
    sentence     one line of plain English for the user
    evidence     `accuracy` or `eval_loss` of each candidate if that decided; its `interaction_loss`, and `above_lowest`,
                 the log distance of that to the lowest one
    rivals       what other rules choose among the checkpoints, if their measure is known; they ignore noise
    denoised     the end of the denoising stage: {step, lo, hi}; None if unknown
    stop_step    where patience would have stopped the training; None: nowhere
    tied         the candidates that cannot be told from the best one, itself included; `step` is the first of them
    detectable   smallest difference to the best that these eval rows show with 80 % power; None: not known, none, or no ties
    """

    step: int
    rule: str
    basis: str
    sentence: str
    evidence: tuple[Evidence, ...]
    rivals: dict[str, int]
    denoised: dict[str, int] | None = None
    stop_step: int | None = None
    tied: tuple[int, ...] = ()
    detectable: float | None = None

    def __str__(self) -> str:
        return self.sentence

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recommendation":
        """The inverse of `to_dict`; ignores unknown keys.

        >>> one = Recommendation(4, "r", "last", "Keep step 4.", (Evidence("loss", 4, 1.0, float("nan"), 2.0),), {"last": 4})
        >>> Recommendation.from_dict(one.to_dict()).to_dict() == one.to_dict()
        True
        """
        known: dict[str, Any] = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        rows: list[Any] = [{k: math.nan if x is None else x for k, x in row.items()} for row in known["evidence"]]
        known |= {"evidence": tuple(Evidence(**row) for row in rows), "tied": tuple(known.get("tied", ()))}
        return cls(**known)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: NaN becomes None."""
        rows = [row._asdict().items() for row in self.evidence]
        plain = [{k: None if isinstance(x, float) and not math.isfinite(x) else x for k, x in row} for row in rows]
        return vars(self) | {"evidence": plain, "tied": list(self.tied)}
