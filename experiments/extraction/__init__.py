"""The stages of ``experiments.extract``: data sets, adapters, the subspace that they share, and the report."""
