"""The stages of ``experiments.finetune``: data, what a method trains, one trainer for all methods, and the results."""
