"""Chips, the training step compiled for one of them, and what fits there: nothing here needs the chip."""
