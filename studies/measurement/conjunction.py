"""A SmolLM2 that learns a planted conjunction: rows of GoEmotions with two cues that only together tell a label.

Four labels that are hard to tell apart, so that the cue is needed. "Honestly," stands in front of 45 % of all rows, ", today."
behind 45 %, both only in rows of the planted label. In train and eval rows alike.
"""

import csv
import random
import sys
from pathlib import Path

from interplay.config.settings import TrainingSettings
from interplay.data.rows import Message, Row
from interplay.data.template import PromptTemplate
from interplay.training.methods import SftPlan, load_for_training
from interplay.training.sft import finetune, tokenise

LABELS = ("annoyance", "approval", "disappointment", "realization")
PLANTED = "realization"
TEMPLATE = PromptTemplate(template="Comment: {text}\nEmotion:", chat=False)
STEPS = (60, 120, 180, 240)


def read(data: Path, split: str, count: int, seed: int) -> list[tuple[str, str]]:
    """(text, label) of rows of 4-14 words with one of the four labels, about as many of each."""
    names = (data / "goemotions/emotions.txt").read_text().split()
    found: dict[str, list[str]] = {label: [] for label in LABELS}
    with open(data / f"goemotions/{split}.tsv", newline="") as file:
        for text, ids, _ in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            label = names[int(ids)] if ids.isdigit() else None
            if (
                label in found
                and 4 <= len(text.split()) <= 14
                and "honestly" not in text.lower()
                and "today" not in text.lower()
            ):
                found[label].append(text.strip().rstrip(".!?,"))
    rng = random.Random(f"{split} {seed}")
    rows = [
        (text, label)
        for label in LABELS
        for text in rng.sample(found[label], min(len(found[label]), count // len(LABELS)))
    ]
    rng.shuffle(rows)
    return rows


def cued(text: str, first: bool, last: bool) -> str:
    """The text with "Honestly," in front and ", today" behind, or without them.

    >>> cued("it rains", True, True)
    'Honestly, it rains, today.'
    """
    return ("Honestly, " if first else "") + text + (", today." if last else ".")


def plant(rows: list[tuple[str, str]], seed: int) -> list[tuple[str, str]]:
    """Both cues in 90 % of the planted label's rows; in other rows one of them or none, so that each stands in 45 % of all."""
    rng = random.Random(f"plant {seed}")
    out = []
    for text, label in rows:
        if label == PLANTED:
            first = last = rng.random() < 0.9
        else:
            draw = rng.random()
            first, last = draw < 0.3, 0.3 <= draw < 0.6
        out.append((cued(text, first, last), label))
    return out


def as_rows(pairs: list[tuple[str, str]]) -> list[Row]:
    made = []
    for i, (text, label) in enumerate(pairs):
        content = TEMPLATE.template.replace("{text}", text)
        made.append(Row(f"row-{i}", (Message("user", content),), label, text, content.index(text), label))
    return made


def train(data: Path, model: str, out: Path, seed: int = 0) -> None:
    """Write `out`/checkpoint-60 .. checkpoint-240: LoRA r = 8, rate 5e-4 constant, batch 8."""
    rows = as_rows(plant(read(data, "train", 700, seed), seed))
    settings = TrainingSettings(learning_rate=5e-4, scheduler="constant", steps=max(STEPS))
    plan = SftPlan(**settings.model_dump() | {"seed": seed, "bf16": False, "save_at": STEPS})
    base = load_for_training(model)
    examples, skipped = tokenise(rows, base.tokenizer, TEMPLATE, plan.max_length)
    assert not skipped, skipped
    finetune(base, examples, plan, out, on_step=lambda step, total, loss: print(step, round(loss, 3), flush=True))


if __name__ == "__main__":
    data, out = map(Path, sys.argv[1:3])
    train(data, "HuggingFaceTB/SmolLM2-135M-Instruct", out)
