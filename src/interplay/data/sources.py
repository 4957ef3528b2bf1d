"""Sources: where rows come from (a file, the embedded emotions, a hub data set), and what was skipped on the way.

One bad row among good ones is skipped with a reason that names it; a file whose rows are all bad is an error. Nothing here
knows a tokenizer, and only a source that begins with `hub:` uses the network.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from interplay.data.forms import FORMS, GOEMOTIONS, choose_form, row_from
from interplay.data.rows import Row
from interplay.data.tables import SUFFIXES, Broken, Place, Table, kind_of, name_of, read_table, read_text, stem_of
from interplay.data.template import PromptTemplate
from interplay.data.words import ascii_safe, short
from interplay.errors import InterplayError, SkipSample
from interplay.extras import require
from interplay.secrets import redact

FORM_NAMES = ("auto", *FORMS)
_DEFAULT_TEMPLATE = PromptTemplate()
_ID_LIMIT = 200


class Skipped(NamedTuple):
    """A row that was left out, and why ("line 17: no 'completion'")."""

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
    limit: int | None = None,
) -> ReadResult:
    """Rows from `source`, each one's text in the user turn of `template`.

    `source`: a path to .jsonl, .json, .csv, .tsv (also .gz) or .parquet; a folder with one such file named after `split`;
    `emotions` or `emotions:SPLIT` (embedded); `hub:OWNER/NAME[/CONFIG][@REVISION][:SPLIT]`.
    `form`: one of `FORM_NAMES`, or auto, which looks at the columns. `columns` maps a form's column to the name it has here:
    `{"text": "sentence"}`; any form may have `id` and `words`, the words a row names as input variables. `limit`: the first so many good rows.

    A row's id is its own `id` if it has one, else the file's name and its line; ids are made unique with a suffix.

    Errors: InterplayError naming the source, what was found and what was expected.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "mood.csv"
    >>> _ = path.write_text("text,label\\nSo sad,grief\\nYay,\\n")
    >>> result = read_rows(path)
    >>> result.rows[0].id, result.rows[0].target, result.labels, result.skipped
    ('mood-2', 'grief', ('grief',), (Skipped(id='mood-3', reason="line 3: 'label' is empty"),))
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise InterplayError(f"limit must be a whole number from 1 on, or null; given {short(limit)}")
    if form not in FORM_NAMES:
        raise InterplayError(f"form must be one of {', '.join(FORM_NAMES)}; given {short(form)}")
    columns = dict(columns or {})
    name = str(source)
    if isinstance(source, str) and name.startswith("hub:"):
        table, labels, name = _hub(name, split, columns)
        return rows_of_table(table, name, name.rpartition("/")[2], form, columns, template, limit, labels)
    labels = None
    if isinstance(source, str) and (name == "emotions" or name.startswith("emotions:")):
        path, labels = _emotions(name, split)
    else:
        path = _file(Path(source), split)
    if (form == "goemotions" and kind_of(path) == ".tsv") or (form == "auto" and _looks_like_goemotions(path)):
        return _goemotions(path, template, limit)
    return rows_of_table(read_table(path), name_of(path), stem_of(path), form, columns, template, limit, labels)


def rows_of_table(
    table: Table,
    source: str,
    stem: str,
    form_name: str = "auto",
    columns: Mapping[str, str] | None = None,
    template: PromptTemplate = _DEFAULT_TEMPLATE,
    limit: int | None = None,
    labels: tuple[str, ...] | None = None,
) -> ReadResult:
    """`read_rows` of a table in memory; `source` names it in errors, `stem` in the ids of rows without one."""
    columns = columns or {}
    broken = [(place, record) for place, record in table.records if isinstance(record, Broken)]
    if len(broken) == len(table.records):
        place, record = broken[0]
        raise InterplayError(f"{source}: none of {len(table.records)} rows can be read; {place}: {record.reason}")
    form, located = choose_form(form_name, table.columns, columns, source)
    table, many = _one_label(table, located.get("labels"))
    id_column = columns.get("id", "id")

    def parts() -> Iterator[tuple[str, Place, Callable[[str], Row]]]:
        for place, record in table.records:
            own = _own_id(record.get(id_column)) if isinstance(record, dict) else None
            yield own or f"{stem}-{place.number}", place, lambda row_id, record=record: _row(record, row_id)

    def _row(record: dict[str, Any] | Broken, row_id: str) -> Row:
        if isinstance(record, Broken):
            raise SkipSample(record.reason)
        return row_from(record, form, located, template, row_id)

    rows, skipped = _collect(parts(), limit)
    skipped += many_labels(stem, many)
    if not rows:
        raise InterplayError(f"{source}: none of {len(table.records) + many} rows can be used; {skipped[0].reason}")
    if form.name in ("text-label", "text-labels", "goemotions") and labels is None:
        found = {row.target for row in rows}
        labels = GOEMOTIONS if form.name == "goemotions" and found <= set(GOEMOTIONS) else tuple(sorted(found))
    return ReadResult(rows, skipped, labels)


