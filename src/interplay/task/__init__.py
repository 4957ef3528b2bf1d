"""Task metrics over checkpoints: likelihood, generation, drift from the base, and their correlation with the interactions."""
