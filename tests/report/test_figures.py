"""What the larger figures say: evolution, controls, fidelity and task, their tables, and that each vanishes without its data."""

import html
import re

import pytest

from interplay.report import render
from interplay.report.evolution import evolution
from interplay.report.page import complete
from interplay.report.rows import Summary
from interplay.report.scales import step_axis
from interplay.report.task import steps_part
from interplay.report.text import number


@pytest.fixture(scope="module")
def payload(made):
    return made.make_controlled()


@pytest.fixture(scope="module")
def page(payload):
    return render(payload)


def section(page, name):
    """A section, or one of the measurements behind a fold."""
    found = re.search(rf'<section id="{name}".*?</section>', page, re.DOTALL)
    return (
        found[0]
        if found
        else page.split(f'<details class="fold measure" id="{name}">')[1].split('<details class="fold')[0]
    )


def table(page, caption):
    found = page.split(f"<summary>Table: {caption}</summary>")[1].split("</table>")[0]
    rows = re.findall(r"<tr>(.*?)</tr>", found, re.DOTALL)
    return [
        [html.unescape(re.sub("<.*?>", "", c)) for c in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row)] for row in rows
    ]


@pytest.mark.matrix(2)
@pytest.mark.parametrize("name", ["views", "baselines", "floors", "multiples", "correlations", "controls", "fidelity"])
def test_any_control_may_be_missing(payload, name):
    page = render({key: value for key, value in payload.items() if key != name})
    assert "<main" in page
    if name == "fidelity":
        assert 'id="fidelity"' not in page


def test_without_controls_there_is_no_empty_frame(demo_page):
    assert 'id="fidelity"' not in demo_page
    assert "Turnover over the churn floor" not in demo_page
    assert "definition: paper" in section(demo_page, "controls"), "other definitions stand beside the one that is drawn"
    assert 'class="heat"' not in demo_page


def test_evolution_has_one_scale_and_one_column_a_checkpoint(payload):
    p = complete(payload)
    figure = evolution(p, Summary(p), "paper", 40)
    assert [s["name"] for s in figure["sectors"]] == ["preserved", "emerged", "removed"]
    for sector in figure["sectors"]:
        svg = str(sector["svg"])
        assert svg.count('class="pt"') == len(p["steps"])
        assert svg.count('class="kept-col"') == 1
        assert "churn floor" in svg
        assert all(f"order {k}:" in svg for k in (2, 3, 4, 5))
    tall = [float(re.search(r'viewBox="0 0 \S+ (\S+)"', str(s["svg"]))[1]) for s in figure["sectors"]]
    assert max(tall) < 2.5 * min(tall)


@pytest.mark.matrix("14")
@pytest.mark.parametrize("steps", [2, 14, 30])
def test_evolution_at_any_number_of_checkpoints(made, steps):
    payload = made.make_payload(prompts=1, definitions=("paper",))
    rows = [r for r in payload["summary"] if r["step"] == 40]
    payload |= {"steps": list(range(0, 10 * steps, 10)), "prompts": [], "task": []}
    payload["summary"] = [{**r, "step": s} for s in payload["steps"] for r in rows]
    payload["recommendation"] |= {"step": 0, "rivals": {}}
    p = complete(payload)
    figure = evolution(p, Summary(p), "paper", 0)
    widths = {float(re.search(r'viewBox="0 0 (\S+) ', str(s["svg"]))[1]) for s in figure["sectors"]}
    assert len(widths) == 1
    assert widths.pop() / steps >= 70
    render(payload)


def test_numbers_of_every_set_stand_in_the_table(payload, page):
    rows = table(page, "Total strength and number")
    assert {row[0] for row in rows[1:]} == {
        "all", "preserved", "preserved, with re-entered", "emerged", "emerged, of these re-entered", "removed",
    }  # fmt: skip
    given = next(
        r for r in payload["summary"]
        if (r["definition"], r["step"], r["set"], r["measure"]) == ("paper", 20, "removed", "count")
    )  # fmt: skip
    row = next(r for r in rows if r[:2] == ["removed", "20"])
    assert f"{given['value']:.1f}" in row


def test_multiples_of_every_floor_with_a_line_at_one(page):
    controls = section(page, "controls")
    assert controls.count(">floor</text>") == 4  # removed and emerged, for each of two references
    assert "Since step 0" in controls
    assert "Since step 20" in controls
    rows = table(controls, "Turnover since step 0 as a multiple of each floor")
    assert {r[1] for r in rows[1:]} == {"another wording", "another precision", "another draw of words"}
    strength = {r[1] for r in rows if r[0] == "removed, strength"}
    assert "another precision" not in strength  # its floor is zero: no multiple
    assert ["removed, number", "another wording", "40", "3.00", "0.50 to 30.0"] in rows


