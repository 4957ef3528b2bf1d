"""The page without a browser: escaping, determinism, size, what it says, what it leaves out, and writing it."""

import base64
import hashlib
import html
import itertools
import json
import re
import stat
import zlib

import pytest

from interplay.errors import InterplayError
from interplay.report import render, write
from interplay.report.explorer import STRONGEST, packed, segments
from interplay.report.page import complete
from interplay.report.recommendation import headline
from interplay.report.scales import step_axis


def island(page):
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])
    return data | {"prompts": [unpacked(prompt) for prompt in data["prompts"]]}


def unpacked(prompt):
    return json.loads(zlib.decompress(base64.b64decode(prompt)))


def test_same_payload_same_bytes(made, demo_page):
    assert render(made.make_payload()) == demo_page


def test_small_and_alone(demo_page, parse):
    assert len(demo_page.encode()) < 500_000
    assert "http://" not in demo_page
    assert "https://" not in demo_page
    assert not {"link", "img", "iframe", "object", "base"} & set(parse(demo_page).seen)


def test_the_policy_lets_only_our_own_script_run(demo_page, parse):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', demo_page)[1]
    script = parse(demo_page).scripts[-1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in html.unescape(policy)
    assert "innerHTML" not in script
    assert not re.search(r"\beval\(|document\.write|insertAdjacentHTML|new Function", script)


def test_hostile_strings_stay_text(hostile_page, demo_page, parse):
    page = hostile_page
    calm, wild = parse(demo_page), parse(page)
    assert len(wild.scripts) == len(calm.scripts) == 2
    assert "img" not in wild.seen
    assert "{{7*7}}" in page
    assert not re.search(r">\s*49\s*<", page)
    for char in ("\x00", "\u2028", "\u2029", "\x1b"):
        assert char not in page
    page.encode("utf-8")
    assert len(page.encode()) < 2_500_000
    assert "\u202e" not in "".join(value or "" for _, value in wild.attributes)
    assert max(len(value or "") for name, value in wild.attributes if name == "title") <= 400


def test_island_round_trip(hostile_page):
    data = island(hostile_page)
    assert len(data["prompts"]) == 8
    assert all(len(w) <= 40 for p in data["prompts"] for w in p["words"])


def test_every_chart_has_its_table(demo_page):
    said = re.findall(r"<summary>Table: (.*?)</summary>", demo_page)
    for title in (
        "Total strength and number",
        "Strength by order, log-odds, with 95 % intervals",
        "Does another model use them too? (gamma)",
        "Could each set alone give the answer?",
        "Everything by step, with 95 % intervals",
    ):
        assert title in said
    assert len(said) == len(set(said)), "nothing is said twice"
    assert demo_page.count('class="chart') < 15


def test_values_in_the_tables_are_the_payload(made, demo_page):
    payload = made.make_payload()
    row = next(
        r
        for r in payload["summary"]
        if (r["definition"], r["step"], r["set"], r["measure"]) == ("common", 40, "emerged", "strength")
    )
    table = demo_page.split("<summary>Table: Total strength and number</summary>")[1].split("</table>")[0]
    assert f">{row['value']:.2f}<" in table
    assert f"{row['lo']:.2f} to {row['hi']:.2f}" in table


def test_gamma_absent_says_why(made):
    page = render(made.make_payload(gamma=False))
    assert "it needs a baseline LLM of another family" in page
    assert "run with BASELINE=1" in page
    assert "Table: Does another model use them too?" not in page


def test_no_floor_says_so(made):
    page = render(made.make_payload(floor=False))
    assert "There is no churn floor" in page
    assert 'class="sw floor"' not in page
    assert 'class="sw floor"' in render(made.make_payload())


def test_the_first_screen_says_in_words_what_changed_and_what_to_keep(made, parse):
    payload = made.make_payload(prompts=2)
    for prompt in payload["prompts"]:
        prompt["label"], prompt["floor"] = "joy", 1.0
        prompt["text"], prompt["words"] = "so happy, so very glad", [
            {"text": "happy", "start": 3, "end": 8}, {"text": "glad", "start": 18, "end": 22},
        ]  # fmt: skip
        for step, now in zip(prompt["steps"], (0.1, 0, 0, 0, 4.1, 9.0), strict=True):
            effect = {"type": "and", "mask": 3, "before": 0.1, "effect": now, "outcome": "new"}
            step["interactions"] = [effect, effect | {"mask": 1, "effect": 0.6, "outcome": "stronger"}]
            step |= {
                "score_full": -5.0 if step["step"] == 0 else 7.8,
                "score_empty": -9.0 if step["step"] == 0 else 2.0,
            }
    page = render(payload)
    text = " ".join("".join(parse(page).text).split())
    assert (
        page.index('<section id="learnt"')
        < page.index('<section id="recommendation"')
        < page.index('<svg class="chart')
    )
    assert (
        "The strongest changes from step 0 to 40, pooled over the prompts. 2 of 4 exceed all that another wording of their prompt "
        "makes." in text
    )
    assert "happy and glad together now speak for joy: +4.00 nats." in text
    assert "<q><bdi>so <mark>happy</mark>, so very <mark>glad</mark></bdi></q>" in page
    assert "In 2 prompts, on average +4.00 nats; here +0.10 → +4.10 (new)." in text
    assert (
        "Of +12.8 nats by which the log-odds of the target changed from step 0 to 40 (mean of 2 prompts), +11.0 come with no word "
        "at all: format and prior. The words add +1.80" in text
    )
    assert page.count("<b>answer changed</b>") == 2


def test_what_is_gone_does_not_speak_against(made, parse):
    payload = made.make_payload(prompts=1)
    gone = {"type": "and", "mask": 1, "before": 2.6, "effect": 0.01, "outcome": "gone"}
    for step in payload["prompts"][0]["steps"]:
        step["interactions"] = [gone, gone | {"mask": 2, "before": -2.0, "effect": 1.0, "outcome": "flipped"}]
    text = " ".join("".join(parse(render(payload)).text).split())
    words = [word["text"] for word in payload["prompts"][0]["words"]]
    assert f"{words[0]} no longer speaks for gratitude: \u22122.59 nats." in text
    assert f"{words[1]} turned round and speaks for gratitude: +3.00 nats." in text


def test_changes_within_another_wording_are_no_finding(made):
    payload = made.make_payload(prompts=2)
    for prompt in payload["prompts"]:
        prompt["floor"] = 1e9
    page = render(payload)
    assert " 0 of " in page
    assert "<mark>" not in page
    for prompt in payload["prompts"]:
        prompt["floor"] = None
    assert "No floor was measured" in render(payload)


def test_one_checkpoint_draws_nothing(made):
    payload = made.make_payload(prompts=2)
    payload |= {"steps": [0], "task": payload["task"][:1]}
    payload["summary"] = [row for row in payload["summary"] if row["step"] == 0]
    payload["recommendation"] |= {"step": 0, "basis": "only"}
    for prompt in payload["prompts"]:
        prompt["steps"] = prompt["steps"][:1]
    page = render(payload)
    assert 'class="chart' not in page
    assert "Table: Total strength and number" in page


def test_a_fallback_is_not_shown_as_a_finding(made):
    payload = made.make_undecided()
    page = render(payload)
    assert headline(payload) == ("No evidence to choose", None)
    assert "Keep step" not in page
    assert ">default</text>" in page
    assert "without evidence, step 40 is only the default" in page
    assert ">keep</text>" not in page
    assert "cancelled strength per sd" in page


def test_the_sentence_does_not_repeat_the_headline(made):
    payload = made.make_payload()
    payload["recommendation"]["sentence"] = "Keep step 40: it is the lowest."
    page = render(payload)
    assert "<bdi>It is the lowest.</bdi>" in page
    assert "<bdi>emerged strength at step 80 over step 40</bdi>" in page


def test_a_base_model_that_nothing_beats_is_the_headline(made):
    payload = made.make_payload(prompts=2, definitions=("paper",))
    payload["recommendation"] |= {
        "step": 0,
        "basis": "base",
        "sentence": "No checkpoint beats the base model: 0.9 is the highest.",
    }
    page = render(payload)
    assert headline(payload) == ("No checkpoint beats the base model", None)
    assert "<bdi>0.9 is the highest.</bdi>" in page
    assert "is only the default" not in page


@pytest.mark.parametrize("step", [None, 0])
def test_no_recommendation_and_step_zero(made, step):
    payload = made.make_payload(prompts=2, definitions=("paper",))
    payload["recommendation"]["step"] = step
    page = render(payload)
    assert ("No checkpoint stands out" in page) is (step is None)


def test_nothing_measured_still_makes_a_page():
    payload = {
        "title": "t",
        "subtitle": "s",
        "version": "0",
        "recommendation": {"step": None, "sentence": "Nothing.", "rule": "r", "evidence": [], "rivals": {}},
        "steps": [0],
        "reference": 0,
        "summary": [],
    }
    page = render(payload)
    assert "This run measured no interactions" in page
    assert "This run recorded no task metrics." in page


@pytest.mark.parametrize("steps", [[0, 1], [100], list(range(0, 2001, 50)), [0, 1, 2, 3, 4000], [50, 100, 400]])
def test_any_steps_stay_on_the_axis(steps):
    axis = step_axis(steps)
    assert all(0 <= a <= 1 for a in axis.at)
    assert list(axis.at) == sorted(set(axis.at))
    placed = axis.labels(212)
    spots = [(axis.of(s) * 212, 3.6 * len(str(s))) for s in placed]
    assert all(b[0] - a[0] >= a[1] + b[1] for a, b in itertools.pairwise(spots))
    assert steps[0] in placed


def test_a_prompt_may_miss_a_step_and_a_definition_may_miss_rows(made):
    payload = made.make_payload(prompts=2)
    del payload["prompts"][0]["steps"][3]
    payload["summary"] = [r for r in payload["summary"] if not (r["definition"] == "signed" and r["measure"] == "rho")]
    page = render(payload)
    assert island(page)["prompts"][0]["units"][3] is None
    assert "(rho): not measured in this run." not in page, "the main definition is drawn"


def test_only_the_strongest_are_kept_and_counted(made):
    payload = made.make_payload(prompts=1)
    step = payload["prompts"][0]["steps"][0]
    step["interactions"] = [
        {"type": kind, "mask": mask, "before": 1.0, "effect": mask / 100, "outcome": "kept"}
        for kind in ("and", "or")
        for mask in range(1, 128)
    ]
    p = complete(payload)
    data = unpacked(packed(p["prompts"][0], p["steps"]))
    unit = data["units"][0]
    assert (unit["n"], len(unit["m"])) == (254, STRONGEST)
    assert [e * data["unit"] for e in unit["e"][:2]] == pytest.approx([0.01, 0.01], abs=1e-3), "the strongest change"
    changes = [abs(e - b) for b, e in zip(unit["b"], unit["e"], strict=True)]
    assert changes == sorted(changes, reverse=True)


def test_effects_are_encoded_with_their_type(made):
    payload = made.make_payload(prompts=1)
    p = complete(payload)
    data = unpacked(packed(p["prompts"][0], p["steps"]))
    for step, unit in zip(p["prompts"][0]["steps"], data["units"], strict=True):
        given = {
            (e["mask"], e["type"] == "or", round(e["effect"] / data["unit"]), e["outcome"][0])
            for e in step["interactions"]
        }
        codes = zip(unit["m"], unit["e"], unit["o"], strict=True)
        assert {(m >> 1, bool(m & 1), e, outcome) for m, e, outcome in codes} == given
    largest = max(abs(e["effect"]) for step in p["prompts"][0]["steps"] for e in step["interactions"])
    assert data["unit"] <= largest / 1000, "finer than what the page shows"


def test_words_stand_where_their_offsets_say():
    text = "🙂 naïve café"
    words = [{"text": "naïve", "start": 2, "end": 7}, {"text": "café", "start": 8, "end": 12}]
    prompt = {"text": text, "words": words}
    assert segments(prompt) == [("🙂 ", -1), ("naïve", 0), (" ", -1), ("café", 1)]


def test_write_all_or_nothing(made, tmp_path):
    payload = made.make_payload(prompts=1, definitions=("paper",))
    path = write(payload, tmp_path / "deep" / "report.html")
    assert path.read_text(encoding="utf-8") == render(payload)
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    (tmp_path / "file").write_text("x")
    with pytest.raises(InterplayError, match="cannot write"):
        write(payload, tmp_path / "file" / "report.html")
    with pytest.raises(InterplayError, match="cannot write"):
        write(payload, tmp_path / "deep")
    assert not [p for p in tmp_path.iterdir() if p.name.endswith(".tmp")]
