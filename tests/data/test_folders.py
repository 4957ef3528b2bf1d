"""Folders as `datasets`, the hub and other tools leave them, the names of classes, and files that are not read."""

import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from interplay.data.sources import read_rows
from interplay.data.splits import data_settings, source_files
from interplay.data.tables import classes_in
from interplay.errors import InterplayError

NAMES = ["joy", "fear"]
TEXTS = ["We won", "It is dark", "They sang", "He ran"]


def table(texts=TEXTS, labels=(0, 1, 0, 1), column="label"):
    return pa.table({"text": list(texts), column: list(labels)[: len(texts)]})


@pytest.fixture
def saved(tmp_path):
    """A DatasetDict by `save_to_disk`: train in two files, test in one."""
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=NAMES)})
    whole = datasets.Dataset.from_dict({"text": TEXTS, "label": [0, 1, 0, -1]}, features=features)
    folder = tmp_path / "saved"
    both = datasets.DatasetDict({"train": whole, "test": whole.select(range(2))})
    both.save_to_disk(str(folder), num_shards={"train": 2, "test": 1})
    return folder


def test_save_to_disk(saved):
    result = read_rows(f"{saved}:train")
    assert [(row.text, row.target) for row in result.rows] == list(zip(TEXTS[:3], ["joy", "fear", "joy"], strict=True))
    assert result.labels == ("joy", "fear")
    assert [skip.reason for skip in result.skipped] == ["data-00001-of-00002.arrow: row 2: no 'label'"]
    assert [row.id for row in result.rows] == [
        "data-00000-of-00002-1",
        "data-00000-of-00002-2",
        "data-00001-of-00002-1",
    ]
    assert read_rows(saved / "train") == result, "one split is a folder of its own"
    assert read_rows(saved / "train" / "data-00000-of-00002.arrow").rows[1].target == "fear"
    with pytest.raises(InterplayError, match="found test, train: give FOLDER:SPLIT, or one file"):
        read_rows(saved)


def test_settings_of_a_saved_folder(saved):
    assert data_settings(str(saved)) == {"file": None, "train": str(saved), "eval": str(saved), "prompts": str(saved)}
    for part, split in (("train", "train"), ("eval", "test"), ("prompts", "test")):
        assert source_files(str(saved), part) == source_files(f"{saved}:{split}")
        assert read_rows(saved, part=part) == read_rows(f"{saved}:{split}")
    for one in (str(saved / "train"), f"{saved}:train"):
        assert data_settings(one) == {"file": one, "train": None, "eval": None, "prompts": None}


@pytest.mark.parametrize(
    "names",
    [
        ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"],
        ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
        ["data/train-00000-of-00002-b513d9e388d56453.parquet", "data/train-00001-of-00002-0123456789abcdef.parquet"],
        ["train/0000.parquet", "train/0001.parquet"],
        ["train-9.parquet", "train-10.parquet"],
    ],
)
def test_shards_in_order(tmp_path, names):
    for at, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pq.write_table(table(TEXTS[2 * at : 2 * at + 2]), tmp_path / name)
    (tmp_path / "README.md").write_text("# A data set\n")
    assert [row.text for row in read_rows(f"{tmp_path}:train").rows] == TEXTS
    held_out = tmp_path / ("" if "train/" in names[0] else names[0].rpartition("/")[0]) / "validation.parquet"
    pq.write_table(table(TEXTS[:1]), held_out)
    assert set(data_settings(str(tmp_path)).values()) == {None, str(tmp_path)}
    assert source_files(str(tmp_path), "train") == [tmp_path / name for name in names]
    assert source_files(str(tmp_path), "eval") == source_files(str(tmp_path), "prompts") == [held_out]
    with pytest.raises(InterplayError, match=r"found .*validation.*: give FOLDER:SPLIT, or one file"):
        read_rows(tmp_path)


def test_folders_of_configurations_are_named(tmp_path):
    for name in ("raw", "simplified"):
        (tmp_path / name).mkdir()
        pq.write_table(table(), tmp_path / name / "train-00000-of-00001.parquet")
    with pytest.raises(
        InterplayError, match="found no data file but in its folders raw, simplified: give FOLDER:SPLIT"
    ):
        read_rows(tmp_path)
    assert len(read_rows(tmp_path / "raw").rows) == 4


def test_dataset_folder_cases(real):
    for folder, split, count in (("flat", "train", 32), ("hubdir", "train", 16), ("saved_ds", "saved_ds", 16)):
        path = real(f"cases/c20-dataset-folders/{folder}")
        result = read_rows(f"{path}:{split}")
        assert (len(result.rows), result.rows[0].target) == (count, "joy")
    assert read_rows(path) == result
    hub = real("cases/c20-dataset-folders/hubdir")
    assert read_rows(hub, part="prompts").rows[0].id == "test-00000-of-00001-1"
    assert data_settings(str(hub))["train"] == str(hub)


