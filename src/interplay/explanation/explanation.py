"""What `interplay.explain` returns: `Explanation` for one model, `Change` for two."""

import functools
import json
import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from interplay import __version__
from interplay.dynamics import measures
from interplay.dynamics.contrast import OUTCOMES, ChangedInteraction, Contrast, contrast
from interplay.effects import Interactions, SampledInteractions
from interplay.effects.certainty import TYPES, certainty
from interplay.effects.interactions import dividends
from interplay.effects.values import fitted_values, keep_one, leave_one_out, shapley
from interplay.errors import InterplayError
from interplay.explanation.answers import Standing
from interplay.explanation.text import (
    SPELT_LEGEND,
    InteractionRow,
    Printout,
    exchanged_name,
    members,
    names_of,
    scored_name,
)
from interplay.limits import EXACT_WORDS
from interplay.scoring.scores import UnitScores
from interplay.scoring.targets import compared_with, likelihood
from interplay.text import JOINT, told_change

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

_INSTEAD = "≈ names what stands in its place in another split, as sparse within 1 %"
_LEGEND = "● AND: all its words must stay   ○ OR: one of its words is enough   █ raises the score   ░ lowers it"
_CAVEAT = (
    "Between two wordings of one model a third to two thirds of the salient interactions change by themselves; "
    'the option rephrased, such as "Please answer. {text}", measures that for A.'
)
_VALUES = ("shapley", "leave_one_out", "keep_one")


