"""Every payload in every string of the report's page and of the comparison's: text in offline Chromium, and nothing else."""

import html
import re

import pytest
from hostile import PAYLOADS, ids
from poison import hostile_run, poisoned, poisoned_page, small_payload
from synthetic_runs import synthetic_run

from interplay.report import render
from interplay.report.comparison import render as render_comparison

# What may be on a page of ours: everything else came out of a string.
ODD_ELEMENTS = "img, iframe, object, embed, form, base, link, frame, video, audio, source, textarea, template, foreignObject, animate"
LOOK = """(odd) => {
  const all = [...document.querySelectorAll("*")];
  return {
    hit: typeof window.__hit,
    odd: [...document.querySelectorAll(odd)].map((e) => e.outerHTML.slice(0, 80)),
    handlers: all.flatMap((e) => e.getAttributeNames().filter((n) => n.startsWith("on") || n === "srcdoc")),
    scripts: document.scripts.length,
    policies: [...document.querySelectorAll("meta[http-equiv]")].map((m) => m.httpEquiv),
    links: all.flatMap((e) => ["href", "src", "action", "xlink:href"].map((n) => e.getAttribute(n)))
      .filter((h) => h !== null && !/^#[a-z-]+$/.test(h)),
    main: document.querySelectorAll("main#main").length,
    foot: document.querySelector("body").lastElementChild.tagName,
  };
}"""
# Every tooltip, every choice and every fold of the page once: what is drawn by the script is drawn from data too.
EXERCISE = """async () => {
  for (const fold of document.querySelectorAll("details")) fold.open = true;
  for (let i = 0; document.querySelector("#list") && !document.querySelector("#ex-text bdi") && i < 100; i++)
    await new Promise((resolve) => setTimeout(resolve, 20));
  for (const input of document.querySelectorAll("input")) {
    if (input.type === "range") { input.value = input.max; input.dispatchEvent(new Event("input", { bubbles: true })); }
    else input.click();
  }
  for (const button of document.querySelectorAll("button")) button.click();
  const points = [...document.querySelectorAll(".chart, #ex-text, #ex-lists")]
    .flatMap((box) => [...box.querySelectorAll(".pt, [data-word]")].slice(0, 2));
  for (const point of points) {
    point.dispatchEvent(new PointerEvent("pointerover", { bubbles: true, clientX: 9, clientY: 9 }));
    point.dispatchEvent(new PointerEvent("pointerout", { bubbles: true }));
  }
  return points.length;
}"""
POLICY = re.compile(
    r"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-[\w+/=]{44}'; base-uri 'none'; form-action 'none'"
)


class Watched:
    """One tab without a network, and everything that it says or asks for."""

    def __init__(self, browser) -> None:
        self.context = browser.new_context(offline=True)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda m: self.said.append(m.text))
        self.page.on("pageerror", lambda e: self.said.append(str(e)))
        self.page.on("dialog", lambda d: (self.said.append(f"dialog {d.message}"), d.dismiss()))
        self.page.on("popup", lambda p: self.said.append(f"window {p.url}"))
        self.page.on("download", lambda d: self.said.append(f"download {d.url}"))
        self.context.on("request", lambda r: self.asked.append(r.url))

    def look(self, path, exercise=True) -> dict:
        """Open a page, try everything on it, and say what it is made of; the console and the network must have been silent."""
        self.said.clear()
        self.asked.clear()
        self.page.goto(path.as_uri())
        points = {"points": self.page.evaluate(EXERCISE)} if exercise else {}
        seen = self.page.evaluate(LOOK, ODD_ELEMENTS)
        assert self.said == []
        assert self.asked == [path.as_uri()]
        return seen | points | {"url": self.page.url == path.as_uri()}


@pytest.fixture(scope="module")
def tab(chromium):
    watched = Watched(chromium)
    yield watched
    watched.context.close()


