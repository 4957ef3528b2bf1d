"""The training rows as the user has them: the records that a run trained on, and a record that asks another text."""

from collections.abc import Mapping
from typing import Any

from interplay.config.settings import Settings
from interplay.data.rows import Row
from interplay.data.sources import ReadResult, read_rows
from interplay.pipeline.inputs import read_inputs


def trained_rows(settings: Settings) -> ReadResult:
    """The rows that a run of these settings trains on, with their records. Errors as of `read_rows`."""
    data, part = settings.data, None if settings.data.file else "train"
    found = read_rows(data.file or data.train or "", data.form, columns=data.columns, join=data.join, part=part)
    used = {row.id for row in read_inputs(settings, usable=lambda sample: None).train}
    kept = [(row, record) for row, record in zip(found.rows, found.records, strict=True) if row.id in used]
    rows, records = zip(*kept, strict=True) if kept else ((), ())
    return found._replace(rows=tuple(rows), records=tuple(records))


def with_text(record: Mapping[str, Any], row: Row, text: str, columns: Mapping[str, str]) -> dict[str, Any] | None:
    """A row's record with another text, also in a conversation; None where its text is not one string in the form's `columns`.

    >>> from interplay.data.sources import rows_of_table
    >>> read = rows_of_table([("row 1", {"id": 7, "text": "So sad", "label": "grief"})], "mood", "mood")
    >>> with_text(read.records[0], read.rows[0], "So sad today", read.columns)
    {'id': 7, 'text': 'So sad today', 'label': 'grief'}
    """
    replaced = 0

    def swapped(value: Any) -> Any:
        nonlocal replaced
        if isinstance(value, str) and value == row.text:
            replaced += 1
            return text
        if isinstance(value, Mapping):
            return {key: swapped(part) for key, part in value.items()}
        return [swapped(part) for part in value] if isinstance(value, list) else value

    own = {*columns.values()}
    made = {column: swapped(value) if column in own else value for column, value in record.items()}
    return made if replaced == 1 else None
