"""`interplay diff`: rules that came, went and stayed between two models, whatever names them."""

import json
from dataclasses import replace

import pytest
from audits import audit, planted_rows, rule
from tiny_job import TEMPLATE, labelled, write_rows

import interplay
from interplay import InterplayError
from interplay.auditing import diff as module


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, rows = tmp_path_factory.mktemp("rows"), planted_rows()
    return {
        "train": write_rows(folder / "train.jsonl", labelled(rows[:36])),
        "prompts": write_rows(folder / "prompts.jsonl", labelled(rows[36:])),
    }


@pytest.fixture(scope="module")
def adapter(tmp_path_factory, tiny_folder):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_pretrained(tiny_folder("llama"))
    config = LoraConfig(r=4, lora_alpha=64, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    folder = tmp_path_factory.mktemp("adapter")
    get_peft_model(model, config).save_pretrained(folder)
    return folder


def test_a_model_and_an_adapter_on_it(call, files, tiny_folder, adapter):
    """The terminal says which is which; the JSON is an audit of the second with the first as base."""
    base = tiny_folder("llama")
    where = ("--train", files["train"], "--prompts", files["prompts"], "--template", TEMPLATE, "--chat", "false")
    done = call("diff", base, adapter, *where, "--json", "--quiet")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["base"], found["model"], found["train_rows"]) == (str(base), str(adapter), 36)
    assert found["labels"] == ["anger", "joy"]
    rules = {(*r["words"], r["label"]) for r in found["rules"]}
    assert len(rules) == len(found["rules"]) > 0
    for r in found["rules"]:
        if r["verdict"] == "learnt":
            assert r["effect"]["value"] > r["before"]["value"]
        if r["verdict"] == "lost":
            assert r["effect"]["value"] < r["before"]["value"]


def test_two_models_of_different_families_are_asked_through_their_own_tokenizers(files, tiny_folder):
    found = interplay.diff(
        tiny_folder("llama"), interplay.load_model(tiny_folder("qwen2")), **files, chat=False, quiet=True
    )
    assert found.tests > 0
    assert found.base == str(tiny_folder("llama"))


def test_what_only_the_first_has_was_lost(monkeypatch, files, tiny_folder, adapter):
    """Both directions are searched: a word that the second does not answer to any more is found in the first."""
    asked = []
    there = replace(
        audit(), rules=(rule(("a",), "joy", "word", "learnt", 3.0, 0.0), rule(("b",), "joy", "word", "nothing", 0, 0))
    )
    back = replace(
        audit(), rules=(rule(("b",), "joy", "word", "learnt", 2.0, 0.5), rule(("c",), "joy", "word", "known", 2.0, 2.0))
    )

    def search(subject, progress, **how):
        asked.append((subject.against, subject.name))
        return there if len(asked) == 1 else back

    monkeypatch.setattr(module, "audit_subject", search)
    base = str(tiny_folder("llama"))
    found = interplay.diff(base, adapter, **files, quiet=True)
    assert asked == [(base, str(adapter)), (str(adapter), base)]
    assert [(r.words, r.verdict) for r in found.rules] == [(("a",), "learnt"), (("b",), "lost")]
    [lost] = found.of("lost")
    assert (lost.before.value, lost.effect.value, lost.change.value) == (2.0, 0.5, -1.5)
    assert lost.change.lo < lost.change.value < lost.change.hi
    assert found.tests == 2 * audit().tests


def test_errors_say_what_to_do(files, tiny_folder, adapter):
    base = tiny_folder("llama")
    with pytest.raises(InterplayError, match="identical weights"):
        interplay.diff(base, base, **files, quiet=True)
    with pytest.raises(InterplayError, match="--train FILE"):
        interplay.diff(base, adapter, quiet=True)
    with pytest.raises(InterplayError, match="expected auto, true or false"):
        interplay.diff(base, adapter, **files, chat="maybe", quiet=True)  # ty: ignore[invalid-argument-type]
