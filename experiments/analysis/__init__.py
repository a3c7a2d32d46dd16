"""How the mined subspaces of several attributes behave over depth, and whether they are disentangled."""
