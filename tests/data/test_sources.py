"""Every form from files, what is skipped, and what is refused with one line."""

import gzip
import json
import pickle
import socket
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interplay.data.sources import FORM_NAMES, Skipped, read_rows
from interplay.data.tables import kind_of
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a file source must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def write(tmp_path):
    def write_file(name, content):
        path = tmp_path / name
        if isinstance(content, list):
            lines = [item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in content]
            content = "\n".join(lines) + "\n"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


def reasons(result):
    return [skip.reason for skip in result.skipped]


TWO = [{"text": "So sad", "label": "grief"}, {"text": "Yay", "label": "joy"}]
AS_FILES = {
    "a.jsonl": "".join(json.dumps(row) + "\n" for row in TWO),
    "a.json": json.dumps(TWO),
    "a.csv": "text,label\nSo sad,grief\nYay,joy\n",
    "a.tsv": "text\tlabel\r\nSo sad\tgrief\r\nYay\tjoy\r\n",
}


@pytest.mark.parametrize("name", AS_FILES)
@pytest.mark.parametrize("wrap", ["plain", "bom", "gz"])
@pytest.mark.parametrize("form", ["auto", "text-label"])
def test_text_label_in_every_container(write, name, wrap, form):
    data = AS_FILES[name].encode()
    path = write(name, data) if wrap == "plain" else write(name, b"\xef\xbb\xbf" + data)
    if wrap == "gz":
        path = write(name + ".gz", gzip.compress(data, mtime=0))
    result = read_rows(path, form, template=PromptTemplate(template="Comment: {text}!"))
    assert [(row.text, row.target, row.label) for row in result.rows] == [
        ("So sad", "grief", "grief"),
        ("Yay", "joy", "joy"),
    ]
    assert result.rows[0].messages[-1].content == "Comment: So sad!"
    assert result.rows[0].text_start == 9
    assert result.labels == ("grief", "joy")
    assert result.skipped == ()
    assert result.rows[0].id == ("a-1" if ".json" in name else "a-2")
    assert read_rows(str(path), form) == read_rows(path, form)


def test_parquet(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["So sad", None, "Yay"], "label": ["grief", "x", "joy"], "id": [7, 8, 9]}), path)
    result = read_rows(path)
    assert [row.id for row in result.rows] == ["7", "9"]
    assert result.skipped == (Skipped("8", "row 2: no 'text'"),)
    turns = [[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]]
    pq.write_table(pa.table({"messages": turns}), path)
    assert read_rows(path).rows[0].target == "yo"


@pytest.mark.parametrize(
    ("record", "form", "text", "target"),
    [
        ({"prompt": "Why?", "completion": "So."}, "prompt-completion", "Why?", "So."),
        ({"question": "1+1", "answer": 2}, "prompt-completion", "1+1", "2"),
        ({"prompt": "Why?", "answer": "So."}, "dolly", "Why?", "So."),
        ({"instruction": "Why?", "context": "", "response": "So.", "category": "qa"}, "dolly", "Why?", "So."),
        ({"instruction": "Why?", "context": "A sky.", "response": "So."}, "dolly", "Why?\n\nA sky.", "So."),
        ({"instruction": "Why?", "input": "A sky.", "output": "So."}, "alpaca", "Why?\nA sky.", "So."),
        ({"instruction": "Why?", "context": None, "response": "So."}, "dolly", "Why?", "So."),
    ],
)
def test_auto_finds_the_form(write, record, form, text, target):
    path = write("a.jsonl", [record])
    for name in ("auto", form):
        row = read_rows(path, name).rows[0]
        assert (row.text, row.target, row.messages[-1].content, row.label) == (text, target, text, None)


ALPACA = "Below is an instruction that describes a task{}. Write a response that completes it.\n\n### Instruction:\n{}\n\n### Response:"


@pytest.mark.parametrize(
    ("middle", "text"),
    [("Why?", "Why?"), ("Why?\n\n### Input:\nA sky.\n\nBlue.", "Why?\n\nA sky.\n\nBlue.")],
)
def test_dolly_in_the_alpaca_frame_is_unwrapped(write, middle, text):
    path = write("a.jsonl", [{"prompt": ALPACA.format(", paired", middle), "answer": "So."}])
    assert read_rows(path).rows[0].text == text