def _one_label(table: Table, column: str | None) -> tuple[Table, int]:
    """The table without the records whose list of labels is longer than one, and how many those were."""
    if column is None:
        return table, 0

    def several(record: dict[str, Any] | Broken) -> bool:
        value = record.get(column) if isinstance(record, dict) else None
        return isinstance(value, (list, tuple)) and len(value) > 1

    kept = tuple((place, record) for place, record in table.records if not several(record))
    return Table(table.columns, kept), len(table.records) - len(kept)


def many_labels(stem: str, count: int) -> tuple[Skipped, ...]:
    """One note for all rows with more than one label: they are the data set's, not the task's."""
    return (Skipped(stem, f"{count} rows with more than one label"),) if count else ()


def _collect(
    parts: Iterable[tuple[str, Place, Callable[[str], Row]]], limit: int | None
) -> tuple[tuple[Row, ...], tuple[Skipped, ...]]:
    """Rows and skipped ones, ids unique over both, until `limit` good rows are found."""
    rows: list[Row] = []
    skipped: list[Skipped] = []
    used: dict[str, int] = {}
    for wanted, place, build in parts:
        if limit is not None and len(rows) == limit:
            break
        row_id = _unique(wanted, used)
        try:
            rows.append(build(row_id))
        except SkipSample as reason:
            skipped.append(Skipped(row_id, f"{place}: {reason}"))
    return tuple(rows), tuple(skipped)


def _unique(wanted: str, used: dict[str, int]) -> str:
    """`wanted`, or with the first free suffix -2, -3, ...; `used` counts each id, so that a million equal ones stay quick."""
    row_id, count = wanted, used.get(wanted, 0)
    while row_id in used:
        count += 1
        row_id = f"{wanted}-{count}"
    used[wanted] = max(count, 1)
    used.setdefault(row_id, 1)
    return row_id


def _own_id(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    text = str(value)
    usable = text.strip() and len(text) <= _ID_LIMIT and not re.search("[\0\ud800-\udfff]", text)
    return text if usable else None


def _file(path: Path, split: str | None) -> Path:
    """The file itself, or in a folder the one named after the split."""
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if kind_of(p) and p.is_file())
        chosen = [p for p in files if stem_of(p) == split]
        if len(chosen) == 1:
            return chosen[0]
        names = ", ".join(name_of(Path(p.name)) for p in files[:12]) or "no data file"
        raise InterplayError(
            f"{name_of(path)}: is a folder holding {names}; give one file, or the split it is named after"
        )
    if not path.exists():
        raise InterplayError(
            f"{name_of(path)}: no such file; give a file ending in {', '.join(SUFFIXES)}, 'emotions' or 'hub:owner/name'"
        )
    if split is not None:
        raise InterplayError(f"{name_of(path)}: a file has no splits; given split {short(split)}: leave it out")
    return path


# ---- the embedded data set ----------------------------------------------------------------------------------------------


def _emotions(source: str, split: str | None) -> tuple[Path, tuple[str, ...]]:
    from interplay.data import emotions

    named = source.partition(":")[2]
    if named and split and named != split:
        raise InterplayError(f"two splits are given: {short(source)} and split {short(split)}; give one")
    chosen = named or split or "train"
    if chosen not in emotions.SPLITS:
        raise InterplayError(f"emotions has the splits {', '.join(emotions.SPLITS)}; given {short(chosen)}")
    return Path(emotions.path(chosen)), tuple(emotions.LABELS)


# ---- GoEmotions ---------------------------------------------------------------------------------------------------------

_LABEL_IDS = re.compile(r"\d+(,\d+)*")


def _looks_like_goemotions(path: Path) -> bool:
    if kind_of(path) != ".tsv" or not (path.parent / "emotions.txt").is_file():
        return False
    cells = read_text(path).split("\n", 1)[0].rstrip("\r").split("\t")
    return len(cells) == 3 and _LABEL_IDS.fullmatch(cells[1]) is not None


