"""Figures for papers, with matplotlib: a run's tables in, one vector file a figure out.

`catalogue.figures_of(tables)` names the figures a run has, `style.save(figure, path)` writes one. Figure objects only: no pyplot, no window,
no change to matplotlib's settings outlives a call. It knows tables, not run folders, and computes nothing but what it draws.
Needs the extra `interplay[figures]`; `require` says so in one line.
"""

from interplay import extras


def require() -> None:
    """Raise InterplayError where matplotlib is not installed."""
    extras.require("matplotlib", what="a figure")