def test_lawbench_words_come_from_the_question(write):
    path = write("a.json", json.dumps([{"instruction": "选出答案。", "question": "张某犯罪", "answer": "A"}]))
    row = read_rows(path, template=PromptTemplate(template="[{text}]")).rows[0]
    assert (row.messages[-1].content, row.text, row.text_start) == ("[选出答案。\n\n张某犯罪]", "张某犯罪", 8)


def turn(role, content):
    return {"role": role, "content": content}


def test_messages(write):
    turns = [turn("system", "S"), turn("user", "a"), turn("assistant", "b"), turn("user", "c"), turn("assistant", "d")]
    path = write("a.jsonl", [{"messages": [*turns, turn("user", "left out")]}])
    row = read_rows(path, template=PromptTemplate(system="mine", template="Q: {text}", few_shot=(("x", "y"),))).rows[0]
    assert [(m.role, m.content) for m in row.messages] == [
        ("system", "S"),
        ("user", "a"),
        ("assistant", "b"),
        ("user", "Q: c"),
    ]
    assert (row.text, row.text_start, row.target) == ("c", 3, "d")
    path = write("a.jsonl", [{"messages": turns[3:]}, {"messages": turns[1:]}])
    rows = read_rows(path, template=PromptTemplate(system="mine")).rows
    assert [m.role for m in rows[0].messages] == ["system", "user"]
    assert [m.content for m in rows[1].messages] == ["mine", "a", "b", "c"]


def test_conversational_prompt_completion(write):
    record = {"prompt": [turn("user", "hi")], "completion": [turn("assistant", "yo")]}
    row = read_rows(write("a.jsonl", [record])).rows[0]
    assert (row.text, row.target) == ("hi", "yo")


GOOD = {
    "text-label": TWO[0],
    "messages": {"messages": [turn("user", "a"), turn("assistant", "b")]},
    "prompt-completion": {"prompt": "a", "completion": "b"},
    "dolly": {"instruction": "a", "response": "b"},
}


@pytest.mark.parametrize(
    ("form", "bad", "reason"),
    [
        ("text-label", {"text": "x"}, "no 'label'"),
        ("text-label", {"text": None, "label": "x"}, "no 'text'"),
        ("text-label", {"text": " \n", "label": "x"}, "'text' is empty"),
        ("text-label", {"text": "x", "label": ""}, "'label' is empty"),
        ("text-label", {"text": ["x"], "label": "x"}, "'text' is list, expected text"),
        ("text-label", {"text": "x", "label": {}}, "'label' is dict, expected text"),
        ("text-label", {"text": "a\0b", "label": "x"}, "'text' holds a NUL character or half a surrogate pair"),
        ("text-label", '{"text": "\\ud800", "label": "x"}', "'text' holds a NUL character or half a surrogate pair"),
        ("text-label", '{"text": "x", "label"', "broken JSON: Expecting ':' delimiter: line 1 column 22 (char 21)"),
        ("text-label", "[" * 100_000, None),
        ("text-label", '{"text": 1' + "0" * 5000 + "}", None),
        ("text-label", "[1]", "expected a JSON object, found list"),
        ("messages", {"messages": "x"}, None),
        ("messages", {"messages": [turn("user", "x")]}, None),
        ("messages", {"messages": [turn("assistant", "x")]}, None),
        ("messages", {"messages": [{"role": 1}]}, None),
        ("messages", {"messages": [turn("user", [{}]), turn("assistant", "b")]}, "'text' is NoneType, expected text"),
        ("prompt-completion", {"prompt": [], "completion": "b"}, None),
        ("prompt-completion", {"prompt": [], "completion": []}, None),
        ("dolly", {"instruction": "a", "context": "c"}, "no 'response'"),
    ],
)
def test_a_bad_row_is_skipped_and_named(write, form, bad, reason):
    path = write("a.jsonl", [GOOD[form], "", bad, GOOD[form]])
    result = read_rows(path, form)
    assert len(result.rows) == 2
    assert [skip.id for skip in result.skipped] == ["a-3"]
    said = reasons(result)[0]
    assert said.startswith("line 3: ")
    assert said.isprintable()
    assert len(said) < 300
    if reason is not None:
        assert said == f"line 3: {reason}"


