"""Effects, flips and controls from answers; what a rule is called; verdicts."""

import numpy as np
import pytest
from planted import FILLERS, TARGET, Planted, held

from interplay.auditing.counts import Counted
from interplay.auditing.forms import Cells, Effect
from interplay.auditing.phrases import Phrase
from interplay.auditing.rules import Carriers, Rule, cells_of, joint_over, mean_of, null_of, verdict_of

ZANDAR, MOBITO = Phrase("zandar", "Zandar", "front", 0, ", "), Phrase("mobito", "mobito", "behind", 1, " ")
LABEL = 3
NONE, SOME = Effect(0, -0.1, 0.1, 0.5), Effect(3, 2.5, 3.5, 0)


def either(words):
    return 6.0 * bool({"zandar", "mobito"} & {*words})


def test_effects_and_flips_by_hand():
    carriers = Carriers((*held()[:9], "Zandar is here"))
    asked = Planted(lambda words: 9.0 * ("zandar" in words), noise=0)
    effects = carriers.effects(asked, (ZANDAR,))
    assert np.isnan(effects[9]).all()  # it holds the word already
    assert effects[:9, LABEL] == pytest.approx(9, abs=1)
    assert (effects[:9, :LABEL] < 0).all()
    answers = asked(carriers.texts)[:9].argmax(1)
    assert carriers.flips(asked, (ZANDAR,), LABEL) == ((answers != LABEL).sum(),) * 2
    assert {*carriers.all_of([(ZANDAR,)])} == {*asked.known}
    assert mean_of(effects)[LABEL] == pytest.approx(effects[:9, LABEL].mean())
    assert np.isnan(mean_of(effects[9:])).all()


def test_cells_and_joint():
    carriers, asked = Carriers(tuple(held()[:12])), Planted(either, noise=0.1)
    cells = cells_of(asked, carriers, (ZANDAR, MOBITO), LABEL)
    assert cells == pytest.approx((6, 6, 6), abs=1)
    assert cells.joint == pytest.approx(joint_over(asked, carriers, (ZANDAR, MOBITO), LABEL).mean())
    assert cells_of(asked, Carriers(("zandar here",)), (ZANDAR, MOBITO), LABEL) == Cells(0, 0, 0)


def test_controls_turn_nothing_where_nothing_was_learnt():
    carriers, asked = Carriers(tuple(held()[:4])), Planted(either)
    words = {
        "front": [ZANDAR.written(word) for word in FILLERS[-12:]],
        "behind": [MOBITO.written(word) for word in FILLERS[-6:]],
    }
    null = null_of(asked, carriers, words, list(zip(words["front"], words["behind"], strict=False)))
    assert {place: found.shape for place, found in null.effects.items()} == {"front": (12, 4), "behind": (6, 4)}
    assert null.turned("front", LABEL) < 0.2
    assert null.p(6.0, "behind", LABEL) < 1e-4 < 0.01 < null.p(0.3, "behind", LABEL)
    assert null.p_joint(6.0, LABEL) < 1e-3
    empty = null_of(asked, carriers, {"front": []}, [])
    assert (empty.p(6.0, "front", LABEL), empty.p_joint(6.0, LABEL), empty.turned("front", LABEL)) == (1, 1, 0)


@pytest.mark.parametrize(
    ("verdict", "effect", "before", "change", "p", "lost", "taught"),
    [
        ("learnt", SOME, NONE, SOME, 0.01, 1, False),
        ("nothing", SOME, NONE, SOME, 0.06, 1, True),
        ("nothing", Effect(0.9, 0.8, 1.0, 0), NONE, Effect(0.9, 0.8, 1, 0), 0, 1, False),  # too small to turn answers
        ("nothing", NONE, Effect(-3, -4, -2, 1), SOME, 0, 1, False),  # the base went against it, the tuned model does nothing
        ("known", SOME, SOME, NONE, 1, 1, True),
        ("known", SOME, Effect(1.6, 1.5, 1.7, 0), Effect(1.4, 1.0, 1.8, 0), 0, 1, False),  # the base had half of it
        ("learnt", SOME, Effect(1.4, 1.3, 1.5, 0), Effect(1.6, 1.0, 1.8, 0), 0, 1, False),
        ("lost", NONE, SOME, Effect(-3, -3.5, -2.5, 1), 1, 0.01, False),
        ("nothing", NONE, SOME, Effect(-3, -3.5, -2.5, 1), 1, 0.2, False),
        ("unlearnt", NONE, NONE, NONE, 1, 1, True),
        ("nothing", Effect(0.5, -0.5, 1.5, 0.2), NONE, NONE, 1, 1, True),  # it may have been
    ],
)  # fmt: skip
def test_verdicts(verdict, effect, before, change, p, lost, taught):
    assert verdict_of(effect, before, change, p, lost, taught) == verdict


def rule(form, *words, **more):
    return Rule(
        words, form, TARGET, "learnt", SOME, NONE, SOME, 0.0, 3, 4, 0.25, (), Counted(words, TARGET, 9, 9, 0, 0), **more
    )


def test_names_and_figures():
    assert rule("word", "a").name == '"a"'
    assert rule("or", "a", "b").name == '"a" or "b"'
    assert rule("unless", "a", "b").name == '"a" unless "b"'
    assert rule("and", "a", "b", swapped=2.0).name == '"a" and "b"'
    assert rule("and", "a", "b", swapped=1.4).name == '"a" and then "b"'
    assert not rule("or", "a", "b", swapped=0.0).in_order
    days = rule("word", "a", sisters=(("b", 2.0), ("c", 1.6), ("d", 0.2)))
    assert (days.is_class, days.alike, days.name) == (True, ("b", "c"), '"a" or "b" or "c"')
    lone = rule("word", "a", sisters=(("b", 2.0), ("c", 0.1)))
    assert (lone.is_class, lone.name) == (False, '"a"')
    assert rule("word", "a").flip_rate == 0.5
