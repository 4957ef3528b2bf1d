"""What `interplay.explain` returns: `Explanation` for one model, `Change` for two.

Both print as the command does, and give a table, JSON, a figure, a drawing for notebooks, and values for shapiq.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from interplay import __version__
from interplay.dynamics import measures
from interplay.dynamics.contrast import ContrastSets, PairedInteraction, contrast
from interplay.effects import Interactions, SampledInteractions, dividends
from interplay.errors import InterplayError
from interplay.explanation.text import change_text, explanation_text, joint, members
from interplay.scoring.scores import UnitScores

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes


class Effect(NamedTuple):
    """One interaction: "and" or "or", its words, its effect in nats of log-odds, and its coalition (bit i set: word i)."""

    type: str
    words: tuple[str, ...]
    effect: float
    mask: int

    @property
    def order(self) -> int:
        """Number of words."""
        return len(self.words)


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """The AND-OR interactions of one prompt under one model. Made by `interplay.explain`; `print` shows table and picture.

    Effects and scores are in nats of log-odds. Up to 16 words the split is exact and certified (`duality_gap`); where
    coalitions were sampled, `r2` says how far the effects hold on coalitions that the fit never saw.
    """

    prompt: str
    target: str
    """The response as it was given; `target_scored` is the part that is scored."""
    model: str
    mask: str
    """The token that stands in the place of a masked word."""
    scores: UnitScores
    """v of every coalition that was scored."""
    interactions: Interactions | SampledInteractions
    notes: tuple[str, ...] = ()
    """What the user should know about this explanation, a sentence each; the command prints them on stderr."""
    drawn: int = 20
    """Interactions that `print` draws."""
    version: str = __version__

    @property
    def words(self) -> tuple[str, ...]:
        """The words explained, in the order of the text; word i is bit i of a coalition."""
        return self.scores.words

    @property
    def n(self) -> int:
        """Number of words."""
        return len(self.words)

    @property
    def target_scored(self) -> str:
        """The tokens of the target that are scored, as text: by default its first token."""
        return self.scores.target

    @property
    def score_full(self) -> float:
        """v(N): the log-odds with all words."""
        return float(self.scores.values[-1])

    @property
    def score_empty(self) -> float:
        """v(empty): the log-odds with every word masked."""
        return float(self.scores.values[0])

    @property
    def probability(self) -> float:
        """The probability of `target_scored` with all words, from its log-odds."""
        return float(np.exp(-np.logaddexp(0.0, -self.score_full)))

    @property
    def sampled(self) -> bool:
        """Whether the effects were fitted to sampled coalitions instead of split exactly."""
        return isinstance(self.interactions, SampledInteractions)

    @property
    def duality_gap(self) -> float:
        """The certificate: no cheaper effects within the tolerance cost less than (1 - duality_gap) of these."""
        return float(self.interactions.duality_gap)

    @property
    def tolerance(self) -> float:
        """How far each score may be missed; NaN where the scores were sampled and cross-validation chose the fit."""
        return float(self.interactions.tolerance)

    @property
    def r2(self) -> float | None:
        """R2 on coalitions that were never fitted; None for an exact split, NaN where it cannot be measured."""
        return self.interactions.r2 if isinstance(self.interactions, SampledInteractions) else None

    @cached_property
    def salient(self) -> tuple[Effect, ...]:
        """The interactions over 5 % of the largest, strongest first."""
        table = self.to_pandas()
        columns = (table[name] for name in Effect._fields)
        return tuple(Effect(str(t), tuple(w), float(e), int(m)) for t, w, e, m in zip(*columns, strict=True))

    @property
    def rho(self) -> float:
        """The fraction of the salient interactions' strength that does not cancel; NaN where there are none."""
        effects = np.array([[e.effect for e in self.salient]])
        return float(measures.rho(effects, effects != 0))

    @property
    def statement(self) -> str:
        """How far to trust the effects, in words."""
        if isinstance(self.interactions, SampledInteractions):
            return self.interactions.statement()
        return f"certified duality gap {self.duality_gap:.1e}, tolerance {self.tolerance:.3g}"

    def top(self, k: int) -> tuple[Effect, ...]:
        """The k strongest salient interactions."""
        return self.salient[:k]

    def to_pandas(self, salient_only: bool = True) -> "pandas.DataFrame":
        """A table, strongest first: type ("and", "or"), mask, order, words, effect. All effects, or only the salient ones."""
        return self.interactions.to_pandas(words=self.words, salient_only=salient_only).drop(columns="sample")

    def to_dict(self) -> dict[str, Any]:
        """The object of `interplay explain --json`: prompt, model, scores, and the salient interactions."""
        sampled = {}
        if isinstance(self.interactions, SampledInteractions):
            fit = self.interactions
            sampled = {
                "sampled": True,
                "r2": _or_none(fit.r2),
                "total_effect_fraction": _or_none(fit.total_effect_fraction),
                "fitted": fit.fitted,
                "held_out": fit.held_out,
                "order": fit.order,
                "columns": fit.columns,
            }
        return {
            "version": self.version,
            "model": self.model,
            "prompt": self.prompt,
            "words": list(self.words),
            "mask": self.mask,
            "target": self.target,
            "target_scored": self.target_scored,
            "score_full": self.score_full,
            "score_empty": self.score_empty,
            "tolerance": _or_none(self.tolerance),
            "duality_gap": self.duality_gap,
            "dtype": self.scores.dtype,
            "noise_sigma": _or_none(self.scores.noise_sigma),
            **sampled,
            "interactions": [
                {"type": e.type, "words": list(e.words), "order": e.order, "effect": e.effect} for e in self.salient
            ],
        }

    def to_json(self) -> str:
        """`to_dict` as one line of ASCII: no word in it can command the terminal it is read on."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def plot(self, ax: "Axes | None" = None, *, top: int | None = None) -> "Axes":
        """The strongest interactions as bars, by matplotlib (`pip install 'interplay[figures]'`); draws into `ax` if given."""
        from interplay.exports.figures.effects import effect_bars

        chosen = self.top(self.drawn if top is None else top)
        return effect_bars(
            ax, [joint(e.type).join(e.words) for e in chosen], [(self.model, [e.effect for e in chosen])]
        )

    def to_shapiq(self) -> Any:
        """The explained scores as `shapiq.InteractionValues`: their Moebius transform, as shapiq knows only ANDs.

        Each OR is written as the ANDs it equals (`interplay.effects.dividends`), so the values add up to the same scores.

        Raises InterplayError where shapiq is not installed.
        """
        try:
            from shapiq import InteractionValues  # ty: ignore[import-not-found]
        except ImportError as error:
            raise InterplayError("shapiq is not installed: pip install shapiq") from error
        values = dividends(self.interactions)
        return InteractionValues(
            values,
            index="Moebius",
            min_order=0,
            max_order=max(map(len, values)),
            n_players=self.n,
            baseline_value=values[()],
            estimated=self.sampled,
            estimation_budget=len(self.scores.values) if self.sampled else None,
        )

    def text(self, *, terminal: bool = False) -> str:
        """What `print` shows. `terminal`: with colours, and prose folded to its width."""
        return explanation_text(self, terminal)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        r2 = f", R2 {self.r2:.3f}" if self.r2 is not None else ""
        return f"Explanation({self.model!r}, {self.prompt!r}, {self.target!r}: {len(self.salient)} salient interactions{r2})"

    def _repr_html_(self) -> str:
        return self._html(f"{self.model}: log-odds of {self.target_scored!r} ({self.score_full:+.3f})", self.salient)

    def _html(self, title: str, effects: Sequence[Effect]) -> str:
        from interplay.report.explanation import explanation_html

        note = f"{self.statement}, {self.scores.dtype}, noise of v {self.scores.noise_sigma:.1e} nats"
        rows = [e._asdict() | {"order": e.order} for e in effects]
        return explanation_html(self.words, rows, title=title, note=note)


@dataclass(frozen=True, eq=False, repr=False)
class Change:
    """One prompt under two models, A and B, on the same words. Made by `interplay.explain([a, b], ...)`.

    Each model has its own threshold, so one whose scores merely grew has lost nothing. A change means something only above
    the floor: what a second wording of A alone changes (`rephrased`).
    """

    before: Explanation
    """A."""
    after: Explanation
    """B."""
    rephrased: str | None = None
    """The second wording of A, as a template."""
    reworded: Explanation | None = None
    """A in that wording."""
    notes: tuple[str, ...] = ()
    drawn: int = 20

    @cached_property
    def sets(self) -> ContrastSets:
        """What became of the salient interactions from A to B, with their sums."""
        before, after, *floor = [side.interactions for side in (self.before, self.after, self.reworded) if side]
        return contrast(before.effects, after.effects, floor=floor[0].effects if floor else None)

    @property
    def floor(self) -> ContrastSets | None:
        """The same between the two wordings of A, where nothing was learnt; None if it was not asked for."""
        return self.sets.floor

    @property
    def words(self) -> tuple[str, ...]:
        """The words explained, the same for both."""
        return self.before.words

    @property
    def removed(self) -> tuple[PairedInteraction, ...]:
        """Salient in A alone, strongest first."""
        return self.sets.removed

    @property
    def kept(self) -> tuple[PairedInteraction, ...]:
        """Salient in both, strongest first; the sign may flip."""
        return self.sets.kept

    @property
    def new(self) -> tuple[PairedInteraction, ...]:
        """Salient in B alone, strongest first."""
        return self.sets.new

    @property
    def salient(self) -> tuple[PairedInteraction, ...]:
        """All of them, strongest first."""
        both = (*self.kept, *self.removed, *self.new)
        return tuple(sorted(both, key=lambda c: -max(abs(c.before), abs(c.after))))

    def top(self, k: int) -> tuple[PairedInteraction, ...]:
        """The k strongest of all sets."""
        return self.salient[:k]

    def to_pandas(self) -> "pandas.DataFrame":
        """A table: set ("removed", "kept", "new"), type, mask, order, words, before, after, sign_flipped."""
        import pandas as pd

        rows = [
            (name, c.kind, c.mask, c.mask.bit_count(), self._members(c), c.before, c.after, c.flipped)
            for name in ("removed", "kept", "new")
            for c in getattr(self, name)
        ]
        columns = ["set", "type", "mask", "order", "words", "before", "after", "sign_flipped"]
        return pd.DataFrame(rows, columns=columns)

    def to_dict(self) -> dict[str, Any]:
        """The object of `interplay explain A B --json`."""
        sets = {
            name: [
                {"type": c.kind, "words": [*self._members(c)], "order": c.mask.bit_count()}
                | {"before": c.before, "after": c.after}
                | ({"sign_flipped": c.flipped} if name == "kept" else {})
                for c in getattr(self, name)
            ]
            for name in ("removed", "kept", "new")
        }
        floor = self.floor and {
            "template": self.rephrased,
            "removed": self.floor.removed_total._asdict(),
            "new": self.floor.new_total._asdict(),
            "multiples": self.sets.multiples(),
        }
        return {"before": self.before.to_dict(), "after": self.after.to_dict(), **sets, "floor": floor}

    def to_json(self) -> str:
        """`to_dict` as one line of ASCII."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def plot(self, ax: "Axes | None" = None, *, top: int | None = None) -> "Axes":
        """The strongest interactions of both models as pairs of bars; as `Explanation.plot`."""
        from interplay.exports.figures.effects import effect_bars

        chosen = self.top(self.drawn if top is None else top)
        labels = [joint(c.kind).join(self._members(c)) for c in chosen]
        sides = [(self.before.model, [c.before for c in chosen]), (self.after.model, [c.after for c in chosen])]
        return effect_bars(ax, labels, sides)

    def to_shapiq(self) -> tuple[Any, Any]:
        """`Explanation.to_shapiq` of both models."""
        return self.before.to_shapiq(), self.after.to_shapiq()

    def text(self, *, terminal: bool = False) -> str:
        """What `print` shows. `terminal`: with colours, and prose folded to its width."""
        return change_text(self, terminal)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        sets = f"{len(self.removed)} removed, {len(self.kept)} kept, {len(self.new)} new"
        return f"Change({self.before.model!r} -> {self.after.model!r}, {self.before.prompt!r}: {sets})"

    def _repr_html_(self) -> str:
        def part(title: str, side: Explanation, chosen: Sequence[PairedInteraction], at: str) -> str:
            return side._html(title, [Effect(c.kind, self._members(c), getattr(c, at), c.mask) for c in chosen])

        a, b = self.before, self.after
        return (
            part(f"Removed: in A alone ({a.model})", a, self.removed, "before")
            + part(f"Kept, as in B ({b.model})", b, self.kept, "after")
            + part(f"New: in B alone ({b.model})", b, self.new, "after")
        )

    def _members(self, interaction: PairedInteraction) -> tuple[str, ...]:
        return tuple(members(self.words, interaction.mask))


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
