"""Synthetic multi-view data in which one attribute varies: scene specifications in NumPy, images by Blender."""
