"""One file in three parts, and three files found in a folder."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interplay.data.rows import Message, Row
from interplay.data.splits import data_settings, source_files, split_rows
from interplay.errors import InterplayError


def rows_of(texts):
    return [Row(f"r{i}", (Message("user", text),), "x", text, 0) for i, text in enumerate(texts)]


TEXTS = st.lists(st.sampled_from([f"text {i}" for i in range(40)]), min_size=3, max_size=80).filter(
    lambda texts: len(set(texts)) >= 3
)


@given(TEXTS, st.integers(0, 5))
@settings(derandomize=True)
def test_every_row_is_on_one_side_and_no_text_on_two(texts, seed):
    rows = rows_of(texts)
    parts = split_rows(rows, seed)
    assert sorted(row.id for part in parts for row in part) == sorted(row.id for row in rows)
    sides = [{row.text for row in part} for part in parts]
    assert all(sides)
    assert sum(map(len, sides)) == len(set(texts))
    for part in parts:
        assert list(part) == [row for row in rows if row in part], "in the order of the source"


def test_a_text_spelt_another_way_is_the_same_text():
    texts = ["I'm so happy!", "im so  HAPPY", "I'm so happy 😊", "another", "a third", "किताब", "कताब", "?!", "..."]
    for seed in range(20):
        parts = split_rows(rows_of(texts), seed)
        side = {row.text: i for i, part in enumerate(parts) for row in part}
        assert side[texts[0]] == side[texts[1]] == side[texts[2]]
    assert len({tuple(len(part) for part in split_rows(rows_of(texts[5:]), seed)) for seed in range(20)}) > 1, (
        "four texts"
    )


def test_shares_and_that_a_file_may_grow():
    rows = rows_of(f"row {i}" for i in range(3000))
    parts = split_rows(rows, 0)
    assert [round(len(part) / 3000, 1) for part in parts] == [0.8, 0.1, 0.1]
    few = split_rows(rows[:2000], 0)
    for small, large in zip(few, parts, strict=True):
        assert set(small) <= set(large)
    shuffled = rows[:]
    random.Random(0).shuffle(shuffled)
    assert [set(part) for part in split_rows(shuffled, 0)] == [set(part) for part in parts]
    assert split_rows(rows, 1) != parts


def test_the_same_text_with_other_space_is_the_same():
    rows = rows_of(["a b", " a b\n", "c", "d"])
    [side] = [part for part in split_rows(rows, 0) if rows[0] in part]
    assert rows[1] in side


@pytest.mark.parametrize("texts", [[], ["a"], ["a", "b"], ["a", "a", "b", "b "]])
def test_too_few_texts(texts):
    with pytest.raises(
        InterplayError, match=rf"three different texts at least, found {len({t.strip() for t in texts})}:"
    ):
        split_rows(rows_of(texts), 0)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train.tsv", "dev.tsv", "test.tsv", "emotions.txt"], ["train.tsv", "dev.tsv", "test.tsv"]),
        (["Train.CSV", "Validation.CSV"], ["Train.CSV", "Validation.CSV", "Validation.CSV"]),
        (["train.jsonl.gz", "test.jsonl"], ["train.jsonl.gz", "test.jsonl", "test.jsonl"]),
        (
            [f"{part}-00000-of-00001.parquet" for part in ("test", "train", "validation")],
            [f"{part}-00000-of-00001.parquet" for part in ("train", "validation", "test")],
        ),
        (["go_train.json", "go_valid.json", "go_test.json"], ["go_train.json", "go_valid.json", "go_test.json"]),
        (["train.json", "train_extra.json", "eval.json"], ["train.json", "eval.json", "eval.json"]),
        (["train.json", "val.json", "dev.json"], ["train.json", "dev.json", "dev.json"]),
    ],
)
def test_splits_of_a_folder_by_name(tmp_path, names, expected):
    for name in names:
        (tmp_path / name).write_text("x")
    found = data_settings(str(tmp_path))
    assert found == {"file": None, "train": str(tmp_path), "eval": str(tmp_path), "prompts": str(tmp_path)}
    assert [source_files(str(tmp_path), part) for part in ("train", "eval", "prompts")] == [
        [tmp_path / name] for name in expected
    ]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], r"found no data file, none for train \(train, training\): give FOLDER:SPLIT"),
        (
            ["train.csv", "more.csv"],
            r"found more, train, none for eval \(dev, validation, valid, val, eval, test\): give",
        ),
        (["constrain.csv", "latest.csv"], "found constrain, latest, none for train"),
        (["train-a.csv", "train-b.csv", "test.csv"], "2 splits could be train .train-a, train-b.: keep one"),
        (["train.csv", "train.json", "test.csv"], "2 files could be train .train.csv, train.json.: keep one"),
        (["train-00000-of-00002.csv", "test.csv"], "1 of 2 files of 'train' are there: add the rest"),
    ],
)
def test_a_folder_is_refused_in_one_line(tmp_path, names, said):
    for name in names:
        (tmp_path / name).write_text("x")
    with pytest.raises(InterplayError, match=said) as error:
        data_settings(str(tmp_path))
    assert "\n" not in str(error.value)


def test_data_settings(tmp_path: Path):
    one = tmp_path / "all.csv"
    one.write_text("text,label\n")
    assert data_settings(str(one)) == {"file": str(one), "train": None, "eval": None, "prompts": None}
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "dev.csv").write_text("text,label\n")
    assert data_settings(str(tmp_path / "folder"))["file"] == str(tmp_path / "folder"), "one split is cut"
    with pytest.raises(InterplayError, match=r"nowhere: no such file; give a file ending in"):
        data_settings(str(tmp_path / "nowhere"))
