"""The run folder on disk: settings, units, JSON, hashes, and the one reader of a finished run."""
