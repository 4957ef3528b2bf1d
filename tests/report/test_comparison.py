"""The page of a comparison: closed, escaped, the same bytes every time, and readable in a browser with and without a script."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from synthetic_runs import NASTY, synthetic_run

from interplay.comparison.comparison import compare_runs
from interplay.report.chart import Line, Panel, draw
from interplay.report.comparison import letter, render, style
from interplay.report.rows import Point, Series
from interplay.report.scales import step_axis, value_axis
from interplay.report.text import interval, number


@pytest.fixture(scope="module")
def payloads(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    odd = root / "<img src=x onerror=window.__pwned=1>"
    runs = [
        synthetic_run(root / "lora-0", seed=0, noise=1, controls=True),
        synthetic_run(root / "lora-1", seed=1, noise=2, controls=True),
        synthetic_run(odd, method="full", seed=0, noise=3, grow=1.5, name=NASTY, basis="last"),
    ]
    return {
        "study": compare_runs(runs).payload,
        "seeds": compare_runs(runs[:2], axis="epochs").payload,
        "named": compare_runs([], {NASTY: runs[:1], "b" * 300: runs[1:2]}).payload,
    }


@pytest.mark.parametrize("name", ["study", "seeds", "named"])
def test_page_is_whole_and_closed(payloads, name, parse):
    page = render(payloads[name])
    tags = parse(page)
    assert len(tags.ids) == len(set(tags.ids))
    assert tags.seen.count("script") == 1
    assert "img" not in tags.seen
    assert "default-src 'none'" in page
    assert not re.search(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", page.replace("http://www.w3.org", ""))
    assert page == render(payloads[name])


def test_every_group_has_its_line_in_every_chart(payloads):
    page = render(payloads["study"])
    strength = page[page.index("How strong are they together?") :].split("</figure>")[0]
    assert strength.count('class="curve r-0 d-0"') == 3  # one mean for each set
    assert strength.count('class="curve seed r-0 d-0 thin"') == 6  # and two trainings
    assert strength.count('class="curve r-1 d-1"') == 3
    axes = {tuple(re.findall(r'class="tick end">([^<]+)<', chart)) for chart in strength.split("<svg")[1:]}
    assert len(axes) == 1  # one value axis for the row
    captions = set(re.findall(r'class="name mid">([^<]+)<', page))
    assert captions == {"optimiser step"}


def test_spread_and_differences_are_said(payloads):
    page = render(payloads["study"])
    assert "Do seeds matter more than prompts?" in page
    assert "With one training on a side" in page
    assert "No evidence to choose" in page
    assert "can be told apart at some checkpoint" in page
    alone = render(payloads["seeds"])
    assert "epoch" in alone
    assert "Different settings" in alone
    assert "Do seeds matter more than prompts?" not in render(payloads["named"])


def test_figures_of_the_page_are_those_of_the_tables(payloads):
    page = render(payloads["study"])
    row = next(r for r in payloads["study"]["overview"] if r["run"] == "lora-0")
    assert f"{row['last_eval_loss']:.2f}" in page
    last = [r for r in payloads["study"]["paired"] if r["measure"] == "l1_per_sd"][-1]
    assert f">{number(last['difference'], signed=True)}<" in page
    assert f">{interval(last['lo'], last['hi'])}<" in page


def test_chart_of_one_point_and_of_many_lines():
    x = step_axis([0.0])
    one = [Series("", (Point(0.0, float(i), i - 0.5, i + 0.5, 1.0),)) for i in range(12)]
    lines = tuple(Line(series, style(i), "small", letter(i), null="chance") for i, series in enumerate(one))
    svg = str(draw(Panel("", "", lines, "", "", tips=[(0.0, "")], said="twelve"), x, value_axis([0.0, 12.0])))
    places = [float(y) for y in re.findall(r'<text x="[^"]+" y="([0-9.]+)" class="label end-mark', svg)]
    assert len(places) == 12
    assert all(abs(a - b) >= 10.9 for i, a in enumerate(places) for b in places[:i])  # no letter on another
    assert len({style(i) for i in range(32)}) == 32
    assert len({letter(i) for i in range(60)}) == 60


@pytest.mark.matrix(2)
@pytest.mark.browser
@pytest.mark.parametrize("name", ["study", "named"])
@pytest.mark.parametrize(("width", "script"), [(375, True), (1280, True), (1280, False)])
def test_in_a_browser(payloads, browser, tmp_path, name, width, script):
    said, asked = [], []
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, java_script_enabled=script)
    page = context.new_page()
    page.on("console", lambda m: said.append(m.text))
    page.on("pageerror", lambda e: said.append(str(e)))
    page.on("request", lambda r: asked.append(r.url))
    (tmp_path / "page.html").write_text(render(payloads[name]), encoding="utf-8")
    page.goto((tmp_path / "page.html").as_uri())
    assert page.locator("svg.chart").first.is_visible()
    if script:
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
        assert page.evaluate("typeof window.__pwned") == "undefined"
        page.locator("svg.chart").first.focus()
        page.keyboard.press("ArrowRight")
        assert page.locator("#tip").inner_text().startswith("optimiser step 1\nA ")
    context.close()
    assert said == []
    assert len(asked) == 1
