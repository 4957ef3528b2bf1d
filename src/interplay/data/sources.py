"""Sources: where rows come from (a file, the embedded emotions, a hub data set), and which rows were skipped.

A bad row among good ones is skipped with a reason; a source without a good row is an error. Only `hub:` uses the network.
"""

import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from interplay.data import emotions, tables
from interplay.data.forms import FORMS, GOEMOTIONS, choose_form, row_from
from interplay.data.rows import Row
from interplay.data.tables import Record, Table, Unreadable, kind_of, name_of, stem_of
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
    """The rows of a source in its order, those left out, and the names of the labels if the rows have labels."""

    rows: tuple[Row, ...]
    skipped: tuple[Skipped, ...]
    labels: tuple[str, ...] | None


def read_rows(
    source: str | Path,
    form: str = "auto",
    *,
    columns: Mapping[str, str] | None = None,
    template: PromptTemplate = _DEFAULT_TEMPLATE,
    split: str | None = None,
) -> ReadResult:
    """Rows from `source`, each one's text in the user turn of `template`.

    Args:
        source: a path to .jsonl, .json, .csv, .tsv (also .gz) or .parquet; a folder with one such file named after `split`;
            `emotions` or `emotions:SPLIT` (embedded); `hub:OWNER/NAME[/CONFIG][@REVISION][:SPLIT]`.
        form: one of `FORM_NAMES`; auto looks at the columns.
        columns: the name here of a form's column: `{"text": "sentence"}`; any form may have `id` and `words`, input variables
            that a row names.

    A row's id is its own `id` if it has one, else the file's name and its line; ids are made unique with a suffix.

    Errors: InterplayError naming the source, what was found and what was expected.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "mood.csv"
    >>> _ = path.write_text("text,label\\nSo sad,grief\\nYay,\\n")
    >>> result = read_rows(path)
    >>> result.rows[0].id, result.rows[0].target, result.labels, result.skipped
    ('mood-2', 'grief', ('grief',), (Skipped(id='mood-3', reason="line 3: 'label' is empty"),))
    """
    columns, name, labels = columns or {}, str(source), None
    if isinstance(source, str) and name.startswith("hub:"):
        table, labels, name = _read_hub(name, split, columns)
        stem = name.rpartition("/")[2]
    else:
        if isinstance(source, str) and name.partition(":")[0] == "emotions":
            path, labels = emotions.path(_one_split(name, name.partition(":")[2], split)), emotions.LABELS
        else:
            path = _find_file(Path(source), split)
        name, stem = name_of(path), stem_of(path)
        published = form == "goemotions" and kind_of(path) == ".tsv"
        if published or (form == "auto" and tables.looks_like_goemotions(path)):
            table, labels = tables.read_goemotions(path)
            form, columns = "text-labels", {}
        else:
            table = tables.read_table(path)
    return rows_of_table(table, name, stem, form, columns, template, labels)


def rows_of_table(
    table: Table,
    name: str,
    stem: str,
    form: str = "auto",
    columns: Mapping[str, str] | None = None,
    template: PromptTemplate = _DEFAULT_TEMPLATE,
    labels: tuple[str, ...] | None = None,
) -> ReadResult:
    """`read_rows` of a table in memory; `name` names it in errors, `stem` in the ids of rows without one."""
    columns = columns or {}
    unreadable = [f"{place}: {record.reason}" for place, record in table if isinstance(record, Unreadable)]
    if len(unreadable) == len(table):
        raise InterplayError(f"{name}: none of {len(table)} rows can be read; {unreadable[0]}")
    chosen, located = choose_form(form, tables.columns_of(table), columns, name)
    rows: list[Row] = []
    skipped: list[Skipped] = []
    used: dict[str, int] = {}
    several = 0
    for place, record in table:
        labelled = record.get(located["labels"]) if "labels" in located and isinstance(record, dict) else None
        if isinstance(labelled, (list, tuple)) and len(labelled) > 1:
            several += 1
            continue
        row_id = _unique(_own_id(record, columns.get("id", "id")) or f"{stem}-{place.split()[-1]}", used)
        try:
            if isinstance(record, Unreadable):
                raise SkipSample(record.reason)
            rows.append(row_from(record, chosen, located, template, row_id))
        except SkipSample as reason:
            skipped.append(Skipped(row_id, f"{place}: {reason}"))
    if several:
        skipped.append(Skipped(stem, f"{several} rows with more than one label"))
    if not rows:
        raise InterplayError(f"{name}: none of {len(table)} rows can be used; {skipped[0].reason}")
    if labels is None and (found := {row.label for row in rows if row.label is not None}):
        labels = GOEMOTIONS if chosen.name == "goemotions" and found <= set(GOEMOTIONS) else tuple(sorted(found))
    return ReadResult(tuple(rows), tuple(skipped), labels)


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


def _find_file(path: Path, split: str | None) -> Path:
    """The file itself, or in a folder the one named after the split."""
    if path.is_dir():
        files = tables.data_files(path)
        chosen = [file for file in files if stem_of(file) == split]
        if len(chosen) == 1:
            return chosen[0]
        raise InterplayError(
            f"{name_of(path)}: is a folder holding {tables.listed(files)}; give one file, or the split it is named after"
        )
    if not path.exists():
        hint = f"give a file ending in {', '.join(tables.SUFFIXES)}, 'emotions' or 'hub:owner/name'"
        raise InterplayError(f"{name_of(path)}: no such file; {hint}")
    if split is not None:
        raise InterplayError(f"{name_of(path)}: a file has no splits; given split {short(split)}: leave it out")
    return path


def _one_split(source: str, named: str | None, split: str | None) -> str:
    """The split that the source or the caller names; train if neither does."""
    if named and split and named != split:
        raise InterplayError(f"two splits are given: {short(source)} and split {short(split)}; give one")
    return named or split or "train"


_HUB = re.compile(
    r"hub:(?P<name>\w[\w.-]*/\w[\w.-]*)(?:/(?P<config>\w[\w.-]*))?(?:@(?P<revision>[\w./-]+))?"
    r"(?::(?P<split>\w[\w.-]*))?"
)


def _read_hub(source: str, split: str | None, columns: Mapping[str, str]) -> tuple[Table, tuple[str, ...] | None, str]:
    """The records of a hub data set with classes by name, the classes of its label column, and the data set's name."""
    match = _HUB.fullmatch(source)
    if match is None:
        raise InterplayError(f"expected hub:owner/name[/config][@revision][:split]; given {short(source)}")
    split, name = _one_split(source, match["split"], split), match["name"]
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
    label, labels = columns.get("label", "label"), columns.get("labels", "labels")
    return table, classes.get(label) or classes.get(labels), f"hub:{name}"


def dataset_table(data: Any, limit: int | None = None) -> tuple[Table, dict[str, tuple[str, ...]]]:
    """The first `limit` records of a datasets.Dataset, classes by name; and the names of each class column."""
    # A class, or a list of classes, which holds its class feature as `feature`.
    features = {column: getattr(feature, "feature", feature) for column, feature in data.features.items()}
    classes = {column: tuple(f.names) for column, f in features.items() if hasattr(f, "names")}
    table: Table = []
    for number, row in enumerate(islice(data, limit), start=1):
        record = dict(row)
        for column, names in classes.items():
            record[column] = _class_names(record.get(column), names)
        table.append((f"row {number}", record))
    return table, classes


def _class_names(value: Any, names: tuple[str, ...]) -> Any:
    """A class, or each of a list, by its number; -1 stands for "no label"."""
    if isinstance(value, list):
        return [_class_names(part, names) for part in value]
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None
