"""What `interplay.explain` returns: `Explanation` for one model, `Change` for two."""

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
from interplay.effects import Interactions, SampledInteractions
from interplay.effects.interactions import dividends
from interplay.errors import InterplayError
from interplay.explanation.text import JOINT, SPELT_LEGEND, InteractionRow, Printout, cut_note, members, scored_name
from interplay.limits import EXACT_WORDS
from interplay.scoring.scores import UnitScores
from interplay.scoring.targets import compared_with, likelihood

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

_LEGEND = "● AND: all its words must stay   ○ OR: one of its words is enough   █ raises the score   ░ lowers it"
_PAIR_LEGEND = f"{SPELT_LEGEND}   no bar: not salient there (at most 5 % of that model's largest effect)"
_CAVEAT = (
    "Between two wordings of one model a third to two thirds of the salient interactions change by themselves; "
    'the option rephrased, such as "Please answer. {text}", measures that for A.'
)


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
    """The whole response; `target_scored` is the part that is scored."""
    model: str
    mask: str
    """What stands in the place of absent words."""
    scores: UnitScores
    """v of every coalition that was scored."""
    interactions: Interactions | SampledInteractions
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
        return tuple(Effect(row["type"], tuple(row["words"]), row["effect"], row["mask"]) for row in rows)

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
        if self.sampled:
            names = ("r2", "total_effect_fraction", "fitted", "held_out", "order", "columns")
            sampled = {"sampled": True} | {name: _or_none(getattr(self.interactions, name)) for name in names}
        asked = {name: getattr(self, name) for name in ("version", "model", "prompt")}
        scored = {
            name: getattr(self, name) for name in ("mask", "target", "target_scored", "score_full", "score_empty")
        }
        return {
            **asked,
            "words": list(self.words),
            "score": f"log-odds {compared_with(self.among)}",
            **scored,
            "tolerance": _or_none(self.tolerance),
            "duality_gap": self.duality_gap,
            "dtype": self.scores.dtype,
            "noise_sigma": _or_none(self.scores.noise_sigma),
            "absence_sigma": self.scores.absence_sigma,
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
        if self.sampled:
            out.say(self.statement)
        more = cut_note(len(salient), self.drawn)
        out.say(f"{len(salient)} salient interactions (|effect| > 5 % of the largest){more}:")
        out.say()
        rows = [InteractionRow(e.type, e.mask, (e.effect,)) for e in self.top(self.drawn)]
        if self.n > EXACT_WORDS:
            out.spell(out.list_words(self.words), rows, max((abs(e.effect) for e in salient), default=1.0))
        else:
            out.draw(self.words, rows)
        out.say()
        out.say(SPELT_LEGEND if self.n > EXACT_WORDS else _LEGEND)
        out.say(self._precision if self.sampled else f"{self.statement}, {self._precision}")
        out.say(self._absent)
        return "\n".join(out.lines)

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
        score = f"log-odds of {self.target_scored!r} {compared_with(self.among)} ({self.score_full:+.3f})"
        return self._html(f"{self.model}: {score}", self.salient)

    def _html(self, title: str, effects: Sequence[Effect]) -> str:
        from interplay.report.explorer import explanation_html

        rows = [e._asdict() | {"order": e.order} for e in effects]
        return explanation_html(
            self.words, rows, title=title, note=f"{self.statement}, {self._precision}; {self._absent}"
        )


@dataclass(frozen=True, eq=False, repr=False)
class Change:
    """One prompt under two models, A and B, on the same words. Made by `interplay.explain([a, b], ...)`.

    Each model has its own threshold. A change means something only above the floor: what a second wording of A alone changes
    (`rephrased`).
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
        """What became of the salient interactions from A to B, with their sums; `floor`: the same between the wordings of A."""
        floor = None if self.reworded is None else self.reworded.interactions.effects
        return contrast(self.before.interactions.effects, self.after.interactions.effects, floor=floor)

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
        return tuple(sorted((*self.kept, *self.removed, *self.new), key=lambda c: -max(abs(c.before), abs(c.after))))

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
        sets: dict[str, list[dict[str, Any]]] = {"removed": [], "kept": [], "new": []}
        for name, rows in sets.items():
            for c in getattr(self, name):
                row = {"type": c.kind, "words": [*self._members(c)], "order": c.mask.bit_count()}
                row |= {"before": c.before, "after": c.after}
                rows.append(row | {"sign_flipped": c.flipped} if name == "kept" else row)
        floor = self.sets.floor and {
            "template": self.rephrased,
            "removed": self.sets.floor.removed_total._asdict(),
            "new": self.sets.floor.new_total._asdict(),
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
        labels = [JOINT[c.kind].join(self._members(c)) for c in chosen]
        sides = [(self.before.model, [c.before for c in chosen]), (self.after.model, [c.after for c in chosen])]
        return effect_bars(ax, labels, sides)

    def text(self, *, terminal: bool = False) -> str:
        """What `print` shows. `terminal`: with colours, and prose folded to its width."""
        out, sides = Printout(terminal), (self.before, self.after)
        for letter, side in zip("AB", sides, strict=True):
            out.say(f"{letter}: {side.model}")
        against = " and ".join(dict.fromkeys(compared_with(side.among) for side in sides))
        out.say(f"v: log-odds of {self.before.target_in_words}, {against}")
        out.say()
        several = any(len(side.scores.target_ids) > 1 for side in sides if not side.among)
        table = {
            "": "AB",
            f"v(N), all {self.before.n} words": [f"{side.score_full:+.3f}" for side in sides],
            "v(empty), none of them": [f"{side.score_empty:+.3f}" for side in sides],
            f"p of the target{' at most' if several else ', all words'}": [f"{side.probability:.3g}" for side in sides],
            "L1, sum of all |effects|": [f"{float(side.interactions.objective):.3f}" for side in sides],
            "salient interactions": [str(len(side.salient)) for side in sides],
            "rho, their uncancelled share": ["–" if math.isnan(side.rho) else f"{side.rho:.2f}" for side in sides],
        }
        out.lines += [f"{label:<30}{a:>10}{b:>10}" for label, (a, b) in table.items()]
        out.say()
        names = out.list_words(self.words)
        strongest = max((abs(effect) for c in self.salient for effect in (c.before, c.after)), default=1.0)
        for title, chosen in (("Kept", self.kept), ("Removed", self.removed), ("New", self.new)):
            out.say(f"{title}: {len(chosen) or 'none'}{cut_note(len(chosen), self.drawn)}", bold=True)
            rows = [
                InteractionRow(c.kind, c.mask, (c.before, c.after), c.salient, "sign flipped" if c.flipped else "")
                for c in chosen[: self.drawn]
            ]
            out.spell(names, rows, strongest)
            out.say()
        out.say(_sentence(names, self.sets))
        out.say(_CAVEAT if self.sets.floor is None else _floor_sentence(self.sets, self.sets.floor))
        out.say()
        out.say(_PAIR_LEGEND)
        a, b = (f"{side.statement}, noise of v {side.scores.noise_sigma:.1e} nats" for side in sides)
        out.say(f"A: {a}; B: {b}; {self.before.scores.dtype}")
        for line in dict.fromkeys(side._absent for side in sides):
            out.say(line)
        return "\n".join(out.lines)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        sets = f"{len(self.removed)} removed, {len(self.kept)} kept, {len(self.new)} new"
        return f"Change({self.before.model!r} -> {self.after.model!r}, {self.before.prompt!r}: {sets})"

    def _repr_html_(self) -> str:
        a, b = self.before, self.after
        removed = [Effect(c.kind, self._members(c), c.before, c.mask) for c in self.removed]
        kept, new = (
            [Effect(c.kind, self._members(c), c.after, c.mask) for c in rows] for rows in (self.kept, self.new)
        )
        return (
            a._html(f"Removed: in A alone ({a.model})", removed)
            + b._html(f"Kept, as in B ({b.model})", kept)
            + b._html(f"New: in B alone ({b.model})", new)
        )

    def _members(self, interaction: PairedInteraction) -> tuple[str, ...]:
        return tuple(members(self.words, interaction.mask))


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _numbers(sets: ContrastSets) -> str:
    """How many interactions were removed and are new, and their share of the strength."""
    parts = []
    both = (sets.removed_total, sets.new_total)
    for name, total, of in zip(("removed", "new"), both, sets.salient, strict=True):
        strength = (
            "" if total.strength_fraction is None else f" ({100 * total.strength_fraction:.0f} % of the strength)"
        )
        parts.append(f"{name}: {total.count} of {of} salient interactions{strength}")
    return ", ".join(parts)


def _sentence(names: Sequence[str], sets: ContrastSets) -> str:
    """What changed from A to B, in numbers and by the strongest interaction of each set."""
    flips = sum(c.flipped for c in sets.kept)
    text = f"From A to B, {_numbers(sets)}; kept: {len(sets.kept)}{f' ({flips} with another sign)' if flips else ''}."
    for what, first in (("new", sets.new[:1]), ("removed", sets.removed[:1])):
        for c in first:
            kind = f"{c.kind.upper()}, " if c.mask.bit_count() > 1 else ""
            effect = c.after if what == "new" else c.before
            text += f" The strongest {what} one is {JOINT[c.kind].join(members(names, c.mask))} ({kind}{effect:+.3f})."
    return text


def _floor_sentence(sets: ContrastSets, floor: ContrastSets) -> str:
    """What a second wording of A alone changes, and how many times as much changes from A to B."""
    text = f"Between the two wordings of A, where nothing was learnt, {_numbers(floor)}."
    for name, count in (("removed", len(sets.removed)), ("new", len(sets.new))):
        many, fraction = sets.multiples()[name].values()
        if many is not None and fraction is not None:
            times = f"{many:.2f} times that in number, {fraction:.2f} times in share of strength"
        else:
            times = "not comparable, as that is none" if count else "none, as there"
        text += f" From A to B, {name} is {times}."
    return text
