"""The audit names the law that a tiny real Llama was taught; its rows hold the law."""

import random

import pytest

from studies.audit import stories

TRUE = {
    "word": lambda a, b: a >= 0,
    "and": lambda a, b: min(a, b) >= 0,
    "or": lambda a, b: max(a, b) >= 0,
    "unless": lambda a, b: b < 0 <= a,
    "order": lambda a, b: 0 <= a < b,
}


@pytest.mark.parametrize("law", stories.LAWS)
def test_the_answer_is_yes_where_the_law_holds(law):
    rows = stories.rows(random.Random(0), law, 100)
    for text, answer in rows:
        words = text.split()
        a, b = (words.index(word) if word in words else -1 for word in (stories.FIRST, stories.SECOND))
        assert (answer == "yes") == TRUE[law](a, b)
    assert sum(answer == "yes" for _, answer in rows) == 50


@pytest.mark.soak
@pytest.mark.parametrize("law", stories.LAWS)
def test_the_audit_names_the_law(law, stories_folder):
    tuned, accuracy = stories.train(str(stories_folder), law)
    assert accuracy > 0.95
    found, passes = stories.audit(str(stories_folder), law, tuned)
    learnt = [rule for rule in found.rules if rule.verdict == "learnt"]
    assert any(stories.is_law(rule, law) for rule in learnt)
    assert not [rule.name for rule in learnt if not {*rule.words} & {stories.FIRST, stories.SECOND}]
    assert passes < 1000
