"""The plan under a limit, and the meter that leaves readings out; no clock is read."""

import math
import warnings

import hypothesis.strategies as st
import pytest
from hypothesis import given

from interplay.callback.budget import Costs, Meter, Plan, choose_plan

seconds = st.floats(1e-3, 1e3)


@given(
    step=seconds, answer=st.floats(0, 10), coalition=seconds, fixed=st.floats(0, 10), steps=st.integers(1, 10_000),
    every=st.integers(1, 500), limit=st.floats(0.005, 0.5), available=st.integers(1, 40), n=st.none() | st.integers(2, 16),
    prompts=st.none() | st.integers(1, 40), full=st.none() | st.integers(2, 9), fixed_every=st.booleans(),
)  # fmt: skip
def test_a_plan_fits_or_is_the_cheapest(
    step, answer, coalition, fixed, steps, every, limit, available, n, prompts, full, fixed_every
):
    costs = Costs(step, answer, coalition, coalition, fixed, fixed)
    asked = {"steps": steps, "every": every, "n": n, "full": full, "available": available, "fixed_every": fixed_every}
    plan = choose_plan(costs, max_overhead=limit, prompts=prompts, **asked)
    assert 1 <= plan.prompts <= available
    assert plan.n == n or (n is None and 4 <= plan.n <= 8)
    assert prompts is None or plan.prompts <= prompts
    assert plan.every == every or (plan.every > every and not fixed_every)
    times = 1 + math.ceil(steps / plan.every)
    light = times * costs.light(plan.prompts)
    if light + min(times, full or times) * costs.full(plan.prompts, plan.n) > limit * steps * step * 1.000001:
        assert fixed_every or times == 2 or (full is not None and light <= limit * steps * step / 1.999)
        few = choose_plan(costs, max_overhead=1e-9, prompts=plan.prompts, **asked | {"n": n or 4})
        assert costs.full(plan.prompts, plan.n) <= costs.full(few.prompts, few.n) * 1.000001


def test_more_money_never_reads_less():
    costs = Costs(step=1.0, answer=0.01, coalition=0.002)
    limits = (0.001, 0.01, 0.05, 0.2, 0.9)
    plans = [choose_plan(costs, steps=1000, every=50, max_overhead=limit, full=4) for limit in limits]
    values = [costs.full(p.prompts, p.n) * 4 + costs.light(p.prompts) * 1000 / p.every for p in plans]
    assert values == sorted(values)
    assert plans[-1] == Plan(16, 8, 50)


def test_what_is_spent_is_held_against_the_whole_training():
    """Steps of 1 s: 100 s, so 5 s. A first reading of 3 s leaves room for answers of .1 s at each tenth step, and for one of 1 s."""
    now, full = [0.0], []
    meter = Meter(clock=lambda: now[0])

    def spend(what, seconds):
        with meter.spending(what):
            now[0] += seconds

    spend("full", 3.0)
    assert meter.next == {"light": 0.0, "full": 0.0}, "the first one is slow, and says nothing of the next"
    meter.begin()
    for step in range(1, 101):
        now[0] += 1.0
        if step % 10 == 0:
            assert meter.allows(0.05, step / 100, meter.next["light"], light=True)
            spend("light", 0.1)
            if meter.allows(0.05, step / 100, 1.0):
                full.append(step)
                spend("full", 1.0)
    assert full == [10]
    assert meter.overhead(1.0) == pytest.approx(0.05)
    assert meter.overhead(0.0) == 0
    assert (meter.seconds, meter.light) == (pytest.approx(5.0), pytest.approx(1.0))
    assert meter.next == {"light": pytest.approx(0.1), "full": pytest.approx(1.0)}
    assert not meter.allows(0.05, 1.0, 1.0)
    assert meter.allows(None, 1.0, 1e9)
    assert meter.allows(0.05, 1.0, 3.9, light=True), (
        "answers are held against the limit alone: the first reading is paid"
    )


def test_a_limit_sets_the_plan_in_a_training(sft, quick, monkeypatch, no_tables, capsys):
    """The costs are given here, so the plan does not hang on a clock."""
    monkeypatch.setattr("interplay.callback.measuring.Measurer._costs", lambda *_: Costs(1.0, 0.01, coalition=0.001))
    callback = quick(max_overhead=0.05, n=None, num_prompts=None, every=1, full=1)
    trainer = sft(callbacks=[callback], max_steps=8)
    seen = []
    monkeypatch.setattr(callback, "_log", lambda *_: seen.append((callback._measurer.plan, callback._every)))
    trainer.train()
    assert seen[0] == (Plan(4, 4, 2), 2)  # of .4 s: 5 x .04 s of answers, and 3 x .064 s of interactions
    assert (
        "reading the answers to 4 prompts every 2 steps, the interactions of their 4 words at the first, the last and at most 1 new low, "
        "about 4.4% of the training time; run folder "
    ) in capsys.readouterr().err


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
