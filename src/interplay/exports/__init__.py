"""What leaves a run: a model card section, tables, and figures for papers."""
