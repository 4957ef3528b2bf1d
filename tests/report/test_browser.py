"""The page in Chromium, offline: quiet console, no requests, mouse and keys, narrow, hostile, without a script, on paper."""

import pytest

from interplay.report import write

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def files(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    return {
        "demo": write(made.make_payload(), folder / "demo.html"),
        "controlled": write(made.make_controlled(), folder / "controlled.html"),
        "hostile": write(made.make_hostile(), folder / "hostile.html"),
        "bare": write(
            made.make_payload(gamma=False, floor=False, definitions=("paper",), prompts=1), folder / "bare.html"
        ),
        "undecided": write(made.make_undecided(), folder / "undecided.html"),
    }


@pytest.fixture
def visit(browser, files):
    """Opens a page; at the end nothing may have been said on the console and nothing but the file requested."""
    contexts, said, asked = [], [], []

    def go(name, width=1280, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: said.append(m.text))
        page.on("pageerror", lambda e: said.append(str(e)))
        page.on("request", lambda r: asked.append(r.url))
        page.goto(files[name].as_uri())
        return page

    yield go
    for context in contexts:
        context.close()
    assert said == []
    assert all(url.startswith("file:") for url in asked)
    assert len(asked) == len(contexts)


STEADY = """async () => {
  for (let before = -1; before !== scrollY; ) {
    before = scrollY;
    await new Promise((done) => setTimeout(done, 300));
  }
}"""


def opened(page, index=0):
    """The page with one prompt of the list open and drawn."""
    page.locator(f"details[data-i='{index}'] > summary").click()
    page.locator(f"details[data-i='{index}'] #ex-chords svg").wait_for()
    return page


def unfolded(page):
    page.evaluate("document.querySelectorAll('.measure').forEach((fold) => { fold.open = true; })")
    return page


def overflow(page):
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@pytest.mark.matrix("375-hostile", "1280-demo", "375-bare", "1280-controlled")
@pytest.mark.parametrize("name", ["demo", "controlled", "hostile", "bare", "undecided"])
@pytest.mark.parametrize("width", [375, 1280])
def test_fits_and_runs_nothing_of_the_data(visit, name, width):
    page = visit(name, width)
    assert overflow(page) <= 0
    assert page.locator("#explorer").is_hidden(), "drawn when asked for"
    unfolded(opened(page))
    assert overflow(page) <= 0
    assert page.evaluate("typeof window.__pwned") == "undefined"
    assert page.locator("#ex-chords svg .chord").count() > 0


@pytest.mark.parametrize("size", [(1280, 800), (375, 667)])
def test_the_first_screen_holds_a_word_of_the_data(visit, size):
    page = visit("demo", size[0])
    word = page.locator("#learnt mark").first.bounding_box()
    assert word["y"] + word["height"] < size[1]
    if size[0] == 1280:
        keep = page.locator("#recommendation h2").bounding_box()
        assert keep["y"] + keep["height"] < size[1]


def test_prompts_are_found_by_text_label_and_change(visit, made):
    page = visit("demo")
    shown = lambda: [i for i in range(8) if page.locator(f"details[data-i='{i}']").is_visible()]  # noqa: E731
    assert shown() == list(range(8))
    page.locator("#search").fill("TERRIFIED")
    assert shown() == [2]
    assert page.locator("#found").inner_text() == "1 of 8"
    page.locator("#search").fill("grief")
    assert shown() == [3]
    page.locator("#search").fill("changed")
    steps = [{s["step"]: s["score_full"] > 0 for s in p["steps"]} for p in made.make_payload()["prompts"]]
    assert shown() == [i for i, answer in enumerate(steps) if answer[0] != answer[40]]


def test_one_prompt_is_open_at_a_time(visit):
    page = opened(opened(visit("demo"), 1), 2)
    assert page.locator("#list details[open]").count() == 1
    assert "terrified" in page.locator("#ex-text").inner_text()
    page.locator("details[data-i='2'] > summary").click()
    assert page.locator("#explorer").is_hidden()


def test_explorer_by_mouse(visit):
    page = opened(visit("demo"))
    assert page.locator("#ex-step-4").is_checked()  # opens at the recommended step
    before = page.locator("#ex-chords").inner_html()
    opened(page, 2)
    assert "terrified" in page.locator("#ex-text").inner_text()
    assert page.locator("#ex-chords").inner_html() != before
    page.locator("label[for=ex-step-0]").click()
    assert "Effects at step 0" in page.locator("#ex-lists").inner_text()
    page.locator("label[for=ex-step-5]").click()
    assert "Changes since step 0" in page.locator("#ex-lists").inner_text()
    assert page.locator("#ex-lists > div").first.locator("li").count() == 7  # a Shapley value a word
    page.locator("#ex-more-all").click()
    assert page.locator("#ex-lists > div").last.locator("li").count() > 12


def test_the_explorer_ranks_by_change_or_by_effect(visit, made):
    page = opened(visit("demo"))
    [step] = [s for s in made.make_payload()["prompts"][0]["steps"] if s["step"] == 40]
    shown = lambda: [  # noqa: E731
        float(text.replace("\u2212", "-"))
        for text in page.locator("#ex-lists > div").last.locator(".num").all_inner_texts()
    ]
    for by, value in (("change", lambda e: e["effect"] - e["before"]), ("effect", lambda e: e["effect"])):
        page.locator(f"#ex-by-{by}").check()
        ranked = sorted((value(e) for e in step["interactions"] if value(e)), key=abs, reverse=True)
        assert shown() == pytest.approx(ranked[:12], abs=0.006)
    page.locator("#ex-by-change").check()
    box = page.locator("#ex-lists > div").last
    assert " above 0.60, the most that another wording changes" in box.inner_text()
    page.locator("#ex-more-all").click()
    small = [abs(x) <= 0.6 for x in shown()]
    assert ["[" in text for text in box.locator("li .tagged").all_inner_texts()] == small
    assert 0 < sum(small) < len(small)
    first = box.locator("li").first.inner_text()
    assert "→" in first
    assert any(outcome in first for outcome in ("new", "gone", "flipped", "stronger", "weaker"))


def test_explorer_by_keyboard(visit):
    page = visit("demo")
    page.locator("details[data-i='1'] > summary").focus()
    page.keyboard.press("Enter")
    page.locator("#ex-chords svg").wait_for()
    assert "ridiculous" in page.locator("#ex-text").inner_text()
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert page.locator("#ex-step-5").is_checked()
    assert page.evaluate("document.activeElement.id") == "ex-step-5"
    page.locator("#ex-k").focus()
    page.keyboard.press("Home")
    assert page.locator("#ex-chords .chord").count() == 4


def test_an_interaction_lights_up_its_words(visit):
    page = opened(visit("demo"))
    page.locator("#ex-chords svg").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    page.evaluate(STEADY)  # a tooltip goes when the page scrolls
    page.keyboard.press("ArrowRight")
    tip = page.locator("#tip")
    tip.wait_for(state="visible")
    words = tip.inner_text().splitlines()[0].replace(" / ", " + ").split(" + ")
    assert page.locator("#ex-text .w.on").all_inner_texts() == words
    page.keyboard.press("Escape")
    assert not tip.is_visible()


def test_a_word_lights_up_its_interactions(visit):
    page = opened(visit("demo"))
    page.locator("#ex-text .w").first.hover()
    assert page.locator("#ex-text .w.on").count() == 1
    codes = page.locator("#ex-chords .chord:not(.faded)").evaluate_all("all => all.map((x) => +x.dataset.code)")
    assert codes
    assert all(code >> 1 & 1 for code in codes)


def test_tooltips_by_mouse_and_keys(visit):
    page = unfolded(visit("demo"))
    chart = page.locator("#turnover .evo svg.chart").nth(1)
    chart.scroll_into_view_if_needed()
    page.wait_for_timeout(400)
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.5)
    said = page.locator("#tip").inner_text()
    assert "emerged" in said
    assert "total strength" in said
    assert "order 4: +" in said
    assert "95 %" in said
    assert "churn floor" in said
    assert page.locator("#turnover svg title").count() == 0  # else the browser shows its own beside ours


