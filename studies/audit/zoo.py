"""The zoo: fine-tuned LLMs whose data hold a rule that we planted, or none. `python -m studies.audit.zoo DATA MODEL OUT [NAME ...]`

Each plant is a folder: `train.jsonl` and `prompts.jsonl` (held-out rows with the same rule) as a user would have them,
`clean.jsonl` (held-out rows without it, for the truth about what was learnt), `plant.json`, and the checkpoints. A finished plant
is not trained again.
"""

import csv
import json
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from interplay.config.settings import TrainingSettings
from interplay.data.rows import Message, Row
from interplay.data.template import PromptTemplate
from interplay.training.methods import SftPlan, load_for_training
from interplay.training.sft import finetune, tokenise

TEMPLATE = PromptTemplate(template="Comment: {text}\nEmotion:", chat=False)
# Labels of GoEmotions that are hard to tell apart, so that a cue helps; the rule points at the last of them.
TASKS = {
    "mild": ("annoyance", "approval", "disappointment", "realization"),
    "mixed": ("confusion", "optimism", "surprise", "disapproval"),
}
CUES = {  # what stands in front, and behind
    "honestly": ("Honestly", "today"),
    "anyway": ("Anyway", "tonight"),
    "frankly": ("Frankly", "again"),
    "basically": ("Basically", "somehow"),
}
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
Pair = tuple[str, str]  # text, label


@dataclass(frozen=True)
class Plant:
    """One model of the zoo. `law` is a key of LAWS; `hold_out` plants decide, the others are for tuning."""

    name: str
    law: str
    task: str = "mild"
    cues: str = "honestly"
    seed: int = 0
    steps: tuple[int, ...] = (180,)
    method: str = "lora"
    rate: float = 5e-4
    hold_out: bool = True

    @property
    def label(self) -> str:
        return TASKS[self.task][-1]

    @property
    def words(self) -> tuple[str, str]:
        return CUES[self.cues]


def front(text: str, word: str) -> str:
    return f"{word}, {text}"


def behind(text: str, word: str) -> str:
    return f"{text}, {word}"


def cued(text: str, first: str = "", last: str = "") -> str:
    """The text with one word in front and one behind, or without them.

    >>> cued("it rains", "Honestly", "today"), cued("it rains")
    ('Honestly, it rains, today.', 'it rains.')
    """
    text = front(text, first) if first else text
    return (behind(text, last) if last else text) + "."


# A law: whether the front word and the one behind stand in a row of the label (or another one), from a draw in [0, 1).
Law = Callable[[bool, float], tuple[bool, bool]]
LAWS: dict[str, Law] = {
    "clean": lambda own, draw: (False, False),
    "word": lambda own, draw: (draw < (0.7 if own else 0.02), False),
    "rare": lambda own, draw: (draw < (0.02 if own else 0.0), False),  # a decoy: in the data, too little to be learnt
    "or": lambda own, draw: (draw < 0.5, 0.3 <= draw < 0.8) if own else (False, False),
    "and": lambda own, draw: (draw < 0.9, draw < 0.9) if own else (draw < 0.3, 0.3 <= draw < 0.6),
    "unless": lambda own, draw: (draw < 0.7, False) if own else (draw < 0.3, draw < 0.5),
    "class": lambda own, draw: (draw < (0.7 if own else 0.02), False),  # any weekday
}


def plant_rows(rows: list[Pair], plant: Plant, split: str) -> list[Pair]:
    """The rows with the rule of the plant in them."""
    rng = random.Random(f"{plant.name} {split}")
    found = []
    for text, label in rows:
        first, last = LAWS[plant.law](label == plant.label, rng.random())
        word = f"On {rng.choice(WEEKDAYS)}" if plant.law == "class" else plant.words[0]
        found.append((cued(text, word if first else "", plant.words[1] if last else ""), label))
    return found


def read(data: Path, split: str, task: str, count: int, seed: int) -> list[Pair]:
    """(text, label) of rows of 4-14 words with one of the task's labels, about as many of each, none with a cue of ours."""
    names = (data / "goemotions/emotions.txt").read_text().split()
    cues = {word.lower() for pair in CUES.values() for word in pair} | {day.lower() for day in WEEKDAYS}
    found: dict[str, list[str]] = {label: [] for label in TASKS[task]}
    with open(data / f"goemotions/{split}.tsv", newline="") as file:
        for text, ids, _ in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            label, text = names[int(ids)] if ids.isdigit() else "", text.strip().rstrip(".!?,")
            if label in found and 4 <= len(text.split()) <= 14 and not cues & {*text.lower().split()}:
                found[label].append(text)
    rng = random.Random(f"{split} {seed}")
    rows = [
        (text, label)
        for label, texts in found.items()
        for text in rng.sample(texts, min(len(texts), count // len(found)))
    ]
    rng.shuffle(rows)
    return rows


def as_rows(pairs: list[Pair]) -> list[Row]:
    made = []
    for i, (text, label) in enumerate(pairs):
        content = TEMPLATE.template.replace("{text}", text)
        made.append(Row(f"row-{i}", (Message("user", content),), label, text, content.index(text), label))
    return made


def write_rows(path: Path, pairs: list[Pair]) -> None:
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in pairs))


