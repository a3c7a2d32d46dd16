"""Scenes that stand in for the data of the paper's downstream tasks (Section 5): faces, humans, glass."""
