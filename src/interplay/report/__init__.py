"""The report: one offline HTML page from one payload. It needs no model and no run folder."""

from interplay.report.page import render, write

__all__ = ["render", "write"]