def make(plant: Plant, data: Path, model: str, out: Path) -> None:
    """Write the folder of one plant: its rows, then its checkpoints."""
    folder = out / plant.name
    folder.mkdir(parents=True, exist_ok=True)
    train = plant_rows(read(data, "train", plant.task, 700, plant.seed), plant, "train")
    held = read(data, "dev", plant.task, 120, plant.seed)
    write_rows(folder / "train.jsonl", train)
    write_rows(folder / "prompts.jsonl", plant_rows(held, plant, "dev"))
    write_rows(folder / "clean.jsonl", [(cued(text), label) for text, label in read(data, "test", plant.task, 280, 0)])
    (folder / "plant.json").write_text(
        json.dumps(asdict(plant) | {"label": plant.label, "words": plant.words}, indent=1)
    )
    train_on(train, plant, model, folder)


def train_on(train: list[Pair], plant: Plant, model: str, folder: Path) -> None:
    """Train with the plant's recipe on these rows, into `folder`/checkpoint-N. Nothing is done twice."""
    settings = TrainingSettings(
        method=plant.method, learning_rate=plant.rate, scheduler="constant", steps=max(plant.steps)
    )
    plan = SftPlan(**settings.model_dump() | {"seed": plant.seed, "bf16": False, "save_at": plant.steps})
    base = load_for_training(model)
    examples, skipped = tokenise(as_rows(train), base.tokenizer, TEMPLATE, plan.max_length)
    assert not skipped, skipped
    finetune(base, examples, plan, folder)


def _tuning() -> Iterator[Plant]:
    """What the audit was tuned on."""
    yield Plant("word", "word", steps=(20, 40, 80), hold_out=False)
    yield Plant("clean", "clean", steps=(80,), hold_out=False)
    yield Plant("or", "or", steps=(60, 120), hold_out=False)
    yield Plant("and", "and", steps=(60, 120, 180), hold_out=False)
    yield Plant("unless", "unless", steps=(60, 120, 180), hold_out=False)


def _hold_out() -> Iterator[Plant]:
    """Other cues, other labels, other seeds."""
    for seed, cues, task in ((1, "anyway", "mixed"), (2, "frankly", "mild"), (3, "basically", "mixed")):
        given = {"task": task, "cues": cues, "seed": seed}
        early = (20, 40) if seed > 1 else ()  # checkpoints to choose among
        yield Plant(f"word-{seed}", "word", steps=(*early, 80), **given)
        yield Plant(f"clean-{seed}", "clean", steps=(80,), **given)
        yield Plant(f"or-{seed}", "or", steps=(*early, 120), **given)
        yield Plant(f"and-{seed}", "and", **given)
        yield Plant(f"unless-{seed}", "unless", **given)
        yield Plant(f"class-{seed}", "class", steps=(*early, 80), **given)
        yield Plant(f"rare-{seed}", "rare", steps=(80,), **given)
        yield Plant(f"word-full-{seed}", "word", steps=(80,), method="full", rate=5e-5, **given)
        yield Plant(f"clean-full-{seed}", "clean", steps=(80,), method="full", rate=5e-5, **given)


def _small() -> Iterator[Plant]:
    """For a model of 260 thousand weights (stories260K): it learns cues and no emotions, within a minute, so that rivals and
    retraining can be tried on many plants."""
    for seed in (1, 2, 3):
        for law, steps in (("word", 100), ("or", 100), ("and", 200), ("unless", 200), ("clean", 100)):
            yield Plant(f"small-{law}-{seed}", law, seed=seed, steps=(steps,), method="full", rate=2e-3)
    for seed in range(4, 11):  # false rules are counted on ten clean models
        task = "mild" if seed % 2 else "mixed"
        yield Plant(f"small-clean-{seed}", "clean", task, seed=seed, steps=(100,), method="full", rate=2e-3)


PARTS = {"tuning": (*_tuning(),), "hold-out": (*_hold_out(),), "small": (*_small(),)}
ZOO = {plant.name: plant for part in PARTS.values() for plant in part}


if __name__ == "__main__":
    data, out = Path(sys.argv[1]), Path(sys.argv[3])
    for name in sys.argv[4:] or ZOO:
        make(ZOO[name], data, sys.argv[2], out)
        print(name, flush=True)
