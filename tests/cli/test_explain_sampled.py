"""`explain` beyond 16 words, and wherever coalitions are sampled: what is scored, fitted, said and drawn."""

import json
import math
import re
import warnings
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

from interplay.effects import sample_coalitions
from interplay.explanation.explain import plan_sampling
from interplay.explanation.text import InteractionRow, Printout

LONG = (
    "Nobody told me the wedding had been moved to Sunday, so I drove four hours through heavy rain, found an empty church, "
    "and sat crying in the cold car until my sister finally called and laughed about the silly mistake"
)
NAMED = "Nobody,told,wedding,moved,Sunday,drove,four,hours,through,heavy,rain,found,empty,church,sat,crying,cold,car"
KEYS = ["version", "model", "prompt", "words", "score", "mask", "target_given", "target"]
KEYS += [
    "target_scored",
    "score_full",
    "score_empty",
    "probability",
    "rank",
    "rank_of",
    "likeliest",
    "tolerance",
    "duality_gap",
    "dtype",
    "noise_sigma",
    "absence_sigma",
]
LAST = ["word_values", "single_words", "interactions"]
SAMPLED = ["sampled", "r2", "total_effect_fraction", "fitted", "held_out", "order", "columns"]


@pytest.fixture
def explain(call, tiny_folder):
    """`explain("--n", 20, ...)`: the verb on the long prompt and a tiny model."""
    base = ("explain", "--model", tiny_folder("llama"), "--target", "joy")
    return lambda *more, prompt=LONG: call(*base, "--prompt", prompt, *more)


@pytest.fixture
def scores_become(monkeypatch):
    """`scores_become(f)`: from now on the model's scores of the coalitions are f(coalitions, honest scores)."""
    module = import_module("interplay.scoring.scores")
    honest = module.score_prepared

    def change(function):
        def changed(*args, **kwargs):
            scored = honest(*args, **kwargs)
            return replace(scored, values=np.asarray(function(scored.coalitions, scored.values), dtype=float))

        monkeypatch.setattr(module, "score_prepared", changed)

    return change


@pytest.fixture
def fitted(monkeypatch):
    """What `extract_sampled` was given and gave during the call."""
    import interplay.effects

    seen = []
    honest = interplay.effects.extract_sampled

    def keep(masks, scores, n, **options):
        seen.append((masks, np.asarray(scores), n, options, honest(masks, scores, n, **options)))
        return seen[-1][-1]

    monkeypatch.setattr(interplay.effects, "extract_sampled", keep)
    return seen


@pytest.fixture(autouse=True)
def no_weak_targets(monkeypatch):
    """Random models give no answer; what is said of that has tests of its own."""
    monkeypatch.setattr("interplay.explanation.explain.weak_targets", lambda *args, **kwargs: [])


def test_json_of_twenty_words(explain, fitted):
    done = explain("--n", 20, "--coalitions", 300, "--order", 2, "--json", "--quiet")
    assert done.code == 0, done.err
    assert done.err == ""
    assert done.out.count("\n") == 1
    answer = json.loads(done.out)
    assert list(answer) == [*KEYS, *SAMPLED, *LAST]
    assert len(answer["words"]) == 20
    [(masks, scores, n, options, effects)] = fitted
    assert masks.tolist() == sample_coalitions(20, 300, 0, order=2).tolist()
    assert (n, options["order"]) == (20, 2)
    assert options["tolerance"] is None, "cross-validation, whatever the noise"
    assert answer["score_empty"] == scores[masks == 0][0]
    assert answer["score_full"] == scores[masks == 2**20 - 1][0]
    assert [answer[key] for key in SAMPLED] == [
        True,
        effects.r2,
        effects.total_effect_fraction,
        240,
        60,
        2,
        20 + 2 * 190,
    ]
    assert answer["duality_gap"] == effects.duality_gap
    assert answer["tolerance"] is None
    shown = answer["interactions"]
    salient = effects.salient()
    assert len(shown) == salient.and_.sum() + salient.or_.sum() > 3
    assert all(row["order"] == len(row["words"]) <= 2 and set(row["words"]) <= set(answer["words"]) for row in shown)
    sizes = [abs(row["effect"]) for row in shown]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.soak
