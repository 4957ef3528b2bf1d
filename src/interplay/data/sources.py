"""Sources: where rows come from (a file, the embedded emotions, a hub data set), and which rows were skipped.

A bad row among good ones is skipped with a reason; a source without a good row is an error. Only `hub:` uses the network.
"""

import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from interplay.data import emotions, tables
from interplay.data.forms import FORMS, GOEMOTIONS, choose_form, row_from, unused_columns
from interplay.data.rows import Row
from interplay.data.splits import source_files
from interplay.data.tables import Classes, Record, Table, Unreadable, class_name, kind_of, name_of, stem_of
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError, SkipSample
from interplay.extras import require
from interplay.secrets import redact
from interplay.text import ascii_safe, short

FORM_NAMES = ("auto", *FORMS)
_DEFAULT_TEMPLATE = PromptTemplate()
_ID_LIMIT = 200


class Skipped(NamedTuple):
    """A row that was left out, and why: "line 17: no 'completion'"."""

    id: str
    reason: str


class ReadResult(NamedTuple):
    """Rows in order, those left out, the labels if there are any, notes on unused columns, whether prompts are plain strings;
    the record of each row, the form's name, and column of the form -> the one in the data."""

    rows: tuple[Row, ...]
    skipped: tuple[Skipped, ...]
    labels: tuple[str, ...] | None
    notes: tuple[str, ...] = ()
    strings: bool = False
    records: tuple[Mapping[str, Any], ...] = ()
    form: str = "auto"
    columns: Mapping[str, str] = {}


def read_rows(
    source: str | Path,
    form: str = "auto",
    *,
    columns: Mapping[str, str] | None = None,
    template: PromptTemplate = _DEFAULT_TEMPLATE,
    join: str | None = None,
    part: str | None = None,
) -> ReadResult:
    """Rows from `source`, each one's text in the user turn of `template`.

    Args:
        source: a path to .jsonl, .json, .csv, .tsv (also .gz), .parquet or .arrow; `FOLDER[:SPLIT]`, a folder of such files as
            `splits.split_files` reads it; `emotions[:SPLIT]` (embedded), `planted[:SPLIT]` (a shortcut in it); `hub:OWNER/NAME[/CONFIG][@REVISION][:SPLIT]`.
        form: one of `FORM_NAMES`; auto looks at the columns.
        columns: the name here of a form's column: `{"text": "sentence"}`; any form may have `id` and `words`, input variables
            that a row names, `system` and `history`, turns before its text. "" leaves a column out.
        join: what stands between an instruction and its input; None: what the form has there.
        part: train, eval or prompts, which a folder of several splits is read for.

    A row's id is its own `id` if it has one, else the file's name and its line; ids are made unique with a suffix.

    Errors: InterplayError naming the source, what was found and expected; the first reasons where most rows cannot be used.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "mood.csv"
    >>> _ = path.write_text("text,label\\nSo sad,grief\\nYay,\\n")
    >>> result = read_rows(path)
    >>> result.rows[0].id, result.rows[0].target, result.labels, result.skipped
    ('mood-2', 'grief', ('grief',), (Skipped(id='mood-3', reason="line 3: 'label' is empty"),))
    """
    columns, name = columns or {}, str(source)
    kind, _, split = name.partition(":") if isinstance(source, str) else ("", "", "")
    if kind == "hub":
        table, classes, name = _read_hub(name)
        return rows_of_table(table, name, name.rpartition("/")[2], form, columns, template, classes, join)
    embedded = kind in ("emotions", "planted")
    paths = [emotions.path(split or "train")] if embedded else source_files(name, part)
    name, stem = name_of(Path(name) if paths[1:] else paths[0]), stem_of(paths[0])
    published = form == "goemotions" and kind_of(paths[0]) == ".tsv"
    if published or (form == "auto" and tables.looks_like_goemotions(paths[0])):
        table, labels = tables.read_goemotions(paths[0])
        return rows_of_table(table, name, stem, "text-labels", {}, template, {"labels": labels}, join)
    table, classes = tables.read_table(*paths)
    if kind == "planted":
        dicts = [(place, record) for place, record in table if isinstance(record, dict)]
        copies: Table = [(place, copy) for place, record in dicts if (copy := emotions.planted(record)) is not None]
        table = copies
    if embedded:
        classes = {"label": emotions.LABELS if kind == "emotions" else emotions.ALIKE}
    found = rows_of_table(table, name, stem, form, columns, template, classes, join)
    return found._replace(notes=(*found.notes, emotions.PLANTED)) if kind == "planted" else found