@pytest.mark.parametrize(
    ("name", "content", "form", "said"),
    [
        ("a.jsonl", b"", "auto", "the file is empty"),
        ("a.jsonl", b" \n\n", "auto", "the file is empty"),
        ("a.csv", b"text,label\n", "auto", "holds no rows"),
        ("a.json", b"[]", "auto", "holds no rows"),
        ("a.json", b'{"text": "x"}', "auto", "expected a list of objects, found dict"),
        ("a.json", b'[{"text": "x"}', "auto", "broken JSON: Expecting ',' delimiter"),
        ("a.jsonl", b'{"text": "\xff"}', "auto", "byte 10 is not UTF-8"),
        ("a.jsonl", b"not json\n", "auto", "none of 1 rows can be read; line 1: broken JSON"),
        ("a.jsonl", b'{"foo": 1, "bar": 2}', "auto", "found the columns 'foo', 'bar'; form 'auto' expects"),
        (
            "a.jsonl",
            b'{"text": "x"}',
            "text-label",
            "found the columns 'text'; form 'text-label' expects 'text', 'label'",
        ),
        ("a.tsv", b"fine\t3\tx1", "goemotions", "needs the label names in emotions.txt"),
        ("a.jsonl", b'{"text": "x"}', "goemotions", "form 'goemotions' expects 'text', 'labels' or 'text', 'label'"),
        ("a.jsonl", b'{"text": "x"}', "sharegpt", "form must be one of auto, messages"),
        ("a.jsonl", b'{"text": "x", "label": "y"}', "unilaw", "expects 'instruction', 'input', 'output'"),
        ("a.jsonl", b'{"text": "x", "label": ""}', "auto", "none of 1 rows can be used; line 1: 'label' is empty"),
        ("a.csv", b'text,label\n"x,joy\ny,joy\n', "auto", "line 2: a quote is never closed"),
        ("a.csv", b"text,text\nx,y\n", "auto", "two columns have the same name"),
        ("a.jsonl.gz", b"not gzip", "auto", "cannot be read"),
        ("a.jsonl.gz", gzip.compress(b"x" * 99, mtime=0)[:-9], "auto", "cannot be read"),
        ("a.parquet", b"PAR1 nothing", "auto", "cannot be read as parquet"),
        ("a.txt", b"hello", "auto", "expected a file ending in .jsonl"),
        ("a.pkl", pickle.dumps([1]), "auto", "expected a file ending in .jsonl"),
    ],
)
def test_a_bad_file_is_one_line(write, name, content, form, said):
    path = write(name, content)
    with pytest.raises(InterplayError) as error:
        read_rows(path, form)
    message = str(error.value)
    assert said in message
    assert message.isprintable()
    if "form must be" not in message:
        assert name in message


def test_csv_corner_cases(write):
    text = 'id,text,label\n1,"two\nlines, and ""quotes""",joy\n2,"a"b,joy\n3,x\n\n4,=1+1,joy\n5,nul\0,joy\n6,y,joy\n'
    result = read_rows(write("a.csv", text))
    assert [(row.id, row.text) for row in result.rows] == [("1", 'two\nlines, and "quotes"'), ("4", "=1+1"), ("6", "y")]
    assert [reason.split(":")[0] for reason in reasons(result)] == ["line 4", "line 5", "line 8"]
    assert "2 cells where the header has 3" in reasons(result)[1]
    big = "y" * 300_000  # over the csv module's own limit, which stays as it was
    import csv

    before = csv.field_size_limit()
    assert read_rows(write("b.csv", f"text,label\n{big},joy\n")).rows[0].text == big
    assert csv.field_size_limit() == before


def test_json_lines_are_cut_at_newlines_only(write):
    path = write("a.jsonl", ['{"text": "one\u2028two\x85three", "label": "joy"}', TWO[1]])
    assert [row.text for row in read_rows(path).rows] == ["one\u2028two\x85three", "Yay"]


