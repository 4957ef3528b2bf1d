"""More processes for one run: workers on this machine, and actors on a Ray cluster."""
