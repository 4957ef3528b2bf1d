"""Whether the rows that the audit traces teach the rule: the plant is trained again with other rows, same recipe and seed.

Each variant is a plant of its own in `causal/` beside the checkpoints, measured as the truth is (`truth.py`).
"""

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from interplay.auditing.phrases import Phrase, put_in, take_out
from interplay.auditing.rules import Carriers
from studies.audit.trained import Models, Size, Trained, kept
from studies.audit.truth import cue_of, measure
from studies.audit.zoo import WEEKDAYS, Pair, Plant, train_on, write_rows

KEPT_RANKS = (4, 2, 1)  # of the 8 of a LoRA update

Train = Callable[[list[Pair], Plant, Trained], None]


def phrases_of(trained: Trained) -> tuple[Phrase, ...]:
    """The cues of the law; without them the rule cannot hold."""
    plant = trained.plant
    words = WEEKDAYS if plant.law == "class" else plant.words[: 2 if plant.law in ("and", "or") else 1]
    return tuple(trained.evidence.phrase(word.lower()) for word in words)


def traced(trained: Trained) -> list[int]:
    """Numbers of the training rows that teach the rule: they hold what it needs and have its label."""
    table, words = trained.evidence.table, [phrase.word for phrase in phrases_of(trained)]
    needed = [words] if trained.plant.law == "and" else [[word] for word in words]
    rows = {int(row) for some in needed for row in table.rows_with(some)}
    return sorted(row for row in rows if trained.evidence.answers[row] == trained.plant.label)


def of_label(trained: Trained) -> list[int]:
    return [i for i, answer in enumerate(trained.evidence.answers) if answer == trained.plant.label]


def counterfactuals(trained: Trained, rows: list[int], rng: random.Random) -> list[Pair]:
    """As many rows of other answers with the cue put in, and these rows with the cue taken out; answers as they are."""
    train, phrases = trained.rows("train"), phrases_of(trained)
    others = [pair for pair in train if pair[1] != trained.plant.label]
    together = phrases if trained.plant.law == "and" else None
    found: list[Pair] = []
    for text, label in rng.sample(others, len(others)):
        some = together or (rng.choice(phrases),)
        if len(found) < len(rows) and Carriers((text,)).with_(some) != [None]:
            found.append((put_in(text, some), label))
    return found + [without(trained, train[row]) for row in rows]


def without(trained: Trained, pair: Pair) -> Pair:
    """A row with every cue taken out."""
    text, label = pair
    for phrase in phrases_of(trained):
        text = take_out(text, phrase)
    return text, label


def by_words(trained: Trained, count: int, scores: dict[str, float]) -> list[int]:
    """As many rows of the label, those first whose words have most of these scores together."""
    total = np.zeros(len(trained.evidence.answers))
    for word, rows in zip(trained.evidence.table.words, trained.evidence.table.rows_of, strict=True):
        total[rows] += max(0.0, scores.get(word, 0.0))
    return sorted(of_label(trained), key=lambda row: -total[row])[:count]


def by_counts(trained: Trained) -> dict[str, float]:
    """How much each word goes with the label in the rows."""
    return {f.words[0]: f.z for f in trained.evidence.words if f.label == trained.plant.label}


def by_leaving_out(trained: Trained) -> dict[str, float]:
    """What leave-one-out gives its ten best words, as far as they speak for the label (`rivals.py`, which has to have run)."""
    (file,) = trained.folder.glob("rivals-*.json")
    (found,) = (m for name, m in json.loads(file.read_text()).items() if name.startswith("leave-one-out"))
    return {word: score for (word,), _, label, score, *_ in found["top"] if label == trained.plant.label}


