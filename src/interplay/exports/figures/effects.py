"""The strongest interactions of one prompt as bars, under one model or several."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from interplay.exports.figures.style import name
from interplay.extras import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UP, DOWN = "#0f8496", "#c8641e"  # colours of the page: raises the score, lowers it


def effect_bars(ax: "Axes | None", labels: Sequence[str], sides: Sequence[tuple[str, Sequence[float]]]) -> "Axes":
    """Horizontal bars, the first label on top, for each model one: (its name, effects in log-odds). Draws into `ax` if given."""
    require("matplotlib", what="a figure")
    if ax is None:
        from matplotlib import pyplot

        _, ax = pyplot.subplots(figsize=(6.4, 1.2 + 0.28 * len(sides) * max(len(labels), 1)), layout="constrained")
    thick = 0.8 / len(sides)
    for i, (model, effects) in enumerate(sides):
        places = [row + (i - (len(sides) - 1) / 2) * thick for row in range(len(effects))]
        colours = [UP if effect > 0 else DOWN for effect in effects]
        ax.barh(places, effects, thick, color=colours, alpha=1.0 if i == len(sides) - 1 else 0.45, label=name(model))
    ax.set_yticks(range(len(labels)), [name(label) for label in labels])
    ax.invert_yaxis()
    ax.axvline(0, color="#69727e", linewidth=0.8)
    ax.set_xlabel("effect on the log-odds (nats)")
    texts = ax.get_yticklabels()
    if len(sides) > 1:
        texts = [*texts, *ax.legend().get_texts()]
    for text in texts:
        text.set_parse_math(False)  # a dollar sign in a word is a dollar sign
    return ax
