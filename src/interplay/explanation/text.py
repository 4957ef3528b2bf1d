"""What `print` shows of an explanation: figures, then dots under the words, or the words spelt out where they are many.

Draws what it is given and computes no effect. Every word is made printable, so no data can command a terminal.
"""

import os
import shutil
import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from interplay.data.words import printable
from interplay.limits import EXACT_WORDS

if TYPE_CHECKING:
    from interplay.explanation.result import Change, Explanation

LEGEND = "● AND: all its words must stay   ○ OR: one of its words is enough   █ raises the score   ░ lowers it"
SPELT_LEGEND = "AND, &: all its words must stay   OR, |: one of its words is enough   █ raises the score   ░ lowers it"
PAIR_LEGEND = f"{SPELT_LEGEND}   no bar: not salient there (at most 5 % of that model's largest effect)"
CAVEAT = (
    "Between two wordings of one model a third to two thirds of the salient interactions change by themselves; "
    'the option rephrased, such as "Please answer. {text}", measures that for A.'
)

_WIDEST = 100  # columns of a line of prose; longer ones are hard to read
_LEAD = 12  # columns of type and effect
_SHORTEST_BAR, _LONGEST_BAR = 8, 20
_CYAN, _MAGENTA, _BOLD = 36, 35, 1


class Row(NamedTuple):
    """One interaction as it is drawn: "and" or "or", its coalition, one effect for each model, where it is salient, a remark."""

    type: str
    mask: int
    effects: tuple[float, ...]
    salient: tuple[bool, ...] = (True,)
    remark: str = ""