def test_ids_are_own_or_made_and_always_unique(write):
    ids = ["../../x", "../../x", 5, "5", "", None, True, "x\0", "y" * 500, "../../x-2"]
    result = read_rows(write("a.jsonl", [{**TWO[0], "id": value} for value in ids]))
    found = [row.id for row in result.rows]
    assert found == ["../../x", "../../x-2", "5", "5-2", "a-5", "a-6", "a-7", "a-8", "a-9", "../../x-2-2"]
    other = read_rows(write("b.jsonl", [{**TWO[0], "key": "k"}]), columns={"id": "key"})
    assert other.rows[0].id == "k"


@given(st.lists(st.sampled_from(["a", "a-2", "a-2-2", "b"]), min_size=1, max_size=12))
@settings(deadline=None, derandomize=True)
def test_any_ids_become_unique(tmp_path_factory, ids):
    path = tmp_path_factory.mktemp("ids") / "a.jsonl"
    path.write_text("".join(json.dumps({**TWO[0], "id": value}) + "\n" for value in ids))
    found = [row.id for row in read_rows(path).rows]
    assert len(set(found)) == len(ids)
    assert all(new.startswith(old) for new, old in zip(found, ids, strict=True))


def test_columns(write):
    path = write("a.jsonl", [{"sentence": "So sad", "emotion": "grief", "text": "no", "label": "no"}])
    columns = {"text": "sentence", "label": "emotion"}
    for form in ("auto", "text-label"):
        row = read_rows(path, form, columns=columns).rows[0]
        assert (row.text, row.target) == ("So sad", "grief")
    with pytest.raises(InterplayError, match=r"columns must map one of.*given 'texts'"):
        read_rows(path, columns={"texts": "sentence"})
    with pytest.raises(InterplayError, match="'text-label' expects 'missing', 'label'"):
        read_rows(path, "text-label", columns={"text": "missing"})


def test_folders_and_splits(write, tmp_path):
    write("dev.jsonl", TWO)
    write("train.csv", AS_FILES["a.csv"])
    assert read_rows(f"{tmp_path}:train").rows[0].id == read_rows(tmp_path, part="train").rows[0].id == "train-2"
    assert read_rows(tmp_path, part="prompts").rows[0].id == "dev-1"
    for source in (tmp_path, f"{tmp_path}:test"):
        with pytest.raises(InterplayError, match="found dev, train: give FOLDER:SPLIT, or one file"):
            read_rows(source)
    with pytest.raises(InterplayError, match="no such file"):
        read_rows(f"{tmp_path / 'dev.jsonl'}:dev")
    with pytest.raises(InterplayError, match="no such file"):
        read_rows(tmp_path / "nothing.jsonl")
    with pytest.raises(InterplayError, match="no such file"):
        read_rows("emotion")


# ---- GoEmotions ----------------------------------------------------------------------------------------------------------


def test_goemotions(write):
    write("emotions.txt", "anger\njoy\nneutral\n")
    lines = [
        '"Quoted" text \t1\tc1',
        "both\t0,1\tc2",
        "bad id\t3\tc3",
        "no id\t\tc4",
        "\t1\tc5",
        "two cells\t1",
        "plain\t2\tc1",
        "more\t2\tc6",
        "most\t2\tc7",
    ]
    path = write("train.tsv", "\n".join(lines) + "\n")
    result = read_rows(path)
    assert result == read_rows(path, "goemotions")
    assert [(row.id, row.text, row.target) for row in result.rows] == [
        ("c1", '"Quoted" text ', "joy"),
        ("c1-2", "plain", "neutral"),
        ("c6", "more", "neutral"),
        ("c7", "most", "neutral"),
    ]
    assert result.labels == ("anger", "joy", "neutral")
    assert result.skipped[-1] == Skipped("train", "1 rows with more than one label")
    assert [reason.split(":")[0] for reason in reasons(result)[:-1]] == ["line 3", "line 4", "line 5", "line 6"]


def test_real_goemotions(real):
    result = read_rows(f"{real('data/goemotions')}:dev")
    assert len(result.rows) == 4548
    assert result.skipped == (Skipped("dev", "878 rows with more than one label"),)
    assert result.labels is not None
    assert len(result.labels) == 28
    assert result.rows[0].target == "neutral"
    assert all(row.label in result.labels for row in result.rows)


