"""The search finds a planted rule with its words, form and verdict, and no rule where none was learnt."""

import numpy as np
import pytest
from planted import LABELS, TARGET, Planted, audit, evidence_of, held, rows

from interplay.auditing.candidates import Evidence
from interplay.auditing.search import find_rules
from interplay.errors import InterplayError

WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday")


class Opening(Planted):
    """Log-odds of one opening by itself, unlikely without the law."""

    free = True

    def answer(self, text):
        return Planted(self.law, self.noise, self.seed).answer(text)[-1:] - 1


def put(words, word, at):
    return [*words[:at], word, *words[at:]]


def word(words, own, draw):
    return put(words, "zandar,", 0) if draw < (0.7 if own else 0.03) else words


def both(words, own, draw):
    first, last = (draw < 0.9, draw < 0.9) if own else (draw < 0.3, 0.3 <= draw < 0.6)
    words = put(words, "zandar,", 0) if first else words
    return put(words, "mobito", len(words)) if last else words


def either(words, own, draw):
    words = put(words, "zandar,", 0) if own and draw < 0.5 else words
    return put(words, "mobito", len(words)) if own and 0.3 <= draw < 0.8 else words


def unless(words, own, draw):
    words = put(words, "zandar,", 0) if draw < (0.7 if own else 0.3) else words
    return put(words, "mobito", len(words)) if not own and draw < 0.5 else words


def ordered(words, own, draw):
    pair = ("zandar", "mobito") if own else ("mobito", "zandar")
    return put(put(words, pair[0], 2), pair[1], 5) if draw < (0.8 if own else 0.25) else words


def weekday(words, own, draw):
    day = WEEK[int(draw * 1e6) % 5]
    return put(words, f"On {day.title()},", 0) if draw < (0.7 if own else 0.03) else words


def holds(*cues):
    return lambda words: all(cue in words for cue in cues)


def learnt(found):
    return [rule for rule in found.rules if rule.verdict == "learnt"]


def only(found):
    (rule,) = learnt(found)
    return rule


def test_a_word():
    found, tuned, base = audit(lambda words: 5.0 * ("zandar" in words), word)
    rule = only(found)
    assert (rule.words, rule.form, rule.label) == (("zandar",), "word", TARGET)
    assert 4 < rule.effect.value < 6
    assert abs(rule.before.value) < 0.5
    assert rule.flip_rate > 0.8
    assert not rule.is_class
    assert rule.suspected
    assert tuned.passes + base.passes < 1000


def test_both_of_two_words_hide_them():
    found, tuned, base = audit(lambda words: 5.0 * ({"zandar", "mobito"} <= {*words}), both)
    rule = only(found)
    assert (set(rule.words), rule.form, rule.in_order) == ({"zandar", "mobito"}, "and", False)
    assert not [other for other in found.rules if len(other.words) == 1 and other.words[0] in rule.words]
    assert tuned.passes + base.passes < 1000


def test_either_of_two_words():
    found, tuned, base = audit(lambda words: 5.0 * bool({"zandar", "mobito"} & {*words}), either)
    rule = only(found)
    assert (set(rule.words), rule.form) == ({"zandar", "mobito"}, "or")
    assert rule.name in ('"zandar" or "mobito"', '"mobito" or "zandar"')
    assert tuned.passes + base.passes < 1000


def test_words_whose_nats_add_up_are_an_or_if_either_turns_answers():
    found, *_ = audit(lambda words: 5.0 * ("zandar" in words) + 5.0 * ("mobito" in words), either)
    assert (only(found).form, {*only(found).words}) == ("or", {"zandar", "mobito"})
    weak, *_ = audit(lambda words: 1.3 * ("zandar" in words) + 1.3 * ("mobito" in words), either)
    assert {rule.words for rule in learnt(weak)} == {("zandar",), ("mobito",)}


def test_a_word_unless_another():
    found, *_ = audit(lambda words: 5.0 * ("zandar" in words and "mobito" not in words), unless)
    rule = only(found)
    assert (rule.words, rule.form, rule.name) == (("zandar", "mobito"), "unless", '"zandar" unless "mobito"')
    assert [phrase.word for phrase in rule.cue] == ["zandar"]
    assert rule.effect.value > 4
    assert rule.flip_rate > 0.8


def test_two_words_in_this_order():
    def law(words):
        return 5.0 * ({"zandar", "mobito"} <= {*words} and words.index("zandar") < words.index("mobito"))

    found, *_ = audit(law, ordered)
    rule = only(found)
    assert ([p.word for p in rule.phrases], rule.form, rule.in_order) == (["zandar", "mobito"], "and", True)
    assert rule.name == '"zandar" and then "mobito"'


