"""Make or finish a run: inputs, training, checkpoints, units, task metrics."""
