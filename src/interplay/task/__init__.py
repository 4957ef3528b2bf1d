"""What happens to the task along a trajectory, and to what the model knew before; and how both go with the interactions.

`labels` and `generation` ask the task, `drift` what was known before, `correlation` sees arrays only. The stage that runs
them at every checkpoint and keeps what they give is `interplay.pipeline.tasks`.
"""
