"""`explain`: one prompt under one model, as a picture and as JSON."""

import json
import math
import re
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

import interplay

PROMPT = "I was not happy with the food at all, but we had to laugh"
KEYS = ["version", "model", "prompt", "words", "score", "mask", "target_given", "target"]
KEYS += ["target_scored", "score_full", "score_empty", "probability", "rank", "rank_of", "likeliest"]
KEYS += [
    "tolerance",
    "duality_gap",
    "dtype",
    "noise_sigma",
    "absence_sigma",
    "word_values",
    "single_words",
    "interactions",
]


@pytest.fixture
def explain(call, tiny_folder):
    """`explain("--n", 4, ...)`: the verb on a tiny model."""

    def ask(*more, prompt=PROMPT, target="joy", model="llama"):
        return call("explain", "--model", tiny_folder(model), "--prompt", prompt, "--target", target, *more)

    return ask


@pytest.fixture
def extracted(monkeypatch):
    """What `extract` was given and gave during the call."""
    import interplay.effects

    seen = []
    honest = interplay.effects.extract

    def keep(scores, **options):
        seen.append((np.asarray(scores), honest(scores, **options)))
        return seen[-1][1]

    monkeypatch.setattr(interplay.effects, "extract", keep)
    return seen


def test_json_has_exactly_these_keys_and_nothing_else_is_on_stdout(explain, tiny_folder, extracted):
    done = explain("--n", 5, "--json")
    assert (done.code, done.err.count("\n")) == (0, 1)
    assert "'joy' at most" in done.err, "a random model gives no target"
    assert done.out.count("\n") == 1
    answer = json.loads(done.out)
    assert list(answer) == KEYS
    assert len(answer["words"]) == 5
    assert [PROMPT.index(word) for word in answer["words"]] == sorted(PROMPT.index(word) for word in answer["words"])
    assert answer["dtype"] == "float32"
    assert 0 <= answer["noise_sigma"] < 1e-4
    assert 0 <= answer["duality_gap"] <= 2e-3
    [(scores, effects)] = extracted
    assert answer["tolerance"] == float(effects.tolerance) == 3 * answer["noise_sigma"]
    assert (answer["version"], answer["model"]) == (interplay.__version__, str(tiny_folder("llama")))
    assert (answer["prompt"], answer["mask"], answer["target"]) == (PROMPT, '"_" (one per token)', "joy")
    assert (answer["score_full"], answer["score_empty"]) == (scores[-1], scores[0])
    shown = answer["interactions"]
    assert all(list(row) == ["type", "words", "order", "effect", "certain", "exchangeable_with"] for row in shown)
    assert all(row["type"] in ("and", "or") for row in shown)
    assert all(row["order"] == len(row["words"]) and set(row["words"]) <= set(answer["words"]) for row in shown)
    assert not [row for row in shown if row["type"] == "or" and row["order"] == 1]
    sizes = [abs(row["effect"]) for row in shown]
    assert sizes == sorted(sizes, reverse=True)
    assert min(sizes) > 0.05 * max(sizes)
    # All effects together are v(N) - v(empty), up to the tolerance; shown are the salient ones, each other is below 5 %.
    gap = answer["score_full"] - answer["score_empty"]
    together = effects.and_effects.sum() + effects.or_effects.sum()
    assert together == pytest.approx(gap, abs=answer["tolerance"] + 1e-9)
    hidden = together - sum(row["effect"] for row in shown)
    others = int(((effects.and_effects != 0).sum() + (effects.or_effects != 0).sum()) - len(shown))
    assert abs(hidden) <= others * 0.05 * max(sizes) + 1e-9


def test_words_are_those_named_and_two_words_can_be_checked_by_hand(explain, extracted):
    """n = 2 without tolerance to speak of: three effects that the four scores fix but for the split of the pair."""
    answer = json.loads(explain("--words", "happy, not", "--json").out)
    assert answer["words"] == ["not", "happy"]
    [(v, effects)] = extracted
    effect = {(row["type"], tuple(row["words"])): row["effect"] for row in answer["interactions"]}
    of_not = effect.get(("and", ("not",)), 0.0) + effect.get(("or", ("not", "happy")), 0.0)
    assert of_not == pytest.approx(
        v[1] - v[0], abs=2 * float(effects.tolerance) + 0.05 * max(map(abs, effect.values()))
    )


def test_numbers_and_words_without_spaces_are_named(explain):
    answer = json.loads(explain("--words", "1,000, ไม่,ชอบ", "--json", prompt="ฉันไม่ชอบอาหาร 1,000 now").out)
    assert answer["words"] == ["ไม่", "ชอบ", "1,000"]


def test_one_named_word_and_fewer_words_than_asked(explain):
    answer = json.loads(explain("--words", "not", "--json").out)
    assert answer["words"] == ["not"]
    [only] = answer["interactions"]
    assert only["effect"] == pytest.approx(answer["score_full"] - answer["score_empty"], rel=0.03)
    few = explain("--json", prompt="so happy food")
    assert few.code == 0
    assert few.err.count("\n") == 2
    assert "content words in the prompt, not 8" in few.err
    assert len(json.loads(few.out)["words"]) < 8


