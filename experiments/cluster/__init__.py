"""Work on many machines: Ray's tasks, and what they need to know of each other.

- :mod:`~experiments.cluster.settings`: where tasks run; :mod:`~experiments.cluster.flags` has ``--executor``;
- :mod:`~experiments.cluster.connection`: meeting Ray, in seconds or with one line that says why not;
- :mod:`~experiments.cluster.versions`: what a node runs, which must be what this process runs;
- :mod:`~experiments.cluster.tasks`: many tasks, a bounded number at a time, that outlive the nodes they began on.

What is scheduled where, and again where a node is lost, is Ray's to decide.
"""