def rows_of_table(
    table: Table,
    name: str,
    stem: str,
    form: str = "auto",
    columns: Mapping[str, str] | None = None,
    template: PromptTemplate = _DEFAULT_TEMPLATE,
    classes: Classes | None = None,
    join: str | None = None,
) -> ReadResult:
    """`read_rows` of a table in memory; `name` names it in errors, `stem` in the ids of rows without one."""
    columns, classes = columns or {}, classes or {}
    unreadable = [f"{place}: {record.reason}" for place, record in table if isinstance(record, Unreadable)]
    if len(unreadable) == len(table):
        raise InterplayError(f"{name}: none of {len(table)} rows can be read; {unreadable[0]}")
    records = [record for _, record in table if isinstance(record, dict)]
    chosen, located = choose_form(form, (column for record in records for column in record), columns, name)
    chosen = chosen if join is None else chosen.joined(join)
    strings = "completion" in located and all(isinstance(record.get(located["prompt"]), str) for record in records)
    rows: list[Row] = []
    kept: list[Mapping[str, Any]] = []
    skipped: list[Skipped] = []
    used: dict[str, int] = {}
    several = 0
    for place, record in table:
        labelled = record.get(located["labels"]) if "labels" in located and isinstance(record, dict) else None
        if isinstance(labelled, (list, tuple)) and len(labelled) > 1:
            several += 1
            continue
        file, _, at = place.rpartition(": ")
        made = f"{stem_of(Path(file)) if file else stem}-{at.split()[-1]}"
        row_id = _unique(_own_id(record, columns.get("id", "id")) or made, used)
        try:
            if isinstance(record, Unreadable):
                raise SkipSample(record.reason)
            rows.append(row_from(record, chosen, located, template, row_id))
            kept.append(record)
        except SkipSample as reason:
            skipped.append(Skipped(row_id, f"{place}: {reason}"))
    # What is left where most rows are broken is no sample of the data; rows of several labels are of another task.
    if not rows or 2 * len(skipped) > len(table) - several:
        found = f"{len(skipped)} of {len(table)} rows cannot" if rows else f"none of {len(table)} rows can"
        said = [skip.reason for skip in skipped[:3]] or [f"{several} have more than one label"]
        raise InterplayError(f"{name}: {found} be used; {'; '.join(said)}")
    if several:
        skipped.append(Skipped(stem, f"{several} rows with more than one label"))
    labels = classes.get(located.get("label", "")) or classes.get(located.get("labels", ""))
    if labels is None and (found := {row.label for row in rows if row.label is not None}):
        labels = GOEMOTIONS if chosen.name == "goemotions" and found <= set(GOEMOTIONS) else tuple(sorted(found))
    unused = unused_columns(records, located)
    return ReadResult(tuple(rows), tuple(skipped), labels, unused, strings, tuple(kept), chosen.name, located)


def _own_id(record: Record, column: str) -> str | None:
    value = record.id if isinstance(record, Unreadable) else record.get(column)
    text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    usable = text.strip() and len(text) <= _ID_LIMIT and not re.search("[\0\ud800-\udfff]", text)
    return text if usable else None


def _unique(wanted: str, used: dict[str, int]) -> str:
    """`wanted`, or with the first free suffix -2, -3, ...; `used` counts each id, so a million equal ones stay quick."""
    row_id, count = wanted, used.get(wanted, 0)
    while row_id in used:
        count += 1
        row_id = f"{wanted}-{count}"
    used[wanted] = max(count, 1)
    used.setdefault(row_id, 1)
    return row_id


_HUB = re.compile(
    r"hub:(?P<name>\w[\w.-]*/\w[\w.-]*)(?:/(?P<config>\w[\w.-]*))?(?:@(?P<revision>[\w./-]+))?"
    r"(?::(?P<split>\w[\w.-]*))?"
)


def _read_hub(source: str) -> tuple[Table, Classes, str]:
    """The records of a hub data set with classes by name, the names of its class columns, and the data set's name."""
    match = _HUB.fullmatch(source)
    if match is None:
        raise InterplayError(f"expected hub:owner/name[/config][@revision][:split]; given {short(source)}")
    split, name = match["split"] or "train", match["name"]
    require("datasets", what=f"a data set from the hub ({short(source)})", otherwise="give a file")
    import datasets

    datasets.disable_progress_bars()
    try:
        data = datasets.load_dataset(name, match["config"], split=split, revision=match["revision"])
    except Exception as error:  # the hub's client raises some thirty types
        message = ascii_safe(redact(str(error).strip().split("\n")[0]))[:200] or type(error).__name__
        raise InterplayError(f"hub:{name}: cannot be loaded (split {split}): {message}") from None
    table, classes = dataset_table(data)
    if not table:
        raise InterplayError(f"hub:{name}: the split {split} holds no rows")
    return table, classes, f"hub:{name}"


def dataset_table(data: Any, limit: int | None = None) -> tuple[Table, Classes]:
    """The first `limit` records of a datasets.Dataset, classes by name; and the names of each class column."""
    # A class, or a list of classes, which holds its class feature as `feature`.
    features = {column: getattr(feature, "feature", feature) for column, feature in data.features.items()}
    classes = {column: tuple(f.names) for column, f in features.items() if hasattr(f, "names")}
    table: Table = []
    for number, row in enumerate(islice(data, limit), start=1):
        record = dict(row)
        record |= {column: class_name(record.get(column), names) for column, names in classes.items()}
        table.append((f"row {number}", record))
    return table, classes
