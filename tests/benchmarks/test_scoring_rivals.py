"""Every road to the scores of all coalitions ends at those of plain passes, and its operations are counted."""

import numpy as np
import pytest

from benchmarks import scoring_rivals, scoring_rows
from benchmarks.scoring_rivals import WAYS, Way, take
from benchmarks.scoring_rows import SMALL, prompt
from benchmarks.section import Section

SHAPE = SMALL | {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
N, LENGTH = 5, 24


@pytest.fixture(scope="module")
def model():
    return scoring_rows.random_model("llama", SHAPE | {"num_key_value_heads": 2})


def test_every_road_ends_at_the_scores_of_plain_passes(model):
    asked = prompt(LENGTH, N, 512)
    rows = scoring_rivals.prompt_rows(
        "tiny", N, LENGTH, list(WAYS), lambda subject, n, length, way: take(model, asked, WAYS[way])
    )
    assert [row["road"] for row in rows] == list(WAYS)
    assert all(row["max difference, nats"] < 5e-5 for row in rows)
    flops = {row["road"]: row["linear layers, TFLOP"] for row in rows}
    ours, dense, tree, shared, plain = flops.values()
    assert ours <= dense <= tree < shared < plain
    assert "% of the limit" in scoring_rivals.road_section(rows).rows[0]


@pytest.mark.parametrize(
    ("road", "settings"), [("dense_tree", (1, 4, 32)), ("cached_tree", (0, 2, 5)), ("shared_prefix", (3, 32))]
)
def test_no_setting_changes_a_score(model, road, settings):
    asked = prompt(LENGTH, N, 512)
    found = [take(model, asked, Way(getattr(scoring_rivals, road), setting)).values for setting in settings]
    for values in found:
        assert np.std(values) > 0.01
        np.testing.assert_allclose(values, found[0], atol=5e-5)


def test_operations_of_the_trie_are_those_that_are_counted(model):
    asked = prompt(LENGTH, N, 512)
    assert take(model, asked, Way(scoring_rivals.packed_trie, 4096)).flops == scoring_rows.trie_flops(model, asked)


def test_the_limit_of_the_machine_is_measured():
    limits = scoring_rows.product_limits(64)
    assert set(limits) == {"MKL", "oneDNN"}
    assert limits["MKL"] > 1e6
    assert "GFLOP/s" in scoring_rows.limit_note(limits)
    assert isinstance(scoring_rivals.road_section([{"road": scoring_rivals.DENSE, "times ours": 1.1}]), Section)