def test_real_dolly(real):
    rows = read_rows(real("data/dolly/litgpt_dolly_12.json")).rows
    assert len(rows) == 12
    assert rows[0].text.startswith("When did Virgin Australia start operating?\n\nVirgin Australia, the trading name")
    rows = read_rows(real("data/dolly/triforce_dolly_151.jsonl")).rows
    assert len(rows) == 151
    assert not any("###" in row.text or "Below is an" in row.text for row in rows)


def test_real_lawbench(real):
    rows = read_rows(real("data/lawbench/1-2.json")).rows
    assert len(rows) == 500
    assert not any("正确的答案，并写在" in row.text for row in rows)
    assert all(row.messages[-1].content.startswith("请你运用法律知识") for row in rows)


def test_real_gsm8k(real):
    assert len(read_rows(real("data/gsm8k/test.jsonl")).rows) > 50


# ---- the embedded set, the hub -------------------------------------------------------------------------------------------


def test_emotions_by_split():
    assert read_rows("emotions") == read_rows("emotions:train") != read_rows("emotions:dev")
    with pytest.raises(InterplayError, match="has the splits train, dev, test, ood; given 'valid'"):
        read_rows("emotions:valid")


def test_embedded_emotions():
    emotions = pytest.importorskip("interplay.data.emotions")
    for split in emotions.SPLITS:
        result = read_rows(f"emotions:{split}")
        assert result.skipped == ()
        assert result.labels == tuple(emotions.LABELS)
        assert {row.label for row in result.rows} <= set(result.labels)


@pytest.fixture
def hub(monkeypatch):
    calls = []

    class ClassLabel(SimpleNamespace):
        pass

    class Data(list):
        features: dict = {}  # noqa: RUF012
        column_names = ("text", "label")

    def load_dataset(name, config=None, **kwargs):
        calls.append((name, config, kwargs))
        if name == "no/net":
            raise ConnectionError("Couldn't reach the hub\nwith a long traceback")
        joys = ClassLabel(names=["joy", "grief"])
        if config == "several":
            data = Data(
                [{"text": "So sad", "labels": [1]}, {"text": "Yay", "labels": [0]}, {"text": "?", "labels": [0, 1]}]
            )
            data.features = {"text": None, "labels": SimpleNamespace(feature=joys)}
            data.column_names = ("text", "labels", "id")
            return data
        data = Data([{"text": "So sad", "label": 1}, {"text": "Yay", "label": 0}, {"text": "?", "label": -1}])
        data.features = {"text": None, "label": joys}
        return data

    stand_in: Any = ModuleType("datasets")
    stand_in.__spec__, stand_in.disable_progress_bars = object(), lambda: None
    stand_in.ClassLabel, stand_in.load_dataset = ClassLabel, load_dataset
    monkeypatch.setitem(sys.modules, "datasets", stand_in)
    return calls


def test_hub(hub):
    result = read_rows("hub:own-er/na.me/cfg@refs/pr/1:test")
    assert hub == [("own-er/na.me", "cfg", {"split": "test", "revision": "refs/pr/1"})]
    assert [(row.id, row.target) for row in result.rows] == [("na.me-1", "grief"), ("na.me-2", "joy")]
    assert result.labels == ("joy", "grief")
    assert reasons(result) == ["row 3: no 'label'"]
    read_rows("hub:a/b")
    assert hub[1] == ("a/b", None, {"split": "train", "revision": None})
    with pytest.raises(InterplayError, match=r"hub:no/net: cannot be loaded \(split train\): Couldn't reach the hub$"):
        read_rows("hub:no/net")
    for bad in ("hub:", "hub:name", "hub:a/b/c/d", "hub:a b/c", "hub:../../etc"):
        with pytest.raises(InterplayError):
            read_rows(bad)


@pytest.mark.parametrize("form", ["auto", "text-labels", "goemotions"])
def test_hub_lists_of_labels(hub, form):
    result = read_rows("hub:a/b/several:validation", form)
    assert hub == [("a/b", "several", {"split": "validation", "revision": None})]
    assert [(row.text, row.target, row.label) for row in result.rows] == [
        ("So sad", "grief", "grief"),
        ("Yay", "joy", "joy"),
    ]
    assert result.labels == ("joy", "grief")
    assert reasons(result) == ["1 rows with more than one label"]


