"""`explain A B`: one prompt under two models or checkpoints, side by side."""

import json
import re
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tiny_job import TEMPLATE

from interplay.dynamics.contrast import contrast

PROMPT = "I was not happy with the food at all, but we had to laugh"
ASK = ("--prompt", PROMPT, "--target", "joy", "--n", "4")
FIRST = ("--target-tokens", "first")
LABELS = ("--labels", "anger,joy,sadness,surprise")
WORDED = ("--template", TEMPLATE, "--chat", "false")
AS_RUN = (*WORDED, *LABELS)


@pytest.fixture
def answer(call):
    """`answer(...)`: the JSON of `explain ...`, with nothing on stderr."""

    def ask(*arguments: object) -> dict:
        done = call("explain", *arguments, "--json")
        assert done.code == 0, done.err
        assert done.err == ""
        assert done.out.count("\n") == 1
        return json.loads(done.out)

    return ask


@pytest.fixture
def counted(monkeypatch):
    """Names of what was loaded, and one entry for every scoring, in their order."""
    seen: list[str] = []
    models, score = import_module("interplay.models.loading"), import_module("interplay.scoring.scores")
    load, scored = models.load_weights, score.score_prepared

    def loading(name, *args, **options):
        seen.append(Path(name).name)
        return load(name, *args, **options)

    def scoring(*args, **options):
        seen.append("scored")
        return scored(*args, **options)

    monkeypatch.setattr(models, "load_weights", loading)
    monkeypatch.setattr(score, "score_prepared", scoring)
    return seen


@pytest.fixture
def run_copy(made, tmp_path):
    """The finished run with one more checkpoint, step 3, of whole weights without a tokenizer."""

    def copy(whole: Path) -> Path:
        run = tmp_path / "run"
        shutil.copytree(made.folder, run)
        (run / "checkpoints" / "checkpoint-3").mkdir()
        for name in ("config.json", "model.safetensors"):
            shutil.copy(whole / name, run / "checkpoints" / "checkpoint-3" / name)
        return run

    return copy


@pytest.fixture(autouse=True)
def no_weak_targets(monkeypatch):
    """Random models give no answer; what is said of that has tests of its own."""
    for notes in ("weak_targets", "target_notes"):
        monkeypatch.setattr(f"interplay.explanation.explain.{notes}", lambda *args, **kwargs: [])


def known(rows: list[dict]) -> dict[tuple, Any]:
    return {(row["type"], tuple(row["words"])): row.get("effect") for row in rows}


def unnamed(answer: dict) -> dict:
    """An answer without the names of its models."""
    return {k: unnamed(v) if isinstance(v, dict) else v for k, v in answer.items() if k != "model"}


def consistent(two: dict) -> None:
    """The three lists are what the two single answers say, and their effects too."""
    before, after = known(two["before"]["interactions"]), known(two["after"]["interactions"])
    removed, kept, new = (known(two[name]) for name in ("removed", "kept", "new"))
    assert set(removed) == set(before) - set(after)
    assert set(kept) == set(before) & set(after)
    assert set(new) == set(after) - set(before)
    for row in two["removed"] + two["kept"]:
        assert row["before"] == before[row["type"], tuple(row["words"])]
    for row in two["new"] + two["kept"]:
        assert row["after"] == after[row["type"], tuple(row["words"])]
    assert all(row["order"] == len(row["words"]) for row in two["removed"] + two["kept"] + two["new"])
    assert all(row["sign_flipped"] == (row["before"] * row["after"] < 0) for row in two["kept"])
    for name, size in (
        ("removed", lambda r: abs(r["before"])),
        ("new", lambda r: abs(r["after"])),
        ("kept", lambda r: max(abs(r["before"]), abs(r["after"]))),
    ):
        sizes = [size(row) for row in two[name]]
        assert sizes == sorted(sizes, reverse=True)


