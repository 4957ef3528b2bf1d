"""Forms of two words, effects and their p, against scipy and by simulation."""

import itertools

import numpy as np
import pytest
from scipy import stats

from interplay.auditing.forms import Cells, adjusted, against_controls, effect_over, form_of, t_tail


@pytest.mark.parametrize("size", [1.5, 4.0, 9.0])
@pytest.mark.parametrize(
    ("form", "shape"),
    [("and", (0, 0, 1)), ("or", (1, 1, 1)), ("unless", (1, 0, 0)), ("unless", (0, 1, 0)), ("word", (1, 0, 1)), ("word", (0, 1, 1)), ("sum", (1, 1, 2))],
)  # fmt: skip
def test_each_form_is_told_when_its_cells_are_somewhat_off(form, shape, size):
    for shift in itertools.product((-0.15, 0, 0.15), repeat=3):
        assert form_of(Cells(*(size * (x + d) for x, d in zip(shape, shift, strict=True)))) == form


def test_no_form_without_an_effect_or_with_an_opposite_one():
    assert form_of(Cells(0.9, -0.9, 0.5)) == "none"
    assert Cells(1.0, 2.0, 5.0).joint == 2.0


def test_effects_over_carriers_are_students():
    x = np.array([0.3, 1.2, np.nan, 0.8, 1.9, 0.4])
    found = effect_over(x)
    assert found.value == pytest.approx(np.nanmean(x))
    assert found.p == pytest.approx(stats.ttest_1samp(x[~np.isnan(x)], 0, alternative="greater").pvalue, rel=0.1)
    assert found.lo < found.value < found.hi
    assert effect_over(-x).p == pytest.approx(1 - found.p)


@pytest.mark.parametrize(
    ("x", "p"), [([np.nan], 1), ([], 1), ([2.0], 1), ([2.0, 2.0, 2.0], 0), ([-2.0, -2.0], 1), ([0.0, 0.0], 1)]
)
def test_effects_of_too_little(x, p):
    assert effect_over(np.array(x)).p == p


def test_the_tail_of_t():
    for degrees in (3, 7, 11, 23):
        t = np.linspace(-3, 6, 19)
        assert np.array([t_tail(x, degrees) for x in t]) == pytest.approx(stats.t.sf(t, degrees), rel=0.12)


def test_controls_of_other_places_lend_their_spread_not_their_mean():
    rng = np.random.default_rng(0)
    here, there = rng.normal(1, 0.3, 5), rng.normal(-2, 0.3, 40)
    alone, pooled = against_controls(2.0, here), against_controls(2.0, here, [there])
    assert pooled < alone / 2
    assert against_controls(1.0, here, [there]) > 0.2
    assert against_controls(9.0, here[:2], [there]) == 1  # two words say nothing of a place


def test_p_against_controls_is_uniform_without_an_effect():
    rng = np.random.default_rng(1)
    p = [against_controls(rng.normal(0.5), rng.normal(0.5, size=8), [rng.normal(-1, size=12)]) for _ in range(4000)]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_adjusted_as_scipy_has_it():
    p = np.random.default_rng(2).uniform(0, 0.05, 30)
    assert adjusted(p, 30) == pytest.approx(stats.false_discovery_control(p, method="by"))
    assert (adjusted(p, 60) >= adjusted(p, 30)).all()
    assert not len(adjusted(np.empty(0), 0))
