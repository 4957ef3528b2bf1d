"""Figures for papers, with matplotlib (extra `interplay[figures]`), whose own settings are not changed. `export.figures_of` names them."""
