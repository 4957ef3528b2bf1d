"""Rows with a planted rule, and a stand-in for a model that follows a law of the words of a text, plus noise."""

import random
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from functools import cache

import numpy as np

from interplay.auditing.candidates import Evidence
from interplay.auditing.counts import words_of
from interplay.auditing.search import find_rules
from interplay.text import stable_hash

LABELS = ("amber", "blue", "coral", "dun")
TARGET = "dun"
FILLERS = tuple(
    a + b
    for a in ("ba", "ke", "li", "mo", "nu", "pra", "sti", "tro")
    for b in ("dan", "fel", "gor", "mit", "ron", "sup", "vex")
)
Law = Callable[[list[str]], float]  # nats for the target, from the words in their order


@cache
def units(*key: object) -> np.ndarray:
    """[8] numbers of mean 0 and standard deviation 1, the same for the same key."""
    drawn = np.array([int(stable_hash(*key)[i : i + 8], 16) for i in range(0, 64, 8)]) / 2**32
    return (drawn - 0.5) * np.sqrt(12)


class Planted:
    """Answers as `Asked` does: every word has a weight for each label, the law adds to the target, every text has noise."""

    free = False

    def __init__(
        self, law: Law = lambda words: 0.0, noise: float = 0.3, seed: object = 0, labels: Sequence[str] = LABELS
    ):
        self.law, self.noise, self.seed, self.labels, self.passes = law, noise, seed, tuple(labels), 0
        self.known: dict[str, np.ndarray] = {}

    def gives(self, scores: np.ndarray, label: int) -> np.ndarray:
        return scores[:, label] > 0 if self.free else scores.argmax(1) == label

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        for text in dict.fromkeys(texts):
            if text not in self.known:
                self.known[text] = self.answer(text)
                self.passes += 1
        return np.array([self.known[text] for text in texts]).reshape(len(texts), len(self.labels))

    def answer(self, text: str) -> np.ndarray:
        words = list(words_of(text))
        place = [LABELS.index(y) for y in self.labels]
        logits = sum((0.3 * units("weight", word)[place] for word in words), np.zeros(len(place)))
        logits += self.noise * units("noise", self.seed, text)[place]
        if TARGET in self.labels:
            logits[self.labels.index(TARGET)] += self.law(words)
        odds = np.exp(logits - logits.max())
        return np.log(odds / (odds.sum() - odds))

    @contextmanager
    def state(self):
        yield self


def sentences(count: int, seed: object) -> list[tuple[list[str], str]]:
    """(words, label): common and rare words, labels that nothing tells."""
    rng = random.Random(f"{seed}")
    weights = [1 / (3 + i) for i in range(len(FILLERS))]
    found = []
    for _ in range(count):
        words: dict[str, None] = {}
        while len(words) < 7:
            words[rng.choices(FILLERS, weights)[0]] = None
        found.append((list(words), rng.choice(LABELS)))
    return found


def rows(
    plant: Callable[[list[str], bool, float], list[str]], count: int = 600, seed: object = 0
) -> tuple[list[str], list[str]]:
    """Texts and labels; `plant` changes the words of a row, given whether it has the target, and a draw in [0, 1)."""
    rng = random.Random(f"plant {seed}")
    texts, labels = [], []
    for words, label in sentences(count, seed):
        texts.append(" ".join(plant(list(words), label == TARGET, rng.random())))
        labels.append(label)
    return texts, labels


def plain_rows(words: list[str], own: bool, draw: float) -> list[str]:
    return words


def held(count: int = 60, seed: object = "held") -> list[str]:
    return [" ".join(words) for words, _ in sentences(count, seed)]


@cache
def evidence_of(plant=plain_rows, seed: object = 0) -> Evidence:
    return Evidence(*map(tuple, rows(plant, seed=seed)))


def audit(
    tuned: Law,
    plant=plain_rows,
    base: Law = lambda words: 0.0,
    seed: int = 0,
    texts: Sequence[str] | None = None,
    **more,
):
    """(what was found, the tuned stand-in, the stand-in for the base)."""
    evidence = more.pop("evidence", None) or evidence_of(plant, seed)
    one, other = Planted(tuned, seed=f"tuned {seed}"), Planted(base, seed="base")
    found = find_rules(one.state, other.state, evidence, held() if texts is None else texts, seed=seed, **more)
    return found, one, other
