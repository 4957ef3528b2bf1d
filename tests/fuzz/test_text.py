"""Settings, data files and templates that are built to hurt: what came out once stays refused in one line."""

import base64
import gzip
import io
import json
import os
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import interplay.data.tables
from interplay.bounded import read_json
from interplay.data.sources import FORM_NAMES, read_rows
from interplay.data.words import short
from interplay.runs.loading import load_settings
from interplay.runs.reading import override, read_yaml
from interplay.runs.settings import Settings
from soak.patterns import ROWS, rows_file
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


def test_numbers_that_python_cannot_write_out_are_refused(tmp_path):
    (tmp_path / "s.yaml").write_text("seed: 0x" + "f" * 5000)
    assert "more than 300 digits" in one_line(lambda: load_settings(tmp_path / "s.yaml"))
    assert "more than 300 digits" in one_line(lambda: load_settings(SMALL, ["seed=0x" + "f" * 5000]))
    assert short(16**5000) == "'a int of thousands of digits'"


def test_settings_larger_than_any_are_not_read(tmp_path):
    (tmp_path / "s.yaml").write_text("name: " + "x" * (1 << 21))
    assert "larger than" in one_line(lambda: read_yaml(tmp_path / "s.yaml"))
    os.mkfifo(tmp_path / "pipe.yaml")
    assert "no regular file" in one_line(lambda: read_yaml(tmp_path / "pipe.yaml"))
    (tmp_path / "endless.yaml").symlink_to("/dev/zero")
    assert "no regular file" in one_line(lambda: read_yaml(tmp_path / "endless.yaml"))


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
    assert "two columns have the same name" in one_line(lambda: read_rows(tmp_path / "a.parquet"))


def test_a_folder_that_looks_like_a_partition_adds_no_column(tmp_path):
    folder = tmp_path / "label=joy"
    folder.mkdir()
    pq.write_table(pa.table({"text": ["We laughed"]}), folder / "a.parquet")
    assert "found the columns 'text'" in one_line(lambda: read_rows(folder / "a.parquet"))


