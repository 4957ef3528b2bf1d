"""Rows of a tiny labelled task, a template, and a plan for training on them."""

from collections.abc import Callable

import pytest

LABELS = ("anger", "joy", "love", "sadness")


@pytest.fixture(scope="session")
def template():
    from interplay.data.template import PromptTemplate

    return PromptTemplate(system="", template="Sentence: {text}\nEmotion:")


@pytest.fixture(scope="session")
def rows(template):
    """Sixteen rows of different lengths, four labels."""
    from interplay.data.rows import Row

    texts = ["we had to laugh", "not happy with the food", "I was happy", "the food at all", "laugh"]
    made = []
    for i in range(16):
        text = f"{texts[i % 5]} {'at all ' * (i % 3)}number {i}"
        messages, start = template.messages_for(text)
        made.append(Row(f"r{i}", messages, LABELS[i % 4], text, start, label=LABELS[i % 4]))
    return made


@pytest.fixture(scope="session")
def examples(rows, template, tiny_tokenizer):
    from interplay.training.sft import tokenise

    return tokenise(rows, tiny_tokenizer, template)[0]


@pytest.fixture(scope="session")
def plan() -> Callable:
    """`plan(steps=3, method="full")`: three steps of LoRA with dropout unless told otherwise."""
    from interplay.training.sft import SftPlan

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