# ---- names of classes ----------------------------------------------------------------------------------------------------

CLASS = {"names": NAMES, "_type": "ClassLabel"}


@pytest.mark.parametrize(
    ("feature", "column", "labels"),
    [
        (CLASS, "label", [0, 1, -1, 1]),
        ({"feature": CLASS, "_type": "Sequence"}, "labels", [[0], [1], [], [1]]),
        ({"feature": CLASS, "_type": "List"}, "labels", [[0], [1], [0, 1], [1]]),
    ],
)
def test_class_names_in_a_parquet(tmp_path, feature, column, labels):
    info = {"info": {"features": {"text": {"dtype": "string", "_type": "Value"}, column: feature}}}
    written = table(TEXTS, labels, column).replace_schema_metadata({"huggingface": json.dumps(info)})
    pq.write_table(written, tmp_path / "a.parquet")
    result = read_rows(tmp_path / "a.parquet")
    assert [row.target for row in result.rows] == ["joy", "fear", "fear"]
    assert result.labels == ("joy", "fear")
    assert len(result.skipped) == 1


README = """---
license: mit
dataset_info:
- config_name: default
  features:
  - name: text
    dtype: string
  - name: label
    dtype:
      class_label:
        names:
          '0': joy
          '1': fear
---
# Moods
"""
BESIDE = {
    "README.md": README,
    "dataset_info.json": json.dumps({"features": {"label": CLASS}}),
    "dataset_infos.json": json.dumps({"default": {"features": {"label": CLASS}}}),
}


@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.parametrize("folder", ["", "data"])
def test_class_names_beside_a_file(tmp_path, name, folder):
    (tmp_path / name).write_text(BESIDE[name])
    (tmp_path / folder).mkdir(exist_ok=True)
    path = tmp_path / folder / "train.csv"
    path.write_text("text,label\nWe won,0\nIt is dark,1.0\nThey sang,joy\nHe ran,-1\n")
    result = read_rows(path)
    assert [row.target for row in result.rows] == ["joy", "fear", "joy"]
    assert result.labels == ("joy", "fear")


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"alpaca": {"file_name": "a.json"}}', "---\na: [\n---\n"])
def test_documents_of_other_programs_say_nothing(tmp_path, text):
    for name in BESIDE:
        (tmp_path / name).write_text(text)
    (tmp_path / "a.csv").write_text("text,label\nWe won,0\n")
    assert read_rows(tmp_path / "a.csv").labels == ("0",)


def test_two_configurations_that_name_a_column_differently():
    other = {"features": {"label": {**CLASS, "names": ["up", "down"]}}}
    assert classes_in({"a": {"features": {"label": CLASS}}, "b": other}) == {}
    assert classes_in(
        [{"features": {"label": CLASS}}, {"features": [{"name": "label", "dtype": {"class_label": CLASS}}]}]
    ) == {"label": ("joy", "fear")}


def test_classlabel_case(real):
    result = read_rows(real("cases/c16-classlabel-parquet/classlabel.parquet"))
    assert result.labels == ("joy", "sadness", "anger", "fear")
    assert result.rows[1].target == "sadness"


# ---- files that are not read, and files under another name -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.xlsx", b"PK", r"""convert it: python -c "import pandas, sys; pandas.read_excel\(sys.argv\[1\]\).*lines=True\)" \S+a.xlsx"""),
        ("a.jsonl.zst", b"(", r"convert it: zstd -d \S+a.jsonl.zst"),
        ("my rows.zip", b"PK", r"convert it: unzip '\S+my rows.zip'"),
        ("a.txt", b"hello", "or .gz., with columns of text"),
        ("a.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer.*git lfs pull"),
        ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
        ("a.arrow", b"ARROW1 torn", "cannot be read as arrow"),
    ],
)  # fmt: skip
def test_what_helps_with_a_file_that_cannot_be_read(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InterplayError) as error:
        read_rows(tmp_path / name)
    assert re.search(said, str(error.value)), error.value
    assert "\n" not in str(error.value)


def test_json_lines_under_the_names_that_people_give_them(tmp_path):
    lines = '{"text": "We won", "label": "joy"}\n{"text": "It is dark", "label": "fear"}\n'
    for name in ("a.json", "a.ndjson", "a.jsonl"):
        (tmp_path / name).write_text(lines)
        assert [row.id for row in read_rows(tmp_path / name).rows] == ["a-1", "a-2"]


def test_arrow_files_of_other_programs(tmp_path):
    path = tmp_path / "a.arrow"
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table().schema) as writer:
        writer.write_table(table())
    assert [row.target for row in read_rows(path).rows] == ["0", "1", "0", "1"]
