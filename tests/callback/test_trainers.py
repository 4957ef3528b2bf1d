"""The recipes of docs/how-to/trainers.md, run as they are written where the trainer is installed, and the axolotl plugin."""

import copy
import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from tiny_job import PROMPTS, TRAIN, environment, write_rows

import interplay
from interplay.axolotl import InterplayArgs, InterplayPlugin

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "trainers.md").read_text(encoding="utf-8")
QUICK = "every=2, full=0, max_overhead=None, n=3, num_prompts=2, strict=True"


def pairs(rows) -> list[dict]:
    return [{"prompt": f"Sentence: {text}\nEmotion:", "completion": f" {label}"} for text, label in rows]


def block(title: str, language: str) -> str:
    (section,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, flags=re.DOTALL | re.MULTILINE)
    (code,) = re.findall(rf"```{language}\n(.*?)```", section, flags=re.DOTALL)
    return code


def start(code: str, folder: Path) -> None:
    """In a process of its own: a trainer may patch the libraries it stands on."""
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.skipif(find_spec("llamafactory") is None, reason="LLaMA-Factory is not installed")
def test_llama_factory(tiny_folder, tmp_path):
    rows = {
        "train": [{"instruction": f"{text} {i}", "input": "", "output": label} for i in "12" for text, label in TRAIN],
        "heldout": [{"instruction": text, "input": "", "output": label} for text, label in PROMPTS],
    }
    for name, given in rows.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(given))
    (tmp_path / "dataset_info.json").write_text('{"mine": {"file_name": "train.json"}}')
    wanted = {
        "model_name_or_path": str(tiny_folder("llama")),
        **{"stage": "sft", "do_train": True, "finetuning_type": "lora", "template": "chatml", "dataset": "mine"},
        **{"dataset_dir": ".", "output_dir": "out", "max_steps": 4, "per_device_train_batch_size": 2, "save_steps": 2},
        **{"learning_rate": 0.01, "report_to": "none", "use_cpu": True},
    }
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(wanted))
    start(block("LLaMA-Factory", "python").replace("every=50", QUICK), tmp_path)
    assert interplay.Run(tmp_path / "out" / "interplay").steps == (0, 4)
    assert (tmp_path / "out" / "checkpoint-2" / "adapter_model.safetensors").exists()


@pytest.mark.skipif(find_spec("unsloth") is None, reason="unsloth is not installed")
def test_unsloth(tiny_folder, tmp_path):
    for name, rows in (("train", TRAIN), ("heldout", PROMPTS)):
        write_rows(tmp_path / f"{name}.jsonl", pairs(rows))
    code = (
        block("unsloth", "python").replace("every=50", QUICK).replace("max_steps=400", "max_steps=4, report_to='none'")
    )
    start(code.replace("unsloth/Qwen2.5-0.5B-Instruct", str(tiny_folder("llama"))), tmp_path)
    assert interplay.Run(tmp_path / "out" / "interplay").steps == (0, 4)


def settings_of(tmp_path, **changes) -> dict:
    """The YAML of the recipe, with a file of prompts that is there."""
    heldout = write_rows(tmp_path / "heldout.jsonl", pairs(PROMPTS))
    found = yaml.safe_load(block("axolotl", "yaml"))
    found["interplay"] |= {"prompts": str(heldout), **changes}
    return found


class Cfg(dict):
    """As much of axolotl's DictDefault as the plugin uses."""

    def to_dict(self) -> dict:
        return copy.deepcopy(dict(self))


QUICKLY = {"every": 2, "full": 0, "max_overhead": None, "n": 3, "num_prompts": 2, "strict": True}


def test_the_plugin_puts_the_callback_into_a_training(sft, tmp_path):
    found = settings_of(tmp_path, **QUICKLY)
    (name,) = found["plugins"]
    assert name == f"{InterplayPlugin.__module__}.{InterplayPlugin.__name__}"
    checked = InterplayArgs(interplay=found["interplay"]).model_dump(exclude_none=True)  # as axolotl reads it back
    assert checked["interplay"]["max_overhead"] is None
    trainer, plugin = sft(), InterplayPlugin()
    assert plugin.get_input_args() == f"{InterplayArgs.__module__}.{InterplayArgs.__name__}"
    assert plugin.add_callbacks_post_trainer({"interplay": Cfg(checked["interplay"])}, trainer) == []
    trainer.train()
    (callback,) = (c for c in trainer.callback_handler.callbacks if isinstance(c, interplay.InteractionCallback))
    assert callback.options.max_overhead is None
    assert interplay.Run(tmp_path / "out" / "interplay").steps == (0, 6)


def test_a_template_may_be_text():
    template = "Sentence: {text}"
    callback = interplay.InteractionCallback([{"text": "It rains", "label": "joy"}], template=template)
    assert callback.options.template.template == template


BAD = {
    "prompts": ("nothing.jsonl", "nothing.jsonl: no such file"),
    "evry": (20, "unknown key 'evry', expected one of prompts, every, full"),
    "every": ("often", "every is 'often': it should be a valid integer"),
    "template": ("Sentence:", "a prompt template must hold {text} exactly once"),
}


@pytest.mark.parametrize("key", BAD)
def test_a_wrong_section_is_refused_when_settings_are_read(key, tmp_path):
    value, said = BAD[key]
    with pytest.raises(ValueError, match=re.escape(said)):
        InterplayArgs(**settings_of(tmp_path, **{key: value}))
    with pytest.raises(ValueError, match="prompts is missing: name a file"):
        InterplayArgs(interplay={"every": 20})


@pytest.mark.skipif(find_spec("axolotl") is None, reason="axolotl is not installed: its plugin manager was not asked")
def test_axolotl_itself_finds_and_checks_the_plugin(sft, tmp_path):
    from axolotl.integrations.base import BasePlugin, PluginManager
    from axolotl.utils.config import prepare_plugins, validate_config
    from axolotl.utils.dict import DictDefault

    def read(**changes):
        rest = {"base_model": "b", "learning_rate": 0.1, "micro_batch_size": 1, "gradient_accumulation_steps": 1}
        cfg = DictDefault(settings_of(tmp_path, **changes) | rest | {"datasets": [{"path": "d", "type": "alpaca"}]})
        prepare_plugins(cfg)
        return validate_config(cfg)

    cfg, manager, trainer = read(**QUICKLY), PluginManager.get_instance(), sft()
    assert isinstance(manager.plugins["interplay.axolotl.InterplayPlugin"], BasePlugin)
    manager.add_callbacks_pre_trainer(cfg, trainer.model)
    manager.post_trainer_create(cfg, trainer)
    for callback in manager.add_callbacks_post_trainer(cfg, trainer):
        trainer.add_callback(callback)
    trainer.train()
    assert interplay.Run(tmp_path / "out" / "interplay").steps == (0, 6)
    with pytest.raises(ValueError, match="unknown key 'evry'"):
        read(evry=20)
