"""Which checkpoint to keep, and why: by a trajectory and eval rows (`rule`), or by the log that a training left (`logged`)."""
