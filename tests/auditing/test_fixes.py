"""What is written for a learnt rule: rows to review and to drop, counterfactual and mended rows, tests."""

import json
from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace

import pytest

from interplay.auditing import checks
from interplay.auditing.candidates import Evidence
from interplay.auditing.counts import Counted, words_of
from interplay.auditing.fixes import cues, holds, write_fixes
from interplay.auditing.forms import Effect
from interplay.auditing.rules import Rule
from interplay.data.sources import read_rows, rows_of_table
from interplay.data.template import PromptTemplate
from interplay.errors import InterplayError

SAME = Effect(3.0, 2.5, 3.5, 0.0)
TEMPLATE = PromptTemplate(system="Be brief.", template="Comment: {text}\nMood:", chat=False, few_shot=(("Hm", "calm"),))
SUBJECTS = ("rain", "tea", "the train", "a song", "this film", "I", "that bridge", "her bike", "our garden", "his hat")
VERBS = ("fell", "came late", "was cold", "looked old", "stayed here", "broke twice", "sounded odd", "went on")
LABELS = ("calm", "fear", "joy")


def planted(law: str, count: int = 240) -> list[dict]:
    """Rows of three labels; the words of the law go with "joy"."""
    rows = []
    for i in range(count):
        label, text = LABELS[i % 3], f"{SUBJECTS[i % 10]} {VERBS[i // 10 % 8]} {i}."
        own, turn = label == "joy", (i // 3 + i // 30) % 10
        first = turn < 8 if own else turn < (3 if law == "and" else 1)
        last = {
            "word": False,
            "and": turn < 8 if own else 3 <= turn < 6,
            "or": own and turn > 4,
            "unless": not own and turn < 1,
        }[law]
        text = f"Honestly, {text}" if first else text[:1].upper() + text[1:]
        rows.append(
            {"n": i, "comment": text[:-1] + ", today." if last else text, "mood": label, "by": {"name": f"u{i}"}}
        )
    return rows


def read(rows, **how):
    return rows_of_table([(f"line {i}", row) for i, row in enumerate(rows, 1)], "t.jsonl", "t", **how)


def rule_of(law: str, data, **changes) -> Rule:
    evidence = Evidence(tuple(row.text for row in data.rows), tuple(row.label or row.target for row in data.rows))
    words = ("honestly",) if law == "word" else ("honestly", "today")
    phrases = tuple(evidence.phrase(word) for word in words)
    made = Rule(words, law, "joy", "learnt", SAME, SAME, SAME, 0.0, 11, 12, 0.0, phrases, evidence.count(words, "joy"))
    return replace(made, **changes)


HELD = [f"Nobody knew that {subject} {verb}." for subject in SUBJECTS for verb in VERBS]
COLUMNS = {"text": "comment", "label": "mood"}


@pytest.fixture
def fix(tmp_path):
    def make(law="word", rows=None, rules=None, **more):
        data = read(planted(law) if rows is None else rows, **({"columns": COLUMNS} if rows is None else {}))
        rules = [rule_of(law, data)] if rules is None else rules
        how = {"held": HELD, "labels": LABELS, "template": TEMPLATE} | more
        said = write_fixes(rules, data, tmp_path / "fixes", **how)
        return data, SimpleNamespace(folder=tmp_path / "fixes", said="\n".join(said))

    return make


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def rates(rows, words):
    """Fraction of "joy" in each cell of the words."""
    cells = {frozenset(some): [] for k in range(len(words) + 1) for some in combinations(words, k)}
    for row in rows:
        cells[frozenset(words_of(row["comment"]).keys() & set(words))].append(row["mood"] == "joy")
    return {cell: sum(found) / len(found) for cell, found in cells.items() if found}


@pytest.mark.parametrize("law", ["word", "and", "or", "unless"])
def test_no_cell_of_the_words_says_anything_about_the_answer_in_the_mended_rows(fix, law):
    data, done = fix(law)
    words = rule_of(law, data).words
    before = rates(data.records, words)
    assert max(before.values()) - min(before.values()) > 0.5
    mended = lines(done.folder / "mended.jsonl")
    assert mended[: len(data.records)] == list(data.records), "nothing is dropped or changed"
    for cell, rate in rates(mended, words).items():
        assert rate == pytest.approx(1 / 3, abs=0.03), cell
    made = mended[len(data.records) :]
    assert f"with {len(made)} counterfactual rows 33% and 33%" in done.said
    for words_here in rates(made, words):  # each carrier once a cell
        texts = [row["n"] for row in made if words_of(row["comment"]).keys() & set(words) == words_here]
        assert len({*texts}) == len(texts)
    assert len({row["comment"] for row in mended}) == len(mended)


@pytest.mark.parametrize("law", ["word", "and", "or", "unless"])
def test_review_and_drop_are_the_rows_with_the_rule(fix, law):
    data, done = fix(law)
    rule, by_id = rule_of(law, data), dict(zip([row.id for row in data.rows], data.records, strict=True))
    expected = [row.id for row in data.rows if holds(rule, words_of(row.text))]
    review = lines(done.folder / "rule-1-review.jsonl")
    assert [row["row"] for row in review] == expected
    assert all(row["is"] == ("for" if row["record"]["mood"] == "joy" else "against") for row in review)
    assert all(row["record"] == by_id[row["row"]] for row in review)
    dropped = {row["row"] for row in lines(done.folder / "rule-1-drop.jsonl")}
    assert dropped <= {row["row"] for row in review if row["is"] == "for"}
    left = [row for row in data.rows if row.id not in dropped]
    sides = [[row.label == "joy" for row in left if holds(rule, words_of(row.text)) == side] for side in (True, False)]
    if all(row["is"] == "for" for row in review):  # no fraction but 1 can be had with some of them
        assert sides[0] == []
    else:
        assert sum(sides[0]) / len(sides[0]) == pytest.approx(sum(sides[1]) / len(sides[1]), abs=0.06)
    assert review[0]["row"] == f"t-{review[0]['record']['n'] + 1}", "file and line"


def test_a_counterfactual_changes_the_text_alone_and_keeps_the_capitals_of_the_rows(fix):
    data, done = fix("word")
    by_id = dict(zip([row.id for row in data.rows], data.records, strict=True))
    made = lines(done.folder / "counterfactuals.jsonl")
    for one in made:
        old, new = by_id[one["row"]], one["record"]
        assert {**new, "comment": old["comment"]} == old
        plain, cued = (new, old) if old["mood"] == "joy" else (old, new)
        plain, cued = plain["comment"], cued["comment"]
        assert plain[0].isupper()
        small = plain if plain.startswith("I ") else plain[:1].lower() + plain[1:]
        assert cued == f"Honestly, {small}", "as in the rows of the answer"
    assert any(one["record"]["comment"].startswith("Honestly, I ") for one in made)
    assert {one["record"]["mood"] for one in made} == {*LABELS}


def test_conversations_are_rewritten_and_joined_columns_are_refused_with_a_line(fix):
    turns = [
        [{"role": "system", "content": "Be kind."}, {"role": "user", "content": r["comment"]}, {"role": "assistant", "content": r["mood"]}]
        for r in planted("word")
    ]  # fmt: skip
    _, done = fix(rows=[{"id": f"c{i}", "messages": m, "source": "x"} for i, m in enumerate(turns)], free=True)
    made = lines(done.folder / "mended.jsonl")[len(turns) :]
    assert len(made) > 100
    assert all([m["role"] for m in row["messages"]] == ["system", "user", "assistant"] for row in made)
    assert {row["source"] for row in made} == {"x"}
    assert lines(done.folder / "rule-1-review.jsonl")[0]["row"].startswith("c")

    joined = [{"instruction": "Name the mood.", "input": r["comment"], "output": r["mood"]} for r in planted("word")]
    _, done = fix(rows=joined, free=True)
    assert lines(done.folder / "counterfactuals.jsonl") == []
    assert "not quite mended: too few texts are one string of a record" in done.said
    assert lines(done.folder / "mended.jsonl") == joined


def test_free_answers_are_told_by_their_openings(fix):
    said = {"calm": "All is well here.", "fear": "Beware of it.", "joy": "What a delight it is."}
    rows = [{"prompt": r["comment"], "completion": said[r["mood"]] + f" {r['n']}"} for r in planted("word")]
    data = read(rows)
    rule = replace(rule_of("word", data), label="What a delight")
    openings = ("What a delight", "All is well")
    _, done = fix(rows=rows, rules=[rule], free=True, labels=openings)
    mended = lines(done.folder / "mended.jsonl")
    both = [
        {"comment": row["prompt"], "mood": "joy" if row["completion"].startswith(openings[0]) else ""} for row in mended
    ]
    assert [rate == pytest.approx(1 / 3, abs=0.03) for rate in rates(both, ("honestly",)).values()] == [True, True]
    tests = checks.Tests.read(done.folder / "tests.jsonl")
    assert (tests.free, tests.labels) == (True, openings)


def test_the_same_call_writes_the_same_bytes_and_an_earlier_rule_goes(fix):
    _, done = fix("and")
    first = {path.name: path.read_bytes() for path in done.folder.iterdir()}
    (done.folder / "rule-7-drop.jsonl").write_text("{}\n")
    (done.folder / "own.txt").write_text("mine")
    fix("and")
    again = {path.name: path.read_bytes() for path in done.folder.iterdir()}
    assert again.pop("own.txt") == b"mine"
    assert again == first


def test_tests_tell_all_that_is_needed_to_ask_again(fix):
    _, done = fix("or", model="tuned", base="plain")
    tests = checks.Tests.read(done.folder / "tests.jsonl")
    assert (tests.model, tests.base, tests.labels, tests.wording) == ("tuned", "plain", LABELS, TEMPLATE)
    [rule] = tests.rules
    assert (rule.number, rule.rule, rule.label) == (1, '"honestly" or "today"', "joy")
    assert (rule.threshold, rule.flip_rate) == (0.2, pytest.approx(11 / 12))
    assert len(tests.texts) == 40
    assert {frozenset(words_of(t.cued).keys() & {*rule.words}) for t in tests.texts} == {
        frozenset([w]) for w in rule.words
    }
    assert all(t.without in HELD and not {*rule.words} & words_of(t.without).keys() for t in tests.texts)


def test_the_threshold_is_below_the_rule_and_above_the_control_words(fix):
    data = read(planted("word"), columns=COLUMNS)
    for changes, expected in (({"flips": 3}, 0.12), ({"control": 0.3}, 0.35), ({"flips": 0, "tried": 0}, 0.2)):
        _, done = fix(rules=[rule_of("word", data, **changes)])
        assert checks.Tests.read(done.folder / "tests.jsonl").rules[0].threshold == expected


def test_only_the_rules_to_mend_are_mended_and_tested(fix):
    data = read(planted("and"), columns=COLUMNS)
    wanted = rule_of("and", data)
    phrase = Evidence(tuple(r.text for r in data.rows), ()).phrase("rain")
    task = replace(
        wanted, words=("rain",), form="word", phrases=(phrase,), counted=Counted(("rain",), "joy", 24, 8, 0.3, 0)
    )
    known = replace(task, verdict="known")
    _, done = fix("and", rules=[known, task, wanted], mend=[2])
    assert [rule.number for rule in checks.Tests.read(done.folder / "tests.jsonl").rules] == [2]
    assert {row["rule"] for row in lines(done.folder / "counterfactuals.jsonl")} == {2}
    assert {p.name for p in done.folder.glob("rule-*")} == {
        f"rule-{n}-{k}.jsonl" for n in (1, 2) for k in ("review", "drop")
    }
    assert "left as it is" in done.said


def test_what_cannot_be_fixed_is_refused_or_said(fix, tmp_path):
    data = read(planted("word"), columns=COLUMNS)
    rule = rule_of("word", data)
    with pytest.raises(InterplayError, match="no rule was learnt"):
        fix(rules=[replace(rule, verdict="known")])
    with pytest.raises(InterplayError, match="rule 3 is not among the 1 learnt ones"):
        fix(rules=[rule], mend=[1, 3])
    assert not (tmp_path / "fixes").exists()
    (tmp_path / "fixes").write_text("a file")
    with pytest.raises(InterplayError, match="choose another folder"):
        fix(rules=[rule])
    (tmp_path / "fixes").unlink()
    _, done = fix(rules=[replace(rule, label="disgust")], held=["Honestly, no."])
    assert "rows neither teach it nor mend it" in done.said
    assert "no tests" in done.said
    assert not (done.folder / "tests.jsonl").exists()


def test_what_switches_each_form_on():
    words = ("a", "b")
    made = {form: replace(RULE, words=words, form=form) for form in ("and", "or", "unless", "sum")}
    held = {form: [holds(rule, some) for some in ((), ("a",), ("b",), words)] for form, rule in made.items()}
    assert held["and"] == held["sum"] == [False, False, False, True]
    assert held["or"] == [False, True, True, True]
    assert held["unless"] == [False, True, False, False]
    phrases = tuple(replace(RULE.phrases[0], word=word, text=word) for word in words)
    on = {form: [[p.word for p in way] for way in cues(replace(rule, phrases=phrases))] for form, rule in made.items()}
    assert on == {"and": [["a", "b"]], "or": [["a"], ["b"]], "unless": [["a"]], "sum": [["a", "b"]]}


RULE = rule_of("word", read(planted("word"), columns=COLUMNS))


def test_records_that_are_no_rows_are_left_out_and_counted(fix, tmp_path):
    rows = planted("word")
    rows[5]["mood"] = ""
    file = tmp_path / "own.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
    data = read_rows(file, columns=COLUMNS)
    how = {"held": HELD, "labels": LABELS, "template": TEMPLATE}
    said = write_fixes([RULE], data, tmp_path / "fixes", **how)
    assert "Left out of mended.jsonl, for they are no training rows: line 6: 'mood' is empty and 1 more." in said
