"""VGGT-1B with random weights: converted by the command, loaded and run, within memory that is asserted."""

import subprocess
import sys
import textwrap

import pytest

from tests.weights_convert.random_checkpoint import vggt_1b_shapes, write_random
from vggt_jax.reading.safetensors_file import SafetensorsFile

GIB = 2**20
"""In the kilobytes that Linux reports peak memory in."""

RUN = """
    import sys
    import jax
    import jax.numpy as jnp
    from flax import nnx
    from weights_convert import load_vggt

    model = load_vggt(sys.argv[1])
    images = jax.random.uniform(jax.random.key(0), (1, 1, 224, 224, 3))
    graphdef, params = nnx.split(model)
    # not nnx.jit, which returns the parameters with the result: 19 GiB here
    found = jax.jit(lambda params, images: nnx.merge(graphdef, params)(images))(params, images)
    shapes = {name: array.shape for name, array in vars(found).items() if array is not None}
    assert shapes == {
        "pose_enc": (1, 1, 9), "pose_enc_list": (4, 1, 1, 9),
        "depth": (1, 1, 224, 224, 1), "depth_conf": (1, 1, 224, 224),
        "world_points": (1, 1, 224, 224, 3), "world_points_conf": (1, 1, 224, 224),
    }, shapes
    assert all(bool(jnp.isfinite(array).all()) for array in jax.tree.leaves(found))
    assert float(found.depth.std()) > 0
"""


MEASURED = """
    import os, subprocess, sys
    process = subprocess.Popen(sys.argv[1:], stdout=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    print(usage.ru_maxrss)
    sys.exit(os.waitstatus_to_exitcode(status))
"""
"""A small process in between: Linux counts what the parent holds as a child's own peak."""


def peak_memory(*arguments):
    """Runs Python on ``arguments``; its peak resident memory in KiB."""
    command = [sys.executable, "-c", textwrap.dedent(MEASURED), sys.executable, *map(str, arguments)]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


@pytest.mark.slow
@pytest.mark.longest
def test_vggt_1b_converts_loads_and_runs(tmp_path):
    original = tmp_path / "official.safetensors"
    write_random(original, vggt_1b_shapes())

    assert (
        peak_memory("-m", "weights_convert", f"--input={original}", f"--output={tmp_path}/half", "--dtype=bfloat16")
        < GIB
    )
    assert (tmp_path / "half" / "model.safetensors").stat().st_size < 2.35 * 2**30
    assert peak_memory("-m", "weights_convert", f"--input={original}", f"--output={tmp_path}/full") < GIB
    back = tmp_path / "back.safetensors"
    assert peak_memory("-m", "weights_convert", f"--input={tmp_path}/full", f"--output={back}", "--to=official") < GIB
    before, after = SafetensorsFile(original), SafetensorsFile(back)
    assert before.tensors.keys() == after.tensors.keys()
    assert all(before.read(name).tobytes() == after.read(name).tobytes() for name in before.tensors)

    # 4.7 GiB of parameters
    assert peak_memory("-c", textwrap.dedent(RUN), tmp_path / "full") < 8 * GIB
    for path in (original, back, tmp_path / "full" / "model.safetensors", tmp_path / "half" / "model.safetensors"):
        path.unlink()
