"""Examples of the tiny labelled task, and a plan for training on them."""

from collections.abc import Callable

import pytest


@pytest.fixture(scope="session")
def examples(rows, template, tiny_tokenizer):
    from interplay.training.sft import tokenise

    return tokenise(rows, tiny_tokenizer, template)[0]


@pytest.fixture(scope="session")
def plan() -> Callable:
    """`plan(steps=3, method="full")`: three steps of LoRA with dropout unless told otherwise."""
    from interplay.training.methods import SftPlan

    def make(**changes):
        fields = {
            "method": "lora",
            "rank": 2,
            "alpha": 4,
            "dropout": 0.1,
            "targets": "all-linear",
            "learning_rate": 1e-2,
            "scheduler": "cosine",
            "warmup_steps": 1,
            "weight_decay": 0.0,
            "batch_size": 2,
            "accumulation": 1,
            "steps": 3,
            "max_length": 256,
            "bf16": False,
            "seed": 0,
            "save_at": (1, 3),
        }
        return SftPlan(**fields | changes)

    return make