def test_a_planted_game_is_found_and_said(explain, scores_become):
    """Two ANDs and an OR over named words, exactly: R2 is 1 and the rows are those three."""
    bit = {word: 1 << i for i, word in enumerate(NAMED.split(","))}
    pair, either = bit["heavy"] | bit["rain"], bit["wedding"] | bit["church"]
    three = bit["sat"] | bit["crying"] | bit["car"]

    def game(masks, _):
        assert masks is not None
        return [
            -1.0 + 2.0 * (m & pair == pair) - 4.0 * (m & either != 0) + 1.0 * (m & three == three)
            for m in masks.tolist()
        ]

    scores_become(game)
    words = ("--words", NAMED, "--coalitions", 500)
    answer = json.loads(explain(*words, "--json").out)
    assert answer["r2"] == pytest.approx(1.0, abs=1e-6)
    assert answer["total_effect_fraction"] == pytest.approx(1.0, abs=1e-6)
    assert (answer["score_full"], answer["score_empty"]) == (-2.0, -1.0)
    found = [(row["type"], row["words"], round(row["effect"], 3)) for row in answer["interactions"]]
    assert found == [
        ("or", ["wedding", "church"], -4.0),
        ("and", ["heavy", "rain"], 2.0),
        ("and", ["sat", "crying", "car"], 1.0),
    ]
    done = explain(*words)
    assert (
        "sampled: fitted to 400 of 262,144 coalitions, orders up to 3, penalty by cross-validation; R2 1.000"
        in done.out
    )
    assert "-2.000 with all 18 words, -1.000 with none" in done.out
    rows = re.findall(r"^(AND|OR) +(\S+) ([█░]+) +(.*)$", done.out, re.MULTILINE)
    assert [(kind, effect, members) for kind, effect, _, members in rows] == [
        ("OR", "-4.000", "wedding | church"),
        ("AND", "+2.000", "heavy & rain"),
        ("AND", "+1.000", "sat & crying & car"),
    ]
    assert [bar.strip() for _, _, bar, _ in rows] == ["░" * 20, "█" * 10, "█" * 5]


def test_same_call_gives_the_same_bytes_and_another_seed_other_coalitions(explain, fitted):
    base = ("--words", NAMED, "--coalitions", 60, "--order", 1, "--json")
    first, second, other = (explain(*base, "--seed", seed).out for seed in (1, 1, 2))
    assert first == second
    assert first != other
    assert fitted[0][0].tolist() != fitted[2][0].tolist()


