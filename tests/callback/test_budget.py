"""The plan under a limit, and the meter that spaces measurements out; no clock is read."""

import math
import warnings

import hypothesis.strategies as st
import pytest
from hypothesis import given

from interplay.callback.budget import Costs, Meter, Plan, choose_plan

seconds = st.floats(1e-3, 1e3)


@given(
    step=seconds, prompt=seconds, fixed=st.floats(0, 10), steps=st.integers(1, 10_000), every=st.integers(1, 500),
    limit=st.floats(0.005, 0.5), available=st.integers(1, 40), n=st.none() | st.integers(2, 16),
    prompts=st.none() | st.integers(1, 40), fixed_every=st.booleans(),
)  # fmt: skip
def test_a_plan_fits_or_is_the_cheapest(step, prompt, fixed, steps, every, limit, available, n, prompts, fixed_every):
    costs = Costs(step, prompt, 8, fixed)
    plan = choose_plan(
        costs, steps=steps, every=every, max_overhead=limit, n=n, prompts=prompts, available=available, fixed_every=fixed_every
    )  # fmt: skip
    assert 1 <= plan.prompts <= available
    assert plan.n == n or (n is None and 4 <= plan.n <= 8)
    assert prompts is None or plan.prompts <= prompts
    assert plan.every == every or (plan.every > every and not fixed_every)
    spent = math.ceil(steps / plan.every) * costs.measurement(plan.prompts, plan.n)
    if spent > limit * steps * step * 1.000001:
        assert fixed_every or math.ceil(steps / plan.every) == 1
        smaller = choose_plan(
            costs, steps=steps, every=every, max_overhead=1e9, n=n or 4, prompts=plan.prompts, available=available
        )
        assert costs.measurement(plan.prompts, plan.n) <= costs.measurement(smaller.prompts, smaller.n) * 1.000001


def test_more_money_never_measures_less():
    costs = Costs(step=1.0, prompt=0.5, words=8)
    plans = [choose_plan(costs, steps=1000, every=50, max_overhead=limit) for limit in (0.001, 0.01, 0.05, 0.2, 0.9)]
    values = [costs.measurement(p.prompts, p.n) * math.ceil(1000 / p.every) for p in plans]
    assert values == sorted(values)
    assert plans[-1] == Plan(16, 8, 50)


def test_measurements_are_skipped_while_the_overhead_is_above_the_limit():
    """Steps of 1 s, measurements of 1 s that were planned at a tenth of it: due every 10 steps under 5 %, made every 20."""
    now = [0.0]
    meter, made = Meter(clock=lambda: now[0]), []
    with meter.spending(measurement=True):
        now[0] += 100.0  # the first measurement does not count
    meter.next = 0.1
    meter.begin()
    for step in range(1, 101):
        now[0] += 1.0
        if step % 10 == 0 and meter.allows(0.05):
            made.append(step)
            with meter.spending(measurement=True):
                now[0] += 1.0
    assert made == [10, 40, 60, 80, 100]
    assert meter.overhead() == 0.05
    assert meter.seconds == 105.0
    assert meter.allows(None)


def test_a_limit_sets_the_plan_in_a_training(sft, quick, monkeypatch, losses, no_tables):
    """The costs are given here, so the plan does not hang on a clock."""
    monkeypatch.setattr("interplay.callback.measuring.Measurer._costs", lambda *_: Costs(1.0, 1.6, 8))
    callback = quick(max_overhead=0.05, n=None, num_prompts=None, every=1)
    trainer = sft(callbacks=[callback], max_steps=8)
    seen = []
    monkeypatch.setattr(callback, "_log", lambda *_: seen.append((callback._measurer.plan, callback._every)))
    trainer.train()
    assert seen[0] == (Plan(4, 4, 8), 8)  # 0.4 s of 8 s: one measurement, at the end


@pytest.mark.soak
def test_the_last_step_is_read_however_tight_the_limit(sft, quick, losses):
    """Else the only other measurement, an early one, would be kept as the best."""
    trainer = sft(
        callbacks=[quick(max_overhead=1e-6, n=2, num_prompts=2, every=1)], save_strategy="steps", save_steps=2
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.train()
    read = losses(trainer)
    assert {0, 6} <= read.keys()
    assert len(read) < 7
