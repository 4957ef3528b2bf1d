"""`interplay card`: what stands in the section, that data cannot write markup into it, and that a card around it stays."""

import html
import json
import re
import shutil
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from synthetic_runs import NASTY, synthetic_run

import interplay
from interplay.errors import InterplayError
from interplay.exports.card import BEGIN, END, inert, insert, section
from interplay.store.reader import RunReader

ODD = (
    "a|b | c",
    "`code` ``x``",
    "<script>alert(1)</script>",
    "two\nlines\r\n\r\n# heading",
    "[a](javascript:alert(1)) ![i](x) <https://evil.example>",
    "https://evil.example www.evil.example _www.evil.example me@evil.example",
    "---\ntags: [x]\n---",
    "&lt;b&gt; &amp; &#60;",
    "*b* _i_ ~~s~~ $m$ :smile: @user #1 \\| \\",
    "-->  <!-- x",
    END,
    NASTY,
    "\x1b[2J\u2028\u2029\x85\ufeff\ud800\0",
    "",
)
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


class Page(HTMLParser):
    """What an HTML reader finds: tags, comments and text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags, self.comments, self.text = [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, attrs))

    def handle_endtag(self, tag):
        self.tags.append((tag, "end"))

    def handle_comment(self, data):
        self.comments.append(data)

    def handle_pi(self, data):
        self.tags.append(("?", data))

    def handle_decl(self, decl):
        self.tags.append(("!", decl))

    def handle_data(self, data):
        self.text += data


def shape(markdown: str) -> list[str]:
    """The kinds of blocks and of what is in their lines, without the text; text beside text is one."""
    kinds = []
    for token in MARKDOWN.parse(markdown):
        kinds.append(token.type)
        for child in token.children or ():
            if not (child.type == "text" and kinds[-1] == "text"):
                kinds.append(child.type)
    return kinds


def told(markdown: str) -> str:
    """Everything a reader of the rendered Markdown reads, in one line."""
    return " ".join(Page(MARKDOWN.render(markdown)).text.split())


# ---- data cannot write markup ----------------------------------------------------------------------------------------

PLACES = ("- **Model:** x{}x", "Say **b:** x{}x\n\n- Next", "| a | b |\n| - | - |\n| 1 | x{}x |", "- A: x{}x (n)\n- B")


@example(text="---")
@given(text=st.text(max_size=60) | st.text("|`<>[]()!*_~#&;:/\\@$w.\n- =+\"'", max_size=60) | st.sampled_from(ODD))
def test_data_are_text_to_every_reader(text):
    written = inert(text)
    assert "\n" not in written
    assert not set("<>|`[]*_~#\\@$!{}:&") & set(re.sub(r"&#[0-9]+;|(?<=\w):(?= )", "", written))
    shown = html.unescape(written)
    assert all(c.isprintable() or c == "\u2060" for c in shown)
    for place in PLACES:
        assert shape(place.format(written)) == shape(place.format("plain"))
        assert told(place.format(written)) == " ".join(told(place).replace("x{}x", f"x{shown}x").split())
    page = Page(f"<p>{written}</p>")
    assert page.tags == [("p", []), ("p", "end")]
    assert page.text == shown


@given(text=st.text("Ab1 -./,|<*é漢", max_size=80))
def test_what_people_write_stays_readable(text):
    assert html.unescape(inert(text)) == " ".join(text.split())


@pytest.mark.parametrize("text", ["see https://a.example/x", "WWW.a.example", "_www.a.example_", "mail me@a.example"])
def test_bare_addresses_are_no_links_even_once_decoded(text):
    shown = html.unescape(inert(text))
    assert not re.search(r"[a-z]+://|www\.|\w@\w", shown, re.IGNORECASE)
    assert shown.replace("\u2060", "") == text


def test_long_strings_are_cut():
    assert inert("x" * 301) == "x" * 300 + "…"
    assert inert("&" * 301) == "&#38;" * 300 + "…"


@pytest.mark.matrix(3)
@pytest.mark.parametrize("odd", ODD)
def test_a_hostile_run_has_the_section_of_a_plain_one(odd, tmp_path):
    plain = section(RunReader(synthetic_run(tmp_path / "plain")))
    run = synthetic_run(tmp_path / "run", words=(odd.replace("\ud800", ""), NASTY, "joy"))
    poison(run, odd)
    hostile = section(RunReader(run))
    assert shape(hostile) == shape(plain)
    page = Page(hostile)
    assert page.tags == []
    assert page.comments == [mark[4:-3] for mark in (BEGIN, END)]
    assert hostile.splitlines().count(BEGIN) == hostile.splitlines().count(END) == 1
    assert "---" not in hostile.splitlines()
    card = b"---\nlicense: mit\n---\n# Mine\n"
    assert insert(insert(card, hostile), plain) == insert(card, plain)


def poison(run, odd: str) -> None:
    """A hostile string wherever data or a file of the run can put one."""
    settings = (run / "settings.yaml").read_text(encoding="utf-8")
    name = json.dumps(odd.replace("\0", "").replace("\ud800", "") or " ")  # settings refuse those two themselves
    (run / "settings.yaml").write_text(settings.replace("  name: tiny\n", f"  name: {name}\n"), encoding="utf-8")
    inputs = json.loads((run / "inputs.json").read_text())
    (run / "inputs.json").write_text(json.dumps(inputs | {"labels": [odd]}))
    verdict = json.loads((run / "recommendation.json").read_text())
    verdict |= {"sentence": odd, "basis": odd or "x", "rule": odd, "rivals": {odd or "x": 4}}
    (run / "recommendation.json").write_text(json.dumps(verdict))
    report = {
        "title": odd,
        "subtitle": odd,
        "version": odd or "x",
        "score": odd,
        "method": [],
        "notes": [odd],
        "skipped": [],
    }
    (run / "report.json").write_text(json.dumps(report))


# ---- what the section says -------------------------------------------------------------------------------------------


def test_the_section_says_what_the_run_is(tmp_path):
    run = synthetic_run(tmp_path / "run", method="dora")
    text = section(RunReader(run))
    for said in (
        "- **Model:** tiny",
        "- **Method:** DoRA r = 8, learning rate 0.0001, 4 steps of 2 rows",
        "- **Steps measured:** 0, 1, 2, 4 (reference: step 0)",
        "- **Prompts:** 8 held-out prompts, n = 3 words each",
        "(one per token)",
        "- **Labels:** joy",
        "**Which checkpoint to keep:** Keep step 2.",
        "- Basis: the highest eval accuracy, or the earliest checkpoint that cannot be told from it.",
        "- What each rule would choose: last checkpoint: step 4.",
        f"written by Interplay {interplay.__version__}.",
    ):
        assert said in text
    assert (text.startswith(BEGIN + "\n"), text.endswith(END + "\n")) == (True, True)


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_the_table_is_that_of_the_trajectory(tmp_path):
    from interplay.dynamics import Trajectory

    run = synthetic_run(tmp_path / "run")
    head, _, *body = rows(section(RunReader(run)))
    assert head == [
        "step", "eval loss", "accuracy", "change (floor)", "removed (floor)", "preserved (floor)", "emerged (floor)", "rho (null)",
        "L1/sd",
    ]  # fmt: skip
    track = Trajectory.load(run)
    assert [row[:3] for row in body] == [
        ["0", "2.000", "0.20"],
        ["1", "1.600", "0.30"],
        ["2", "1.200", "0.40"],
        ["4", "0.800", "0.50"],
    ]
    emerged, rho = track.get("strength", "emerged").loc[4], track.get("rho").loc[4]
    assert body[-1][6] == f"{emerged['value']:.1f} ({emerged['null']:.1f})"
    assert body[-1][7] == f"{rho['value']:.2f} ({rho['null']:.2f})"
    assert body[-1][8] == f"{track.get('l1_per_sd')['value'][4]:.1f}"


def test_what_was_not_measured_has_no_column(tmp_path):
    """A run as `recommend` makes one of a folder of checkpoints: no eval rows, no churn floor."""
    import numpy as np
    import pandas as pd

    from interplay.dynamics import trajectory

    run = synthetic_run(tmp_path / "run")
    pd.DataFrame({"step": [0, 4], "eval_loss": [np.nan, np.nan], "accuracy": [np.nan, np.nan]}).to_parquet(
        run / "task.parquet", index=False
    )
    effects = np.random.default_rng(0).normal(size=(2, 2, 4)) * [[1, 1, 1, 1], [0, 0, 0, 1]]
    trajectory([0, 4], [effects], [np.ones((2, 4))], ["a"], draws=5).save(run)
    text = section(RunReader(run))
    head, _, *body = rows(text)
    assert head == ["step", "change", "removed", "preserved", "emerged", "rho (null)", "L1/sd"]
    assert body[0][-1] == "–", "scores that do not vary have no spread to measure by"
    assert "No floor was measured" in text
    assert "1 held-out prompt," in text


@pytest.mark.parametrize(
    ("basis", "said"),
    [
        ("accuracy", "Basis: the highest eval accuracy"),
        ("eval-loss", "Basis: the lowest eval loss"),
        ("last", "no evidence to choose; the last checkpoint"),
    ],
)
def test_the_basis_is_said(basis, said, tmp_path):
    assert said in section(RunReader(synthetic_run(tmp_path / "run", basis=basis)))


def test_a_watched_training_was_not_trained_elsewhere_and_prose_keeps_its_colon(tmp_path):
    run = synthetic_run(tmp_path / "run")
    (run / "callback.json").touch()
    report = {
        "version": interplay.__version__,
        "score": "among 4 labels",
        "method": [{"name": "Training", "value": "SFTTrainer, LORA, 6 steps", "note": None}],
    }
    (run / "report.json").write_text(json.dumps(report))
    settings = RunReader(run).settings.model_dump(mode="json")
    settings |= {"training": None, "checkpoints": {"folder": "out", "steps": None}}
    (run / "settings.yaml").write_text(json.dumps(settings))  # JSON is YAML
    said = (run / "recommendation.json").read_text().replace("Keep step 2.", "Keep step 2: it is best.")
    (run / "recommendation.json").write_text(said)
    text = section(RunReader(run))
    assert "- **Method:** SFTTrainer, LORA, 6 steps; measured while it trained\n" in text
    assert "**Which checkpoint to keep:** Keep step 2: it is best." in text
    assert inert("a: b, :c:") == "a: b, &#58;c&#58;"


def test_no_path_of_this_machine(tmp_path, call, made):
    done = call("card", made.folder)
    assert done.code == 0, done.err
    assert str(made.root) not in done.out
    assert "- **Model:** llama" in done.out
    assert f"Measured and written by Interplay {interplay.__version__}." in done.out


# ---- the card around it ----------------------------------------------------------------------------------------------

SECTION = f"{BEGIN}\n\n## Training dynamics\n\nfigures\n\n{END}\n"
OTHER = SECTION.replace("figures", "other figures\n\n| a |\n| - |")
PIECES = st.sampled_from(
    ["---\n", "license: mit\n", "# Mine\n", "\n", "\r\n", "text", "<!-- x -->\n", "```\n", "é漢\r\n", "  \n", "\r", "\ufeff",
     BEGIN, BEGIN + "\n", END + "\n", END + " \r\n", SECTION]
)  # fmt: skip


@example(pieces=["\ufeff", "---\r\n", "license: mit\r\n", "---\r\n", "# Mine"])
@example(pieces=[BEGIN + "\n", "text", END + "\n", "---\n", END + "\n"])
@example(pieces=["\r"])
@given(pieces=st.lists(PIECES, max_size=8))
def test_a_section_is_put_in_once_and_nothing_else_is_touched(pieces):
    card = "".join(pieces).encode("utf-8")
    try:
        once = insert(card, SECTION)
    except InterplayError:
        return
    assert insert(once, SECTION) == once
    other = insert(once, OTHER)
    assert insert(other, OTHER) == other
    assert insert(other, SECTION) == once
    line_end = "\r\n" if b"\r\n" in card or card.endswith(b"\r") else "\n"
    inside = SECTION.replace("\n", line_end).encode().rstrip()
    assert once.count(inside) >= 1
    if re.search(rf"^(?:{BEGIN}|{END})[ \t]*\r?$", card.decode(), re.MULTILINE) is None:
        assert once.startswith(card)
        assert once[len(card) :].strip() == inside
    else:
        before, _, after = card.decode().partition(BEGIN + ("\r\n" if f"{BEGIN}\r" in card.decode() else "\n"))
        assert once.decode().startswith(before)
        assert once.decode().endswith(after.partition(END)[2])


@given(card=st.binary(max_size=40))
def test_any_bytes_are_a_card_or_refused(card):
    try:
        once = insert(card, SECTION)
    except InterplayError:
        return
    assert once.startswith(card)
    assert insert(once, SECTION) == once


CARD = b"---\r\nlicense: mit\r\ntags: [a]\r\n---\r\n# Mine\r\n\r\nWords.\r\n"


def test_append_to_a_card(call, made, tmp_path):
    path = tmp_path / "README.md"
    path.write_bytes(CARD)
    path.chmod(0o640)
    link = tmp_path / "link.md"
    link.symlink_to(path)
    assert call("card", made.folder, "--append", link).out == f"{link}: section added\n"
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    once = path.read_bytes()
    assert once.startswith(CARD)
    assert once.count(b"\n") == once.count(b"\r\n")
    assert call("card", made.folder, "--append", path).out == f"{path}: unchanged\n"
    assert path.read_bytes() == once
    after = once.replace(b"figures", b"numbers") + b"\r\nMore of mine.\r\n"
    path.write_bytes(after.replace(b"## Training dynamics", b"## Old"))
    assert call("card", made.folder, "--append", path).out == f"{path}: section replaced\n"
    assert path.read_bytes() == once + b"\r\nMore of mine.\r\n"


def test_out_is_a_file_of_its_own(call, made, tmp_path):
    path = tmp_path / "new" / "section.md"
    assert call("card", made.folder, "--out", path).out == f"{path}\n"
    assert path.read_text(encoding="utf-8") == call("card", made.folder).out
    assert call("card", made.folder, "--out", path).code == 0, "our own section may be written again"
    assert call("card", made.folder, "--append", path).out == f"{path}: unchanged\n"


def refused(done, says: str) -> None:
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith("interplay: ")
    assert says in done.err


def test_what_cannot_be_done_is_one_line_and_changes_nothing(call, made, tmp_path):
    card = tmp_path / "README.md"
    for content, says in (
        (b"\xff\xfe\0x", "is not UTF-8 text"),
        (b"a\0b", "binary data"),
        (b"---\nlicense: mit\n# Mine\n", "is never closed"),
        (f"{BEGIN}\nhalf of it\n".encode(), "1 begin and 0 end"),
        (f"{END}\n{BEGIN}\n".encode(), "expected one pair"),
        ((SECTION * 2).encode(), "2 begin and 2 end"),
        (f"{BEGIN}\nmine {END}\n---\n{END}\n".encode(), "1 begin and 2 end"),
        (f"not `{BEGIN}` but `{END}`".encode(), "each on its own line"),
    ):
        card.write_bytes(content)
        refused(call("card", made.folder, "--append", card), says)
        assert card.read_bytes() == content
    refused(call("card", made.folder, "--append", tmp_path / "none.md"), "cannot read")
    refused(call("card", made.folder, "--append", tmp_path), "cannot read")
    for content in (b"# Mine\n", f"{SECTION}\nand mine\n".encode(), (SECTION * 2).encode()):
        card.write_bytes(content)
        refused(call("card", made.folder, "--out", card), "is not a section of ours")
        assert card.read_bytes() == content
    refused(call("card", made.folder, "--out", "a", "--append", "b"), "exclude each other")
    refused(call("card", tmp_path), "is no run folder")
    half = shutil.copytree(made.folder, tmp_path / "half")
    (half / "task.parquet").unlink()
    refused(call("card", half), "unfinished")
    assert {p.name for p in tmp_path.iterdir()} == {"README.md", "half"}
