"""Interactions as text: dots under the words, or the words spelt out where they are many. Every word is made printable."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from interplay.text import JOINT, folded, printable

SPELT_LEGEND = "AND, &: all its words must stay   OR, |: one of its words is enough   █ raises the score   ░ lowers it"
FEW_WORDS = 3  # interactions of more words are counted in one line [ours]

_SHORTEST_BAR, _LONGEST_BAR = 8, 20
_CYAN, _MAGENTA, _BOLD = 36, 35, 1


class InteractionRow(NamedTuple):
    """One interaction to print: "and", "or" ("": a word), its coalition, its effect in one model or in A and B, and a remark.

    instead: what stands in its place in another split that is as sparse, "" where it stands in all.
    """

    kind: str
    mask: int
    effects: tuple[float, ...]
    remark: str = ""
    instead: str = ""

    @property
    def drawn(self) -> float:
        """What its bar shows: its effect, of two models the change from A to B."""
        return self.effects[-1] - sum(self.effects[:-1])


class Printout:
    """Lines of text. `terminal`: prose is folded to its width, bars have colours and titles are bold."""

    def __init__(self, terminal: bool = False) -> None:
        self.terminal = terminal
        self.width = shutil.get_terminal_size().columns
        self.lines: list[str] = []

    def say(self, text: str = "", *, bold: bool = False) -> None:
        """Add a paragraph: folded for a terminal, one line elsewhere."""
        text = folded(text) if self.terminal else printable(text)
        self.lines.append(self._painted(text, _BOLD) if bold else text)

    def list_words(self, words: Sequence[str]) -> list[str]:
        """Add all words in the order of the text, and return `names_of` them."""
        names = names_of(words)
        for i, line in enumerate(_fold(names, "  ", self.width - 7)):
            self.lines.append(("words: " if i == 0 else "       ") + line)
        self.lines.append("")
        return names

    def draw(self, words: Sequence[str], rows: Sequence[InteractionRow]) -> None:
        """One line per interaction: dots under its words (AND ●, OR ○) joined by a line, and a bar for its effect.

        Words that do not fit side by side are listed above and become numbers.
        """
        lead = 12  # columns of kind and effect
        names = [_clip(printable(word)) for word in words]
        room = self.width - lead - _SHORTEST_BAR - 2
        if sum(_columns(name) + 2 for name in names) > room:
            self.lines += [*(f"{i:>4}  {name}" for i, name in enumerate(names, start=1)), ""]
            names = [str(i) for i in range(1, len(names) + 1)]
        free = room - sum(_columns(name) + 2 for name in names) + _SHORTEST_BAR
        longest, strongest = _bar_length(free), max((abs(row.drawn) for row in rows), default=1.0)
        self.lines.append(" " * lead + "".join(f" {name} " for name in names).rstrip())
        for row in rows:
            dots = _dots(names, row.mask, "●" if row.kind == "and" else "○")
            bar = self._bar(row.effects[0], strongest, longest)
            self.lines.append(f"{row.kind.upper():<4}{_signed(row.effects[0])} {dots}  {bar}")
            self._say_instead(row, lead)

    def spell(self, names: Sequence[str], rows: Sequence[InteractionRow]) -> None:
        """One line per interaction: its effect, or those in A and B and the change, a bar, its remark, and its words, joined by
        & (AND) or | (OR)."""
        if not rows:
            return
        strongest = max(abs(row.drawn) for row in rows) or 1.0
        pairs, gap = len(rows[0].effects) > 1, max(len(f"{row.remark}  ".lstrip()) for row in rows)
        # The rest of the width is for the effects and, in most cases, the words of an interaction.
        longest = _bar_length(self.width - (72 if pairs else 60))
        if pairs:
            self.lines.append(" " * 4 + "".join(f"{name:>8}" for name in ("A", "B", "change")))
        lead = 4 + 8 * (3 if pairs else 1) + longest + 2 + gap
        for row in rows:
            shown = (*row.effects, row.drawn) if pairs else row.effects
            line = f"{row.kind.upper():<4}" + "".join(f"{_signed(x)} " for x in shown)
            line += self._bar(row.drawn, strongest, longest, longest + 2) + row.remark.ljust(gap)
            folded = _fold(members(names, row.mask), JOINT.get(row.kind, ""), self.width - lead)
            self.lines += [(line if i == 0 else " " * lead) + part for i, part in enumerate(folded)]
            self._say_instead(row, lead)

    def spell_values(self, names: Sequence[str], values: Sequence[tuple[float, ...]]) -> None:
        """A title, and one line per word: its Shapley value, or those in A and B and the change."""
        self.say("Shapley values of the words (nats):", bold=True)
        self.spell(names, [InteractionRow("", 1 << i, value) for i, value in enumerate(values)])

    def list_interactions(
        self, rows: Sequence[InteractionRow], drawn: int, draw: Callable[[Sequence[InteractionRow]], None]
    ) -> None:
        """Draw the first `drawn` of up to three words; the others are counted in one line, with their strength."""
        few = [row for row in rows if row.mask.bit_count() <= FEW_WORDS]
        draw(few[:drawn])
        rest = [*few[drawn:], *(row for row in rows if row.mask.bit_count() > FEW_WORDS)]
        if rest:
            orders = sorted({row.mask.bit_count() for row in rest})
            span = " to ".join(map(str, sorted({orders[0], orders[-1]}))) + " word" + "s" * (orders[-1] > 1)
            self.say(f"{len(rest)} more of {span}, together {sum(abs(row.drawn) for row in rest):.3g} nats")

    def _say_instead(self, row: InteractionRow, lead: int) -> None:
        """What stands in the place of an interaction in other splits, in a line below it."""
        if row.instead:
            parts = _fold(row.instead.split(" "), " ", self.width - lead - 2)
            self.lines += [" " * lead + ("  " if i else "≈ ") + part for i, part in enumerate(parts)]

    def _bar(self, effect: float, strongest: float, longest: int, width: int = 0) -> str:
        """The bar of one effect, at least one column long, padded to `width` columns."""
        size = max(1, round(longest * abs(effect) / strongest))
        bar = self._painted(("█" if effect > 0 else "░") * size, _CYAN if effect > 0 else _MAGENTA)
        return bar + " " * (width - size)

    def _painted(self, text: str, code: int) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if text and self.terminal and not os.environ.get("NO_COLOR") else text


def exchanged_name(names: Sequence[str], instead: tuple[str, int] | None) -> str:
    """What an interaction is exchangeable with, in words: "not | good"."""
    return "" if instead is None else JOINT[instead[0]].join(members(names, instead[1]))


def scored_name(token: str, target: str, tokens: int = 1) -> str:
    """What is scored, in words: often only a piece of the target.

    >>> scored_name("sad", "sadness", 2), scored_name(" joy", "joy")
    ("'sad', 2 tokens of 'sadness'", "' joy'")
    """
    name = repr(printable(token))
    piece = "a token" if tokens == 1 else f"{tokens} tokens"
    return name if token.strip() == target.strip() else f"{name}, {piece} of {printable(target)!r}"


def members(names: Sequence[str], mask: int) -> list[str]:
    """The names of the words in a coalition."""
    return [name for i, name in enumerate(names) if mask >> i & 1]


def names_of(words: Sequence[str]) -> list[str]:
    """The names that words go by: printable, at most 24 characters, with a number where one occurs several times."""
    return numbered([_clip(printable(word), 24) for word in words])


def numbered(names: Sequence[str]) -> list[str]:
    """The same names, with a number where one occurs several times.

    >>> numbered(["not", "good", "not"])
    ['not#1', 'good', 'not#2']
    """
    times = Counter(names)
    return [f"{name}#{names[: i + 1].count(name)}" if times[name] > 1 else name for i, name in enumerate(names)]


def _signed(effect: float) -> str:
    return f"{round(effect, 3) + 0.0:+7.3f}"  # no -0.000


def _bar_length(free: int) -> int:
    return max(_SHORTEST_BAR, min(_LONGEST_BAR, free))


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
    widths = [_columns(name) + 2 for name in names]
    at = [sum(widths[:i]) + (widths[i] - 1) // 2 for i in range(len(names)) if mask >> i & 1]
    line = [" "] * sum(widths)
    line[at[0] : at[-1]] = "─" * (at[-1] - at[0])
    for column in at:
        line[column] = dot
    return "".join(line)