def _goemotions(path: Path, template: PromptTemplate, limit: int | None) -> ReadResult:
    """Text, label ids, comment id; no header, no quoting. Rows with more than one label are the format's, not the task's."""
    names_path = path.parent / "emotions.txt"
    if not names_path.is_file():
        raise InterplayError(f"{name_of(path)}: form 'goemotions' needs the label names in emotions.txt next to it")
    labels = tuple(line.strip() for line in read_text(names_path).split("\n") if line.strip())
    text = read_text(path)
    many = 0

    def parts() -> Iterator[tuple[str, Place, Callable[[str], Row]]]:
        nonlocal many
        for number, line in enumerate(text.split("\n"), start=1):
            cells = line.rstrip("\r").split("\t")
            if not line.strip():
                continue
            if len(cells) == 3 and "," in cells[1] and _LABEL_IDS.fullmatch(cells[1]):
                many += 1
                continue
            own = _own_id(cells[2]) if len(cells) == 3 else None
            yield (
                own or f"{stem_of(path)}-{number}",
                Place("line", number),
                lambda row_id, cells=cells: _row(cells, row_id),
            )

    def _row(cells: list[str], row_id: str) -> Row:
        if len(cells) != 3:
            raise SkipSample(f"{len(cells)} cells, expected text, label ids, comment id")
        if not _LABEL_IDS.fullmatch(cells[1]) or len(cells[1]) > 4 or int(cells[1]) >= len(labels):
            raise SkipSample(f"label id {short(cells[1], 20)} is none of 0..{len(labels) - 1}")
        record = {"text": cells[0], "label": labels[int(cells[1])]}
        return row_from(record, FORMS["text-label"], {"text": "text", "label": "label"}, template, row_id)

    rows, skipped = _collect(parts(), limit)
    skipped += many_labels(stem_of(path), many)
    if not rows:
        raise InterplayError(f"{name_of(path)}: none of its rows can be used; {skipped[0].reason}")
    return ReadResult(rows, skipped, labels)


# ---- the hub ------------------------------------------------------------------------------------------------------------

_HUB = re.compile(
    r"hub:(?P<name>\w[\w.-]*/\w[\w.-]*)(?:/(?P<config>\w[\w.-]*))?(?:@(?P<revision>[\w./-]+))?"
    r"(?::(?P<split>\w[\w.-]*))?"
)


def _hub(source: str, split: str | None, columns: Mapping[str, str]) -> tuple[Table, tuple[str, ...] | None, str]:
    match = _HUB.fullmatch(source)
    if match is None:
        raise InterplayError(
            f"a hub data set is written hub:owner/name[/config][@revision][:split]; given {short(source)}"
        )
    if match["split"] and split and match["split"] != split:
        raise InterplayError(f"two splits are given: {short(source)} and split {short(split)}; give one")
    split = match["split"] or split
    require("datasets", what=f"a data set from the hub ({short(source)})", otherwise="give a file")
    import datasets

    name = match["name"]
    datasets.disable_progress_bars()
    try:
        data = datasets.load_dataset(name, match["config"], split=split or "train", revision=match["revision"])
    except Exception as error:  # the hub's client raises some thirty kinds, and none of them may end in a traceback
        said = ascii_safe(redact(str(error).strip().split("\n")[0]))[:200] or type(error).__name__
        raise InterplayError(f"hub:{name}: cannot be loaded (split {split or 'train'}): {said}") from None
    table, classes = dataset_table(data)
    if not table.records:
        raise InterplayError(f"hub:{name}: the split {split or 'train'} holds no rows")
    named = (columns.get("label", "label"), columns.get("labels", "labels"))
    return table, next((classes[column] for column in named if column in classes), None), f"hub:{name}"


def dataset_table(data: Any, limit: int | None = None) -> tuple[Table, dict[str, tuple[str, ...]]]:
    """The first `limit` records of a datasets.Dataset, classes by name; and the names of each class column."""
    # A class, or a list of classes, which holds its class feature as `feature`.
    features = {column: getattr(feature, "feature", feature) for column, feature in data.features.items()}
    classes = {column: tuple(f.names) for column, f in features.items() if hasattr(f, "names")}
    records = []
    for number, record in enumerate(islice(data, limit), start=1):
        record = dict(record)
        for column, names in classes.items():
            value = record.get(column)
            if isinstance(value, int):
                record[column] = _class(value, names)
            elif isinstance(value, list):
                record[column] = [_class(v, names) for v in value]
        records.append((Place("row", number), record))
    return Table(tuple(data.column_names), tuple(records)), classes


def _class(value: Any, names: tuple[str, ...]) -> str | None:
    """A class by its number; -1 stands for "no label"."""
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None
