"""Supervised fine-tuning with TRL at the edge of the package, and the task metrics measured at its checkpoints."""