def test_base_against_its_adapter_is_the_two_single_answers(answer, made, tiny_folder, counted):
    base, adapter = tiny_folder("llama"), made.folder / "checkpoints" / "checkpoint-2"
    two = answer(base, adapter, *ASK, *WORDED)
    assert counted == [base.name, "scored", "scored"], "one base for both"
    assert list(two) == ["before", "after", "removed", "kept", "new", "floor"]
    assert two["floor"] is None
    assert two["before"] == answer("--model", base, *ASK, *WORDED)
    assert two["after"] == answer("--model", base, "--adapter", adapter, *ASK, *WORDED)
    assert (two["before"]["model"], two["after"]["model"]) == (str(base), str(adapter))
    assert two["before"]["score_full"] != two["after"]["score_full"]
    consistent(two)
    # The adapter is taken off again: the base is the same behind it.
    turned = answer(adapter, base, *ASK, *WORDED)
    assert (turned["before"], turned["after"]) == (two["after"], two["before"])
    assert known(turned["removed"]).keys() == known(two["new"]).keys()


def test_steps_of_a_run_are_asked_as_the_run_asks(answer, made, tiny_folder):
    base, adapter = tiny_folder("llama"), made.folder / "checkpoints" / "checkpoint-2"
    steps = answer(f"{made.folder}@0", f"{made.folder}@2", *ASK)
    assert unnamed(steps) == unnamed(answer(base, adapter, *ASK, *AS_RUN))
    assert unnamed(answer(base, f"{made.folder}@2", *ASK)) == unnamed(steps), "a model beside a run is asked alike"
    assert answer(f"{made.folder}@2", *ASK) == steps["after"], "one step alone, too"
    plainly = answer(f"{made.folder}@0", f"{made.folder}@2", *ASK, "--template", "{text}", "--chat", "true", *FIRST)
    assert unnamed(plainly["before"]) == unnamed(answer(base, *ASK, "--chat", "true", *FIRST, *LABELS)), "options win"


def test_step_of_whole_weights_has_the_tokenizer_of_its_run(answer, run_copy, tiny_folder):
    other = tiny_folder("llama", seed=1)
    run = run_copy(other)
    two = answer(f"{run}@0", f"{run}@3", *ASK)
    assert unnamed(two["after"]) == unnamed(answer(other, *ASK, *AS_RUN))
    consistent(two)
    beside = answer(tiny_folder("llama"), run / "checkpoints" / "checkpoint-3", "--base", other, *ASK, *AS_RUN)
    assert unnamed(beside) == unnamed(two), "a bare checkpoint takes the tokenizer of --base"


def test_two_architectures(answer, tiny_folder, counted):
    llama, qwen = tiny_folder("llama"), tiny_folder("qwen2")
    asked = (*ASK, "--mask", ".")
    two = answer(llama, qwen, *asked)
    assert counted == ["llama-0", "qwen2-0", "scored", "scored"], "all is loaded before any is scored"
    assert two["before"]["words"] == two["after"]["words"]
    assert (two["before"], two["after"]) == (answer(llama, *asked), answer(qwen, *asked))
    consistent(two)
    assert any(row["sign_flipped"] for row in two["kept"])


def test_effects_of_both_models_add_up_to_their_gaps(answer, tiny_folder, monkeypatch):
    import interplay.effects

    honest, seen = interplay.effects.extract, []

    def keep(scores, **options):
        seen.append((np.asarray(scores), honest(scores, **options)))
        return seen[-1][1]

    monkeypatch.setattr(interplay.effects, "extract", keep)
    two = answer(tiny_folder("llama"), tiny_folder("qwen2"), *ASK)
    assert len(seen) == 2
    for (v, effects), side in zip(seen, ("before", "after"), strict=True):
        gap = two[side]["score_full"] - two[side]["score_empty"]
        assert gap == v[-1] - v[0]
        assert effects.effects.sum() == pytest.approx(gap, abs=float(effects.tolerance) + 1e-9)


def test_floor_is_the_same_comparison_between_two_wordings_of_a(answer, made, tiny_folder):
    steps = (f"{made.folder}@0", f"{made.folder}@2")
    two = answer(*steps, *ASK, "--rephrased", "Text: {text}\nFeeling:")
    assert {k: v for k, v in two.items() if k != "floor"} == {
        k: v for k, v in answer(*steps, *ASK).items() if k != "floor"
    }
    floor = two["floor"]
    assert floor["template"] == "Text: {text}\nFeeling:"
    other = answer(f"{made.folder}@0", *ASK, "--template", "Text: {text}\nFeeling:")
    a, b = known(two["before"]["interactions"]), known(other["interactions"])
    assert floor["removed"]["count"] == len(set(a) - set(b)) > 0
    assert floor["new"]["count"] == len(set(b) - set(a)) > 0
    assert floor["removed"]["strength"] == pytest.approx(sum(abs(a[key]) for key in set(a) - set(b)))
    assert floor["new"]["strength"] == pytest.approx(sum(abs(b[key]) for key in set(b) - set(a)))
    for name, effects in (("removed", a), ("new", b)):
        total = sum(map(abs, effects.values()))
        assert floor[name]["strength_fraction"] == pytest.approx(floor[name]["strength"] / total)
        assert floor["multiples"][name]["count"] == pytest.approx(len(two[name]) / floor[name]["count"])
    removed = sum(abs(row["before"]) for row in two["removed"]) / sum(map(abs, a.values()))
    assert floor["multiples"]["removed"]["strength_fraction"] == pytest.approx(
        removed / floor["removed"]["strength_fraction"]
    )


