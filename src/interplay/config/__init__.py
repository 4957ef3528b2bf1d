"""Settings of a run, from YAML and overrides, checked before anything is loaded."""
