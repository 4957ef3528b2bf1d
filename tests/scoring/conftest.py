"""Loaded tiny models, one sample, and LoRA adapters made with peft alone."""

from collections.abc import Callable
from pathlib import Path

import pytest

TEXT = "I was not happy with the cold food today"
WORDS = ["not", "happy", "cold", "food"]


@pytest.fixture(scope="session")
def loaded(tiny_folder) -> Callable:
    """`loaded("gemma3", "float64")`: a LoadedModel, made once a session; a test leaves it as it found it."""
    from interplay.models.loading import load_model

    made = {}

    def load(architecture: str = "llama", dtype: str = "float32"):
        if (architecture, dtype) not in made:
            made[architecture, dtype] = load_model(str(tiny_folder(architecture)), dtype=dtype)
        return made[architecture, dtype]

    return load


@pytest.fixture(scope="session")
def template():
    from interplay.data.template import PromptTemplate

    return PromptTemplate(system="", template="Sentence: {text}\nEmotion:")


@pytest.fixture(scope="session")
def sample(template):
    from interplay.data.samples import make_sample

    return make_sample(TEXT, "sadness", words=WORDS, template=template)


@pytest.fixture(scope="session")
def prepared(sample, template, tiny_tokenizer):
    from interplay.scoring.scores import prepare

    return prepare(sample, tiny_tokenizer, template)


@pytest.fixture
def make_adapter(tiny_folder) -> Callable[..., Path]:
    """`make_adapter(folder, seed=1, r=2, ...)`: a LoRA adapter with random matrices, for `architecture`."""

    def make(folder: Path, architecture: str = "llama", seed: int = 1, **options) -> Path:
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(tiny_folder(architecture))
        config = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"} | options
        wrapped = get_peft_model(model, LoraConfig(**config))
        generator = torch.Generator().manual_seed(seed)
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
        wrapped.save_pretrained(folder, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)
        return folder

    return make