def test_text_shows_every_interaction_and_says_what_happened(call, answer, tiny_folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    asked = (tiny_folder("llama"), tiny_folder("qwen2"), *ASK, *FIRST, "--mask", " the")
    two, done = answer(*asked), call("explain", *asked)
    assert done.code == 0
    assert done.err == ""
    out = done.out
    assert out.startswith(f"A: {asked[0]}\nB: {asked[1]}\nv: log-odds of {two['before']['target_scored']!r}")
    v = [[f"{two[side][key]:+.3f}" for side in ("before", "after")] for key in ("score_full", "score_empty")]
    assert re.search(rf"^v\(N\), all 4 words +{re.escape(v[0][0])} +{re.escape(v[0][1])}$", out, re.MULTILINE)
    assert re.search(rf"^v\(empty\), none of them +{re.escape(v[1][0])} +{re.escape(v[1][1])}$", out, re.MULTILINE)
    p = [f"{1 / (1 + np.exp(-two[side]['score_full'])):.3g}" for side in ("before", "after")]
    assert re.search(rf"^p of the target, all words +{p[0]} +{p[1]}$", out, re.MULTILINE)
    for name, title in (("kept", "Kept"), ("removed", "Removed"), ("new", "New")):
        [(head, body)] = re.findall(rf"^{title}: (\w+)\n(.*?)\n\n", out, re.MULTILINE | re.DOTALL)
        assert head == str(len(two[name]))
        rows = re.findall(r"^(AND|OR) +(\d+) +([+-][\d.]+) ([█░]*) +([+-][\d.]+) ([█░]*) +(\S.*)$", body, re.MULTILINE)
        assert len(rows) == len(two[name])
        for (kind, order, a, bar_a, b, bar_b, words), row in zip(rows, two[name], strict=True):
            assert (kind.lower(), int(order)) == (row["type"], row["order"])
            assert float(a) == pytest.approx(row["before"], abs=5e-4)
            assert float(b) == pytest.approx(row["after"], abs=5e-4)
            assert words.split("  (")[0].split(" & " if kind == "AND" else " | ") == row["words"]
            assert ("sign flipped" in words) == row.get("sign_flipped", False)
            assert (bool(bar_a), bool(bar_b)) == (name != "new", name != "removed")
            assert not bar_a or ("█" in bar_a) == (row["before"] > 0)
            assert not bar_b or ("█" in bar_b) == (row["after"] > 0)
    flips = sum(row["sign_flipped"] for row in two["kept"])
    assert (
        f"From A to B, removed: {len(two['removed'])} of {len(two['before']['interactions'])} salient interactions"
        in out
    )
    assert f"kept: {len(two['kept'])} ({flips} with" in out
    assert f"new: {len(two['new'])} of {len(two['after']['interactions'])}" in out
    strongest = two["new"][0]
    spelt = (" & " if strongest["type"] == "and" else " | ").join(strongest["words"])
    assert f"The strongest new one is {spelt} (" in out
    assert "the option rephrased" in out
    assert out.endswith('absent words: " the" (one per token)\n')
    tables = out[out.index("words:") : out.index("From A to B")]
    assert max(map(len, tables.splitlines())) <= 80
    assert "\x1b" not in out, "a pipe gets no colour"
    floor = call("explain", *asked, "--rephrased", "Please answer. {text}").out
    assert "the option rephrased" not in floor
    assert re.search(
        r"removed is \d+\.\d\d times that in number, \d+\.\d\d times in share of strength. From A to B, new is \d",
        floor,
    )


def test_top_limits_each_table(call, tiny_folder):
    out = call("explain", tiny_folder("llama"), tiny_folder("qwen2"), *ASK, "--top", 1).out
    assert len(re.findall(r"^(AND|OR) ", out, re.MULTILINE)) == 3
    assert len(re.findall(r"; the strongest 1$", out, re.MULTILINE)) == 3


def test_same_model_twice_loses_nothing_and_is_told(call, tiny_folder):
    done = call("explain", tiny_folder("llama"), tiny_folder("llama"), *ASK)
    assert done.err == "interplay: A and B have identical weights: no difference between them was learnt\n"
    assert "Removed: none\n" in done.out
    assert "New: none\n" in done.out
    assert "The strongest" not in done.out


def test_no_floor_is_no_number(call, tiny_folder, monkeypatch):
    """A wording that changes nothing cannot be a unit."""
    from dataclasses import replace

    module = import_module("interplay.scoring.scores")
    honest, first = module.score_prepared, []

    def same(model, prepared, **options):
        scored = honest(model, prepared, **options)
        first.append(scored.values)
        return replace(scored, values=first[0]) if len(first) == 3 else scored

    monkeypatch.setattr(module, "score_prepared", same)
    asked = ("explain", tiny_folder("llama"), tiny_folder("qwen2"), *ASK, "--rephrased", "Text: {text}")
    floor = json.loads(call(*asked, "--json").out)["floor"]
    assert floor["removed"]["count"] == floor["new"]["count"] == 0
    assert set(floor["multiples"]["new"].values()) == {None}
    first.clear()
    assert "new is not comparable, as that is none." in call(*asked).out


def test_absent_words_are_those_of_the_run_and_different_ones_are_told(call, answer, made, run_copy, tiny_folder):
    swapped, run = "other words of the same place, 3 draws", run_copy(tiny_folder("llama"))
    settings = (run / "settings.yaml").read_text()
    (run / "settings.yaml").write_text(settings.replace("  mask: auto\n  swap", "  mask: swap\n  swap"))
    ask = ("explain", *ASK, "--words", "not,food,laugh", "--json")
    alone = call(*ask, f"{run}@0")
    assert json.loads(alone.out)["mask"] == swapped
    assert "emotions" not in alone.err, "the words are those of the run's own rows"
    beside = call(*ask, tiny_folder("llama"), f"{run}@0")
    assert [json.loads(beside.out)[side]["mask"] for side in ("before", "after")] == [swapped] * 2
    two = call(*ask, f"{made.folder}@0", f"{run}@0")
    told = f'A and B are measured with different absent words, "_" (one per token) and {swapped}: give mask for both'
    assert told in two.err
    assert "different absent words" not in call(*ask, f"{made.folder}@0", f"{run}@0", "--mask", "drop").err
    (run / "settings.yaml").write_text((run / "settings.yaml").read_text().replace("prompts.jsonl", "gone.jsonl"))
    gone = call(*ask, f"{run}@0")
    assert gone.code == 0
    assert "the rows of the run cannot be read: " in gone.err
    assert "English sentences about emotions" in gone.err


def test_mask_on_the_command_line(call, tiny_folder, tiny_tokenizer):
    ask = ("explain", tiny_folder("llama"), *ASK, "--words", "not,food")
    said = {
        mask: json.loads(call(*ask, "--mask", mask, "--json").out)["mask"]
        for mask in ("mean", "drop", ".", "3", "paper")
    }
    unk = '"<unk>" (one per token)'
    assert list(said.values()) == [
        "mean embedding",
        "left out",
        '"." (one per token)',
        unk,
        '"<unk>" (the lineage\'s rule)',
    ]
    swap = call(*ask, "--mask", "swap")
    assert "English sentences about emotions" in swap.err
    assert re.search(
        r"absent words: other words of the same place, 3 draws, noise of v [\d.e-]+ nats$", swap.out.strip()
    )
    assert "absent words become '<unk>', the unk token" in call(*ask, "--mask", "paper").err
    wrong = call(*ask, "--mask", "no such token")
    assert wrong.code != 0
    assert "not in the vocabulary: name a token of it, its id, or one of auto, mean, swap, drop, paper" in wrong.err


def test_what_else_differs_is_told(call, made, run_copy, tiny_folder):
    run = run_copy(tiny_folder("llama"))
    settings = (run / "settings.yaml").read_text()
    (run / "settings.yaml").write_text(settings.replace("Sentence: {text}", "Comment: {text}"))
    assert "different wordings" in call("explain", f"{run}@0", f"{made.folder}@2", *ASK).err
    assert "different wordings" not in call("explain", f"{run}@0", f"{made.folder}@2", *ASK, *AS_RUN).err
    hint = call("explain", tiny_folder("llama"), made.folder / "checkpoints" / "checkpoint-2", *ASK, "-q").err
    assert "run@2, by the path of the run, asks as the run does" in hint
    literal = call("explain", f"{run}@0", f"{run}@2", *ASK, "--rephrased", r"Text: {text}\nMood:").err
    assert "not a line break" in literal
    assert literal.count("\n") == 1


def test_words_and_names_never_reach_the_terminal_raw(call, tiny_folder, tmp_path):
    odd = tmp_path / "tiny\x1b[31m\u202e"
    shutil.copytree(tiny_folder("qwen2"), odd)
    text = "terrible\x1b[31mfood not\u202ehappy laughed\x9b2J today"
    asked = ("explain", tiny_folder("llama"), odd, "--prompt", text, "--target", "joy\x1b[0m", "--n", "4")
    for extra in ((), ("--json",), ("--rephrased", "\x1b[2J {text}", "--json")):
        done = call(*asked, *extra)
        assert done.code == 0, done.err
        assert not set("\x1b\x9b\u202e") & set(done.out + done.err)
    assert any("\x1b" in word for word in json.loads(done.out)["before"]["words"]), "JSON keeps the word, escaped"


def test_few_shot_examples_are_those_of_the_run(made, tmp_path):
    from interplay.config.loading import dump_settings, load_settings
    from interplay.explanation.names import find_model, wording_of
    from interplay.store.folder import write_format

    settings = load_settings({**made.wanted, "prompt": {**made.wanted["prompt"], "few_shot": 2}})
    write_format(tmp_path)
    (tmp_path / "settings.yaml").write_text(dump_settings(settings))
    template = wording_of(find_model(f"{tmp_path}@0"), chat=None).template
    assert len(template.few_shot) == 2
    assert (template.template, template.chat) == (TEMPLATE, False)


@pytest.fixture(scope="session")
def narrow(tmp_path_factory, tiny_tokenizer):
    """A Llama that the adapters of the run do not fit."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    sizes: dict[str, Any] = {
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 40,
    }
    folder = tmp_path_factory.mktemp("models") / "narrow"
    config = LlamaConfig(vocab_size=len(tiny_tokenizer), hidden_size=24, **sizes)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch, made, narrow):
    """A folder with everything that can be wrong in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    shutil.copytree(made.folder, tmp_path / "run")
    adapter = tmp_path / "run" / "checkpoints" / "checkpoint-2"
    for name, base in (("orphan", "gone/and/away"), ("nameless", None), ("stranger", str(narrow))):
        shutil.copytree(adapter, tmp_path / name)
        config = json.loads((adapter / "adapter_config.json").read_text())
        (tmp_path / name / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": base}))
    shutil.copytree(adapter, tmp_path / "broken")
    (tmp_path / "broken" / "adapter_config.json").write_text("{")
    shutil.copytree(adapter, tmp_path / "torn")
    (tmp_path / "torn" / "adapter_model.safetensors").unlink()
    return tmp_path


WRONG = [
    (["MODEL", "nowhere"], "no model at 'nowhere'"),
    (["nowhere", "MODEL"], "no model at 'nowhere'"),
    (["MODEL", "empty"], "is not a model folder"),
    (["MODEL", "run"], "is a run folder: name one step of it, such as run@0"),
    (["run@0", "run@7"], "no checkpoint for step 7 in 'run/checkpoints', only [0, 2]"),
    (["run@0", "run@last"], "does not name a step: give a whole number"),
    (["run@0", "run@"], "does not name a step"),
    (["run@0", "empty@2"], "no settings.yaml"),
    (["MODEL", "orphan"], "stands on 'gone/and/away', which is not here: give it as base"),
    (["MODEL", "nameless"], "does not name its base: give it as base"),
    (["MODEL", "stranger"], "does not fit the base"),
    (["MODEL", "broken"], "save the adapter again"),
    (["MODEL", "torn"], "needs adapter_model.safetensors"),
    (["MODEL", "orphan", "--base", "nowhere"], "no model at 'nowhere'"),
    (["MODEL", "OTHER", "--base", "nowhere"], "need none"),
    (["MODEL", "OTHER", "run@2"], "3 models are named"),
    ([], "no model is named"),
    (["MODEL", "--model", "OTHER"], "are both the model"),
    (["MODEL", "OTHER", "--adapter", "torn"], "adapter is for one model"),
    (["run@2", "--adapter", "run/checkpoints/checkpoint-2"], "goes on a plain model"),
    (["MODEL", "--rephrased", "Please. {text}"], "name two models"),
    (["--model", "MODEL", "--base", "OTHER"], "need none"),
    (["MODEL", "OTHER", "--rephrased", "no place"], "{text} exactly once"),
    (["MODEL", "OTHER", "--rephrased", "{text}"], "is the wording A is asked in already"),
    (["MODEL", "OTHER", "--template", "no place"], "{text} exactly once"),
    (["MODEL", "OTHER", "--coalitions", "9"], "on all coalitions of up to 16 words"),
    (
        ["MODEL", "OTHER", "--prompt", " ".join(f"word{i}" for i in range(20)), "--n", "17"],
        "(17 words): take fewer words",
    ),
    (["MODEL", "OTHER", "--words", "happy,wedding"], "do not stand in the prompt"),
    (["MODEL", "OTHER", "--prompt", "terrible <|im_start|> service"], "special token"),
    (["MODEL", "OTHER", "--dtype", "int8"], "unknown dtype"),
    (["MODEL", "OTHER", "--chat", "maybe"], "chat must be"),
]


@pytest.mark.parametrize(("arguments", "says"), WRONG, ids=[" ".join(a) or "none" for a, _ in WRONG])
def test_what_is_wrong_is_one_line_and_costs_no_scoring(arguments, says, call, place, counted, tiny_folder):
    models = {"MODEL": tiny_folder("llama"), "OTHER": tiny_folder("qwen2")}
    done = call("explain", *ASK, *(models.get(part, part) for part in arguments))
    assert done.code == 2, done.out
    assert done.out == ""
    assert done.err.startswith("interplay: ")
    assert done.err.count("\n") == 1
    assert len(done.err) < 700
    assert says.lower() in done.err.lower()
    assert "scored" not in counted
    if "stranger" not in arguments and "--dtype" not in arguments:
        assert counted == [], "nothing was loaded either"


EFFECTS = arrays(np.float64, (2, 8), elements=st.sampled_from([0.0, 0.0, 0.02, -0.04, 0.3, -1.0, 2.0, -3.0]))


@given(EFFECTS, EFFECTS, st.sampled_from([0.5, 2.0, 64.0]))
def test_sets_share_out_what_is_salient(a, b, scale):
    from interplay.dynamics.sets import salient

    found = contrast(a, b)
    assert found.salient == (int(salient(a).sum()), int(salient(b).sum()))
    assert len(found.removed) + len(found.kept) == found.salient[0]
    assert len(found.new) + len(found.kept) == found.salient[1]
    assert (found.removed_total.count, found.new_total.count) == (len(found.removed), len(found.new))
    assert found.removed_total.strength == pytest.approx(sum(abs(c.before) for c in found.removed))
    assert found.new_total.strength == pytest.approx(sum(abs(c.after) for c in found.new))
    for share in (
        found.removed_total.strength_fraction,
        found.removed_total.count_fraction,
        found.new_total.strength_fraction,
    ):
        assert share is None or 0 <= share <= 1
    assert all(c.salient == (True, False) for c in found.removed)
    assert all(c.salient == (False, True) for c in found.new)
    # Each model has its own tau: one whose scores merely grew has lost nothing.
    grown = contrast(a, b * scale)
    assert [c[:3] for c in grown.removed] == [c[:3] for c in found.removed]
    assert {c[:2] for c in grown.new} == {c[:2] for c in found.new}
    assert sum(c.flipped for c in grown.kept) == sum(c.flipped for c in found.kept)
    back = contrast(b, a)
    assert {c[:2] for c in back.removed} == {c[:2] for c in found.new}


def test_every_sign_that_flips_is_counted():
    a = np.array([[0.0, 3, -2, 1], [0, 0, 0, 0.5]])
    found = contrast(a, -a)
    assert (len(found.kept), found.removed, found.new) == (4, (), ())
    assert all(c.flipped for c in found.kept)
    assert not any(c.flipped for c in contrast(a, a).kept)
