"""Settings, run folder, units and the pipeline: the one place that knows the order of things."""
