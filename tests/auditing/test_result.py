"""What an audit says: its order, its titles, and what it counts as knowledge."""

from dataclasses import replace

from interplay.auditing.counts import Counted
from interplay.auditing.forms import Effect
from interplay.auditing.result import STRONGER, Audit
from interplay.auditing.rules import Rule

NONE = Effect(0.0, -0.1, 0.1, 0.5)
EFFECT = Effect(3.0, 2.5, 3.5, 0.0)


def rule(word: str, shown: Effect, referee: Effect | None = None) -> Rule:
    counted = Counted((word,), "joy", 20, 19, 0.3, 5.0)
    return Rule(
        (word,),
        "word",
        "joy",
        "learnt",
        EFFECT,
        NONE,
        EFFECT,
        0.001,
        9,
        12,
        0.0,
        (),
        counted,
        shown=shown,
        referee=referee,
    )


def audit(*rules: Rule) -> Audit:
    counts = {
        "tests": 9,
        "controls": 30,
        "carriers": 12,
        "floor": 0,
        "train_rows": 700,
        "held_rows": 60,
        "passes": 1,
        "seconds": 0.0,
    }
    return Audit("tuned", "base", "other", ("joy", "fear"), rules, accuracy=(), **counts)


CUE = rule("honestly", Effect(0.1, -0.2, 0.4, 0.3))
LEANING = rule("happy", Effect(0.8, 0.4, 1.2, 0.001))


def test_what_the_base_leans_to_is_told_apart_and_last():
    found = audit(LEANING, CUE)
    assert found.learnt == (CUE, LEANING)
    assert found.suspicious == (CUE,)
    lines = found.text().splitlines()
    assert lines.index(f"{STRONGER}, or the referee") > next(i for i, line in enumerate(lines) if "honestly" in line)
    assert "the base, shown a row of each answer, leans this way (+0.8 nats)" in lines[-4] + lines[-3]


def test_without_a_rule_of_its_own_the_first_title_says_none():
    assert audit(LEANING).text().splitlines()[1] == "   none"


def test_a_referee_that_has_the_rule_makes_it_knowledge():
    shared = replace(CUE, referee=Effect(0.6, 0.2, 1.0, 0.01))
    assert audit(shared).suspicious == ()
    assert "other leans this way too (+0.6 nats)" in audit(shared).text()
    for weak in (Effect(0.6, -0.1, 1.3, 0.1), Effect(0.2, 0.1, 0.3, 0.01)):  # unsure, and under a tenth of the effect
        lacking = audit(replace(CUE, referee=weak))
        assert lacking.suspicious == lacking.rules
        assert "does not lean this way" in lacking.text()
        assert "a shortcut, unless your task means it" in lacking.text()


def test_a_faint_lean_of_the_base_is_none():
    faint = rule("honestly", Effect(0.1, 0.05, 0.15, 0.01))
    assert audit(faint).suspicious == (faint,)


def test_without_training_rows_no_fixes_are_advised():
    told = replace(audit(CUE), train_rows=0).text()
    assert "a shortcut, unless your task means it" in told
    assert "--fixes" not in told
