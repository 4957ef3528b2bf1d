"""Adapters made with peft alone."""

from collections.abc import Callable
from pathlib import Path

import pytest

IA3 = {"target_modules": ["k_proj", "v_proj", "down_proj"], "feedforward_modules": ["down_proj"]}


@pytest.fixture
def make_adapter(tiny_folder) -> Callable[..., Path]:
    """`make_adapter(folder, "gemma3", "ia3", seed=2, **config)`: an adapter with random tensors, as peft saves it."""

    def make(folder: Path, architecture: str = "llama", method: str = "lora", seed: int = 1, **options) -> Path:
        import torch
        from peft import IA3Config, LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        if method == "ia3":
            config = IA3Config(task_type="CAUSAL_LM", **(IA3 | options))
        else:
            modules = {"lora": ["q_proj", "v_proj"], "dora": "all-linear"}[method]
            own = {"r": 2, "lora_alpha": 4, "target_modules": modules, "use_dora": method == "dora"}
            config = LoraConfig(task_type="CAUSAL_LM", **(own | options))
        wrapped = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_folder(architecture)), config)
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in wrapped.named_parameters():
            if parameter.requires_grad:
                noise = torch.randn(parameter.shape, generator=generator) * 0.3
                parameter.data = parameter.data * (1 + noise) if "ia3" in name or "magnitude" in name else noise
        wrapped.save_pretrained(folder, save_embedding_layers=False)
        (folder / "README.md").unlink(missing_ok=True)
        return folder

    return make
