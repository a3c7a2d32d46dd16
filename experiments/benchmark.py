"""How fast this machine runs the project, with the comparison run side by side.

``python -m experiments.benchmark subspace`` mines all 192 block matrices of a VGGT-1B at once (24 frame and 24 global
blocks × qkv, proj, fc1, fc2; 10 adapters of rank 16, d' = 16), against dense SVD-based IRLS in NumPy and against the limit
that reading and factoring the adapters once sets. About two minutes and 2 GB on two cores.
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from weights_convert.command_line import run

BENCHMARKS = ("subspace",)


def main(arguments: Sequence[str]) -> None:
    if len(arguments) != 1 or arguments[0] not in BENCHMARKS:
        raise ValueError(
            f"say what to measure, one of: {', '.join(BENCHMARKS)}; got {' '.join(arguments) or 'nothing'}"
        )
    from experiments.benchmarks import subspace_mining  # JAX starts only once the arguments are right

    subspace_mining.report(iterations=flags.FLAGS.iterations)


if __name__ == "__main__":
    flags.DEFINE_integer("iterations", 20, "IRLS iterations that every matrix is made to spend", lower_bound=1)
    run(main, positional=True)