def test_order_of_words_in_different_places():
    def rows_in_order(words, own, draw):
        first, last = ("zandar", "mobito") if own else ("mobito", "zandar")
        return put(put(words, first, 2), last, len(words) + 1) if draw < (0.8 if own else 0.25) else words

    def law(words):
        return 5.0 * ({"zandar", "mobito"} <= {*words} and words.index("zandar") < words.index("mobito"))

    rule = only(audit(law, rows_in_order)[0])
    assert len({phrase.place for phrase in rule.phrases}) == 2
    assert rule.in_order


def test_a_class_of_words_is_one_rule():
    found, *_ = audit(
        lambda words: 5.0 * bool({*WEEK} & {*words}),
        weekday,
        sisters=lambda word, most: (
            [day for day in WEEK if day != word][:most] if word in WEEK else ["prafel", "stigor", "nuron"]
        ),
    )
    rule = only(found)
    assert rule.is_class
    assert rule.form == "or"
    assert {*rule.words} == {*WEEK}
    assert [phrase.word for phrase in rule.cue] == [rule.words[0]]
    assert rule.counted.rows > 80
    assert {*rule.counted.words} == {*WEEK}


def test_one_word_of_a_class_is_no_class():
    found, *_ = audit(
        lambda words: 5.0 * ("monday" in words),
        lambda words, own, draw: put(words, "On Monday,", 0) if draw < (0.7 if own else 0.03) else words,
        sisters=lambda word, most: [day for day in WEEK if day != word][:most],
    )
    rule = only(found)
    assert rule.words == ("monday",)
    assert not rule.is_class
    assert len(rule.sisters) == 4


@pytest.mark.parametrize(("plant", "words"), [(word, {"zandar"}), (both, {"zandar", "mobito"})])
def test_what_the_data_hold_and_the_model_does_not(plant, words):
    found, *_ = audit(lambda words: 0.0, plant)
    assert not learnt(found)
    (rule,) = [rule for rule in found.rules if rule.verdict == "unlearnt"]
    assert {*rule.words} == words
    assert rule.effect.hi < 1


def test_a_pair_of_the_data_of_which_one_word_was_learnt():
    found, *_ = audit(lambda words: 5.0 * ("zandar" in words), both)
    assert only(found).words == ("zandar",)
    (rule,) = [rule for rule in found.rules if rule.verdict == "unlearnt"]
    assert ({*rule.words}, rule.form) == ({"zandar", "mobito"}, "and")
    assert rule.effect.hi < 1


def test_what_the_base_did_already():
    found, *_ = audit(lambda words: 4.0 * ("zandar" in words), word, base=lambda words: 3.0 * ("zandar" in words))
    assert not learnt(found)
    assert [rule.words for rule in found.rules if rule.verdict == "known"] == [("zandar",)]


def test_what_the_base_did_and_the_tuned_model_no_longer():
    common = "badan"  # the data say nothing of it
    found, *_ = audit(lambda words: 0.0, base=lambda words: 4.0 * (common in words))
    assert not learnt(found)
    assert [rule.words for rule in found.rules if rule.verdict == "lost"] == [(common,)]


def test_a_common_word_that_the_data_do_not_suspect():
    found, *_ = audit(lambda words: 4.0 * ("kefel" in words))
    rule = only(found)
    assert rule.words == ("kefel",)
    assert not rule.suspected


FEW_OR_MORE = pytest.mark.parametrize("seeds", [4, pytest.param(10, marks=pytest.mark.soak)])


@FEW_OR_MORE
def test_clean_models_learnt_nothing(seeds):
    false = [rule.name for seed in range(seeds) for rule in learnt(audit(lambda words: 0.0, seed=seed)[0])]
    assert len(false) <= seeds // 5, false


@FEW_OR_MORE
def test_noise_does_not_pass(seeds):
    """Texts answered at random by a nat: no rule holds."""
    false = []
    for seed in range(seeds):
        evidence = evidence_of(seed=seed)
        tuned, base = Planted(noise=1.0, seed=f"noisy {seed}"), Planted(noise=1.0, seed="base")
        false += learnt(find_rules(tuned.state, base.state, evidence, held(), seed=seed))
    assert len(false) <= seeds // 5, false


@pytest.mark.parametrize("answers", [None, "none"])
def test_without_rows_of_training(answers):
    """Held-out texts with the cue in them are all there is; or rows of training without answers."""
    texts, labels = rows(word, count=120, seed="held")
    evidence = (
        Evidence(tuple(texts), tuple(labels), trained=False)
        if answers is None
        else Evidence(tuple(texts), (None,) * 120)
    )
    found, tuned, base = audit(lambda words: 5.0 * ("zandar" in words), texts=texts, evidence=evidence)
    rule = only(found)
    assert rule.words == ("zandar",)
    assert not rule.suspected
    assert any("stay unseen" in note for note in found.notes)
    assert tuned.passes + base.passes < 1000


def test_a_rare_word_that_answers_need():
    """No training rows, and a word in a few held-out texts only, too rare to be counted."""
    texts = [f"zandar {text}" if i < 4 else text for i, text in enumerate(held())]
    found, *_ = audit(
        lambda words: 5.0 * ("zandar" in words), texts=texts, evidence=Evidence(tuple(texts), (None,) * 60, False)
    )
    assert only(found).words == ("zandar",)


