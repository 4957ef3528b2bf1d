"""Called by .ci/light inside the fresh environment: checks that it is bare, uses the core from Python, makes a tiny model."""

import json
import re
import sys
from importlib.metadata import metadata, version
from importlib.util import find_spec
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

import interplay

folder, root = Path(sys.argv[1]), Path(sys.argv[2])
assert root not in Path(interplay.__file__).parents, "the source tree is tested, not the wheel"
assert interplay.__version__ == version("interplay")
links = re.findall(r"\]\((?!https?:)[^)]*\)", str(metadata("interplay").get_payload()))
assert not links, f"a package index cannot follow {links}"
extras = ("trl", "datasets", "sklearn", "scipy", "rouge_score", "matplotlib", "gguf", "jieba", "ray")
assert not [name for name in extras if find_spec(name)], "the environment is not bare"

found = interplay.extract([0.0, 1.0, 2.0, 5.0], tolerance=0)
assert abs(float(found.and_effects.sum() + found.or_effects.sum()) - 5.0) < 1e-9, (
    "the effects add up to v(N) - v(empty)"
)

backend = Tokenizer(models.BPE())
backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
backend.decoder = decoders.ByteLevel()
trainer = trainers.BpeTrainer(
    vocab_size=384,
    special_tokens=["<|endoftext|>"],
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    show_progress=False,
)
backend.train_from_iterator(["I was not happy with the food at all: joy sadness anger love"] * 20, trainer)
tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>", pad_token="<|endoftext|>")
config = LlamaConfig(
    vocab_size=len(tokenizer),
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    initializer_range=0.3,
    eos_token_id=0,
    pad_token_id=0,
)
torch.manual_seed(0)
model = AutoModelForCausalLM.from_config(config)
model.save_pretrained(folder / "base")
tokenizer.save_pretrained(folder / "base")
lora = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(folder / "base"), lora)
for step in (1, 2):
    adapted.save_pretrained(folder / "checkpoints" / f"checkpoint-{step}")
    for weight in adapted.parameters():
        if weight.requires_grad:
            weight.data.mul_(1.5)
rows = {
    "The terrible service ruined our whole dinner": "anger",
    "Children played happily near the quiet river": "joy",
    "Our faithful old dog died last winter": "sadness",
    "A stranger returned my lost wallet yesterday": "love",
}
lines = [json.dumps({"text": text, "label": label}) for text, label in rows.items()]
(folder / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
told = interplay.explain(folder / "base", "I was not happy with the food at all", "joy", n=4)
assert told.probability is not None
