"""Columns and conversations as other tools write them: ShareGPT, content parts, tools, Alpaca, pandas, columns beside."""

import json
import math

import pytest

from interplay.data.sources import read_rows, rows_of_table
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError


def rows_of(*records, form="auto", **options):
    return rows_of_table(
        [(f"row {i}", record) for i, record in enumerate(records, start=1)], "it", "it", form, **options
    )


def turns_of(row):
    return [(message.role, message.content) for message in row.messages]


def turn(role, content, **more):
    return {"role": role, "content": content, **more}


def said(who, value):
    return {"from": who, "value": value}


CHAT = [turn("user", "a"), turn("assistant", "b")]
LABELLED = {"text": "x", "label": "y"}


# ---- conversations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["messages", "conversations", "conversation"])
@pytest.mark.parametrize("as_json", [False, True])
def test_sharegpt(column, as_json):
    turns = [
        said("system", "S"),
        said("human", "a"),
        said("gpt", "b"),
        said("human", "c"),
        said("gpt", "d"),
        said("human", "e"),
    ]
    [row] = rows_of({column: json.dumps(turns) if as_json else turns}).rows
    assert turns_of(row) == [("system", "S"), ("user", "a"), ("assistant", "b"), ("user", "c")]
    assert (row.text, row.target) == ("c", "d")


def test_both_kinds_of_turns_with_gaps_as_parquet_has_them():
    turns = [
        {**said("human", "a"), "role": None, "content": None},
        {**turn("assistant", "b"), "from": None, "value": None},
    ]
    [row] = rows_of({"conversations": turns}).rows
    assert (row.text, row.target) == ("a", "b")


def test_sharegpt_cases(real):
    for name in ("sharegpt", "conv_openai"):
        result = read_rows(real(f"cases/c18-sharegpt/{name}.jsonl"))
        assert (len(result.rows), result.skipped) == (16, ())
        assert turns_of(result.rows[1]) == [("user", "My old dog died yesterday and the house feels empty")]
        assert result.rows[1].target == "sadness"


def test_text_parts_stand_one_behind_the_other():
    parts = [{"type": "text", "text": "I am ", "image_url": None}, {"type": "text", "text": "glad"}]
    [row] = rows_of({"messages": [turn("user", parts), turn("assistant", [{"type": "text", "text": "joy"}])]}).rows
    assert (row.text, row.target) == ("I am glad", "joy")


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([turn("user", [{"type": "image_url", "image_url": {}}]), CHAT[1]], "turn 1 of 'messages' holds a part of type 'image_url'"),
        ([CHAT[0], turn("assistant", None, tool_calls=[{"id": 1}]), turn("tool", "5"), CHAT[1]], "turn 2 of 'messages' calls a tool"),
        ([CHAT[0], turn("assistant", "", function_call={"name": "f"})], "turn 2 of 'messages' calls a tool"),
        ([*CHAT, turn("tool", None), *CHAT], "turn 3 of 'messages' calls a tool or holds its answer"),
        ([said("human", "a"), said("function_call", "{}"), said("observation", "5"), said("gpt", "b")], "turn 2 of"),
        ([turn("user", None), CHAT[1]], "turn 1 of 'messages' has no content"),
        ([CHAT[0], turn("assistant", None)], "turn 2 of 'messages' has no content"),
        ([CHAT[0], turn("assistant", "")], "the last assistant turn is empty"),
        ([CHAT[1], CHAT[1]], "'messages' needs an assistant turn right behind a user turn"),
        ([{"speaker": "a", "text": "b"}], "must hold objects with 'role' and 'content', or 'from' and 'value'"),
        ("not a list", "'messages' is str, expected a list of messages"),
    ],
)  # fmt: skip
def test_a_conversation_that_no_prompt_can_hold_is_skipped(turns, reason):
    result = rows_of({"messages": turns}, {"messages": [*CHAT, turn("user", "left out")]})
    assert [row.target for row in result.rows] == ["b"]
    [skip] = result.skipped
    assert skip.reason.startswith("row 1: ")
    assert reason in skip.reason


