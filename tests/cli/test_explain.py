"""`explain`: one prompt under one model, as a picture and as JSON."""

import json
import math
import re
from importlib import import_module

import numpy as np
import pytest

import interplay

PROMPT = "I was not happy with the food at all, but we had to laugh"
KEYS = [
    "version",
    "model",
    "prompt",
    "words",
    "mask",
    "target",
    "target_scored",
    "score_full",
    "score_empty",
    "tolerance",
]
KEYS += ["duality_gap", "dtype", "noise_sigma", "interactions"]


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


def test_json_has_exactly_these_keys_and_nothing_else_is_on_stdout(call, tiny_folder, extracted):
    done = call("explain", "--model", tiny_folder("llama"), "--prompt", PROMPT, "--target", "joy", "--n", "5", "--json")
    assert done.code == 0
    assert done.err == ""
    assert done.out.count("\n") == 1
    answer = json.loads(done.out)
    assert list(answer) == KEYS
    assert len(answer["words"]) == 5
    assert [PROMPT.index(word) for word in answer["words"]] == sorted(PROMPT.index(word) for word in answer["words"])
    assert answer["dtype"] == "float32"
    assert 0 <= answer["noise_sigma"] < 1e-4
    assert 0 <= answer["duality_gap"] <= 1e-3
    [(scores, effects)] = extracted
    assert answer["tolerance"] == float(effects.tolerance) == 0.02 * abs(scores[-1] - scores[0])
    assert (answer["version"], answer["model"]) == (interplay.__version__, str(tiny_folder("llama")))
    assert (answer["prompt"], answer["mask"], answer["target"]) == (PROMPT, "<unk>", "joy")
    assert answer["score_full"] == scores[-1]
    assert answer["score_empty"] == scores[0]
    shown = answer["interactions"]
    assert all(list(row) == ["type", "words", "order", "effect"] for row in shown)
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


def test_words_are_those_named_and_two_words_can_be_checked_by_hand(call, tiny_folder, extracted):
    """n = 2 without tolerance to speak of: three effects that the four scores fix but for the split of the pair."""
    done = call(
        "explain",
        "--model",
        tiny_folder("llama"),
        "--prompt",
        PROMPT,
        "--target",
        "joy",
        "--words",
        "happy, not",
        "--json",
    )
    answer = json.loads(done.out)
    assert answer["words"] == ["not", "happy"]
    [(v, effects)] = extracted
    effect = {(row["type"], tuple(row["words"])): row["effect"] for row in answer["interactions"]}
    of_not = effect.get(("and", ("not",)), 0.0) + effect.get(("or", ("not", "happy")), 0.0)
    assert of_not == pytest.approx(
        v[1] - v[0], abs=2 * float(effects.tolerance) + 0.05 * max(map(abs, effect.values()))
    )


def test_one_named_word_and_fewer_words_than_asked(call, tiny_folder):
    one = call(
        "explain", "--model", tiny_folder("llama"), "--prompt", PROMPT, "--target", "joy", "--words", "not", "--json"
    )
    answer = json.loads(one.out)
    assert answer["words"] == ["not"]
    [only] = answer["interactions"]
    assert only["effect"] == pytest.approx(answer["score_full"] - answer["score_empty"], rel=0.03)
    few = call("explain", "--model", tiny_folder("llama"), "--prompt", "so happy food", "--target", "joy", "--json")
    assert few.code == 0
    assert few.err.count("\n") == 1
    assert "content words in the prompt, not 8" in few.err
    assert len(json.loads(few.out)["words"]) < 8


def test_same_call_gives_the_same_bytes_and_another_seed_other_words(call, tiny_folder):
    base = ("explain", "--model", tiny_folder("qwen2"), "--prompt", PROMPT, "--target", "joy", "--n", "3", "--json")
    assert call(*base).out == call(*base).out
    words = {tuple(json.loads(call(*base, "--seed", seed).out)["words"]) for seed in range(4)}
    assert len(words) > 1


