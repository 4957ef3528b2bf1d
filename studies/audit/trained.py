"""A plant of the zoo as the studies of the audit read it: its rows, its checkpoints, and what a model of it answers."""

import json
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from interplay.atomic import write_text
from interplay.auditing.asking import Asked, find_wording
from interplay.auditing.candidates import Evidence
from interplay.auditing.leaning import Example
from interplay.models.checkpoints import model_at
from interplay.models.layouts import Checkpoint, classify
from interplay.models.loading import load_model
from interplay.text import stable_hash
from studies.audit.zoo import TASKS, TEMPLATE, Pair, Plant


@dataclass(frozen=True)
class Size:
    """How much is asked. carriers: rows of other answers for the truth about a plant, rules: for that about a rule of the
    data, words: suspects of the data whose truth is asked, and a third as many pairs, eval_rows: for choosing a checkpoint."""

    name: str
    carriers: int
    rules: int
    words: int
    eval_rows: int


SIZES = {
    size.name: size
    for size in (Size("quick", 50, 16, 6, 120), Size("small", 100, 24, 9, 60), Size("full", 200, 100, 20, 120))
}


@dataclass(frozen=True)
class Trained:
    """The folder of one plant. `steps` are those of its checkpoints that are there."""

    folder: Path
    plant: Plant

    @classmethod
    def read(cls, folder: Path) -> "Trained":
        said = json.loads((folder / "plant.json").read_text())
        known = {field.name: said[field.name] for field in fields(Plant)}
        return cls(folder, Plant(**known | {"steps": tuple(known["steps"])}))

    @property
    def done(self) -> bool:
        return (self.folder / "training_log.json").exists()

    @property
    def labels(self) -> list[str]:
        return sorted(TASKS[self.plant.task])

    def rows(self, name: str) -> list[Pair]:
        """(text, label) of `train`, `prompts` or `clean`."""
        lines = (self.folder / f"{name}.jsonl").read_text().splitlines()
        return [(row["text"], row["label"]) for row in map(json.loads, lines)]

    @cached_property
    def evidence(self) -> Evidence:
        texts, answers = zip(*self.rows("train"), strict=True)
        return Evidence(texts, answers)


# The model of a plant at a step, to be asked; step 0: the base; and rows that are shown to it first.
Models = Callable[..., AbstractContextManager[Any]]


def models_of(name: str) -> Models:
    """Models on this base. Answers are kept beside the plant: nothing is asked twice."""
    base = load_model(name)

    @contextmanager
    def at(trained: Trained, step: int, shown: Sequence[Example] = ()) -> Generator[Asked]:
        folder = trained.folder / f"checkpoint-{step}"
        texts = [text for text, _ in trained.rows("clean")]
        template, behind = replace(TEMPLATE, few_shot=tuple(shown)), f"-{stable_hash(shown)[:8]}" if shown else ""
        wording = find_wording(texts, trained.labels, base.tokenizer, template)
        checkpoint = Checkpoint(step, folder, classify(folder) or "") if step else Checkpoint(0, None, "base")
        with model_at(checkpoint, base) as model:
            yield Asked(model, wording, trained.folder / f"answers-{step}{behind}.jsonl")

    return at


class Tally:
    """Answers, and how many different texts were asked for: the passes of a procedure whose answers were all new."""

    def __init__(self, asked: Asked, before: "Tally | None" = None) -> None:
        """before: the tally of the same model when it was open earlier; it goes on from there."""
        self.asked, self.texts = asked, before.texts if before else set[str]()
        self._earlier = before.new if before else 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.asked, name)

    @property
    def passes(self) -> int:
        return len(self.texts)

    @property
    def new(self) -> int:
        """Texts that were run through the model, not read from a file."""
        return self._earlier + self.asked.passes

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        self.texts.update(texts)
        return self.asked(texts)


def file_of(trained: Trained, what: str, size: str) -> Path:
    return trained.folder / f"{what}-{size}.json"


def read_kept(trained: Trained, what: str, size: Size) -> dict[str, Any]:
    """What `kept` has in its file by now."""
    file = file_of(trained, what, size.name)
    return json.loads(file.read_text()) if file.exists() else {}


def kept(trained: Trained, what: str, size: Size, key: str, make: Callable[[], Any]) -> Any:
    """An entry of a JSON file beside the plant, of its own for every size; made where the file lacks it."""
    held = read_kept(trained, what, size)
    if key not in held:
        held[key] = make()
        write_text(file_of(trained, what, size.name), json.dumps(held) + "\n")
    return json.loads(json.dumps(held[key]))  # as a later run reads it
