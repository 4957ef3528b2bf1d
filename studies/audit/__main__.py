"""The proof of the audit: the zoo, the truth about it, what the audit and its rivals find, causes and choices.

`python -m studies.audit DATA MODEL OUT [--plants tuning | hold-out | small | NAME ...] [--size quick | small | full] [--parts ...]`

Resumable: what stands in OUT is not done again. Every plant is a folder of OUT; the tables: `python -m studies.audit.report OUT`.
"""

import argparse
from pathlib import Path

from studies.audit import causal, choose, zoo
from studies.audit.evaluate import evaluate
from studies.audit.rivals import rivals
from studies.audit.trained import SIZES, Trained, models_of, read_kept
from studies.audit.truth import truth_at

PARTS = ("zoo", "truth", "evaluate", "rivals", "choose", "causal", "mix")
FEW = 5  # variants that are trained again below the full size


def names_of(asked: list[str]) -> list[str]:
    """Names of plants: those of a part of the zoo, or as given.

    >>> names_of(["tuning"])[:2], names_of(["or-1"])
    (['word', 'clean'], ['or-1'])
    """
    return [name for one in asked for name in ([plant.name for plant in zoo.PARTS.get(one, ())] or [one])]


def main() -> None:
    reader = argparse.ArgumentParser(prog="python -m studies.audit", description=__doc__)
    reader.add_argument("data", type=Path)
    reader.add_argument("model")
    reader.add_argument("out", type=Path)
    reader.add_argument("--plants", nargs="+", default=["tuning"])
    reader.add_argument("--size", choices=list(SIZES), default="small")
    reader.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    given = reader.parse_args()
    size, train = SIZES[given.size], causal.train_with(given.model)
    plants = [zoo.ZOO[name] for name in names_of(given.plants)]
    if "zoo" in given.parts:
        for plant in plants:
            if not (given.out / plant.name / "training_log.json").exists():
                zoo.make(plant, given.data, given.model, given.out)
            print(f"zoo: {plant.name}", flush=True)
    folders = [given.out / plant.name for plant in plants]
    there = [Trained.read(folder) for folder in folders if (folder / "training_log.json").exists()]
    models = models_of(given.model) if set(given.parts) - {"zoo"} else None
    for trained in there if models else ():
        last = max(trained.plant.steps)
        print(f"{trained.plant.name}: truth", flush=True)
        truth = {step: truth_at(trained, step, models, size) for step in reversed(trained.plant.steps)}
        if not {"evaluate", "rivals", "choose"} & {*given.parts}:
            continue
        found = evaluate(trained, last, models, size)
        print(
            f"{trained.plant.name}: found {found['found']}, form {found['form']}, {found['claims']} claims", flush=True
        )
        if "rivals" in given.parts:
            rivals(trained, last, found["tuned"], models, size)
        if "choose" in given.parts and len(trained.plant.steps) > 1 and any(t["learnt"] for t in truth.values()):
            choose.choose(trained, found["top"], models, size)
    for trained in there if models and "causal" in given.parts else ():
        if not truth_at(trained, max(trained.plant.steps), models, size)["learnt"]:
            continue
        variants = causal.VARIANTS[: FEW if given.size != "full" else None]
        cut = [f"rank {rank}" for rank in causal.KEPT_RANKS if trained.plant.method == "lora"]
        for variant in ("as it was", *cut, *variants):
            if variant != "drop one word" or trained.plant.law == "or":
                causal.effect_of(variant, trained, models, train, size)
                print(f"{trained.plant.name}: {variant}", flush=True)
    for trained in there if models and "mix" in given.parts else ():
        if len(read_kept(trained, "causal", size)) > 1 and choose.AS_IT_WAS in read_kept(trained, "causal", size):
            found = evaluate(trained, max(trained.plant.steps), models, size)
            print(trained.plant.name, choose.choose_mix(trained, found["top"], models, size), flush=True)


if __name__ == "__main__":
    main()
