"""From units and task metrics to the trajectory, its tables, the recommendation and the report's payload. Opens no model."""
