"""`explain` of many prompts, without a target, its page, and the first pictures."""

import json

import numpy as np
import pytest

import interplay
from interplay.errors import InterplayError
from interplay.explanation.explain import Explainer
from interplay.explanation.prompts import read_prompts

PROMPT = "I was not happy with the food at all, but we had to laugh"
TEMPLATE = {"template": "Sentence: {text}\nEmotion:", "chat": False}


def test_without_a_target_the_greedy_answer_is_explained(tiny_folder, tiny_tokenizer):
    import torch

    found = interplay.explain(tiny_folder("llama"), PROMPT, n=2, **TEMPLATE)
    model = interplay.load_model(tiny_folder("llama")).model
    ids = tiny_tokenizer(f"Sentence: {PROMPT}\nEmotion:")["input_ids"]
    with torch.no_grad():
        likeliest = int(model(torch.tensor([ids])).logits[0, -1].argmax())
    assert found.own
    assert found.to_dict()["target_given"] is None
    assert found.scores.target_ids[0] == likeliest
    assert (found.standing.rank, found.standing.of) == (1, model.config.vocab_size)
    assert any("the model's greedy answer" in note for note in found.notes)


def test_of_labels_the_likeliest_is_explained(tiny_folder):
    labels = ["joy", "anger", "sadness"]
    found = interplay.explain(tiny_folder("llama"), PROMPT, labels=labels, words=["happy", "food"], **TEMPLATE)
    each = [interplay.explain(tiny_folder("llama"), PROMPT, label, labels=labels, n=2, **TEMPLATE) for label in labels]
    assert found.target == labels[int(np.argmax([one.score_full for one in each]))]
    assert sorted(one.standing.rank for one in each) == [1, 2, 3]
    assert {one.standing.likeliest.strip() for one in each} == {found.target}


def test_of_two_models_b_answers(tiny_folder):
    both = [tiny_folder("qwen2"), tiny_folder("llama")]
    change = interplay.explain(both, PROMPT, n=2, **TEMPLATE)
    alone = interplay.explain(both[1], PROMPT, n=2, **TEMPLATE)
    assert change.before.target == change.after.target == alone.target
    assert any("B's greedy answer" in note for note in change.notes)
    assert change.after.standing.rank == 1


def test_first_pictures_come_before_all_is_scored(tiny_folder, monkeypatch):
    import inspect

    defaults = {
        k: p.default for k, p in inspect.signature(interplay.explain).parameters.items() if p.default is not p.empty
    }
    del defaults["target"]
    seen, honest = [], interplay.scoring.scores.score_prepared

    def scored(*args, **options):
        coalitions = options["coalitions"]
        seen.append(None if coalitions is None else len(coalitions))
        return honest(*args, **options)

    monkeypatch.setattr(interplay.scoring.scores, "score_prepared", scored)
    explainer = Explainer(tiny_folder("llama"), **(defaults | {"n": 6} | TEMPLATE), show=seen.append)
    found = explainer(PROMPT, "joy")
    n = found.n
    sizes, pictures = [one for one in seen if not isinstance(one, str)], [one for one in seen if isinstance(one, str)]
    assert sizes == [2 * n + 2, n * (n - 1) // 2, None]
    assert [isinstance(one, str) for one in seen] == [False, True, False, True, False]
    assert all("PRELIMINARY" in one for one in pictures)
    mean = (found.word_values()["keep_one"] + found.word_values()["leave_one_out"]) / 2
    for word, value in zip(found.words, mean, strict=True):
        assert any(word in line and f"{value:+.3f}"[:-1] in line for line in pictures[0].splitlines())


def test_many_prompts_and_their_page(call, tiny_folder, tmp_path):
    file, page = tmp_path / "asked.jsonl", tmp_path / "page.html"
    rows = [{"text": PROMPT, "label": "joy"}, {"text": "the"}, {"prompt": "The <b>cake</b> was cold and dry"}]
    file.write_text("\n".join(map(json.dumps, rows)))
    done = call("explain", tiny_folder("llama"), "--prompts", file, "--n", 2, "--html", page, "--json")
    assert done.code == 0, done.err
    first, second = map(json.loads, done.out.splitlines())
    assert (first["target_given"], second["target_given"]) == ("joy", None)
    assert "prompt 2 of 3 is left out: " in done.err
    html = page.read_text()
    assert html.count("<section>") == 2
    assert "<b>cake" not in html
    assert "&lt;b&gt;cake" in html
    assert "<script" not in html
    assert first == json.loads(interplay.explain(tiny_folder("llama"), PROMPT, "joy", n=2).to_json())


def test_files_of_prompts(call, tiny_folder, tmp_path):
    lines = tmp_path / "asked.txt"
    lines.write_text("So sad\n\nYay\n")
    assert read_prompts(lines, "joy") == [("So sad", "joy"), ("Yay", "joy")]
    odd = tmp_path / "odd.jsonl"
    odd.write_text('{"question": "Why?"}')
    with pytest.raises(InterplayError, match="expected a text in text or prompt"):
        read_prompts(odd)
    for more in ((), ("--prompt", "a", "--prompts", lines)):
        refused = call("explain", tiny_folder("llama"), *more)
        assert refused.code == 2
        assert "one of the two" in refused.err
