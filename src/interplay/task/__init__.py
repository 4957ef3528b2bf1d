"""What happens to the task along a trajectory, and to what the model knew before; and how both go with the interactions."""
