"""Loading models: hub names, folders, GGUF files, adapters, and the checkpoints of any trainer's output folder."""

from interplay.models.loading import LoadedModel, load_model, load_tokenizer

__all__ = ["LoadedModel", "load_model", "load_tokenizer"]