class Effect(NamedTuple):
    """One interaction: "and" or "or", its words, its effect in nats of log-odds, and its coalition (bit i set: word i)."""

    type: str
    words: tuple[str, ...]
    effect: float
    mask: int
    certain: float | None = None
    """The fraction of other splits, as sparse within 1 %, in which it stands; None where they were not made."""
    instead: tuple[str, int] | None = None
    """Type and coalition of what stands in its place in the others."""

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
    """The whole response; `target_scored` is the part that is scored."""
    model: str
    mask: str
    """What stands in the place of absent words."""
    scores: UnitScores
    """v of every coalition that was scored."""
    interactions: Interactions | SampledInteractions
    standing: Standing
    """The rank of the target with all words, and what is likeliest."""
    own: bool = False
    """Whether the target is the model's own answer: none was given."""
    notes: tuple[str, ...] = ()
    """Warnings and remarks, a sentence each; the command prints them on stderr."""
    drawn: int = 20
    """Interactions that `print` draws."""
    among: int = 0
    """How many labels the target is scored among; 0: against the whole vocabulary."""
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
        """The tokens of the target that are scored, as text."""
        return self.scores.target

    @property
    def target_in_words(self) -> str:
        """`target_scored` in words: "'s', a token of 'sadness'"."""
        return scored_name(self.target_scored, self.target, len(self.scores.target_ids))

    @property
    def score_full(self) -> float:
        """v(N): the log-odds with all words."""
        return float(self.scores.values[-1])

    @property
    def score_empty(self) -> float:
        """v(empty): the log-odds with every word absent."""
        return float(self.scores.values[0])

    @property
    def probability(self) -> float:
        """The probability of `target_scored` with all words: among the labels, or of several tokens the most that it can be."""
        return likelihood(self.score_full, 1 if self.among else len(self.scores.target_ids))

    @property
    def sampled(self) -> bool:
        """Whether the effects were fitted to sampled coalitions instead of split exactly."""
        return isinstance(self.interactions, SampledInteractions)

    @property
    def duality_gap(self) -> float:
        """The certificate: no effects within the tolerance cost less than (1 - duality_gap) of these."""
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
        rows = self.to_pandas().to_dict("records")
        others = None if isinstance(self.interactions, SampledInteractions) else self.interactions.alternatives
        effects = None if others is None else self.interactions.effects
        sure = certainty(effects, others, [(TYPES.index(row["type"]), row["mask"]) for row in rows])
        return tuple(
            Effect(row["type"], tuple(row["words"]), row["effect"], row["mask"], *said)
            for row, said in zip(rows, sure, strict=True)
        )

    @cached_property
    def _values(self) -> tuple[np.ndarray, ...]:
        """Shapley value, leave-one-out and keep-one of each word, [n]: of the scores; where they were sampled, of the effects."""
        if isinstance(found := self.interactions, SampledInteractions):
            return fitted_values(found.masks, found.is_or, found.effects, self.n)
        return tuple(of(self.scores.values) for of in (shapley, leave_one_out, keep_one))

    @property
    def shapley(self) -> np.ndarray:
        """Shapley value of each word, [n], nats: they add up to v(N) - v(empty)."""
        return self._values[0]

    @property
    def single_words(self) -> float:
        """The fraction of the strength, sum of |effect|, that single words hold; NaN where all effects are 0."""
        found = self.interactions
        exact = isinstance(found, Interactions)
        alone = found.and_effects[1 << np.arange(self.n)] if exact else found.effects[found.orders == 1]
        return float(measures.quotient(np.abs(alone).sum(), np.asarray(found.l1 if exact else found.objective)))

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
        """A table, strongest first: type ("and", "or"), mask, order, words, effect. All effects, or only the salient ones.

        Of an exact split also `certain`, the fraction of other splits within 1 % of the least sum that have it, and where that is
        under 1 `exchangeable_with`, the interaction that stands in its place.
        """
        return self.interactions.to_pandas(words=self.words, salient_only=salient_only).drop(columns="sample")

    def word_values(self) -> "pandas.DataFrame":
        """A table, one row a word in the order of the text: word, shapley, leave_one_out, keep_one, in nats.

        leave_one_out is v(N) - v(N without the word), keep_one v(the word alone) - v(empty).
        """
        import pandas as pd

        return pd.DataFrame(
            {"word": pd.Series(self.words, dtype=object), **dict(zip(_VALUES, self._values, strict=True))}
        )

    def to_dict(self) -> dict[str, Any]:
        """The object of `interplay explain --json`: prompt, model, scores, values of the words, and the salient interactions."""
        sampled = {}
        if self.sampled:
            names = ("r2", "total_effect_fraction", "fitted", "held_out", "order", "columns")
            sampled = {"sampled": True} | {name: _or_none(getattr(self.interactions, name)) for name in names}
        asked = {name: getattr(self, name) for name in ("version", "model", "prompt")}
        scored = {name: getattr(self, name) for name in ("target", "target_scored", "score_full", "score_empty")}
        return {
            **asked,
            "words": list(self.words),
            "score": f"log-odds {compared_with(self.among)}",
            "mask": self.mask,
            "target_given": None if self.own else self.target,
            **scored,
            "probability": self.probability,
            "rank": self.standing.rank,
            "rank_of": self.standing.of,
            "likeliest": self.standing.likeliest,
            "tolerance": _or_none(self.tolerance),
            "duality_gap": self.duality_gap,
            "dtype": self.scores.dtype,
            "noise_sigma": _or_none(self.scores.noise_sigma),
            "absence_sigma": self.scores.absence_sigma,
            **sampled,
            "word_values": self.word_values().to_dict("records"),
            "single_words": _or_none(self.single_words),
            "interactions": [
                {
                    **{name: getattr(e, name) for name in ("type", "words", "order", "effect", "certain")},
                    "exchangeable_with": self._named(e.instead),
                }
                for e in self.salient
            ],
        }

    def to_json(self) -> str:
        """`to_dict` as one line of ASCII: no word in it can command the terminal it is read on."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def plot(self, ax: "Axes | None" = None, *, top: int | None = None) -> "Axes":
        """The strongest interactions as bars, by matplotlib (`pip install 'interplay[figures]'`); draws into `ax` if given."""
        from interplay.exports.figures.effects import effect_bars

        chosen = self.top(self.drawn if top is None else top)
        labels = [JOINT[e.type].join(e.words) for e in chosen]
        return effect_bars(ax, labels, [(self.model, [e.effect for e in chosen])])

    def to_shapiq(self) -> Any:
        """The Moebius transform of the explained scores, as `shapiq.InteractionValues`; each OR becomes the ANDs it equals."""
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
        with_all = f"{self.score_full:+.3f} with all {self.n} words"
        score = f"log-odds of {self.target_in_words}, {compared_with(self.among)}"
        out.say(f"{score}: {with_all}, {self.score_empty:+.3f} with none")
        out.say(self._place)
        if self.sampled:
            out.say(self.statement)
        out.say()
        named = out.list_words(self.words) if self.n > EXACT_WORDS else names_of(self.words)
        out.spell_values(named, [(value,) for value in self.shapley.tolist()])
        out.say(_single_words(self))
        out.say()
        out.say(f"{len(salient)} salient interactions (|effect| > 5 % of the largest):", bold=True)
        rows = [InteractionRow(e.type, e.mask, (e.effect,), "", exchanged_name(named, e.instead)) for e in salient]
        if self.n > EXACT_WORDS:
            out.list_interactions(rows, self.drawn, functools.partial(out.spell, named))
        else:
            out.list_interactions(rows, self.drawn, functools.partial(out.draw, self.words))
        out.say()
        out.say(SPELT_LEGEND if self.n > EXACT_WORDS else _LEGEND)
        if any(e.instead for e in salient):
            out.say(_INSTEAD)
        out.say(self._precision if self.sampled else f"{self.statement}, {self._precision}")
        out.say(self._absent)
        return "\n".join(out.lines)

    def _named(self, instead: tuple[str, int] | None) -> dict[str, Any] | None:
        """What an interaction is exchangeable with, as JSON."""
        return instead and {"type": instead[0], "words": members(self.words, instead[1])}

    @property
    def several(self) -> bool:
        """Whether `probability` is only an upper limit."""
        return not self.among and len(self.scores.target_ids) > 1

    @property
    def _place(self) -> str:
        """Probability and rank of the target, and whose answer it is."""
        token = "its first token has " if self.several else ""
        own = "; the model's own answer, for no target was given" if self.own else ""
        return f"probability {'at most ' * self.several}{self.probability:.3g} with all words, {token}{self.standing.said}{own}"

    @property
    def _precision(self) -> str:
        return f"{self.scores.dtype}, noise of v {self.scores.noise_sigma:.1e} nats"

    @property
    def _absent(self) -> str:
        sigma = self.scores.absence_sigma
        return f"absent words: {self.mask}" + (f", noise of v {sigma:.2g} nats" if sigma else "")

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        r2 = f", R2 {self.r2:.3f}" if self.r2 is not None else ""
        return f"Explanation({self.model!r}, {self.prompt!r}, {self.target!r}: {len(self.salient)} salient interactions{r2})"

    def _repr_html_(self) -> str:
        from interplay.report.explorer import explanation_html

        score = f"log-odds of {self.target_scored!r} {compared_with(self.among)} ({self.score_full:+.3f})"
        rows = [e._asdict() for e in self.salient]
        note = f"{self._place}. {_single_words(self)} {self.statement}, {self._precision}; {self._absent}"
        values = self.word_values().to_dict("list")
        return explanation_html(
            self.words, rows, values=values, title=f"{self.model}: {score}", note=note, text=self.prompt
        )


@dataclass(frozen=True, eq=False, repr=False)
class Change:
    """One prompt under two models, A and B, on the same words. Made by `interplay.explain([a, b], ...)`.

    What counts is the change of each effect, B - A. It means something only above the floor: what a second wording of A alone
    changes (`rephrased`).
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
    def contrast(self) -> Contrast:
        """The changes with their sums, the threshold common to both models, and `floor`: what a second wording of A changes."""
        floor = None if self.reworded is None else self.reworded.interactions.effects
        a, b = self.before.interactions, self.after.interactions
        assert isinstance(a, Interactions)  # two models are never sampled
        assert isinstance(b, Interactions)
        return contrast(a.effects, b.effects, floor=floor, others=b.alternatives - a.alternatives)

    @property
    def words(self) -> tuple[str, ...]:
        """The words explained, the same for both."""
        return self.before.words

    @property
    def salient(self) -> tuple[ChangedInteraction, ...]:
        """The changes over 5 % of the largest, strongest first."""
        return self.contrast.changes

    def top(self, k: int) -> tuple[ChangedInteraction, ...]:
        """The k strongest changes."""
        return self.salient[:k]

    def to_pandas(self) -> "pandas.DataFrame":
        """A table, strongest change first: outcome, type, mask, order, words, before, after, change, above_floor, certain,
        exchangeable_with.

        outcome: new, gone, flipped, stronger, weaker (by more than a factor of 2) or kept; above_floor is None without a floor.
        certain: the fraction of other splits, as sparse within 1 %, that change alike; exchangeable_with: (type, words) of what
        changes in its place in the others.
        """
        import pandas as pd

        rows = [
            c._asdict()
            | {"order": c.mask.bit_count(), "words": self._members(c)}
            | {"exchangeable_with": c.instead and (c.instead[0], tuple(members(self.words, c.instead[1])))}
            for c in self.salient
        ]
        columns = ["outcome", "type", "mask", "order", "words", "before", "after", "change", "above_floor", "certain"]
        columns.append("exchangeable_with")
        return pd.DataFrame(rows, columns=columns)

    def word_values(self) -> "pandas.DataFrame":
        """The table of `Explanation.word_values` with its values in A, in B, and their change: `shapley_before`, `_after`, `_change`."""
        import pandas as pd

        a, b = (side.word_values() for side in (self.before, self.after))
        values = {"before": a[[*_VALUES]], "after": b[[*_VALUES]], "change": b[[*_VALUES]] - a[[*_VALUES]]}
        return pd.concat([a["word"], *(table.add_suffix(f"_{end}") for end, table in values.items())], axis=1)

    def to_dict(self) -> dict[str, Any]:
        """The object of `interplay explain A B --json`."""
        rows = self.to_pandas().drop(columns="mask").to_dict("records")
        return {
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "threshold": self.contrast.tau,
            "total_change": self.contrast.total,
            "changes": [
                row | {"words": list(row["words"]), "exchangeable_with": self.before._named(c.instead)}
                for row, c in zip(rows, self.salient, strict=True)
            ],
            "floor": self.contrast.floor and {"template": self.rephrased, **self.contrast.floor._asdict()},
        }

    def to_json(self) -> str:
        """`to_dict` as one line of ASCII."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def plot(self, ax: "Axes | None" = None, *, top: int | None = None) -> "Axes":
        """The strongest changes as pairs of bars, an effect in each model; as `Explanation.plot`."""
        from interplay.exports.figures.effects import effect_bars

        chosen = self.top(self.drawn if top is None else top)
        labels = [f"{JOINT[c.type].join(self._members(c))}  {c.outcome} {c.change:+.2f}" for c in chosen]
        sides = [(self.before.model, [c.before for c in chosen]), (self.after.model, [c.after for c in chosen])]
        return effect_bars(ax, labels, sides)

    def text(self, *, terminal: bool = False) -> str:
        """What `print` shows. `terminal`: with colours, and prose folded to its width."""
        out, sides, found = Printout(terminal), (self.before, self.after), self.contrast
        for letter, side in zip("AB", sides, strict=True):
            out.say(f"{letter}: {side.model}")
        against = " and ".join(dict.fromkeys(compared_with(side.among) for side in sides))
        out.say(f"v: log-odds of {self.before.target_in_words}, {against}")
        out.say()
        several = any(side.several for side in sides)
        table = {
            "": "AB",
            f"v(N), all {self.before.n} words": [f"{side.score_full:+.3f}" for side in sides],
            "v(empty), none of them": [f"{side.score_empty:+.3f}" for side in sides],
            f"p of the target{' at most' if several else ', all words'}": [f"{side.probability:.3g}" for side in sides],
            "its rank": [f"{side.standing.rank:,}" for side in sides],
            "L1, sum of all |effects|": [f"{float(np.sum(np.abs(side.interactions.effects))):.3f}" for side in sides],
            f"salient, over {found.tau:.3g} nats": [str(count) for count in found.salient],
            "rho, their uncancelled share": ["–" if math.isnan(rho) else f"{rho:.2f}" for rho in found.rho],
        }
        out.lines += [f"{label:<30}{a:>10}{b:>10}" for label, (a, b) in table.items()]
        out.say()
        names = out.list_words(self.words)
        out.spell_values(names, list(zip(*(side.shapley.tolist() for side in sides), strict=True)))
        out.say(_single_words(*sides))
        out.say()
        out.say(f"Changes over 5 % of the largest one: {len(self.salient)}", bold=True)
        rows = [
            InteractionRow(
                c.type,
                c.mask,
                (c.before, c.after),
                c.outcome if c.above_floor is not False else f"[{c.outcome}]",
                exchanged_name(names, c.instead),
            )
            for c in self.salient
        ]
        out.list_interactions(rows, self.drawn, functools.partial(out.spell, names))
        out.say()
        out.say(self.sentence)
        if found.floor is None:
            out.say(_CAVEAT)
        out.say()
        floor = "" if found.floor is None else "   [new]: another wording of A changes as much"
        out.say(SPELT_LEGEND + floor)
        if any(c.instead for c in self.salient):
            out.say(_INSTEAD)
        a, b = (f"{side.statement}, noise of v {side.scores.noise_sigma:.1e} nats" for side in sides)
        out.say(f"A: {a}; B: {b}; {self.before.scores.dtype}")
        for line in dict.fromkeys(side._absent for side in sides):
            out.say(line)
        return "\n".join(out.lines)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"Change({self.before.model!r} -> {self.after.model!r}, {self.before.prompt!r}: {len(self.salient)} changes)"

    def _repr_html_(self) -> str:
        from interplay.report.explorer import explanation_html

        rows = [c._asdict() | {"effect": c.after} for c in self.salient]
        values = self.word_values()[["word", *(f"shapley_{end}" for end in ("before", "after", "change"))]]
        title = f"Changes from {self.before.model} to {self.after.model}: log-odds of {self.before.target_scored!r}"
        return explanation_html(
            self.words, rows, values=values.to_dict("list"), title=title, note=self.sentence, text=self.before.prompt
        )

    @property
    def sentence(self) -> str:
        """The strongest change, how many of each outcome there are, and what a second wording of A changes, in words."""
        found, floor = self.contrast, self.contrast.floor
        if not found.changes:
            return "No effect differs between A and B."
        counted = Counter(c.outcome for c in found.changes)
        kinds = ", ".join(f"{counted[outcome]} {outcome}" for outcome in OUTCOMES if counted[outcome])
        c, certain = found.changes[0], sum(c.above_floor is not False for c in found.changes)
        told = told_change(members(names_of(self.words), c.mask), c.type, c.before, c.after, c.outcome)
        text = f"The strongest change from A to B is {told}"
        if not certain:
            text = "No change from A to B is larger than those between the two wordings of A"
        text += f". Of all changes {kinds}; all together {found.total:.2f} nats."
        if floor is None:
            return text
        return (
            f"{text} Between the two wordings of A, where nothing was learnt, effects change by up to {floor.largest:.2f} nats, "
            f"all together by {floor.total:.2f}; larger are {certain} of {len(found.changes)}."
        )

    def _members(self, interaction: ChangedInteraction) -> tuple[str, ...]:
        return tuple(members(self.words, interaction.mask))


def _single_words(*sides: Explanation) -> str:
    shares = ["none" if math.isnan(side.single_words) else f"{100 * side.single_words:.0f} %" for side in sides]
    hold = shares[0] if len(sides) == 1 else "{} (A) and {} (B)".format(*shares)
    return f"Single words hold {hold} of the strength of all effects; the rest is of interactions."


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
