"""`interplay.explain`: the command's answer as an object, to the last digit, and what the object gives."""

import json
import shutil
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import interplay
from interplay.effects.interactions import dividends
from interplay.errors import InterplayError
from interplay.explanation.explanation import Change, Explanation

PROMPT = "I was not happy with the food at all, but we had to laugh"
LONG = (
    "Nobody told me the wedding had been moved to Sunday, so I drove four hours through heavy rain, found an empty church, "
    "and sat crying in the cold car until my sister finally called and laughed about the silly mistake"
)
ASK = ("--prompt", PROMPT, "--target", "joy", "--n", "4")


@pytest.fixture(scope="module")
def models(tiny_folder, tmp_path_factory) -> dict[str, str]:
    """Two models, and an adapter on the first."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("adapters") / "tuned"
    torch.manual_seed(3)
    options = {"r": 2, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False, "task_type": "CAUSAL_LM"}
    model = AutoModelForCausalLM.from_pretrained(tiny_folder("llama"))
    get_peft_model(model, LoraConfig(**options)).save_pretrained(folder, save_embedding_layers=False)
    return {"a": str(tiny_folder("llama")), "b": str(tiny_folder("qwen2")), "adapter": str(folder)}


@pytest.fixture(scope="module")
def found(models) -> Explanation:
    return interplay.explain(models["a"], PROMPT, "joy", n=4)


@pytest.fixture(scope="module")
def change(models) -> Change:
    return interplay.explain([models["a"], models["b"]], PROMPT, "joy", n=4, rephrased="Please answer. {text}")


@pytest.fixture(scope="module")
def sampled(models) -> Explanation:
    return interplay.explain(models["a"], LONG, "joy", n=18, coalitions=150, order=2)


def test_variables_of_the_chat_template(call, models, tmp_path):
    """In Python as in the command; a template that does not read them is not changed by them."""
    model = shutil.copytree(models["a"], tmp_path / "model")
    template = model / "chat_template.jinja"
    template.write_text("{% if mood is defined %}<{{ mood }}>{% endif %}" + template.read_text())
    asked = {name: interplay.explain(model, PROMPT, "joy", n=2, chat_template_kwargs=given)
             for name, given in {"none": None, "mood": {"mood": "calm"}, "other": {"other": 1}}.items()}  # fmt: skip
    prompts = {name: explained.scores.prompt_sha256 for name, explained in asked.items()}
    assert prompts["mood"] != prompts["none"] == prompts["other"]
    options = ["--model", model, "--prompt", PROMPT, "--target", "joy", "--n", "2", "--json"]
    said = call("explain", *options, "--chat-template-kwargs", '{"mood": "calm"}')
    assert said.out == asked["mood"].to_json() + "\n"
    for wrong, match in (("{mood}", "expected JSON such as"), ("[1]", "must map names to values")):
        refused = call("explain", *options, "--chat-template-kwargs", wrong)
        assert refused.code == 2
        assert match in refused.err
        assert refused.err.count("\n") == 1


CASES = {
    "one": (["a"], {}),
    "labels": (["a"], {"target": "sadness", "words": ["happy", "food"], "system": "Be brief.", "chat": True}),
    "template": (["b"], {"template": "Sentence: {text}\nEmotion:", "chat": False, "seed": 3, "top": 2}),
    "adapter": (["a"], {"adapter": "adapter"}),
    "adapter on its base": (["adapter"], {"base": "a"}),
    "two": (["a", "b"], {"top": 3}),
    "floor": (["a", "adapter"], {"rephrased": "Please answer. {text}"}),
    "sampled": (["a"], {"prompt": LONG, "n": 18, "coalitions": 150, "order": 2}),
    "bfloat16": (["b"], {"dtype": "bfloat16"}),
}


@pytest.mark.parametrize(("names", "options"), CASES.values(), ids=CASES.keys())
def test_the_command_and_python_give_the_same_bytes(names, options, call, models, monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    given = {"prompt": PROMPT, "target": "joy", "n": 4, **options}
    given = {key: models.get(value, value) if isinstance(value, str) else value for key, value in given.items()}
    flags = [
        part
        for k, v in given.items()
        for part in (f"--{k}", ",".join(v) if isinstance(v, list) else str(v).lower() if v is True or v is False else v)
    ]
    chosen = [models[name] for name in names]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        answer = interplay.explain(chosen if len(chosen) > 1 else chosen[0], **given)
    done = call("explain", *chosen, *flags, "--quiet")
    assert done.code == 0, done.err
    assert done.out == f"{answer}\n"
    assert done.err == "".join(f"interplay: {note}\n" for note in answer.notes)
    as_json = call("explain", *chosen, *flags, "--quiet", "--json")
    assert as_json.out == answer.to_json() + "\n"
    assert json.loads(as_json.out) == json.loads(json.dumps(answer.to_dict()))


def test_defaults_are_those_of_the_command():
    import inspect

    import typer.main

    from interplay.cli.app import app

    verb = typer.main.get_command(app).commands["explain"]  # ty: ignore[unresolved-attribute]
    ours = inspect.signature(interplay.explain).parameters
    both = {p.name: p.default for p in verb.params if p.name in ours and p.name not in ("model", "prompt", "target")}
    assert both == {name: ours[name].default for name in both}
    assert set(ours) - set(both) == {"model", "prompt", "target", "progress"}


def test_a_loaded_model_and_a_pair_give_the_same(found, models):
    loaded = interplay.load_model(models["a"])
    assert interplay.explain(loaded, PROMPT, "joy", n=4).to_json() == found.to_json()
    pair = interplay.explain((loaded.model, loaded.tokenizer), PROMPT, "joy", n=4)
    assert pair.to_json() == found.to_json()


def test_load_model_puts_an_adapter_on(models):
    named = interplay.explain(models["a"], PROMPT, "joy", n=4, adapter=models["adapter"])
    loaded = interplay.load_model(models["a"], adapter=models["adapter"])
    assert interplay.explain(loaded, PROMPT, "joy", n=4).to_json() == named.to_json()
    assert loaded.sha256 != interplay.load_model(models["a"]).sha256
    with pytest.raises(InterplayError, match=r"is no(t an)? adapter folder"):
        interplay.load_model(models["a"], adapter=models["b"])


def test_two_loaded_models(change, models):
    a, b = (interplay.load_model(models[name]) for name in "ab")
    again = interplay.explain([a, (b.model, b.tokenizer)], PROMPT, "joy", n=4, rephrased="Please answer. {text}")
    assert again.to_json() == change.to_json()
    same = interplay.explain([a, (a.model, a.tokenizer)], PROMPT, "joy", n=2)
    assert "A and B have identical weights: no difference between them was learnt" in same.notes


def test_extract_agrees_with_explain(found, models):
    loaded = interplay.load_model(models["a"])
    sample = interplay.make_sample(PROMPT, "joy", n=4)
    scores = interplay.score(loaded.model, loaded.tokenizer, sample)
    assert np.array_equal(scores.values[0], found.scores.values)
    for effects in (interplay.extract(scores)[0], interplay.extract(scores[0])):
        assert np.array_equal(effects.effects, found.interactions.effects)
        assert effects.tolerance == found.tolerance == 3 * found.scores.noise_sigma > 0
    exact = interplay.extract(scores.values[0])
    assert exact.tolerance == 0
    assert not np.array_equal(exact.effects, found.interactions.effects)
    noisy = replace(scores[0], noise_sigma=1.0)
    assert interplay.extract(noisy).tolerance == interplay.extract([noisy])[0].tolerance == 3.0
    with pytest.raises(InterplayError, match="chosen coalitions"):
        interplay.extract(replace(scores[0], coalitions=np.arange(16)))


def test_several_answers_in_one_pass_are_scored_as_alone(models):
    loaded = interplay.load_model(models["a"])
    samples = [interplay.make_sample(text, "joy", n=3) for text in (PROMPT, LONG)]
    seen: list[tuple[int, int]] = []
    together = interplay.score_answers(
        loaded.model, loaded.tokenizer, samples, ["sadness", "joy", "anger"], progress=lambda *at: seen.append(at)
    )
    assert list(together) == ["sadness", "joy", "anger"]
    assert seen == [(1, 2), (2, 2)]
    for answer, scores in together.items():
        alone = interplay.score(
            loaded.model,
            loaded.tokenizer,
            [replace(s, row=replace(s.row, target=answer)) for s in samples],
            target_tokens=len(scores[0].target_ids),
        )
        assert np.allclose(scores.values, alone.values, atol=1e-5, rtol=0)
        assert [unit.target for unit in scores] == [unit.target for unit in alone]
    assert not np.allclose(together["joy"].values, together["sadness"].values)
    for wrong in ("joy", [], ["joy", "joy"]):
        with pytest.raises(InterplayError, match="expected a list of different texts"):
            interplay.score_answers(loaded.model, loaded.tokenizer, samples, wrong)


def test_the_splits_of_a_comparison_are_fused_with_that_of_a(change):
    a, reworded = change.before.interactions.effects, change.reworded
    for side, total in ((change.after, change.contrast.total), (reworded, change.contrast.floor.total)):
        fused = interplay.extract(side.scores, reference=change.before.interactions, certain=True)
        assert np.array_equal(side.interactions.effects, fused.effects)
        alone = interplay.extract(side.scores).effects
        assert total == pytest.approx(np.abs(fused.effects - a).sum())
        assert total < np.abs(alone - a).sum()
        l1 = float(side.interactions.l1)
        assert l1 == pytest.approx(np.abs(fused.effects).sum())
        assert l1 < float(fused.objective), "which counts the change too"


def test_tables_and_the_strongest(found, change, sampled):
    for one in (found, sampled):
        table = one.to_pandas()
        known = [] if one.sampled else ["certain", "exchangeable_with"]
        assert list(table.columns) == ["type", "mask", "order", "words", "effect", *known]
        rows = table[["type", "words", "effect", "mask"]].itertuples(index=False)
        assert [tuple(row) for row in rows] == [effect[:4] for effect in one.salient]
        assert [effect.certain for effect in one.salient] == (
            table["certain"].to_list() if known else [None] * len(table)
        )
        assert one.top(2) == one.salient[:2]
        assert len(one.to_pandas(salient_only=False)) >= len(table)
        assert repr(one).startswith(f"Explanation({one.model!r}, {one.prompt!r}, 'joy': {len(one.salient)} salient")
    assert found.r2 is None
    assert sampled.r2 == sampled.to_dict()["r2"] == sampled.interactions.r2
    assert (found.sampled, sampled.sampled) == (False, True)
    two = change.to_pandas()
    assert [*two][:8] == ["outcome", "type", "mask", "order", "words", "before", "after", "change"]
    assert [*two][8:] == ["above_floor", "certain", "exchangeable_with"]
    for row, other in zip(change.to_dict()["changes"], two["exchangeable_with"], strict=True):
        assert (row["exchangeable_with"] is None) == (row["certain"] == 1)
        assert other is None or row["exchangeable_with"] == {"type": other[0], "words": [*other[1]]}
    sizes = [abs(c.change) for c in change.salient]
    assert sizes == sorted(sizes, reverse=True) == two["change"].abs().to_list()
    assert two["above_floor"].to_list() == [size > change.contrast.floor.largest for size in sizes]


def test_values_of_words(found, change, sampled):
    for one in (found, sampled):
        values = one.word_values()
        assert list(values) == ["word", "shapley", "leave_one_out", "keep_one"]
        assert values["word"].to_list() == list(one.words)
        assert values["shapley"].to_list() == one.shapley.tolist()
    v = found.scores.values
    assert np.array_equal(found.shapley, interplay.shapley(found.scores))
    assert found.shapley.sum() == pytest.approx(v[-1] - v[0])
    assert found.word_values()["leave_one_out"][1] == v[15] - v[13]
    assert found.word_values()["keep_one"][2] == v[4] - v[0]
    fitted = sampled.interactions.scores([2**18 - 1, 0])
    assert sampled.shapley.sum() == pytest.approx(fitted[0] - fitted[1])
    two, a, b = (one.word_values() for one in (change, change.before, change.after))
    assert list(two) == ["word", *(f"{x}_{end}" for end in ("before", "after", "change") for x in a.columns[1:])]
    assert np.allclose(two["keep_one_change"], b["keep_one"] - a["keep_one"])
    effects = found.interactions.effects
    assert found.single_words == pytest.approx(np.abs(effects[0, [1, 2, 4, 8]]).sum() / np.abs(effects).sum())
    every = sampled.to_pandas(salient_only=False)
    alone = every[every["order"] == 1]["effect"].abs().sum()
    assert sampled.single_words == pytest.approx(alone / every["effect"].abs().sum())


def test_hostile_words_are_escaped_in_a_notebook(models):
    text = "<script>alert(1)</script> <img/src=x/onerror=alert(2)> terrible&amp;food \x1b[2J not\u202ehappy"
    for chosen in (models["a"], [models["a"], models["b"]]):
        page = interplay.explain(chosen, text, "<b>joy</b>", n=4)._repr_html_()
        assert "<script" not in page
        assert "<img" not in page
        assert "<b>joy" not in page
        assert "alert(1)" in page
        assert "\x1b" not in page


def test_plot(found, change, sampled, models):
    pytest.importorskip("matplotlib").use("Agg")
    axes = found.plot(top=5)
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        (" & " if e.type == "and" else " | ").join(e.words) for e in found.top(5)
    ]
    assert [bar.get_width() for bar in axes.patches] == [e.effect for e in found.top(5)]
    assert len(change.plot().patches) == 2 * min(20, len(change.salient))
    assert sampled.plot(axes) is axes
    dollars = interplay.explain(models["a"], "costs $5_{x and $6^} a very long price", "joy", n=3)
    dollars.plot().figure.canvas.draw()


def test_dividends_add_up_to_the_scores(found, sampled):
    for one, coalitions in ((found, range(16)), (sampled, sampled.scores.coalitions[::10])):
        values = dividends(one.interactions)
        explained = one.interactions.scores() if one is found else one.interactions.scores(coalitions)
        for mask, expected in zip(coalitions, explained, strict=True):
            kept = {i for i in range(one.n) if int(mask) >> i & 1}
            total = sum(value for members, value in values.items() if set(members) <= kept)
            assert total == pytest.approx(expected, abs=1e-9)


def test_shapiq_has_the_dividends(found, sampled):
    pytest.importorskip("shapiq")
    for one in (found, sampled):
        values = one.to_shapiq()
        assert values.dict_values == dividends(one.interactions)
        assert (values.n_players, values.index) == (one.n, "Moebius")
        assert values.baseline_value == float(one.interactions.v_empty)


def test_without_shapiq_one_line_says_so(found, monkeypatch):
    monkeypatch.setitem(sys.modules, "shapiq", None)
    with pytest.raises(InterplayError, match="pip install shapiq"):
        found.to_shapiq()


@pytest.mark.parametrize(
    ("model", "options", "says"),
    [
        (3, {}, "int is not a model"),
        ([], {}, "no model is named"),
        (["a", "b", "a"], {}, "3 models are named"),
        (("a", "b"), {}, "tuple is not a model"),
        ("a", {"coalitions": 0}, "coalitions is 0"),
        ("a", {"n": 65}, "1..64"),
        ("a", {"rephrased": "Please. {text}"}, "name two models"),
        ("a", {"device": "nowhere"}, "cannot be used"),
    ],
)
def test_what_is_wrong_is_one_line(model, options, says, models):
    chosen = (
        [models.get(m, m) for m in model]
        if isinstance(model, list)
        else models.get(model, model)
        if isinstance(model, str)
        else model
    )
    with pytest.raises(InterplayError) as error:
        interplay.explain(chosen, PROMPT, "joy", **options)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_warnings_are_python_warnings_and_notes(models, monkeypatch):
    module = interplay.scoring.scores
    honest = module.score_prepared
    noise = np.random.default_rng(0)
    monkeypatch.setattr(
        module, "score_prepared", lambda *a, **k: replace(s := honest(*a, **k), values=noise.normal(size=len(s.values)))
    )
    with pytest.warns(RuntimeWarning, match="coalitions never fitted"):
        found = interplay.explain(models["a"], LONG, "joy", n=18, coalitions=150, order=1)
    assert any("coalitions never fitted" in note for note in found.notes)


def test_paths_are_names(models, found):
    assert interplay.explain(Path(models["a"]), PROMPT, "joy", n=4).to_json() == found.to_json()
