"""What `interplay.explain` returns for two models: `Change`. It prints as the command does, and gives what `Explanation` gives."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from interplay.dynamics.contrast import ContrastSets, PairedInteraction, contrast
from interplay.explanation.explanation import Effect, Explanation
from interplay.explanation.text import SPELT_LEGEND, InteractionRow, Printout, cut_note, joint, members

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

_LEGEND = f"{SPELT_LEGEND}   no bar: not salient there (at most 5 % of that model's largest effect)"
_CAVEAT = (
    "Between two wordings of one model a third to two thirds of the salient interactions change by themselves; "
    'the option rephrased, such as "Please answer. {text}", measures that for A.'
)


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
        out, sides = Printout(terminal), (self.before, self.after)
        for letter, side in zip("AB", sides, strict=True):
            out.say(f"{letter}: {side.model}")
        out.say(f"v: log-odds of {self.before.target_in_words}")
        out.say()
        figures = {
            "": "AB",
            f"v(N), all {self.before.n} words": [f"{side.score_full:+.3f}" for side in sides],
            "v(empty), none of them": [f"{side.score_empty:+.3f}" for side in sides],
            "p of the target, all words": [f"{side.probability:.3g}" for side in sides],
            "L1, sum of all |effects|": [f"{float(side.interactions.objective):.3f}" for side in sides],
            "salient interactions": [str(len(side.salient)) for side in sides],
            "rho, their uncancelled share": ["–" if math.isnan(side.rho) else f"{side.rho:.2f}" for side in sides],
        }
        out.lines += [f"{label:<30}" + "".join(f"{cell:>10}" for cell in cells) for label, cells in figures.items()]
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
        out.say(_CAVEAT if self.floor is None else _floor_sentence(self.sets, self.floor))
        out.say()
        out.say(_LEGEND)
        trust = (
            f"{letter}: {side.statement}, noise of v {side.scores.noise_sigma:.1e} nats"
            for letter, side in zip("AB", sides, strict=True)
        )
        out.say(f"{'; '.join(trust)}; {self.before.scores.dtype}")
        return "\n".join(out.lines)

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


def _sentence(names: Sequence[str], sets: ContrastSets) -> str:
    """What happened, in words."""
    gone, come = sets.removed_total, sets.new_total
    flips = sum(c.flipped for c in sets.kept)
    turned = f" ({flips} with {'its' if flips == 1 else 'their'} sign flipped)" if flips else ""
    lines = [
        f"From A to B, {gone.count} of {sets.salient[0]} salient interactions {'was' if gone.count == 1 else 'were'} removed "
        f"({_percent(gone.strength_fraction)} of the strength), {len(sets.kept)} kept{turned}, and "
        f"{come.count} of B's {sets.salient[1]} {'is' if come.count == 1 else 'are'} new "
        f"({_percent(come.strength_fraction)} of the strength)."
    ]
    for what, chosen in (("new", sets.new), ("removed", sets.removed)):
        for strongest in chosen[:1]:
            spelt = joint(strongest.kind).join(members(names, strongest.mask))
            kind = strongest.kind.upper() + ", " if strongest.mask.bit_count() > 1 else ""
            effect = strongest.after if what == "new" else strongest.before
            lines.append(f"The strongest {what} one is {spelt} ({kind}{effect:+.3f}).")
    return " ".join(lines)


def _floor_sentence(sets: ContrastSets, floor: ContrastSets) -> str:
    """What a second wording of A alone changes, and how many times as much changes from A to B."""

    def times(name: str, count: int) -> str:
        many, fraction = sets.multiples()[name].values()
        if many is None or fraction is None:
            return "not comparable, as that is none" if count else "none, as there"
        return f"{many:.2f} times that in number, {fraction:.2f} times in share of strength"

    gone, come = floor.removed_total, floor.new_total
    return (
        f"Between the two wordings of A, where nothing was learnt, {gone.count} of {floor.salient[0]} {'was' if gone.count == 1 else 'were'} "
        f"removed ({_percent(gone.strength_fraction)} of the strength) and {come.count} of {floor.salient[1]} "
        f"{'is' if come.count == 1 else 'are'} new ({_percent(come.strength_fraction)}). From A to B, removed is "
        f"{times('removed', len(sets.removed))}; new is {times('new', len(sets.new))}."
    )


def _percent(fraction: float | None) -> str:
    return "–" if fraction is None else f"{100 * fraction:.0f} %"