def test_every_view_stands_beside_the_main_curve(payload, page):
    controls = section(page, "controls")
    body = re.search(r'<table class="views">.*?</table>', controls, re.DOTALL)[0]
    assert body.count("<tr") == 1 + 1 + 3 + 2  # head, main, three views, two definitions
    for view in payload["controls"]["views"]:
        assert view["title"] in body
        assert view["note"] in body
    assert body.count('<td class="keeps">40</td>') == 4
    given = next(
        r for r in payload["views"] if (r["view"], r["step"], r["set"], r["measure"]) == ("labels", 40, "all", "l1")
    )  # fmt: skip
    assert f"<td>{number(given['value'])}<span" in body, "at the step to keep"
    assert [row[0] for row in table(controls, "Every view, with 95 % intervals")][1:3] == ["main", "main"]


def test_gamma_against_every_baseline(page):
    quality = section(page, "quality")
    rows = table(quality, r"Does another model use them too? (gamma)")
    assert any(r[0] == "emerged, pythia-410m" for r in rows)
    assert any(r[0] == "emerged, SmolLM2-360M (same family)" for r in rows)


def test_fidelity_shows_error_null_and_ranks(page):
    part = section(page, "fidelity")
    assert ">random set</text>" in part
    assert ">tau, 5 %</text>" in part
    assert [r[1] for r in table(part, "Matching error") if r[0].startswith("R²")] == ["0", "5", "10", "20", "40", "80"]
    assert part.count('class="dots') == 2 * 2  # salient and all, at two steps


def test_one_axis_one_table_for_the_task(payload, page):
    rows = table(section(page, "steps"), "Everything by step, with 95 % intervals")
    assert rows[0][:4] == ["step", "eval loss", "train loss", "out-of-domain loss"]
    assert "retention perplexity" in rows[0]
    assert "emerged strength" in rows[0]
    assert [r[0] for r in rows[1:]] == ["0", "5", "10", "20", "40", "80"]
    assert rows[1][rows[0].index("macro-F1")] == "0.080 (0.064 to 0.096)"
    assert section(page, "steps").count("stack-chart") == 1


def test_correlations_grey_where_the_interval_holds_zero(page):
    grids = re.findall(r'<table class="heat">.*?</table>', page, re.DOTALL)
    assert len(grids) == 2
    cells = re.findall(r'<td class="(\w+)"[^>]*><b>(.*?)</b>', grids[0])
    assert cells == [
        ("plus", "+0.90"), ("weak", "+0.90"), ("minus", "\u22120.75"), ("weak", "\u22120.75"),
        ("weak", "+0.10"), ("weak", "+0.10"),
    ]  # fmt: skip
    assert "over all checkpoints, 6 checkpoints" in page
    assert "after format learning only" in page


def test_correlations_over_four_checkpoints_are_not_shown_and_why(payload):
    few = [row | {"spearman": None, "lo": None, "hi": None, "checkpoints": 4} for row in payload["correlations"]]
    drawn = section(render(payload | {"correlations": few}), "together")
    assert "they need five checkpoints, and fewer were measured" in drawn
    assert 'class="heat"' not in drawn
    assert "they need five checkpoints" not in section(render(payload), "together")


def test_task_metrics_that_were_not_measured_have_no_strip(made):
    p = complete(made.make_payload(prompts=1, definitions=("paper",)))
    part = steps_part(p, Summary(p), step_axis(p["steps"]))
    assert "Macro F1" not in str(part["stack"])
    assert "Accuracy" in str(part["stack"])


@pytest.mark.parametrize(
    ("prompts", "named"), [(0.9, "prompts shuffled"), (0.0, "words shuffled"), (None, "words shuffled")]
)
def test_the_larger_null_of_gamma_is_named(made, prompts, named):
    """Rows of both nulls beside gamma; None: no other prompt has as many words, which the page says."""
    p, rows = made.make_payload(), []
    for row in (row for row in p["summary"] if row["measure"] == "gamma" and row["null"] is not None):
        words, row["null"] = row["null"], max(row["null"], prompts or 0.0)
        nulls = {"gamma_words": words, "gamma_prompts": prompts}
        rows += [row | {"measure": name, "value": value, "null": None} for name, value in nulls.items()]
    page = render(p | {"summary": [*p["summary"], *rows]})
    drawn = re.findall(r"Dotted: the null, ([\w ]+ shuffled)", page)
    assert set(drawn) == {named}
    assert ("the null is shuffled words alone" in page) == (prompts is None)
