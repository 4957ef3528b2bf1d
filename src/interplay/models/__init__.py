"""Loading models: hub names, folders, GGUF files, adapters, and the checkpoints of any trainer's output folder."""