# ---- instruction and input -----------------------------------------------------------------------------------------------

ALPACA = {"instruction": "Name the mood.", "input": "We won", "output": "joy"}


@pytest.mark.parametrize(
    ("record", "form", "join", "text"),
    [
        (ALPACA, "auto", None, "Name the mood.\nWe won"),
        (ALPACA, "dolly", None, "Name the mood.\n\nWe won"),
        (ALPACA, "auto", "\n\n### Input:\n", "Name the mood.\n\n### Input:\nWe won"),
        ({**ALPACA, "input": ""}, "auto", " | ", "Name the mood."),
        ({**ALPACA, "instruction": ""}, "auto", None, "We won"),
        ({"instruction": "Name the mood.", "context": "We won", "response": "joy"}, "auto", None, "Name the mood.\n\nWe won"),
        ({"instruction": "Name the mood.", "input": "We won", "response": "joy"}, "alpaca", None, None),
    ],
)  # fmt: skip
def test_each_form_joins_as_its_trainers_do(record, form, join, text):
    if text is None:
        with pytest.raises(InterplayError, match="form 'alpaca' expects 'instruction', 'output'"):
            rows_of(record, form=form)
    else:
        assert rows_of(record, form=form, join=join).rows[0].text == text


def test_a_join_without_anything_to_join():
    with pytest.raises(InterplayError, match="form 'text-label' joins no columns"):
        rows_of(LABELLED, join="\n")


def test_alpaca_case(real):
    row = read_rows(real("cases/c12-alpaca-join/alpaca.jsonl")).rows[0]
    assert row.text == (
        "Classify the emotion of the sentence.\nThe wedding dinner tonight made everyone laugh and cheer loudly"
    )


# ---- columns beside ------------------------------------------------------------------------------------------------------


def test_system_and_history_of_alpaca():
    record = {**ALPACA, "system": "Be brief.", "history": [["Hi", "Hello"], ["And?", "So."]]}
    template = PromptTemplate(system="mine", template="Q: {text}", few_shot=(("x", "y"),))
    [first, second] = rows_of(record, {**ALPACA, "system": "", "history": []}, template=template).rows
    earlier = [("user", "Hi"), ("assistant", "Hello"), ("user", "And?"), ("assistant", "So.")]
    assert turns_of(first) == [("system", "Be brief."), *earlier, ("user", "Q: Name the mood.\nWe won")]
    assert turns_of(second)[:3] == [("system", "mine"), ("user", "Q: x"), ("assistant", "y")]
    [row] = rows_of(record, columns={"system": "", "history": ""}, template=template).rows
    assert turns_of(row)[0] == ("system", "mine")
    assert len(row.messages) == 4


def test_a_system_column_beside_a_conversation():
    own = [turn("system", "own"), *CHAT]
    result = rows_of(
        {"messages": CHAT, "system": "S"}, {"messages": own, "system": "S"}, {"messages": CHAT, "system": None}
    )
    assert [turns_of(row)[:-1] for row in result.rows] == [[("system", "S")], [("system", "own")], []]
    assert result.notes == ()
    history = {"messages": own, "past": [["q", "w"]]}
    [row] = rows_of(history, columns={"history": "past"}).rows
    assert turns_of(row) == [("system", "own"), ("user", "q"), ("assistant", "w"), ("user", "a")]


def test_system_and_history_cases(real):
    for name in ("alpaca_sys_hist.json", "sys_field.jsonl"):
        result = read_rows(real(f"cases/c14-system-history-columns/{name}"))
        assert (result.skipped, result.notes) == ((), ())
        system = ("system", "Be brief." if "hist" in name else "You are a pirate.")
        assert all(turns_of(row)[0] == system for row in result.rows)
        if "hist" in name:
            assert turns_of(result.rows[0])[1:3] == [("user", "Hi"), ("assistant", "Hello")]


