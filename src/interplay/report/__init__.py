"""The report: one offline HTML page from one payload. It needs no model and no run folder."""

from interplay.report.page import render, write
from interplay.report.schema import Payload, validate

__all__ = ["Payload", "render", "validate", "write"]
