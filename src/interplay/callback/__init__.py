"""Interplay inside a training with transformers' Trainer or TRL's SFTTrainer: `interplay.InteractionCallback`."""
