"""From k adapters to what they share in every matrix, with the figures that say whether they share anything.

- :mod:`~experiments.mining.mine`: Eq. 1–3 for every matrix, and how well each adapter is described by the result;
- :mod:`~experiments.mining.summary`, :mod:`~experiments.mining.report`, :mod:`~experiments.mining.figures`: what was found as
  numbers, words and pictures;
- :mod:`~experiments.mining.origin`, :mod:`~experiments.mining.subspace_file`, :mod:`~experiments.mining.folder`: where a
  subspace comes from, its file, and the folder that is written here and read here;
- :mod:`~experiments.mining.allocation`, :mod:`~experiments.mining.union`: the subspaces of several attributes as one basis.
"""
