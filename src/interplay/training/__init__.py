"""Supervised fine-tuning with TRL at the edge of the package."""
