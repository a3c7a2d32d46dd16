"""The data of the paper's downstream tasks (Section 5): faces, humans, glass, recorded or as open stand-ins."""
