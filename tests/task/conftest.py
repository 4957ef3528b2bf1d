"""Tiny models loaded once."""

import pytest


@pytest.fixture(scope="session")
def loaded(tiny_folder):
    """`loaded("qwen2", "float32")`: a tiny model, the same object each time."""
    from interplay.models.loading import load_model

    made = {}

    def load(architecture, dtype="float64"):
        if (architecture, dtype) not in made:
            made[architecture, dtype] = load_model(str(tiny_folder(architecture)), dtype=dtype).model
        return made[architecture, dtype]

    return load


@pytest.fixture(scope="session")
def data(rows, template, tiny_tokenizer):
    """The rows as an EvalSet."""
    from interplay.task.labels import prepare_eval

    return prepare_eval(rows, tuple(sorted({row.label for row in rows})), tiny_tokenizer, template)
