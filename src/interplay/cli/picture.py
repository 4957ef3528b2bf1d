"""The interactions of one prompt drawn in text: dots under the words, or the words themselves where there are many or two models.

Draws what it is given; it computes no effect and says nothing about how far to trust one.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from interplay.cli.show import printable

LEGEND = "● AND: all its words must stay   ○ OR: one of its words is enough   █ raises the score   ░ lowers it"
SPELT_LEGEND = "AND, &: all its words must stay   OR, |: one of its words is enough   █ raises the score   ░ lowers it"
PAIR_LEGEND = f"{SPELT_LEGEND}   no bar: not salient there (at most 5 % of that model's largest effect)"

_LEAD = 12  # columns of type and effect
_SHORTEST_BAR = 8
_LONGEST_BAR = 20


def draw(words: Sequence[str], interactions: Sequence[dict[str, Any]], masks: Sequence[int]) -> None:
    """One row per interaction: dots under its words (AND ●, OR ○) joined by a line, and a bar for its effect.

    Words that do not fit side by side become numbers, with the words listed above.
    """
    from rich.text import Text

    console = _console()
    names = [_clip(printable(word)) for word in words]
    room = console.width - _LEAD - _SHORTEST_BAR - 2
    if sum(_columns(name) + 2 for name in names) > room:
        for i, name in enumerate(names, start=1):
            console.print(f"{i:>4}  {name}")
        console.print()
        names = [str(i) for i in range(1, len(names) + 1)]
    longest = max(_SHORTEST_BAR, min(_LONGEST_BAR, room - sum(_columns(name) + 2 for name in names) + _SHORTEST_BAR))
    strongest = _strongest(interactions)
    console.print(" " * _LEAD + "".join(f" {name} " for name in names).rstrip())
    for row, mask in zip(interactions, masks, strict=True):
        line = Text(_lead(row))
        line.append(_dots(names, mask, "●" if row["type"] == "and" else "○"))
        line.append("  ")
        line.append(*_bar(row["effect"], strongest, longest))
        console.print(line)


def spell(words: Sequence[str], interactions: Sequence[dict[str, Any]], masks: Sequence[int]) -> None:
    """One row per interaction: a bar for its effect, then its words, joined by & (AND) or | (OR).

    For more words than a picture has room for. All words come first, in the order of the text; one that stands there
    several times gets a number. A row that is too long goes on under its first word.
    """
    from rich.text import Text

    console = _console()
    names = spell_words(words)
    longest = max(_SHORTEST_BAR, min(_LONGEST_BAR, console.width - 60))  # what words of an interaction need, mostly
    strongest = _strongest(interactions)
    for row, mask in zip(interactions, masks, strict=True):
        bar, style = _bar(row["effect"], strongest, longest)
        folded = _fold(members(names, mask), joint(row["type"]), console.width - _LEAD - longest - 2)
        for i, part in enumerate(folded):
            line = Text(_lead(row) if i == 0 else " " * _LEAD)
            line.append((bar if i == 0 else "").ljust(longest), style=style)
            line.append("  " + part)
            console.print(line)


class Pair(NamedTuple):
    """One interaction under two models: kind ("and", "or"), coalition, both effects, where it is salient, and a remark."""

    kind: str
    mask: int
    effects: tuple[float, float]
    salient: tuple[bool, bool]
    remark: str = ""


def spell_words(words: Sequence[str]) -> list[str]:
    """Print all words in the order of the text; gives the names they go by, those that occur several times with a number."""
    console = _console()
    names = numbered([_clip(printable(word), 24) for word in words])
    for i, line in enumerate(_fold(names, "  ", console.width - 7)):
        console.print(("words: " if i == 0 else "       ") + line)
    console.print()
    return names


def spell_pairs(names: Sequence[str], pairs: Sequence[Pair], strongest: float) -> None:
    """One row per interaction: its kind and order, effect and bar under A, the same under B, then its words as in `spell`.

    Bars are as long as their effect is beside `strongest`, on one scale for both models and for every call with it.
    """
    from rich.text import Text

    console = _console()
    longest = max(_SHORTEST_BAR, min(_LONGEST_BAR, (console.width - 64) // 2))
    lead = 7 + 2 * (longest + 10)
    head = "".join(f" {name:>4}".ljust(longest + 10) for name in "AB")
    console.print(" " * 7 + head.rstrip())
    for pair in pairs:
        line = Text(f"{pair.kind.upper():<4}{pair.mask.bit_count():>2} ")
        for effect, salient in zip(pair.effects, pair.salient, strict=True):
            line.append(f"{round(effect, 3) + 0.0:+7.3f} ")  # no -0.000
            bar, style = _bar(effect, strongest, longest) if salient else ("", "")
            line.append(bar, style=style)
            line.append(" " * (longest - len(bar) + 2))
        folded = _fold(members(names, pair.mask), joint(pair.kind), console.width - lead)
        if pair.remark:
            whole = f"{folded[-1]}  ({pair.remark})"
            folded[-1:] = [whole] if lead + _columns(whole) <= console.width else [folded[-1], f"({pair.remark})"]
        for i, part in enumerate(folded):
            console.print((line if i == 0 else Text(" " * lead)) + part)


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


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False, markup=False, soft_wrap=True)


def _lead(row: dict[str, Any]) -> str:
    return f"{row['type'].upper():<4}{row['effect']:+7.3f} "


def _strongest(interactions: Sequence[dict[str, Any]]) -> float:
    return max((abs(row["effect"]) for row in interactions), default=1.0)


def _bar(effect: float, strongest: float, longest: int) -> tuple[str, str]:
    """The bar of one effect, at least one column long, and its colour.

    >>> _bar(-0.3, 0.3, 20) == ("░" * 20, "magenta"), _bar(0.001, 0.3, 20)
    (True, ('█', 'cyan'))
    """
    width = max(1, round(longest * abs(effect) / strongest))
    return ("█" if effect > 0 else "░") * width, "cyan" if effect > 0 else "magenta"


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
    members = [i for i in range(len(names)) if mask >> i & 1]
    for i, name in enumerate(names):
        width = _columns(name) + 2
        middle = (width - 1) // 2
        inside = members[0] < i < members[-1]
        left = "─" if inside or (i in members and i > members[0]) else " "
        right = "─" if inside or (i in members and i < members[-1]) else " "
        centre = dot if i in members else ("─" if inside else " ")
        cells.append(left * middle + centre + right * (width - 1 - middle))
    return "".join(cells)
