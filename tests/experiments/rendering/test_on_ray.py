"""Scenes on a Ray cluster of several nodes on this machine: the same files, whatever happens to nodes and drivers."""
