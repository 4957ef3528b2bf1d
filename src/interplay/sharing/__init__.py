"""Many processes, one run: who works on what, in one folder without a coordinator, and on engines that exist.

claims    files that say which process works on what, and how a dead one is told from a slow one
shares    `--shard i/n`: which of a list of jobs is whose
workers   `--workers k`: more processes on this machine
cluster   `--ray ADDRESS`: actors on a Ray cluster
"""
