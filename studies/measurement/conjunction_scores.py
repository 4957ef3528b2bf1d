"""Scores of the planted conjunction under every absence: python -m studies.measurement.conjunction_scores DATA TRAINED OUT.npz

12 prompts of other labels with both cues put in, the two cue words and four content words each (n = 6), scored among the four
labels, before the training and at some of its steps.
"""

import sys
import time
from pathlib import Path

import numpy as np

import interplay
from interplay.data.samples import make_sample
from interplay.models.checkpoints import model_at
from interplay.models.layouts import Checkpoint
from interplay.models.loading import load_model
from studies.measurement.conjunction import LABELS, PLANTED, TEMPLATE, as_rows, cued, plant, read

ABSENCES = {"paper": "paper", "_": "_", " _": " _", "mean": "mean", "swap": "swap", "drop": "drop"}
PROMPTS, CONTENT = 12, 4


def samples(data: Path, tokenizer) -> list:
    """The prompts, target the planted label."""
    chosen = []
    for text, label in read(data, "test", 200, 0):
        if label == PLANTED or len(chosen) == PROMPTS:
            continue
        [row] = as_rows([(cued(text, True, True), PLANTED)])
        try:
            words = [w.text for w in make_sample(row, n=CONTENT + 2, template=TEMPLATE).words]
            content = [w for w in words if w not in ("Honestly", "today")][:CONTENT]
            if len(content) == CONTENT:
                chosen.append(make_sample(row, words=["Honestly", *content, "today"], template=TEMPLATE))
        except interplay.InterplayError:
            continue
    return chosen


def main(data: Path, trained: Path, out: Path, steps: list[int]) -> None:
    base = load_model("HuggingFaceTB/SmolLM2-135M-Instruct")
    asked, fillers = samples(data, base.tokenizer), as_rows(plant(read(data, "train", 700, 0), 0))
    among, tables, seconds = as_rows([("x", label) for label in LABELS]), {}, {}
    for step in steps:
        state = Checkpoint(step, trained / f"checkpoint-{step}" if step else None, "adapter" if step else "base")
        with model_at(state, base) as model:
            for name, mask in ABSENCES.items():
                begun = time.process_time()
                found = interplay.score(
                    model,
                    base.tokenizer,
                    asked,
                    template=TEMPLATE,
                    mask=mask,
                    fillers=fillers,
                    among=among,
                    noise_coalitions=0,
                )
                seconds[f"{name}@{step}"] = time.process_time() - begun
                tables[f"{name}@{step}"] = found.values
                tables[f"sigma:{name}@{step}"] = np.array([u.absence_sigma for u in found.units])
                print(step, name, round(seconds[f"{name}@{step}"], 1), flush=True)
    words = np.array([[w.text for w in s.words] for s in asked])
    np.savez(out, words=words, **tables, seconds=np.array(list(seconds.items())))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]), [int(step) for step in sys.argv[4:]] or [0, 180, 240])