def test_a_column_that_no_prompt_holds_is_noted_once():
    record = {
        **LABELLED,
        "system": "S",
        "history": [["q", "a"]],
        "context": "C",
        "tools": '[{"name": "f"}]',
        "images": [1],
    }
    result = rows_of(
        record, {**record, "id": 5}, {**LABELLED, "documents": "[]", "input": float("nan"), "category": "qa"}
    )
    assert result.notes == (
        "column 'context' is not used: no prompt holds anything of it",
        "column 'history' is not used: no prompt holds anything of it; data.columns: {history: history} puts it there",
        "column 'images' is not used: no prompt holds anything of it",
        "column 'system' is not used: no prompt holds anything of it; data.columns: {system: system} puts it there",
        "column 'tools' is not used: no prompt holds anything of it",
    )
    mapped = rows_of(record, columns={"system": "system", "history": "history"})
    assert turns_of(mapped.rows[0]) == [("system", "S"), ("user", "q"), ("assistant", "a"), ("user", "x")]
    assert len(mapped.notes) == 3
    with pytest.raises(InterplayError, match="found the columns"):
        rows_of(record, columns={"system": "persona"})


def test_a_history_of_another_kind_is_a_reason():
    result = rows_of(ALPACA, {**ALPACA, "history": '[["q", "a"]]'}, {**ALPACA, "history": ["q", "a"]})
    assert [len(row.messages) for row in result.rows] == [1, 3]
    assert result.skipped[0].reason == "row 3: 'history' must be a list of [question, answer] pairs"


# ---- numbers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "name"),
    [
        (1, "1"),
        (1.0, "1"),
        ("1.0", "1"),
        ("-1.0", "-1"),
        (True, "True"),
        (False, "False"),
        ("True", "True"),
        ("1.5.2", "1.5.2"),
    ],
)
def test_labels_as_pandas_writes_them(label, name):
    [row] = rows_of({**LABELLED, "label": label}).rows
    assert (row.label, row.target) == (name, name)


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        (math.nan, "no 'label'"),
        ("nan", "no 'label'"),
        ("", "'label' is empty"),
        (0.7, "'label' is the number 0.7, expected text or a whole number"),
        ("0.7", "'label' is the number '0.7', expected a class"),
        (".25", "'label' is the number '.25', expected a class"),
    ],
)
def test_labels_that_are_none(label, reason):
    assert rows_of(LABELLED, {**LABELLED, "label": label}).skipped[0].reason == f"row 2: {reason}"


def test_frames_of_pandas(tmp_path):
    import pandas as pd

    frame = pd.DataFrame({"text": ["good", "bad", "so so"], "label": [1, 0, None]})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    for name in ("a.csv", "a.parquet", "a.jsonl"):
        result = read_rows(tmp_path / name)
        assert [row.target for row in result.rows] == ["1", "0"]
        assert result.labels == ("0", "1")
        assert len(result.skipped) == 1
    chats = pd.DataFrame({"messages": [CHAT]})
    chats.to_parquet(tmp_path / "chats.parquet")
    numpys = [row._asdict() for row in pd.read_parquet(tmp_path / "chats.parquet").itertuples(index=False)]
    assert rows_of(*numpys).rows[0].target == "b"
    assert [row.label for row in rows_of(*frame.astype({"label": "float32"}).iloc[:2].to_dict("records")).rows] == [
        "1",
        "0",
    ]


# ---- most rows broken ----------------------------------------------------------------------------------------------------


def test_a_source_of_which_most_rows_are_broken_stops_with_the_first_reasons(tmp_path):
    bad = [{"text": "", "label": "y"}, {"text": "x"}, {"text": 1.5, "label": "y"}]
    assert len(rows_of(LABELLED, LABELLED, LABELLED, *bad).rows) == 3, "half is not most"
    with pytest.raises(InterplayError) as error:
        rows_of(LABELLED, LABELLED, *bad)
    assert str(error.value) == (
        "it: 3 of 5 rows cannot be used; row 3: 'text' is empty; row 4: no 'label'; "
        "row 5: 'text' is the number 1.5, expected text or a whole number"
    )
    several = [{"text": "x", "labels": ["a", "b"]}] * 9
    assert len(rows_of({"text": "x", "labels": ["a"]}, *several).rows) == 1, "rows of several labels are not broken"