@pytest.fixture(scope="module")
def plain(fixture_payload):
    return small_payload(fixture_payload)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The payload of a comparison with every part in it: a group of two seeds and a run of its own."""
    from interplay.comparison.comparison import compare_runs

    root = tmp_path_factory.mktemp("compared")
    runs = [synthetic_run(root / "a", seed=0, noise=1, controls=True), synthetic_run(root / "b", seed=1, noise=2)]
    runs.append(synthetic_run(root / "c", method="full", grow=2.0, noise=3))
    payload = compare_runs(runs).payload
    return payload | {"notes": ["a note"]}


def poisoned_comparison(payload, texts):
    """Names of runs and groups are keys of other tables, so they are put in by name."""
    names = {name: f"{texts[i % len(texts)]}{i or ''}" for i, name in enumerate(["a", "b", "c"])}
    groups = {
        group["name"]: names.get(group["name"], f"{texts[3 % len(texts)]}-{i}")
        for i, group in enumerate(payload["groups"])
    }
    swap = names | groups
    out = poisoned(payload, texts)
    for part, keys in (("curves", ("run", "group")), ("means", ("group",)), ("overview", ("run", "group")),
                       ("spread", ("group",)), ("paired", ("first", "second"))):  # fmt: skip
        out[part] = [
            new | {key: swap[old[key]] for key in keys} for new, old in zip(out[part], payload[part], strict=True)
        ]
    out["runs"] = [new | {"name": swap[old["name"]]} for new, old in zip(out["runs"], payload["runs"], strict=True)]
    out["groups"] = [
        {"name": swap[old["name"]], "runs": [swap[r] for r in old["runs"]], "given": old["given"]}
        for old in payload["groups"]
    ]
    out["settings"] = [{"setting": text, **dict.fromkeys(names.values(), text)} for text in texts]
    return out


def shut(page: str) -> None:
    """What can be told without a browser: the policy, the number of scripts, no character that tears a page."""
    assert POLICY.search(html.unescape(page[:2000]))
    assert page.count("<meta http-equiv=") == 1
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", page)
    assert len(page.encode("utf-8")) < 2_500_000


def shape(scripts: int) -> dict:
    """What `look` finds on a page of ours whatever its data say."""
    return {
        "hit": "undefined", "odd": [], "handlers": [], "scripts": scripts, "policies": ["Content-Security-Policy"],
        "links": [], "main": 1, "foot": "SCRIPT", "url": True,
    }  # fmt: skip


# A page has some thousand strings: with a megabyte in each it is the test that is slow. Those have a test of their own.
FITTING = [payload for payload in PAYLOADS if len(payload.text) < 1000]
CHUNKS = [FITTING[i : i + 11] for i in range(0, len(FITTING), 11)]


@pytest.mark.soak
@pytest.mark.browser
@pytest.mark.parametrize("chunk", CHUNKS, ids=[chunk[0].name for chunk in CHUNKS])
def test_every_payload_in_every_string_of_the_report(chunk, plain, tab, tmp_path):
    """A page a payload: no place that escapes less than the others goes unseen."""
    for payload in chunk:
        page = render(poisoned_page(plain, [payload.text]))
        shut(page)
        file = tmp_path / "report.html"
        file.write_text(page, encoding="utf-8")
        assert tab.look(file, exercise=False) == shape(2), payload.name


@pytest.mark.matrix(2)
@pytest.mark.browser
@pytest.mark.parametrize("chunk", CHUNKS, ids=[chunk[0].name for chunk in CHUNKS])
def test_report_in_use(chunk, plain, tab, tmp_path):
    """A page of eleven payloads in turn, every fold, switch and tooltip of it tried."""
    file = tmp_path / "report.html"
    file.write_text(render(poisoned_page(plain, [payload.text for payload in chunk])), encoding="utf-8")
    seen = tab.look(file)
    assert seen.pop("points") > 20
    assert seen == shape(2)


@pytest.mark.matrix(1)
@pytest.mark.browser
@pytest.mark.parametrize("chunk", CHUNKS, ids=[chunk[0].name for chunk in CHUNKS])
def test_comparison_in_use(chunk, compared, tab, tmp_path):
    texts = [payload.text for payload in chunk]
    for turn in (0, 5):  # names of runs and groups take the first four
        page = render_comparison(poisoned_comparison(compared, texts[turn:] + texts[:turn]))
        shut(page)
        file = tmp_path / "comparison.html"
        file.write_text(page, encoding="utf-8")
        seen = tab.look(file)
        assert seen.pop("points") > 20
        assert seen == shape(1)


@pytest.mark.soak
@pytest.mark.browser
def test_report_of_a_run_folder_whose_every_string_is_hostile(hostile, tab, call, tmp_path):
    """The road from the files: all payloads in one page, as words, labels, ids, notes, baselines, rows left out."""
    done = call("report", hostile, "--out", tmp_path / "report.html")
    assert done.code == 0, done.err
    seen = tab.look(tmp_path / "report.html")
    assert seen.pop("points") > 20
    assert (seen["hit"], seen["odd"], seen["handlers"], seen["links"]) == ("undefined", [], [], [])
    shown = tab.page.evaluate("document.body.textContent")
    assert "<script>window.__hit=1</script>" in shown  # there, to be read
    assert "{{7*7}}" in shown


@pytest.mark.matrix(1)
@pytest.mark.browser
@pytest.mark.parametrize("payload", [p for p in PAYLOADS if len(p.text) >= 1000], ids=ids)
def test_a_megabyte_is_cut(payload, plain, tab, tmp_path):
    """As a word, a prompt, a label, an id, a title, a note, a reason, a name: the page stays small."""
    long = poisoned_page(plain, [payload.text])
    page = dict(plain) | {key: long[key] for key in ("title", "subtitle", "settings", "notes", "skipped", "method")}
    kept = [dict(step) for step in plain["prompts"][0]["steps"]]
    page["prompts"] = [long["prompts"][0] | {"steps": kept}]
    page["fidelity"] = None
    page["recommendation"] = plain["recommendation"] | {"sentence": payload.text, "rule": payload.text}
    rendered = render(page)
    shut(rendered)
    file = tmp_path / "report.html"
    file.write_text(rendered, encoding="utf-8")
    seen = tab.look(file)
    assert seen.pop("points") > 20
    assert seen == shape(2)


@pytest.mark.browser
def test_a_browser_that_ran_a_script_would_be_noticed(tab, tmp_path):
    """The watch itself: the same look at a page that is open has to see it."""
    file = tmp_path / "open.html"
    file.write_text("<main id=main></main><svg onload=1></svg><script>window.__hit=1</script>", encoding="utf-8")
    seen = tab.look(file)
    assert (seen["hit"], seen["handlers"]) == ("number", ["onload"])
    file.write_text("<main></main><img src='file:///nowhere.png'><script>console.log(1)</script>", encoding="utf-8")
    with pytest.raises(AssertionError):
        tab.look(file)


def test_the_same_hostile_run_gives_the_same_page(tmp_path):
    from interplay.analysis.payload import build_payload
    from interplay.store.folder import RunFolder

    folder = hostile_run(tmp_path / "run", ("<b>", "</script>", "\u202ex", "=1", "../../x", "#", "{{7*7}}"))
    assert render(build_payload(RunFolder(folder))) == render(build_payload(RunFolder(folder)))
