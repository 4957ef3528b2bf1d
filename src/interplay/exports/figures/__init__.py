"""Figures for papers, with matplotlib: a run's tables in, one vector file a figure out. Needs `interplay[figures]`.

`catalogue.figures_of(tables)` names the figures a run has, `style.save(figure, path)` writes one. No pyplot, no window, and no
change to matplotlib's settings outlives a call.
"""

from interplay import extras


def require() -> None:
    """Raise InterplayError where matplotlib is not installed."""
    extras.require("matplotlib", what="a figure")
