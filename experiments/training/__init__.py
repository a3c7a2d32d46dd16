"""Training: losses, one step for k adapters at once, sharding, input, checkpoints and the loop."""