class Paper:
    """Lines of text. `terminal`: prose is folded to its width, bars have colours and titles are bold."""

    def __init__(self, terminal: bool = False) -> None:
        self.terminal = terminal
        self.width = shutil.get_terminal_size().columns
        self.lines: list[str] = []

    def say(self, text: str = "", *, bold: bool = False) -> None:
        """A paragraph: folded for a terminal, one line elsewhere."""
        text = printable(text)
        if self.terminal:
            width = max(min(self.width, _WIDEST), 20)
            text = textwrap.fill(text, width=width, break_long_words=False, break_on_hyphens=False)
        self.lines.append(self.painted(text, _BOLD) if bold else text)

    def painted(self, text: str, code: int) -> str:
        """The text in a colour, where there are colours."""
        return f"\x1b[{code}m{text}\x1b[0m" if text and self.terminal and not os.environ.get("NO_COLOR") else text

    def bar(self, effect: float, strongest: float, longest: int, width: int = 0) -> str:
        """The bar of one effect, at least one column long; blanks up to `width` columns behind it.

        >>> Paper().bar(-0.3, 0.3, 20) == "░" * 20, Paper().bar(0.001, 0.3, 20, 3)
        (True, '█  ')
        """
        size = max(1, round(longest * abs(effect) / strongest))
        bar = self.painted(("█" if effect > 0 else "░") * size, _CYAN if effect > 0 else _MAGENTA)
        return bar + " " * (width - size)

    def draw(self, words: Sequence[str], rows: Sequence[Row]) -> None:
        """One line per interaction: dots under its words (AND ●, OR ○) joined by a line, and a bar for its effect.

        Words that do not fit side by side become numbers, with the words listed above.
        """
        names = [_clip(printable(word)) for word in words]
        room = self.width - _LEAD - _SHORTEST_BAR - 2
        if sum(_columns(name) + 2 for name in names) > room:
            self.lines += [*(f"{i:>4}  {name}" for i, name in enumerate(names, start=1)), ""]
            names = [str(i) for i in range(1, len(names) + 1)]
        free = room - sum(_columns(name) + 2 for name in names) + _SHORTEST_BAR
        longest = max(_SHORTEST_BAR, min(_LONGEST_BAR, free))
        strongest = _strongest(rows)
        self.lines.append(" " * _LEAD + "".join(f" {name} " for name in names).rstrip())
        for row in rows:
            dots = _dots(names, row.mask, "●" if row.type == "and" else "○")
            self.lines.append(_lead(row) + dots + "  " + self.bar(row.effects[0], strongest, longest))

    def list_words(self, words: Sequence[str]) -> list[str]:
        """All words in the order of the text; gives the names they go by, those that occur several times with a number."""
        names = numbered([_clip(printable(word), 24) for word in words])
        for i, line in enumerate(_fold(names, "  ", self.width - 7)):
            self.lines.append(("words: " if i == 0 else "       ") + line)
        self.lines.append("")
        return names

    def spell(self, words: Sequence[str], rows: Sequence[Row]) -> None:
        """One line per interaction: a bar for its effect, then its words, joined by & (AND) or | (OR).

        For more words than a picture has room for; all of them come first. A line that is too long goes on under its first word.
        """
        names = self.list_words(words)
        longest = max(_SHORTEST_BAR, min(_LONGEST_BAR, self.width - 60))  # what words of an interaction need, mostly
        strongest, before = _strongest(rows), _LEAD + longest + 2
        for row in rows:
            first, *more = _fold(members(names, row.mask), joint(row.type), self.width - before)
            self.lines.append(_lead(row) + self.bar(row.effects[0], strongest, longest, longest) + "  " + first)
            self.lines += [" " * before + part for part in more]

    def spell_pairs(self, names: Sequence[str], rows: Sequence[Row], strongest: float) -> None:
        """One line per interaction: its kind and order, effect and bar under A, the same under B, then its words as in `spell`.

        A bar shows its effect relative to `strongest`: one scale for both models and for every call with it.
        """
        longest = max(_SHORTEST_BAR, min(_LONGEST_BAR, (self.width - 64) // 2))
        lead = 7 + 2 * (longest + 10)
        self.lines.append((" " * 7 + "".join(f" {name:>4}".ljust(longest + 10) for name in "AB")).rstrip())
        for row in rows:
            line = f"{row.type.upper():<4}{row.mask.bit_count():>2} "
            for effect, salient in zip(row.effects, row.salient, strict=True):
                line += f"{round(effect, 3) + 0.0:+7.3f} "  # no -0.000
                line += self.bar(effect, strongest, longest, longest + 2) if salient else " " * (longest + 2)
            folded = _fold(members(names, row.mask), joint(row.type), self.width - lead)
            if row.remark:
                whole = f"{folded[-1]}  ({row.remark})"
                folded[-1:] = [whole] if lead + _columns(whole) <= self.width else [folded[-1], f"({row.remark})"]
            self.lines += [(line if i == 0 else " " * lead) + part for i, part in enumerate(folded)]


def explanation_text(found: "Explanation", terminal: bool = False) -> str:
    """One model: what is scored, the strongest interactions as a picture, and how far to trust them."""
    paper, salient = Paper(terminal), found.salient
    paper.say(
        f"log-odds of {_scored(found)}: {found.score_full:+.3f} with all {found.n} words, "
        f"{found.score_empty:+.3f} with none"
    )
    if found.sampled:
        paper.say(found.statement)
    shown = f"; the strongest {found.drawn}" if found.drawn < len(salient) else ""
    paper.say(f"{len(salient)} salient interactions (|effect| > 5 % of the largest){shown}:")
    paper.say()
    spelt = found.n > EXACT_WORDS
    rows = [Row(effect.type, effect.mask, (effect.effect,)) for effect in salient[: found.drawn]]
    (paper.spell if spelt else paper.draw)(found.words, rows)
    paper.say()
    paper.say(SPELT_LEGEND if spelt else LEGEND)
    certified = "" if found.sampled else f"{found.statement}, "
    paper.say(f"{certified}{found.scores.dtype}, noise of v {found.scores.noise_sigma:.1e} nats")
    return "\n".join(paper.lines)


def change_text(change: "Change", terminal: bool = False) -> str:
    """Two models: their figures side by side, what was kept, removed and new, and that in words."""
    paper, sides = Paper(terminal), (change.before, change.after)
    for letter, side in zip("AB", sides, strict=True):
        paper.say(f"{letter}: {side.model}")
    paper.say(f"v: log-odds of {_scored(change.before)}")
    paper.say()
    paper.lines.append(" " * 30 + f"{'A':>10}{'B':>10}")
    paper.lines += [f"{label:<30}" + "".join(f"{cell:>10}" for cell in cells) for label, *cells in _figures(sides)]
    paper.say()
    names = paper.list_words(change.words)
    strongest = max((abs(x) for c in change.salient for x in (c.before, c.after)), default=1.0)
    for title, chosen in (("Kept", change.kept), ("Removed", change.removed), ("New", change.new)):
        shown = f"; the strongest {change.drawn}" if change.drawn < len(chosen) else ""
        paper.say(f"{title}: {len(chosen) or 'none'}{shown}", bold=True)
        if chosen:
            rows = [
                Row(c.kind, c.mask, (c.before, c.after), c.salient, "sign flipped" if c.flipped else "")
                for c in chosen[: change.drawn]
            ]
            paper.spell_pairs(names, rows, strongest)
        paper.say()
    paper.say(_sentence(names, change))
    paper.say(CAVEAT if change.floor is None else _floor_sentence(change))
    paper.say()
    paper.say(PAIR_LEGEND)
    trust = (
        f"{letter}: {side.statement}, noise of v {side.scores.noise_sigma:.1e} nats"
        for letter, side in zip("AB", sides, strict=True)
    )
    paper.say(f"{'; '.join(trust)}; {change.before.scores.dtype}")
    return "\n".join(paper.lines)


def scored_name(token: str, target: str, tokens: int = 1) -> str:
    """What is scored, in words: often only the first piece of the target.

    >>> scored_name("s", "sadness"), scored_name(" joy", "joy")
    ("'s', the first token of 'sadness'", "' joy'")
    >>> scored_name("sad", "sadness", 2)
    "'sad', the first 2 tokens of 'sadness'"
    """
    name = repr(printable(token))
    first = "the first token" if tokens == 1 else f"the first {tokens} tokens"
    return name if token.strip() == target.strip() else f"{name}, {first} of {printable(target)!r}"


def _scored(found: "Explanation") -> str:
    return scored_name(found.target_scored, found.target, len(found.scores.target_ids))


def _figures(sides: "Sequence[Explanation]") -> list[tuple[str, ...]]:
    """The two models in figures, side by side."""
    rho = [side.rho for side in sides]
    return [
        (f"v(N), all {sides[0].n} words", *(f"{side.score_full:+.3f}" for side in sides)),
        ("v(empty), none of them", *(f"{side.score_empty:+.3f}" for side in sides)),
        ("p of the target, all words", *(f"{side.probability:.3g}" for side in sides)),
        ("L1, sum of all |effects|", *(f"{float(side.interactions.objective):.3f}" for side in sides)),
        ("salient interactions", *(str(len(side.salient)) for side in sides)),
        ("rho, their uncancelled share", *("–" if x != x else f"{x:.2f}" for x in rho)),
    ]


def _sentence(names: Sequence[str], change: "Change") -> str:
    """What happened, in words."""
    found = change.sets
    flips = sum(c.flipped for c in found.kept)
    turned = f" ({flips} with {'its' if flips == 1 else 'their'} sign flipped)" if flips else ""
    lines = [
        f"From A to B, {found.removed_total.count} of {found.salient[0]} salient interactions {_be(found.removed_total.count, 'were')} removed "
        f"({_percent(found.removed_total.strength_fraction)} of the strength), {len(found.kept)} kept{turned}, and "
        f"{found.new_total.count} of B's {found.salient[1]} {_be(found.new_total.count, 'are')} new "
        f"({_percent(found.new_total.strength_fraction)} of the strength)."
    ]
    for what, chosen in (("new", found.new), ("removed", found.removed)):
        if chosen:
            strongest = chosen[0]
            spelt = joint(strongest.kind).join(members(names, strongest.mask))
            kind = strongest.kind.upper() + ", " if strongest.mask.bit_count() > 1 else ""
            effect = strongest.after if what == "new" else strongest.before
            lines.append(f"The strongest {what} one is {spelt} ({kind}{effect:+.3f}).")
    return " ".join(lines)


def _floor_sentence(change: "Change") -> str:
    """What a second wording of A alone changes, and how many times that the change from A to B is."""
    floor: Any = change.floor
    multiples = change.sets.multiples()

    def times(name: str, count: int) -> str:
        many, share = multiples[name].values()
        if many is None or share is None:
            return "not comparable, as that is none" if count else "none, as there"
        return f"{many:.2f} times that in number, {share:.2f} times in share of strength"

    gone, come = floor.removed_total, floor.new_total
    return (
        f"Between the two wordings of A, where nothing was learnt, {gone.count} of {floor.salient[0]} {_be(gone.count, 'were')} "
        f"removed ({_percent(gone.strength_fraction)} of the strength) and {come.count} of {floor.salient[1]} "
        f"{_be(come.count, 'are')} new ({_percent(come.strength_fraction)}). From A to B, removed is "
        f"{times('removed', len(change.removed))}; new is {times('new', len(change.new))}."
    )


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def _be(count: int, many: str) -> str:
    """
    >>> _be(1, "were"), _be(1, "are"), _be(0, "are")
    ('was', 'is', 'are')
    """
    return many if count != 1 else {"were": "was", "are": "is"}[many]


def members(names: Sequence[str], mask: int) -> list[str]:
    """The names of the words in a coalition.

    >>> members(["not", "good", "food"], 0b101)
    ['not', 'food']
    """
    return [name for i, name in enumerate(names) if mask >> i & 1]


def joint(kind: str) -> str:
    """What stands between the words of an interaction.

    >>> joint("and"), joint("or")
    (' & ', ' | ')
    """
    return " & " if kind == "and" else " | "


def numbered(names: Sequence[str]) -> list[str]:
    """The same names, those that occur several times told apart by a number.

    >>> numbered(["not", "good", "not"])
    ['not#1', 'good', 'not#2']
    """
    times, seen = Counter(names), Counter[str]()
    out = []
    for name in names:
        seen[name] += 1
        out.append(f"{name}#{seen[name]}" if times[name] > 1 else name)
    return out


def _lead(row: Row) -> str:
    return f"{row.type.upper():<4}{row.effects[0]:+7.3f} "


def _strongest(rows: Sequence[Row]) -> float:
    return max((abs(row.effects[0]) for row in rows), default=1.0)


def _columns(text: str) -> int:
    """Width on a terminal: a Chinese character takes two columns."""
    from rich.cells import cell_len

    return cell_len(text)


def _clip(word: str, limit: int = 14) -> str:
    return word if len(word) <= limit else word[: limit - 1] + "…"


def _fold(parts: Sequence[str], between: str, width: int) -> list[str]:
    """Parts joined, as lines of at most `width` columns where the parts allow it; a joint that ends a line stays there.

    >>> _fold(["not", "good", "food"], " & ", 12)
    ['not & good &', 'food']
    """
    lines = [""]
    for i, part in enumerate(parts):
        piece = part + (between.rstrip() if i < len(parts) - 1 else "")
        gap = between[len(between.rstrip()) :]
        if lines[-1] and _columns(lines[-1] + gap + piece) > width:
            lines.append(piece)
        else:
            lines[-1] += (gap if lines[-1] else "") + piece
    return lines


def _dots(names: Sequence[str], mask: int, dot: str) -> str:
    """The dots of one interaction under the words' columns, joined from the first to the last.

    >>> _dots(["ab", "cd", "ef"], 0b101, "o")
    ' o───────o  '
    """
    cells = []
    chosen = [i for i in range(len(names)) if mask >> i & 1]
    for i, name in enumerate(names):
        width = _columns(name) + 2
        middle = (width - 1) // 2
        inside = chosen[0] < i < chosen[-1]
        left = "─" if inside or (i in chosen and i > chosen[0]) else " "
        right = "─" if inside or (i in chosen and i < chosen[-1]) else " "
        centre = dot if i in chosen else ("─" if inside else " ")
        cells.append(left * middle + centre + right * (width - 1 - middle))
    return "".join(cells)