def test_what_unfolds_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(interplay.data.tables, "MAX_BYTES", 1000)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b" " * 100_000))
    assert "unfolds to more than 1000 bytes" in one_line(lambda: read_rows(tmp_path / "a.jsonl.gz"))
    (tmp_path / "a.jsonl").write_bytes(b" " * 1001)
    assert "larger than 1000 bytes" in one_line(lambda: read_rows(tmp_path / "a.jsonl"))
    monkeypatch.setattr(interplay.data.tables, "MAX_BYTES", 1 << 20)
    text = pa.array(["x" * 1000] * 3000).dictionary_encode()
    pq.write_table(pa.table({"text": text, "label": text}), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 10_000
    monkeypatch.setattr(interplay.data.tables, "MAX_ROWS", 2999)
    assert "more than 2999 rows" in one_line(lambda: read_rows(tmp_path / "a.parquet"))
    for suffix in (".jsonl", ".json", ".csv"):
        (tmp_path / f"b{suffix}").write_bytes(rows_file(ROWS["text-label"] * 1500, suffix))
        assert "more than 2999 rows" in one_line(lambda suffix=suffix: read_rows(tmp_path / f"b{suffix}"))


def test_a_parquet_bomb_is_stopped_while_it_unfolds(tmp_path, monkeypatch):
    monkeypatch.setattr(interplay.data.tables, "MAX_BYTES", 1 << 20)
    pq.write_table(pa.table({"text": ["x" * 1000] * 3000, "label": ["y"] * 3000}), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 20_000
    assert "unfolds to more than" in one_line(lambda: read_rows(tmp_path / "a.parquet"))


# A column's histogram of repetition levels is longer than its levels: pyarrow ends the process when it is asked for that column.
DAMAGED_FOOTER = (
    "c-oDWzi-n}5XYaNgA>}QY9rp0jXZd%)gdh;G!a59&!KGs=`SPHA7XJFD~&|sV7qaefsv7sk(rU1fr*JffdTOcFflUm&W@9`F+Wbx"
    "<@~+#=iT|@hzHCpkqlWPg(krS6%fkGB0}h?bx9B@5L)E&GLeX+R?(WsWf|Pc3a`1TVeYXYV8jtB(GtYc<^oSN0xh(Bt!1@SNDI@f"
    "JQJsI=UPh#ia-+65tQ6c5Q}Ts7*W)^K?){2PRU6yk5iskkSzK3nR9ND93uHuEH8F@e&Ai$LD%iAqNd8LBRy-oy}%g;vs%t`{Jz`s"
    "omufl=z48`tWd0|N>fKF$tx8kEh|^}1XE03(bs}r)pOUkq7?bOi10oU9}1&~R8k~GN6`N)Flj7;y%*>QLH{D?Z-l?^W}bd4l|C79"
    "+UpOjf5O)n^}pT5PbY%C73e!b|0U|5#Xs$9p8E4!LZu%w6ze(qHG>pY&NI{8KY9@FQvQzbfQ8Ipj2*Jro-oFR4%=p|!)l#KGkC!+"
    "1U1GQkud!p-&(UFIsx}661Tve9YlOy@+{)-OzLAZAgs3s_PIHNYa8mTBkt}4VmpEu;e;0(G-X_#9`A*%a%FTH;c7OFQvTO@klWcC"
    "w0h<Xr+&zWP(NfaYy-OI`Q7nh$xVh~P7WQ<8(9;abyOL(>yJw(_so8)yb1ZO+4GRB^)2t^g%hmX{r<Y;d2Xl;9M9)JYpq<}xVuqO"
    ";0>63kjvkA_>cMxUPbCC"
)


def test_a_footer_that_ends_the_process_elsewhere_is_an_error_here(tmp_path):
    (tmp_path / "a.parquet").write_bytes(zlib.decompress(base64.b85decode(DAMAGED_FOOTER)))
    assert "histogram size mismatch" in one_line(lambda: read_rows(tmp_path / "a.parquet"))


@pytest.mark.parametrize("shape", ["text", "messages", "numbers"])
def test_one_long_text_that_every_row_names_is_counted_before_it_is_unfolded(tmp_path, monkeypatch, shape):
    unfolded = []
    honest = pq.ParquetFile.iter_batches

    def batches(file, size, **options):
        if size > 1:  # one row is read before anything is believed
            unfolded.append(size)
        return honest(file, size, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", batches)
    monkeypatch.setattr(interplay.data.tables, "MAX_BYTES", 1 << 24)
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 1024, pa.int32()), pa.array(["happy " * 200_000]))
    turns = pa.ListArray.from_arrays(pa.array(range(1025), pa.int32()), long)
    many = pa.ListArray.from_arrays(pa.array([0, 5_000_000], pa.int32()), pa.array(np.zeros(5_000_000)))
    table = {"text": {"text": long}, "messages": {"messages": turns}, "numbers": {"x": many}}[shape]
    pq.write_table(pa.table(table), tmp_path / "a.parquet", compression="zstd", dictionary_pagesize_limit=2**31 - 1)
    assert (tmp_path / "a.parquet").stat().st_size < 10_000
    assert "unfolds to more than" in one_line(lambda: read_rows(tmp_path / "a.parquet"))
    assert not unfolded


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv.gz", "a.parquet"])
def test_pipes_and_devices_are_no_data_files(tmp_path, name):
    os.mkfifo(tmp_path / name)
    assert "no regular file" in one_line(lambda: read_rows(tmp_path / name))
    (tmp_path / f"z{name}").symlink_to("/dev/zero")
    assert "no regular file" in one_line(lambda: read_rows(tmp_path / f"z{name}"))


def test_json_nested_beyond_reason_is_a_value_error(tmp_path):
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        read_json(tmp_path / "a.json")


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
