"""The text that a run scores: the same on every day, in the template of the checkpoints, and named where training may differ."""

import json
import shutil
from datetime import datetime
from types import SimpleNamespace

import pytest
from tiny_job import PROMPTS, contents, labelled, run_here, settings, write_rows

import interplay
from interplay.config.loading import load_settings
from interplay.errors import InterplayError
from interplay.models.vocabulary import adopt_template
from interplay.pipeline.pipeline import run
from interplay.pipeline.progress import Progress

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

DATED = "{{ 'Today is ' + strftime_now('%d %B %Y') + '. ' }}"


@pytest.fixture
def at(monkeypatch):
    """`at(day)`: that day, for chat templates."""

    def set_clock(day: int) -> None:
        class Clock(datetime):
            @classmethod
            def now(cls, tz=None):
                return cls(2031, 2, day)

        monkeypatch.setattr("transformers.utils.chat_template_utils.datetime", Clock)

    return set_clock


def quick(**prompt) -> dict:
    return {
        "prompt": {"chat": True, "rephrased": None} | prompt,
        "prompts": {"count": 2, "n": 2},
        "task": {"kl": False, "generate_rows": 0},
        "controls": {"precision": None, "mask": None, "reference": None, "draws": 1, "both_scores": False},
    }


def tracking(folder, base, left, **more) -> dict:
    write_rows(folder / "held-out.jsonl", labelled(PROMPTS))
    return {
        "model": {"name": str(base), "device": "cpu"},
        "data": {"prompts": str(folder / "held-out.jsonl")},
        "checkpoints": {"folder": str(left)},
        "dynamics": {"draws": 10, "resamples": 20},
    } | more


def copied(tmp_path, tiny_folder, template: str):
    """A model of our own with that chat template, or with none."""
    model = shutil.copytree(tiny_folder("llama"), tmp_path / "model")
    (model / "chat_template.jinja").unlink()
    if template:
        (model / "chat_template.jinja").write_text(template)
    return model


def test_the_same_command_goes_on_after_midnight(tmp_path, tiny_folder, at, request):
    model = copied(tmp_path, tiny_folder, DATED + CHATML)
    wanted = settings(tmp_path, model, **quick(), training={"steps": 1}, checkpoints={"steps": [0, 1]})
    del wanted["data"]["eval"]
    at(27)
    result = run_here(wanted, tmp_path / "run")
    assert any("writes the date; 26 Jul 2024 was scored" in line for line in result.notes)
    before = contents(tmp_path / "run")
    assert before["inputs.json"].count(b"Today is 26 July 2024. <|im_start|>") == 1
    at(28)
    request.getfixturevalue("no_forward")
    run_here(wanted, tmp_path / "run")
    assert contents(tmp_path / "run") == before
    with pytest.raises(InterplayError, match=r"other settings \(prompt.today: 2024-07-26 -> 2031-03-09\)"):
        run_here(wanted, tmp_path / "run", "prompt.today=2031-03-09")


@pytest.fixture(scope="module")
def left(tmp_path_factory, tiny_folder):
    """An adapter as a training leaves it, with a tokenizer beside it that has a chat template."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("left")
    torch.manual_seed(5)
    model = AutoModelForCausalLM.from_pretrained(tiny_folder("llama"))
    config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(model, config).save_pretrained(folder / "checkpoint-5")
    (folder / "checkpoint-5" / "chat_template.jinja").write_text(CHATML)
    return folder


def prompt_of(run) -> str:
    return json.loads((run / "inputs.json").read_text())["prompt"]["text"]


def test_a_template_that_lies_in_the_checkpoints_alone(tmp_path, tiny_folder, left):
    base = copied(tmp_path, tiny_folder, "")
    wanted = tracking(tmp_path, base, left, **quick(chat="auto"), data=conversations(tmp_path))
    result = run_here(wanted, tmp_path / "run")
    assert "The base has no chat template: that of the checkpoints' tokenizer was used." in result.notes
    assert prompt_of(tmp_path / "run").startswith("<|im_start|>user\n")
    said = interplay.explain(left / "checkpoint-5", "not happy", "joy", base=str(base), words=["not", "happy"])
    assert any("that of the checkpoints' tokenizer was used" in line for line in said.notes)
    assert run_here(wanted, tmp_path / "run").notes == result.notes


def conversations(folder) -> dict:
    rows = [{"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": b}]} for a, b in PROMPTS]
    return {"prompts": str(write_rows(folder / "turns.jsonl", rows))}


def test_checkpoints_that_differ_and_a_base_that_has_its_own(tiny_tokenizer, tmp_path):
    folders = [tmp_path / name for name in ("one", "two", "none")]
    for folder in folders:
        folder.mkdir()
    (tmp_path / "one" / "chat_template.jinja").write_text(CHATML)
    (tmp_path / "two" / "tokenizer_config.json").write_text(json.dumps({"chat_template": CHATML + " "}))
    (tmp_path / "none" / "tokenizer_config.json").write_text("not JSON")
    bare = SimpleNamespace(chat_template=None)
    assert "have 2 different ones: none was used" in str(adopt_template(bare, folders))
    assert bare.chat_template is None
    assert "another chat template than the base" in str(adopt_template(tiny_tokenizer, folders))
    assert adopt_template(tiny_tokenizer, [tmp_path / "one", tmp_path / "none"]) is None
    assert tiny_tokenizer.chat_template == CHATML


def test_a_training_elsewhere_whose_wording_is_not_known(tmp_path, tiny_folder, left, capsys):
    wanted = tracking(tmp_path, tiny_folder("llama"), left, **quick(chat="auto"))
    said = []
    progress = Progress(quiet=True)
    progress.say = said.append
    run(load_settings(wanted), tmp_path / "run", progress)
    [line] = [
        line for line in interplay.Run(tmp_path / "run").notes if "How training worded these rows is not known" in line
    ]
    assert "scored was '<|im_start|>user\\n" in line
    assert f"warning: {line}" in said
    assert "is not known" in (tmp_path / "run" / "report.html").read_text()
