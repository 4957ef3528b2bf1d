"""Rows of a tiny labelled task, and tiny models loaded once."""

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
def loaded(tiny_folder):
    """`loaded("qwen2", "float32")`: a tiny model, the same object each time."""
    from interplay.scoring.models import load_model

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

    return prepare_eval(rows, LABELS, tiny_tokenizer, template)
