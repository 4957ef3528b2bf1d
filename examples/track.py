"""Which interactions did a finished training remove, keep and add?   python examples/track.py BASE CHECKPOINTS HELDOUT

BASE is the model that was fine-tuned, CHECKPOINTS its output folder (checkpoint-STEP inside), HELDOUT rows it has not seen.
"""

import sys

import interplay

base, checkpoints, heldout = sys.argv[1:4]
run = interplay.track(base, checkpoints=checkpoints, data=heldout, out="runs/track-example")

print(run.summary())
print(run.recommendation)

emerged = run.trajectory.get("strength", "emerged")  # one row per step: value, interval, null
print(emerged[["value", "lo", "hi", "null"]])

print(run.interactions(prompt=0, step=run.steps[-1]).head(10))
print("Page:", run.report())
