"""Files and folders that are complete or absent, the space for them, and what identifies finished work."""
