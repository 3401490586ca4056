"""Training: state, one step, checkpoints, the log and the loop."""