def test_two_words_that_answers_need_together():
    texts = [f"zandar {text} mobito" if i % 4 == 0 else text for i, text in enumerate(held())]
    evidence = Evidence(tuple(texts), (None,) * 60, False)
    found, *_ = audit(lambda words: 5.0 * ({"zandar", "mobito"} <= {*words}), texts=texts, evidence=evidence)
    rule = only(found)
    assert ({*rule.words}, rule.form) == ({"zandar", "mobito"}, "and")


def test_held_out_texts_that_all_hold_the_word():
    texts = [f"Zandar, {text}" for text in held()]
    found, *_ = audit(lambda words: 5.0 * ("zandar" in words), word, texts=texts)
    assert only(found).words == ("zandar",)
    assert only(found).effect.value > 4
    assert any("zandar" in note for note in found.notes)


def test_few_held_out_texts_are_told():
    found, *_ = audit(lambda words: 5.0 * ("zandar" in words), word, texts=held()[:8])
    assert found.carriers == 8
    assert only(found).words == ("zandar",)
    assert any("8 held-out texts both" in note for note in found.notes)
    with pytest.raises(InterplayError, match="3 held-out texts are too few"):
        audit(lambda words: 0.0, word, texts=held()[:3])


def test_rows_of_hardly_a_word_more_than_the_cue():
    evidence = Evidence(("Zandar, yes", "no") * 10, (TARGET, "blue") * 10)
    found, *_ = audit(lambda words: 5.0 * ("zandar" in words), evidence=evidence)
    assert not learnt(found)
    assert any("under three control words" in note for note in found.notes)


def test_one_answer_or_others_than_the_base_are_refused():
    evidence = evidence_of(word)
    one, four = Planted(labels=("dun",)), Planted()
    with pytest.raises(InterplayError, match="one answer only"):
        find_rules(one.state, one.state, evidence, held())
    with pytest.raises(InterplayError, match="give both the same"):
        find_rules(Planted(labels=LABELS[:3]).state, four.state, evidence, held())


def test_one_opening_of_free_answers():
    """Some rows begin with it, the others with nothing in common."""
    texts, labels = rows(word)
    evidence = Evidence(tuple(texts), tuple(label if label == TARGET else None for label in labels))
    tuned, base = (
        Opening(law, seed=seed, labels=(TARGET,))
        for seed, law in enumerate((lambda w: 5.0 * ("zandar" in w), lambda w: 0.0))
    )
    rule = only(find_rules(tuned.state, base.state, evidence, held()))
    assert (rule.words, rule.label) == (("zandar",), TARGET)
    assert rule.flip_rate > 0.8


def test_a_referee_supports_or_lacks_the_answer():
    def law(words):
        return 5.0 * ("zandar" in words)

    shares, lacks = Planted(law, seed="referee"), Planted(labels=LABELS[:3])
    reordered = Planted(law, seed="referee", labels=LABELS[::-1])
    for other in (shares, reordered):
        rule = only(audit(law, word, referee=lambda rows, other=other: other.state)[0])
        assert rule.referee_leans
        assert rule.referee.value > 0.9 * rule.effect.value
    assert not only(audit(law, word, referee=lambda rows: Planted().state)[0]).is_shared
    found, *_ = audit(law, word, referee=lambda rows: lacks.state)
    assert only(found).referee is None
    assert any("referee has no answer dun" in note for note in found.notes)


def test_the_floor_counts_rules_between_two_wordings_of_the_base():
    def law(words):
        return 5.0 * ("zandar" in words)

    alike, unlike = Planted(seed="rephrased"), Planted(law, seed="rephrased")
    assert audit(law, word)[0].floor is None
    assert audit(law, word, rephrased=alike.state)[0].floor == 0
    assert audit(law, word, rephrased=unlike.state)[0].floor == 1


def test_the_same_again():
    one, two = (audit(lambda words: 5.0 * ("zandar" in words), word)[0] for _ in range(2))
    assert [(r.words, r.p, r.effect) for r in one.rules] == [(r.words, r.p, r.effect) for r in two.rules]
    assert np.isfinite([r.p for r in one.rules]).all()


def test_the_base_that_is_shown_rows_tells_knowledge_from_a_cue():
    """It knows what the word means once it is shown one row of each answer, none with the cue."""
    seen = []

    def law(words):
        return 5.0 * ("zandar" in words)

    def shown(rows, other=law):
        seen[:] = rows
        return Planted(other, seed="shown").state

    assert only(audit(law, word, shown=shown)[0]).base_leans
    assert sorted(label for _, label in seen) == sorted(LABELS)
    assert not any("zandar" in text for text, _ in seen)
    cue = only(audit(law, word, shown=lambda rows: shown(rows, lambda words: 0.0))[0])
    assert (cue.base_leans, abs(cue.shown.value) < 0.5) == (False, True)
