"""One section of a page of measurements, its place in a page, and the clock that all use. Not the page: that is `bench.py`."""

import re
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple


class Section(NamedTuple):
    """A table and what must be said beside it.

    `rows` are dicts of column -> value, the same columns in every row; NaN is a figure that was not measured. Rows are
    strictly measured: what was timed on a part and scaled is said in a note.
    """

    title: str
    rows: list[dict[str, Any]]
    notes: list[str]


def cpu_seconds(call: Callable[[], object], repeats: int = 3) -> float:
    """Median CPU seconds (all threads of this process) of a call."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return statistics.median(times)


def put(text: str, name: str, table: str) -> str:
    """Replace the table between its markers.

    >>> put("a <!-- table x -->old<!-- end --> b", "x", "new")
    'a <!-- table x -->\\nnew\\n<!-- end --> b'
    """
    pattern = re.compile(rf"(<!-- table {re.escape(name)} -->).*?(<!-- end -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"no place for table {name!r}: write <!-- table {name} --><!-- end --> where it belongs")
    return pattern.sub(lambda m: f"{m[1]}\n{table}\n{m[2]}", text)
