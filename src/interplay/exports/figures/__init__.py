"""Figures for papers, with matplotlib (extra `interplay[figures]`): a run's tables in, one vector file a figure out.

`interplay.exports.export.figures_of` names the figures of a run, `style.save` writes one. matplotlib's own settings are not changed.
"""
