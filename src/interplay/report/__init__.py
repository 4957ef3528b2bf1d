"""The report: one offline HTML page from one payload. Knows the payload and nothing else: no models, no run folder."""

from interplay.report.page import render, write
from interplay.report.schema import Payload, validate

__all__ = ["Payload", "render", "validate", "write"]
