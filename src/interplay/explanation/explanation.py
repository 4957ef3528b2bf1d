"""What `interplay.explain` returns for one model: `Explanation`.

It prints as the command does, and gives a table, JSON, a figure, a drawing for notebooks, and values for shapiq.
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
from interplay.effects import Interactions, SampledInteractions, dividends
from interplay.errors import InterplayError
from interplay.explanation.text import (
    SPELT_LEGEND,
    InteractionRow,
    Printout,
    cut_note,
    joint,
    scored_name,
    strongest_of,
)
from interplay.limits import EXACT_WORDS
from interplay.scoring.scores import UnitScores

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes


_LEGEND = "● AND: all its words must stay   ○ OR: one of its words is enough   █ raises the score   ░ lowers it"


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
    def target_in_words(self) -> str:
        """`target_scored` in words: "'s', the first token of 'sadness'"."""
        return scored_name(self.target_scored, self.target, len(self.scores.target_ids))

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
        out, salient = Printout(terminal), self.salient
        out.say(
            f"log-odds of {self.target_in_words}: {self.score_full:+.3f} with all {self.n} words, "
            f"{self.score_empty:+.3f} with none"
        )
        if self.sampled:
            out.say(self.statement)
        more = cut_note(len(salient), self.drawn)
        out.say(f"{len(salient)} salient interactions (|effect| > 5 % of the largest){more}:")
        out.say()
        spelt = self.n > EXACT_WORDS
        rows = [InteractionRow(e.type, e.mask, (e.effect,)) for e in self.top(self.drawn)]
        if spelt:
            out.spell(out.list_words(self.words), rows, strongest_of(rows))
        else:
            out.draw(self.words, rows)
        out.say()
        out.say(SPELT_LEGEND if spelt else _LEGEND)
        certified = "" if self.sampled else f"{self.statement}, "
        out.say(f"{certified}{self.scores.dtype}, noise of v {self.scores.noise_sigma:.1e} nats")
        return "\n".join(out.lines)

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


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