def test_text_says_what_is_scored_and_draws_every_interaction(call, tiny_folder):
    base = ("explain", "--model", tiny_folder("llama"), "--prompt", PROMPT, "--target", "sadness", "--chat", "true")
    answer = json.loads(call(*base, "--n", "4", "--json").out)
    token = answer["target_scored"]
    assert token != "sadness"
    assert "sadness".startswith(token.strip())
    out = call(*base, "--n", "4").out
    assert f"log-odds of {token!r}, the first token of 'sadness': {answer['score_full']:+.3f}" in out
    assert f"{answer['score_empty']:+.3f} with none" in out
    rows = re.findall(r"^(AND|OR) +([+-]\d+\.\d+) (.*)$", out, re.MULTILINE)
    assert len(rows) == len(answer["interactions"])
    for (kind, effect, picture), row in zip(rows, answer["interactions"], strict=True):
        assert kind.lower() == row["type"]
        assert float(effect) == pytest.approx(row["effect"], abs=5e-4)
        assert picture.count("●" if kind == "AND" else "○") == row["order"]
        assert ("█" in picture) == (row["effect"] > 0)
    assert max(map(len, out.splitlines()[4:])) <= 110
    assert "\x1b" not in out, "a pipe gets no colour"


def test_top_limits_the_picture_not_the_json(call, tiny_folder):
    base = ("explain", "--model", tiny_folder("llama"), "--prompt", PROMPT, "--target", "joy", "--n", "5", "--top", "2")
    assert len(re.findall(r"^(AND|OR) ", call(*base).out, re.MULTILINE)) == 2
    assert len(json.loads(call(*base, "--json").out)["interactions"]) > 2


def test_many_words_are_numbered_so_that_rows_fit(call, tiny_folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = "terrible service ruined whole dinner yesterday evening because nobody expected enormous portions"
    out = call("explain", "--model", tiny_folder("llama"), "--prompt", text, "--target", "joy", "--n", "9").out
    assert re.search(r"^ +1  \w+$", out, re.MULTILINE)
    picture = [line for line in out.splitlines() if line.startswith(("AND", "OR"))]
    assert picture
    assert max(map(len, picture)) <= 80


def test_adapter_changes_the_scores_and_is_put_on_the_named_base(call, made, tiny_folder):
    adapter = made.folder / "checkpoints" / "checkpoint-2"
    base = ("explain", "--model", tiny_folder("llama"), "--prompt", PROMPT, "--target", "joy", "--n", "2", "--json")
    plain, adapted = json.loads(call(*base).out), json.loads(call(*base, "--adapter", adapter).out)
    assert plain["words"] == adapted["words"]
    assert plain["score_full"] != adapted["score_full"]


def test_words_never_reach_the_terminal_raw(call, tiny_folder):
    text = "terrible\x1b[31mfood not\u202ehappy laughed\x9b2J today"
    for extra in ((), ("--json",)):
        done = call(
            "explain", "--model", tiny_folder("llama"), "--prompt", text, "--target", "joy\x1b[0m", "--n", "4", *extra
        )
        assert done.code == 0, done.err
        assert not set("\x1b\x9b\u202e") & set(done.out + done.err)
    assert any("\x1b" in word for word in json.loads(done.out)["words"]), "JSON keeps the word, escaped"


def test_flat_scores_are_answered_too(call, tiny_folder, monkeypatch):
    """A prompt whose words change nothing has no interactions, and that is an answer, not a crash."""
    from dataclasses import replace

    module = import_module("interplay.scoring.scores")

    honest = module.score_prepared

    def flat(*args, **kwargs):
        scored = honest(*args, **kwargs)
        return replace(scored, values=np.full_like(scored.values, -3.0), noise_sigma=0.0)

    monkeypatch.setattr(module, "score_prepared", flat)
    base = ("explain", "--model", tiny_folder("llama"), "--prompt", PROMPT, "--target", "joy", "--n", "3")
    done = call(*base, "--json")
    assert done.code == 0, done.err
    answer = json.loads(done.out)
    assert answer["interactions"] == []
    assert math.isfinite(answer["duality_gap"])
    assert "0 salient interactions" in call(*base).out
