"""How fast this machine runs the project, with the comparison run side by side.

``python -m experiments.benchmark subspace`` mines all 192 block matrices of a VGGT-1B at once (24 frame and 24 global
blocks × qkv, proj, fc1, fc2; 10 adapters of rank 16, d' = 16), against dense SVD-based IRLS in NumPy and against the limit
that reading and factoring the adapters once sets. About two minutes and 2 GB on two cores.

``python -m experiments.benchmark model`` runs VGGT-1B with random weights (aggregator, camera and depth head) on one and two
images of 280² and 518² pixels, and one of its transformer blocks beside a PyTorch block of the same sizes (with the extra
``torch``). About five minutes and 13 GB on two cores, most of that memory while the random weights are made.

``python -m experiments.benchmark rendering`` renders scenes of both settings at 112², 224² and 518² on one core, and on all
of them. About a minute.
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from weights_convert.command_line import run

BENCHMARKS = ("subspace", "model", "rendering")


def main(arguments: Sequence[str]) -> None:
    if len(arguments) != 1 or arguments[0] not in BENCHMARKS:
        raise ValueError(
            f"say what to measure, one of: {', '.join(BENCHMARKS)}; got {' '.join(arguments) or 'nothing'}"
        )
    from experiments.benchmarks import (  # JAX starts only once the arguments are right
        model_forward,
        rendering,
        subspace_mining,
    )

    if arguments[0] == "subspace":
        subspace_mining.report(iterations=flags.FLAGS.iterations)
    elif arguments[0] == "model":
        model_forward.report()
    else:
        rendering.report(flags.FLAGS.blender)


if __name__ == "__main__":
    flags.DEFINE_integer(
        "iterations", 20, "subspace: IRLS iterations that every matrix is made to spend", lower_bound=1
    )
    flags.DEFINE_string(
        "blender", None, "rendering: an installed Blender, or a Python with bpy; by default uv makes one"
    )
    run(main, positional=True)