@pytest.mark.matrix(1)
@pytest.mark.parametrize("columns", [40, 80, 120])
def test_rows_fit_the_terminal(explain, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    out = explain("--n", 24, "--coalitions", 200, "--order", 2).out
    at = out.index("words: ")
    listed, values, picture = out[at:].split("\n\n")[:3]
    shown = [*listed.splitlines(), *values.splitlines()[:-1], *picture.splitlines()[1:-1]]
    assert max(map(len, shown)) <= columns, "but for prose, which is one line on a pipe"
    assert len(values.splitlines()) == 1 + 24 + 1
    assert len(listed.removeprefix("words: ").split()) == 24
    kinds = re.findall(r"^(AND|OR) ", picture, re.MULTILINE)
    assert 3 < len(kinds) <= 20


def test_words_of_an_interaction_go_on_under_the_first(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    out = Printout()
    names = out.list_words(["not", "extraordinary", "not", "高兴" * 5])
    out.spell(names, [InteractionRow("and", 0b1110, (-1.0,))])
    lines = out.lines
    assert lines[:3] == ["words: not#1  extraordinary  not#2", "       高兴高兴高兴高兴高兴", ""]
    assert lines[3:] == [
        "AND  -1.000 ░░░░░░░░  extraordinary &",
        " " * 22 + "not#2 &",
        " " * 22 + "高兴高兴高兴高兴高兴",
    ]


def test_fewer_words_than_asked_take_the_exact_road(explain):
    done = explain("--n", 24, "--json", prompt="I was not happy with the cold food at all")
    assert done.code == 0
    assert re.fullmatch(r"interplay: only \d content words in the prompt, not 24: all of them are used\n", done.err)
    answer = json.loads(done.out)
    assert list(answer) == [*KEYS, *LAST]


def test_fewer_coalitions_than_there_are_are_sampled_up_to_16_words_too(explain, fitted):
    done = explain("--n", 8, "--coalitions", 100, "--order", 2, "--quiet")
    assert (done.code, done.err) == (0, "")
    assert len(fitted[0][0]) == 100
    assert "fitted to 80 of 256 coalitions" in done.out
    assert "●" in done.out.partition(":\n")[2], "as many words as this are drawn side by side, or numbered"


@pytest.mark.parametrize("options", [("--coalitions", 2000), ("--order", 2), ("--coalitions", 256, "--order", 1)])
def test_options_without_effect_are_said(explain, fitted, options):
    done = explain("--n", 8, *options, "--json")
    assert done.code == 0
    assert done.err == "interplay: all 256 coalitions are scored and split exactly: coalitions and order do nothing\n"
    assert fitted == []
    assert list(json.loads(done.out)) == [*KEYS, *LAST]


def test_unfaithful_effects_are_warned_of_in_one_line(explain, scores_become):
    noise = np.random.default_rng(0)
    scores_become(lambda masks, v: noise.normal(size=len(v)))
    done = explain("--n", 20, "--coalitions", 200, "--order", 2, "--json", "--quiet")
    assert done.code == 0
    assert re.fullmatch(
        r"interplay: the effects explain \d+% of the variance of coalitions never fitted: .*\n", done.err
    )
    assert json.loads(done.out)["r2"] < 0.5


def test_flat_scores_have_no_r2(explain, scores_become):
    scores_become(lambda masks, v: np.full(len(v), -3.0))
    done = explain("--n", 20, "--coalitions", 100, "--json", "--quiet")
    assert (done.code, done.err) == (0, "")
    answer = json.loads(done.out)
    assert answer["interactions"] == []
    assert answer["r2"] is answer["total_effect_fraction"] is None
    assert math.isfinite(answer["duality_gap"])
    out = explain("--n", 20, "--coalitions", 100).out
    assert "R2 unknown" in out
    assert "0 salient interactions" in out


def test_warnings_of_the_scoring_are_lines(explain, scores_become):
    def talk(masks, v):
        warnings.warn("the trie\n differs \x1b[2J", stacklevel=2)
        return v

    scores_become(talk)
    done = explain("--n", 3, "--json")
    assert done.code == 0
    assert done.err == "interplay: the trie differs \ufffd[2J\n"
    json.loads(done.out)


def test_progress_is_on_stderr_where_it_takes_long_and_quiet_is_quiet(explain, monkeypatch):
    module = import_module("interplay.explanation.explain")
    for soon, options, said in (
        (0.0, ("--n", 5), True),
        (1e9, ("--n", 5), False),
        (0.0, ("--n", 5, "--quiet"), False),
        (0.0, ("--n", 20, "--coalitions", 50, "--order", 1), True),
        (0.0, ("--n", 20, "--coalitions", 50, "--order", 1, "--quiet"), False),
    ):
        monkeypatch.setattr(module, "SOON", soon)
        done = explain(*options, "--json")
        json.loads(done.out)
        assert ("scoring coalitions: done in" in done.err) == said
        assert ("fitting interactions ..." in done.err) == (said and 20 in options)
        assert "Warning" not in done.err


def test_plan():
    assert plan_sampling(16, None, None) is None
    assert plan_sampling(17, None, None) == (2000, 3)
    assert plan_sampling(64, None, None) == (2000, 3)
    assert plan_sampling(16, 2**16, None) is None
    assert plan_sampling(16, 2**16 - 1, None) == (2**16 - 1, 3)
    assert plan_sampling(17, 2**20, 2) == (2**17, 2), "never more than there are"
    assert plan_sampling(2, 4, 1) is None


@pytest.mark.parametrize("n", [3, 4, 17, 24, 64])
def test_the_fewest_coalitions_that_are_taken_can_be_fitted(n):
    """The limit is that of the fit, so nobody waits for scores that are then refused."""
    from interplay.effects import extract_sampled
    from interplay.errors import InterplayError

    with pytest.raises(InterplayError, match=r"need (\d+) or more") as refused:
        plan_sampling(n, 2, 1)
    [least] = map(int, re.findall(r"need (\d+)", str(refused.value)))
    if least < 2**n:
        masks = sample_coalitions(n, least, order=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            assert extract_sampled(masks, np.arange(least), n, order=1).fitted >= n + 2
        with pytest.raises(InterplayError, match="score more coalitions"):
            extract_sampled(sample_coalitions(n, least - 1, order=1), np.arange(least - 1), n, order=1)
