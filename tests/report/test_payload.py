"""The payload's check: what is refused, in one line that names the place; what is cleaned and what is kept."""

import copy
import math

import numpy as np
import pytest

from interplay.errors import InterplayError
from interplay.report import validate


@pytest.fixture
def payload(made):
    return made.make_payload(prompts=2, definitions=("paper",))


def put(payload, path, value):
    *way, last = path
    for key in way:
        payload = payload[key]
    payload[last] = value


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("title",), 3, "title is 3, expected a valid string"),
        (("steps",), [], "steps is [], expected steps from 0 on"),
        (("steps",), [0, 5, 5], "expected steps from 0 on, ascending, each once"),
        (("reference",), 7, "reference is 7, expected one of the payload's steps"),
        (("recommendation", "step"), 41, "recommendation.step is 41"),
        (("recommendation", "basis"), "luck", "is 'luck', expected 'rule', 'accuracy', 'eval-loss', 'last' or 'only'"),
        (("recommendation", "rivals"), {"last": 79}, "recommendation.rivals.last is 79"),
        (("recommendation", "evidence"), [{"value": 1.0}], "recommendation.evidence[0].name is missing"),
        (("summary", 3, "order"), 17, "summary[3].order is 17, expected less than or equal to 16"),
        (("summary", 3, "value"), "high", "summary[3].value is 'high', expected a valid number"),
        (("task", 0, "step"), 1, "task[0].step is 1, expected one of the payload's steps"),
        (("task", 0, "accuracy"), "high", "task[0].accuracy is 'high', expected a valid number"),
        (("prompts", 0, "n"), 17, "prompts[0].n is 17, expected less than or equal to 16"),
        (("prompts", 0, "n"), 6, "prompts[0]: expected 6 words, given 7"),
        (("prompts", 0, "words", 0, "end"), 10_000, "expected words with offsets inside a text of"),
        (
            ("prompts", 1, "steps", 2, "interactions", 0, "mask"),
            128,
            "prompts[1]: expected masks from 1 to 127, given 128 at step 10",
        ),
        (("prompts", 1, "steps", 2, "interactions", 0, "effect"), math.nan, "effect is None, expected a valid number"),
        (("prompts", 1, "steps", 2, "interactions", 0, "type"), "xor", "type is 'xor', expected 'and' or 'or'"),
        (("prompts", 1, "steps", 2, "interactions", 0, "state"), "gone", "state is 'gone'"),
        (("skipped",), "none", "skipped is 'none', expected a valid list"),
        (("recommendations",), 1, "recommendations is 1, Extra inputs are not permitted"),
        (("title",), "a\nb" * 99 and ["a\nb" * 99], "expected a valid string"),
    ],
)
def test_refused_in_one_line(payload, path, value, said):
    put(payload, path, value)
    with pytest.raises(InterplayError) as e:
        validate(payload)
    assert said in str(e.value)
    assert "\n" not in str(e.value)
    assert len(str(e.value)) < 500


@pytest.mark.parametrize("key", ["title", "subtitle", "version", "recommendation", "reference", "summary"])
def test_missing_key_is_named(payload, key):
    del payload[key]
    with pytest.raises(InterplayError, match=f"{key} is missing"):
        validate(payload)


def test_not_finite_becomes_none_and_numpy_is_welcome(payload):
    payload["summary"][0] |= {
        "value": np.float64("nan"),
        "lo": float("inf"),
        "samples": np.int64(8),
        "step": np.int64(0),
    }
    row = validate(payload)["summary"][0]
    assert row["value"] is None
    assert row["lo"] is None
    assert (row["samples"], row["step"]) == (8, 0)
    assert type(row["samples"]) is int


def test_the_given_payload_is_left_alone(payload):
    before = copy.deepcopy(payload)
    validate(payload)
    assert payload == before


def test_strings_are_cleaned_of_what_cannot_be_shown(payload):
    payload["title"], payload["notes"] = "a\x00b\ud800", ["x\u2028y", "z\r\nz"]
    out = validate(payload)
    assert out["title"] == "a\ufffdb\ufffd"
    assert out["notes"] == ["x y", "z \nz"]


def test_rows_of_tables_may_carry_more_columns(payload):
    payload["summary"][0]["perplexity"] = 3.0
    assert "perplexity" not in validate(payload)["summary"][0]


def test_the_smallest_payload(made):
    page = {
        "title": "t",
        "subtitle": "",
        "version": "0",
        "recommendation": {"step": None, "sentence": "", "rule": ""},
        "steps": [0],
        "reference": 0,
        "summary": [],
    }
    out = validate(page)
    assert out["prompts"] == out["notes"] == []
    assert out["settings"] == ""
