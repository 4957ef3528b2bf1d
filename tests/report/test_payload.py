"""The payload: what is cleaned, what is kept, and what may be left out."""

import copy

import numpy as np
import pytest

from interplay.report.page import complete


@pytest.fixture
def payload(made):
    return made.make_payload(prompts=2, definitions=("paper",))


def test_not_finite_becomes_none_and_numpy_is_welcome(payload):
    payload["summary"][0] |= {
        "value": np.float64("nan"),
        "lo": float("inf"),
        "samples": np.int64(8),
        "step": np.int64(0),
    }
    row = complete(payload)["summary"][0]
    assert row["value"] is None
    assert row["lo"] is None
    assert (row["samples"], row["step"]) == (8, 0)
    assert type(row["samples"]) is int


def test_the_given_payload_is_left_alone(payload):
    before = copy.deepcopy(payload)
    complete(payload)
    assert payload == before


def test_strings_are_cleaned_of_what_cannot_be_shown(payload):
    payload["title"], payload["notes"] = "a\x00b\ud800", ["x\u2028y", "z\r\nz"]
    out = complete(payload)
    assert out["title"] == "a\ufffdb\ufffd"
    assert out["notes"] == ["x y", "z \nz"]
