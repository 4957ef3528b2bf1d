"""The fragment for notebooks: closed, escaped, without a script, and with every figure in its table."""

from interplay.report.explorer import explanation_html

ROWS = [
    {"type": "and", "mask": 3, "effect": -1.25},
    {"type": "or", "mask": 6, "effect": 0.5},
    {"type": "and", "mask": 2, "effect": 2.0},
]


def test_drawing_and_table(parse):
    fragment = explanation_html(["not", "good", "not"], ROWS, title="of a model", note="3 of 3")
    tags = parse(fragment)
    assert "script" not in tags.seen
    assert tags.seen.count("tr") == 1 + len(ROWS)
    assert tags.seen.count("circle") == 5
    cells = [text for text in tags.text if text.strip()]
    assert cells.index("+2.00") < cells.index("\u22121.25") < cells.index("+0.50")  # strongest first
    assert "one word" in cells
    assert fragment == explanation_html(["not", "good", "not"], ROWS, title="of a model", note="3 of 3")


def test_a_change_has_both_effects_and_words_have_their_values(parse):
    rows = [
        {"type": "and", "mask": 3, "before": 2.0, "effect": 1.5, "outcome": "kept"},
        {"type": "or", "mask": 6, "before": 0.5, "effect": -2.0, "outcome": "flipped"},
    ]
    values = {"word": ["not", "good", "not"], "shapley_change": [0.25, -0.75, 0.0]}
    cells = [text for text in parse(explanation_html(["not", "good", "not"], rows, values=values)).text if text.strip()]
    at = cells.index("what happened")
    assert cells[at - 4 : at] == ["type", "before", "now", "change"]
    assert [cells.index(x) for x in ("+0.25", "flipped", "kept")] == sorted(
        cells.index(x) for x in ("+0.25", "flipped", "kept")
    )
    assert cells[cells.index("flipped") - 3 : cells.index("flipped")] == ["+0.50", "\u22122.00", "\u22122.50"]


def test_hostile_strings_stay_text(made, parse):
    word = " ".join(made.NASTY)
    rows = [{"type": "and", "effect": 1.0, "mask": 1}]
    values = {"word": [word, *made.NASTY], "shapley": [1.0] * 13}
    fragment = explanation_html([word, *made.NASTY, "x" * 5000], rows, values=values, title=word, note=word)
    assert set(parse(fragment).seen) <= {
        "div", "style", "p", "strong", "bdi", "svg", "g", "title", "line", "rect", "circle", "text", "details", "summary",
        "table", "thead", "tbody", "tr", "th", "td",
    }  # fmt: skip
    fragment.encode("utf-8")


def test_nothing_salient():
    assert "No salient interaction." in explanation_html(["a"], [], title="", note="")