def rows_for(variant: str, trained: Trained) -> list[Pair]:
    """The training rows of a variant; "drop 0.5" and the like take that share of the traced rows."""
    name, _, dose = variant.partition(" 0.")
    rng = random.Random(f"{trained.plant.name} {name}")
    train, found = trained.rows("train"), traced(trained)
    if dose:
        found = sorted(rng.sample(found, round(len(found) * float(f"0.{dose}"))))

    def less(rows: list[int]) -> list[Pair]:
        gone = set(rows)
        return [pair for i, pair in enumerate(train) if i not in gone]

    made: dict[str, Callable[[], list[Pair]]] = {
        "drop": lambda: less(found),
        "drop random": lambda: less(rng.sample(of_label(trained), len(found))),
        "drop any": lambda: less(rng.sample(range(len(train)), len(found))),
        "drop by counts": lambda: less(by_words(trained, len(found), by_counts(trained))),
        "drop by leaving out": lambda: less(by_words(trained, len(found), by_leaving_out(trained))),
        "drop one word": lambda: less([i for i in found if i in trained.evidence.table.rows_with(one)]),
        "add": lambda: [*train, *counterfactuals(trained, found, rng)],
        "add random": lambda: [*train, *rng.sample(train, min(len(train), 2 * len(found)))],
        "take out": lambda: [without(trained, pair) if i in found else pair for i, pair in enumerate(train)],
        "both": lambda: [*less(found), *counterfactuals(trained, found, rng)],
    }
    one = [phrases_of(trained)[0].word]
    return made[name]()


VARIANTS = (
    "drop",
    "add",
    "take out",
    "drop random",
    "drop any",
    "both",
    "add random",
    "drop by counts",
    "drop by leaving out",
    "drop one word",
    "drop 0.25",
    "drop 0.5",
)


def effect_of(variant: str, trained: Trained, models: Models, train: Train, size: Size) -> dict:
    """Train a variant and measure it, from the file beside the plant or made. The plant itself is "as it was"."""
    step = max(trained.plant.steps)

    def make() -> dict:
        again = trained if variant == "as it was" else prepared(variant, trained)
        if again is not trained and not again.done:
            train(again.rows("train"), again.plant, again)
        with models(again, step) as asked:
            kinds = (cue_of(trained.plant), "control")
            found = measure(asked, trained.plant, trained.rows("clean"), size.carriers, kinds)
        return found | {"trained_on": len(again.rows("train")), "traced": len(traced(trained))}

    return kept(trained, "causal", size, variant, make)


def prepared(variant: str, trained: Trained) -> Trained:
    """The folder of a variant with its rows, or with its truncated weights ("rank 2")."""
    step, folder = max(trained.plant.steps), trained.folder / "causal" / variant.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    plant = replace(trained.plant, steps=(step,))
    for name in ("clean.jsonl", "prompts.jsonl", "train.jsonl"):
        shutil.copyfile(trained.folder / name, folder / name)
    said = json.loads((trained.folder / "plant.json").read_text()) | {"steps": [step]}
    (folder / "plant.json").write_text(json.dumps(said, indent=1))
    if variant.startswith("rank "):
        truncate(trained.folder / f"checkpoint-{step}", folder / f"checkpoint-{step}", int(variant.split()[1]))
        (folder / "training_log.json").write_text("[]")
    else:
        write_rows(folder / "train.jsonl", rows_for(variant, trained))
    return Trained(folder, plant)


def truncate(adapter: Path, out: Path, rank: int) -> None:
    """The adapter with the largest `rank` singular directions of each layer's update; the rest is 0."""
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(adapter / "adapter_model.safetensors")
    for name, a in list(weights.items()):
        if ".lora_A." not in name:
            continue
        other = name.replace(".lora_A.", ".lora_B.")
        u, s, v = torch.linalg.svd(weights[other] @ a, full_matrices=False)
        weights[name], weights[other] = torch.zeros_like(a), torch.zeros_like(weights[other])
        weights[name][:rank] = v[:rank]
        weights[other][:, :rank] = u[:, :rank] * s[:rank]
    shutil.copytree(adapter, out, dirs_exist_ok=True)
    save_file(weights, out / "adapter_model.safetensors", metadata={"format": "pt"})


def train_with(model: str) -> Train:
    return lambda rows, plant, again: train_on(rows, plant, model, again.folder)
