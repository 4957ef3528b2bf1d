"""Settings, data files and templates that are built to hurt: what came out once stays refused in one line."""

import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interplay.config.loading import load_settings, override
from interplay.config.settings import Settings
from interplay.data.sources import FORM_NAMES, read_rows
from soak.patterns import ROWS
from soak.strategies import SCALARS, VALUES, YAML_SCALARS, as_yaml, records, yaml_texts
from soak.targets import SMALL, read_data, target
from soak.watch import fate

FEW = settings(derandomize=True, database=None, suppress_health_check=list(HealthCheck))
COLUMNS = tuple(sorted({key for rows in ROWS.values() for row in rows for key in row}))


def one_line(call) -> str:
    said = fate(call)
    assert said is not None
    return said


# ---- settings -------------------------------------------------------------------------------------------------------------


@FEW
@given(yaml_texts(tuple(Settings.model_fields)))
def test_settings_of_any_kind_are_read_or_refused_in_one_line(text):
    assert target("settings")(text.encode("utf-8", "surrogatepass")) != ""


@FEW
@given(st.sampled_from(tuple(Settings.model_fields)), st.sampled_from(("", ".n", ".x.y", ".name")), YAML_SCALARS)
def test_assignments_of_any_kind_are_read_or_refused_in_one_line(section, key, value):
    assert target("assignment")(f"{section}{key}={value}".encode()) != ""


@FEW
@given(st.data())
def test_every_setting_of_the_wrong_type_is_refused_in_one_line(data):
    section = data.draw(st.sampled_from(tuple(Settings.model_fields)))
    value = data.draw(VALUES)
    said = fate(lambda: load_settings({**SMALL, section: value}))
    assert said is None or "settings" in said or section in said


@pytest.mark.parametrize(
    "value",
    ["!!int ''", "!!float ''", "!!bool maybe", "!!timestamp x", "0001-01-01T00:00:00+23:59", "9:59:59:59:59" * 200],
)
def test_values_that_pyyaml_stumbles_over_are_refused(value, tmp_path):
    (tmp_path / "s.yaml").write_text(f"name: {value}\n")
    said = one_line(lambda: load_settings(tmp_path / "s.yaml"))
    assert "settings" in said
    assert override({}, f"name={value}")["name"]  # on the command line it is a text


# ---- data files -----------------------------------------------------------------------------------------------------------


@FEW
@given(records(COLUMNS), st.sampled_from((".json", ".jsonl")), st.sampled_from(FORM_NAMES))
def test_rows_of_any_kind_are_read_skipped_or_refused(tmp_path_factory, rows, suffix, form):
    content = json.dumps(rows) if suffix == ".json" else "\n".join(json.dumps(row) for row in rows)
    folder = tmp_path_factory.mktemp("rows")
    said = fate(lambda: read_data(folder, suffix, form, content.encode()))
    assert said is None or said.isprintable()


CELL = st.text(alphabet='ab,"\n\r\t\0 =é\u2028\ufeff', max_size=8)


@FEW
@given(
    st.lists(st.lists(CELL, max_size=4).map(",".join), max_size=6),
    st.sampled_from(("utf-8", "utf-8-sig", "utf-16", "latin-1")),
    st.sampled_from((".csv", ".tsv", ".csv.gz")),
)
def test_csv_of_any_kind_is_read_skipped_or_refused(tmp_path_factory, lines, encoding, suffix):
    content = "\n".join(["text,label" if suffix != ".tsv" else "text\tlabel", *lines]).encode(encoding, "replace")
    content = gzip.compress(content) if suffix.endswith(".gz") else content
    folder = tmp_path_factory.mktemp("csv")
    said = fate(lambda: read_data(folder, suffix, "auto", content))
    assert said is None or said.isprintable()


ODD_COLUMNS = {
    "a zone that nobody knows": pa.array([0], pa.timestamp("us", tz="Mars/Olympus")),
    "a date beyond the calendar": pa.array([1 << 62], pa.timestamp("us")),
    "bytes": pa.array([b"\xff"]),
    "half a character": pa.array([b"\xc3"]).view(pa.utf8()),
    "a list of structs": pa.array([[{"role": None}]]),
    "a struct": pa.array([{"a": 1}]),
    "nothing": pa.nulls(1),
    "a dictionary": pa.array(["x"]).dictionary_encode(),
    "half precision": pa.array([1.5], pa.float64()),
    "a duration": pa.array([1 << 62], pa.duration("s")),
    "a decimal": pa.array([None], pa.decimal128(38, 0)),
    "a map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
}


@pytest.mark.matrix(12)
@pytest.mark.parametrize("kind", ODD_COLUMNS)
@pytest.mark.parametrize("column", ["text", "label", "id", "words"])
def test_parquet_columns_of_any_type_are_skipped_or_refused(tmp_path, kind, column):
    table = pa.table({"text": ["We laughed"], "label": ["joy"]})
    names = {name: table[name] for name in table.column_names} | {column: ODD_COLUMNS[kind]}
    sink = io.BytesIO()
    pq.write_table(pa.table(names), sink)
    said = fate(lambda: read_data(tmp_path, ".parquet", "text-label", sink.getvalue()))
    assert said is None or "rows.parquet" in said


def test_parquet_with_one_name_twice_is_refused(tmp_path):
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"]), pa.array(["c"])], names=["text", "text", "label"])
    pq.write_table(table, tmp_path / "a.parquet")
    said = one_line(lambda: read_rows(tmp_path / "a.parquet"))
    assert "a.parquet" in said
    assert "Multiple matches for FieldRef.Name(text)" in said


def test_a_folder_that_looks_like_a_partition_adds_no_column(tmp_path):
    folder = tmp_path / "label=joy"
    folder.mkdir()
    pq.write_table(pa.table({"text": ["We laughed"]}), folder / "a.parquet")
    assert "found the columns 'text'" in one_line(lambda: read_rows(folder / "a.parquet"))


# ---- templates ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "template",
    [
        "{{ 1 // 0 }}", "{{ 10 ** 400 * 1.5 }}", "{{ messages[9].content }}", "{{ 'x' * -1 }}", "{{ messages.nothing.more }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ ''.__class__.__mro__ }}", "{{ raise_exception('two\nlines') }}",
        "{% include 'x' %}", "{% for i in range(10 ** 9) %}x{% endfor %}", "{{", "{{ messages | attr('__class__') }}",
    ],
)  # fmt: skip
def test_a_chat_template_that_fails_in_any_way_skips_the_row(template):
    said = target("chat template")(template.encode())
    assert said is not None
    assert "chat template" in said


@FEW
@given(SCALARS.map(as_yaml), SCALARS.map(as_yaml))
def test_a_prompt_template_is_text_and_nothing_else(before, after):
    said = target("prompt template")(f"{before}{{text}}{after}".encode())
    assert said is None or "{text} exactly once" in said or "special token" in said