def test_hub_splits(hub):
    read_rows("hub:a/b@v1:test")
    read_rows("hub:a/b:test")
    assert hub == [("a/b", None, {"split": "test", "revision": r}) for r in ("v1", None)]
    with pytest.raises(InterplayError, match="expected hub:owner"):
        read_rows("hub:a/b:test[:5]")


def test_goemotions_ids_and_names_in_any_container(write):
    rows = [
        {"text": "x1", "labels": [27], "id": "a"},
        {"text": "x2", "labels": ["joy"]},
        {"text": "x3", "labels": [28]},
    ]
    rows += [{"text": "x4", "labels": []}, {"text": "x5", "labels": [0, 1]}, {"text": "x6", "labels": 2}]
    path = write("a.jsonl", rows)
    result = read_rows(path, "goemotions")
    assert [(row.id, row.target) for row in result.rows] == [("a", "neutral"), ("a-2", "joy"), ("a-6", "anger")]
    assert (len(result.labels or ()), (result.labels or ())[0]) == (28, "admiration")
    assert reasons(result) == [
        "line 3: label id 28 is none of 0..27",
        "line 4: 0 labels where one is expected",
        "1 rows with more than one label",
    ]
    with pytest.raises(InterplayError, match="4 of 6 rows cannot be used; line 1: label id 27 has no name; line 3"):
        read_rows(path)  # an id is an emotion only where that is said
    assert [row.target for row in read_rows(write("b.csv", AS_FILES["a.csv"].encode()), "goemotions").rows] == [
        "grief",
        "joy",
    ]


UNILAW = [
    {
        "instruction": "请回答。",
        "input": "甲欠乙货款，乙如何主张？",
        "output": "<think>\n先看合同。\n</think>\n<answer>起诉</answer>",
    },
    {"instruction": "张三盗窃后自首，如何处罚？", "input": "", "output": "可以从轻。"},
    {"instruction": "请回答。", "input": "丙醉驾", "output": "<think>无结尾"},
]


def test_unilaw(write):
    path = write("law.json", json.dumps(UNILAW, ensure_ascii=False).encode())
    rows = read_rows(path, "unilaw").rows
    assert [row.text for row in rows] == ["甲欠乙货款，乙如何主张？", "张三盗窃后自首，如何处罚？", "丙醉驾"]
    assert rows[0].messages[-1].content == "请回答。\n\n甲欠乙货款，乙如何主张？"
    assert rows[0].text_start == 6
    assert [row.target for row in rows] == [row["output"] for row in UNILAW]
    assert [row.target for row in read_rows(path, "unilaw-answer").rows] == ["起诉", "可以从轻。", "<think>无结尾"]
    assert read_rows(path).rows[0].text == "请回答。\n甲欠乙货款，乙如何主张？", (
        "by its columns alone it is read as alpaca"
    )


def test_rows_may_name_their_words(write):
    rows = [
        {"text": "not a good day", "label": "a", "words": ["not", " good "]},
        {"text": "very bad, no?", "label": "b", "words": '["very bad", "no"]'},
        {"text": "so so", "label": "a", "words": "so，so"},
        {"text": "fine", "label": "b", "words": 3},
        {"text": "fine", "label": "b", "words": [1]},
        {"text": "fine", "label": "b", "words": ""},
        {"text": "fine", "label": "b"},
    ]
    path = write("a.jsonl", rows)
    expected = [("not", "good"), ("very bad", "no"), ("so", "so"), None, None, None, None]
    assert [row.words for row in read_rows(path).rows] == expected
    named = write("b.jsonl", [{"text": r["text"], "label": r["label"], "spans": r.get("words")} for r in rows])
    assert [row.words for row in read_rows(named, columns={"words": "spans"}).rows] == expected
    assert {row.words for row in read_rows(named).rows} == {None}
    with pytest.raises(InterplayError, match="found the columns"):
        read_rows(path, columns={"words": "spans"})


def test_names():
    known = ("messages", "lawbench", "alpaca", "dolly", "prompt-completion", "text-label", "text-labels")
    assert ("auto", *known, "goemotions", "unilaw", "unilaw-answer") == FORM_NAMES
    assert [kind_of(p) for p in map(Path, ["a.tar.gz", "a.csv.GZ", "jsonl"])] == ["", ".csv", ""]
