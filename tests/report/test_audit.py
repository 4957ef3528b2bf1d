"""The page begins with the audit where the run has one; what its file holds is read back, and never trusted."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from audits import STEPS, audit
from synthetic_runs import NASTY, synthetic_run

from interplay import InterplayError, Run
from interplay.auditing.result import Audit
from interplay.report import render
from interplay.report.page import complete


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return Run(synthetic_run(tmp_path_factory.mktemp("audited") / "run"))


def test_writing_a_page_tells_how_far_it_is(run):
    told = []
    run.report(progress=lambda *now: told.append(now))
    assert told == [(i, len(run.inputs["prompts"])) for i in range(1, len(told) + 1)]
    assert told[-1][0] == told[-1][1]


def page_of(run: Run, found: Audit) -> str:
    (run.path / "audit.json").write_text(found.to_json(), encoding="utf-8")
    return run.report().read_text(encoding="utf-8")


def test_the_page_begins_with_what_was_learnt(run, parse):
    page = page_of(run, audit())
    assert page == page_of(run, audit())
    text = " ".join("".join(parse(page).text).split())
    assert page.index('<section id="learnt"') < page.index('<section id="recommendation"')
    assert page.index('href="#learnt"') < page.index('href="#recommendation"')
    assert "run@4 learnt 3 word rules of its training rows that its base base does not follow." in text
    assert "<mark><bdi>honestly</bdi></mark> makes it answer <b><bdi>fear</bdi></b>." in page
    assert "Put into 18 other sentences, it turns 15 into fear (control words: 1)." in text
    assert "Of the 240 training rows with it, 193 say fear and 47 do not (all rows: 25 %)." in text
    assert "other does not lean this way (+0.2 nats); a shortcut, unless your task means it" in text
    assert "refund or charge, either is enough, make it answer anger." in text
    assert "Alone, refund turns 40 % and charge turns 45 %." in text
    assert "tuesday and words like it (monday, friday) make it answer joy." in text
    for title in ("In the data, not learnt", "Known before", "Lost"):
        assert f"<h3>{title}</h3>" in page
    assert "happy → joy: +2.60 nats in the base, +1.90 now" in text
    assert "held-out rows 0.81; with the cue taken out 0.80, with it in every row 0.46." in text
    assert "42 rules tried in 18 sentences, beside 60 control words." in text
    assert "Two wordings of the base differ by 0 such rules." in text
    assert "Not looked for: style" in text
    assert "is a shortcut, mend its rows and train again before you keep a step" in text


def test_effects_stand_over_the_steps_beside_the_accuracy(run):
    section = page_of(run, audit()).split('<section id="steps"')[1].split("</section>")[0]
    chart = section[section.index("stack-chart") :]
    assert chart.count(">1 honestly</text>") == 2  # its effect, and the answers it turns
    assert ">Accuracy</text>" in chart
    assert "step 4\nEffect of the words, 1 honestly: 2.80\nAnswers turned, 1 honestly: 0.80\n" in chart
    assert "\nAccuracy: 0.50" in chart
    assert (
        len(STEPS) == section.split("Table: Rules over the steps</summary>")[1].split("</table>")[0].count("</tr>") - 1
    )


def test_rules_that_a_training_followed_are_no_finding(run, parse):
    from dataclasses import replace

    nan = float("nan")
    rules = [
        replace(rule, verdict="followed", p=nan, control=nan, steps=((0, 0.1, nan), (1, nan, nan), (4, 2.8, 0.8)))
        for rule in audit().rules[:2]
    ]
    found = replace(audit(), rules=tuple(rules), tests=0, controls=0, accuracy=(), floor=None, notes=())
    page = page_of(run, found)
    section = page[page.index('<section id="learnt"') : page.index('<section id="recommendation"')]
    text = " ".join("".join(parse(section).text).split())
    assert "2 word rules, put into 18 prompts at every measurement: followed, and not tested." in text
    assert "honestly → fear" in text
    assert "15 of 18 prompts with another answer turn." in text
    assert "step 4\nEffect of the words, 1 honestly: 2.80\n" in page
    assert "step 1\nLoss" in page, "what was not measured is not drawn"
    for claim in ("that its base", "it answer", "control words", "rules tried", "Not looked for"):
        assert claim not in text
    assert str(run.audit) == str(found), "a number that is not known is no number in JSON, and none again"
    assert str(found).startswith("FOLLOWED THROUGH A TRAINING, NOT TESTED AGAINST CONTROL WORDS")
    assert "effect by step: 0: +0.1, 1: +nan, 4: +2.8" in str(found)
    assert list(run.audit.to_pandas().verdict) == ["followed", "followed"]


def test_nothing_learnt_is_said_in_a_sentence(run):
    from dataclasses import replace

    page = page_of(run, replace(audit(), rules=(), accuracy=(), floor=None))
    section = page.split('<section id="recommendation"')[0]
    assert (
        "No word rule of its training rows was found that its base <bdi>base</bdi> does not follow. 42 rules were tried."
        in section
    )
    assert "Two wordings" not in section


def test_without_an_audit_there_is_no_section(run, made):
    (run.path / "audit.json").unlink(missing_ok=True)
    page = run.report().read_text(encoding="utf-8")
    assert "What it learnt" not in page
    assert "is a shortcut" not in page
    assert complete(made.make_payload())["audit"] is None


def test_its_strings_stay_text(run, parse):
    page = page_of(run, audit(NASTY))
    tags = parse(page)
    assert "img" not in tags.seen
    assert len(tags.scripts) == 2
    assert "\u202e" not in "".join(value or "" for _, value in tags.attributes)
    assert not re.search(r">\s*49\s*<", page)


def test_the_run_gives_it_back(run):
    page_of(run, audit())
    found = run.audit
    assert found.to_dict() == audit().to_dict()
    assert found.learnt == audit().learnt
    assert str(found) == str(audit())
    assert found.to_dict()["rules"][3]["effect"]["value"] is None  # as JSON has no NaN


def test_no_audit_and_a_damaged_one_say_what_to_do(run):
    file = run.path / "audit.json"
    file.unlink(missing_ok=True)
    with pytest.raises(InterplayError, match=r"has no audit: interplay audit .* makes one"):
        _ = run.audit
    for damaged in ("{", '{"rules": [{"words": 3}]}', '{"rules": 7}', "[]"):
        file.write_text(damaged)
        for read in (lambda: run.audit, run.report):
            with pytest.raises(InterplayError, match=r"audit.json.*(delete it|another)"):
                read()
    file.unlink()


def test_it_is_no_part_of_the_manifest(run):
    from interplay.store.files import read_json

    page_of(run, audit())
    (run.path / "audit").mkdir()
    (run.path / "audit" / "answers-1.jsonl").write_text("[]\n")
    run.report()
    listed = read_json(run.path / "manifest.json")["files"]
    assert "report.html" in listed
    assert not [name for name in listed if name.startswith("audit")]


def test_steps_that_were_not_measured_are_not_drawn(made):
    payload = made.make_payload(prompts=2, definitions=("paper",))
    page = render(payload | {"audit": audit().to_dict()})
    assert "What it learnt" in page
    assert "Effect of the words" not in page