def test_same_call_gives_the_same_bytes_and_another_seed_other_words(explain):
    answers = [explain("--n", 3, "--json", "--seed", seed, model="qwen2").out for seed in (0, 0, 1, 2, 3)]
    assert answers[0] == answers[1]
    assert len({tuple(json.loads(answer)["words"]) for answer in answers}) > 1


def test_text_says_what_is_scored_and_draws_every_interaction(explain):
    asked = ("--chat", "true", "--n", 4)
    whole = json.loads(explain(*asked, "--json", target="sadness").out)
    assert whole["target_scored"] == "sadness"
    asked += ("--target-tokens", "first")
    answer = json.loads(explain(*asked, "--json", target="sadness").out)
    token = answer["target_scored"]
    assert token != "sadness"
    assert "sadness".startswith(token.strip())
    out, err = explain(*asked, target="sadness").out, explain(*asked, target="sadness").err
    assert f"the target {token!r} is a fragment of 'sadness'" in err
    assert (
        f"log-odds of {token!r}, a token of 'sadness', against the whole vocabulary: {answer['score_full']:+.3f}" in out
    )
    assert f"{answer['score_empty']:+.3f} with none" in out
    rows = re.findall(r"^(AND|OR) +([+-]\d+\.\d+) (.*)$", out, re.MULTILINE)
    few = [row for row in answer["interactions"] if row["order"] <= 3]
    many = [row for row in answer["interactions"] if row["order"] == 4]
    assert len(rows) == len(few)
    assert f"{len(many)} more of 4 words, together {sum(abs(row['effect']) for row in many):.3g} nats\n" in out
    values = re.findall(r"^ +([+-]\d+\.\d+) ([█░]+) +(\S+)$", out, re.MULTILINE)
    assert [word for _, _, word in values] == answer["words"]
    for (value, bar, _), row in zip(values, answer["word_values"], strict=True):
        assert float(value) == pytest.approx(row["shapley"], abs=5e-4)
        assert ("█" in bar) == (row["shapley"] > 0)
    assert f"Single words hold {100 * answer['single_words']:.0f} % of the strength of all effects" in out
    for (kind, effect, picture), row in zip(rows, few, strict=True):
        assert kind.lower() == row["type"]
        assert float(effect) == pytest.approx(row["effect"], abs=5e-4)
        assert picture.count("●" if kind == "AND" else "○") == row["order"]
        assert ("█" in picture) == (row["effect"] > 0)
    assert max(len(line) for line in out.splitlines() if re.match(r"(AND|OR) |  ", line)) <= 110
    assert "\x1b" not in out, "a pipe gets no colour"


def test_top_limits_the_picture_not_the_json(explain):
    asked = ("--n", 5, "--top", 2)
    assert len(re.findall(r"^(AND|OR) ", explain(*asked).out, re.MULTILINE)) == 2
    assert len(json.loads(explain(*asked, "--json").out)["interactions"]) > 2


def test_many_words_are_numbered_so_that_rows_fit(explain, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = "terrible service ruined whole dinner yesterday evening because nobody expected enormous portions"
    out = explain("--n", 9, prompt=text).out
    assert re.search(r"^ +1  \w+$", out, re.MULTILINE)
    picture = [line for line in out.splitlines() if line.startswith(("AND", "OR"))]
    assert picture
    assert max(map(len, picture)) <= 80


def test_adapter_changes_the_scores_and_is_put_on_the_named_base(explain, made):
    adapter = made.folder / "checkpoints" / "checkpoint-2"
    plain, adapted = (json.loads(explain("--n", 2, "--json", *more).out) for more in ((), ("--adapter", adapter)))
    assert plain["words"] == adapted["words"]
    assert plain["score_full"] != adapted["score_full"]


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("terrible\x1b[31mfood not\u202ehappy laughed\x9b2J today", ("--n", 4)),
        (" ".join(f"w{i}\x1b[31mx\u202e\x9b2J{i}" for i in range(20)), ("--n", 18, "--coalitions", 60, "--order", 1)),
    ],
    ids=["exact", "sampled"],
)
def test_words_never_reach_the_terminal_raw(explain, text, options):
    for extra in ((), ("--json",)):
        done = explain(*options, *extra, prompt=text, target="joy\x1b[0m")
        assert done.code == 0, done.err
        assert not set("\x1b\x9b\u202e") & set(done.out + done.err)
    assert any("\x1b" in word for word in json.loads(done.out)["words"]), "JSON keeps the word, escaped"


def test_flat_scores_are_answered_too(explain, monkeypatch):
    """A prompt whose words change nothing has no interactions, and that is an answer, not a crash."""
    module = import_module("interplay.scoring.scores")
    honest = module.score_prepared

    def flat(*args, **kwargs):
        scored = honest(*args, **kwargs)
        return replace(scored, values=np.full_like(scored.values, -3.0), noise_sigma=0.0)

    monkeypatch.setattr(module, "score_prepared", flat)
    done = explain("--n", 3, "--json")
    assert done.code == 0, done.err
    answer = json.loads(done.out)
    assert answer["interactions"] == []
    assert math.isfinite(answer["duality_gap"])
    assert "0 salient interactions" in explain("--n", 3).out