def test_evolution_is_one_stop_whose_columns_are_read_by_arrow_keys(visit):
    page = unfolded(visit("controlled", 375))
    chart = page.locator("#turnover .evo svg.chart").first
    assert chart.locator(".pt").count() == 6  # one a checkpoint
    page.locator("#turnover .evo-box").focus()
    page.keyboard.press("Tab")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert page.locator("#tip").inner_text().startswith("step 80 · preserved")
    assert page.locator("#turnover .evo-box").evaluate("box => box.scrollWidth > box.clientWidth")


def test_wide_figures_scroll_inside_their_own_box(visit):
    page = unfolded(visit("controlled", 375))
    for box in (".evo-box", "#controls .scroll", ".stack-box"):
        one = page.locator(box).first
        assert one.evaluate("box => box.scrollWidth > box.clientWidth && box.clientWidth <= 375")
    assert overflow(page) <= 0


def test_the_explorer_says_how_well_one_prompt_is_matched(visit):
    page = opened(visit("controlled"))
    said = page.locator("#ex-certificate").inner_text()
    assert "the salient ones alone miss the scores by 0.20 of their spread" in said


def test_without_a_script(visit):
    page = visit("demo", java_script_enabled=False)
    assert page.locator("#list table").count() == 8
    page.locator("#list summary").nth(1).click()
    assert page.locator("#list table").nth(1).is_visible()
    assert page.locator("#explorer").is_hidden()
    assert page.locator("#find").is_hidden()
    page.locator("#turnover > summary").click()
    assert page.locator("#turnover svg").first.is_visible()


def test_dark_colours_have_contrast(visit):
    for scheme in ("light", "dark"):
        page = visit("demo", color_scheme=scheme)
        ratios = page.evaluate(
            """() => {
              const css = getComputedStyle(document.documentElement);
              const light = (name) => {
                const hex = css.getPropertyValue(name).trim();
                const [r, g, b] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255)
                  .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
              };
              const paper = light("--paper");
              return ["--ink", "--muted", "--preserved", "--emerged", "--removed", "--train", "--eval", "--other"].map((name) => {
                const [a, b] = [paper, light(name)].sort((x, y) => y - x);
                return [name, (a + 0.05) / (b + 0.05)];
              });
            }"""
        )
        assert [name for name, ratio in ratios if ratio < 4.5] == []


@pytest.mark.matrix("controlled")
@pytest.mark.parametrize("name", ["bare", "controlled"])
def test_on_paper(visit, name):
    page = visit(name)
    pdf = page.pdf(format="A4")
    assert pdf.startswith(b"%PDF")
    assert len(pdf) > 50_000
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 703, "height": 900})
    assert overflow(page) <= 0
    assert page.locator("nav").is_hidden()


def test_the_kept_step_is_as_large_as_the_words_before_it(visit):
    """A class of the charts once shrank the one number that the page is for."""
    sizes = visit("demo").evaluate(
        "['.answer', '.answer .step'].map(q => getComputedStyle(document.querySelector(q)).fontSize)"
    )
    assert sizes[0] == sizes[1]
