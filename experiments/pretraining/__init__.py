"""Training a small VGGT from scratch: data in memory, helper losses, stages, evaluation, model card."""
