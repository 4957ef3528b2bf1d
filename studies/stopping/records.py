"""What one cell left behind, as the quantities that rules look at and that they are judged by."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from interplay.effects import extract
from interplay.effects.interactions import paper_tolerance
from interplay.task.metrics import macro_f1


@dataclass(frozen=True, eq=False)
class Record:
    """One measured training. Indices count the measured steps; index 0 is the untrained model."""

    about: dict[str, Any]
    arrays: dict[str, np.ndarray]
    effects: np.ndarray  # [T, P, 2, 2^n] of the held-out prompts' gold labels

    @property
    def name(self) -> str:
        return self.about["name"]

    @property
    def steps(self) -> np.ndarray:
        return self.arrays["steps"]

    @cached_property
    def scores(self) -> np.ndarray:
        """[T, P, 2^n] v of the labels the held-out prompts carry."""
        return _gold(self.arrays["scores_held"], self.arrays["held_gold"])

    # ---- what rivals look at -------------------------------------------------------------------------------------------

    @cached_property
    def eval_loss(self) -> np.ndarray:
        """[T] nats per response token over all eval rows: Hugging Face's eval_loss."""
        return self.arrays["eval_nll"].sum(1) / self.arrays["eval_tokens"].sum()

    def eval_loss_of(self, rows: np.ndarray) -> np.ndarray:
        """The same over some eval rows."""
        return self.arrays["eval_nll"][:, rows].sum(1) / self.arrays["eval_tokens"].reshape(-1)[rows].sum()

    @cached_property
    def eval_accuracy(self) -> np.ndarray:
        return _accuracy(self.arrays["eval_firsts"], self.arrays["eval_gold"])

    @cached_property
    def train_loss(self) -> np.ndarray:
        """[T] mean training loss of the steps since the last measurement; that of step 0 is the first step's."""
        per_step = self.arrays["train_loss"]
        edges = [0, *self.steps[1:]]
        return np.array([per_step[0], *(per_step[a:b].mean() for a, b in zip(edges, self.steps[1:], strict=False))])

    @cached_property
    def grad_change(self) -> np.ndarray:
        """[T] mean absolute change of the gradient between steps, over the steps since the last measurement."""
        per_step = np.where(np.isfinite(self.arrays["grad_change"]), self.arrays["grad_change"], np.nan)
        edges = [0, *self.steps[1:]]
        means = [np.nanmean(per_step[a:b]) for a, b in zip(edges, self.steps[1:], strict=False)]
        return np.array([per_step[1], *means])

    # ---- what rules are judged by ---------------------------------------------------------------------------------------

    @cached_property
    def outcomes(self) -> dict[str, np.ndarray]:
        """[T] each, higher is better: test accuracy and macro-F1, minus test loss, out-of-domain accuracy, minus the
        retention text's nats per token."""
        a = self.arrays
        return {
            "accuracy": _accuracy(a["test_firsts"], a["test_gold"]),
            "macro_f1": np.array([macro_f1(a["test_gold"], f.argmax(1)) for f in a["test_firsts"]]),
            "test_loss": -a["test_nll"].sum(1) / a["test_tokens"].sum(),
            "ood_accuracy": _accuracy(a["ood_firsts"], a["ood_gold"]),
            "retention": -a["retention"],
        }


def _accuracy(firsts: np.ndarray, gold: np.ndarray) -> np.ndarray:
    return (firsts.argmax(-1) == gold[None]).mean(1)


def _gold(scores: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """[T, P, L, 2^n] and a label per prompt -> [T, P, 2^n]."""
    return scores[:, np.arange(len(gold)), gold].astype(np.float64)


def effects_of(scores: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """[T, P, 2, 2^n]; tolerance as in a run: 0.02 |v(N) - v(empty)| at step 0, at least three sigma of noise."""
    gap = np.abs(scores[0, :, -1] - scores[0, :, 0]).mean()
    delta = float(paper_tolerance(gap, noise[0]))
    found = np.zeros((*scores.shape[:2], 2, scores.shape[-1]))
    for t in range(len(scores)):
        for p in range(scores.shape[1]):
            split = extract(scores[t, p], tolerance=delta)
            found[t, p] = split.and_effects, split.or_effects
    return found


def load(folder: Path, name: str) -> Record:
    """A finished cell; its effects are kept beside it, since solving them takes a few seconds."""
    with np.load(folder / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    about = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    kept = folder / f"{name}.effects.npy"
    if kept.exists():
        effects = np.load(kept)
    else:
        effects = effects_of(_gold(arrays["scores_held"], arrays["held_gold"]), arrays["noise"])
        np.save(kept, effects)
    return Record(about, arrays, effects)


def finished(folder: Path) -> list[str]:
    """Names of the cells in a folder."""
    return sorted(p.stem for p in folder.glob("*.npz") if not p.stem.endswith(".partial"))
