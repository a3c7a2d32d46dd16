"""Writing safetensors files, beside the reference implementation."""

import os

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from vggt_jax.reading.safetensors_file import write_safetensors

RNG = np.random.default_rng(0)
TENSORS = {
    "b.weight": RNG.normal(size=(3, 5)).astype(np.float32),
    "a.wide": RNG.normal(size=7),
    "a.with_gaps": RNG.normal(size=(6, 4)).astype(np.float32).T[::2],
    "half": RNG.normal(size=5).astype(ml_dtypes.bfloat16),
    "empty": np.zeros((0, 3), np.float32),
    "a.number": np.array(3.0, np.float32),
    "mask": np.array([True, False, True]),
}


@pytest.mark.parametrize("metadata", [None, {"layer": "3"}])
def test_bytes_are_those_of_the_reference(tmp_path, metadata):
    write_safetensors(tmp_path / "ours", TENSORS, metadata)
    save_file({name: array.copy(order="C") for name, array in TENSORS.items()}, tmp_path / "reference", metadata)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "reference").read_bytes()


def test_others_may_read_it_if_files_are_usually_readable(tmp_path):
    before = os.umask(0o022)
    try:
        write_safetensors(tmp_path / "ours", TENSORS)
    finally:
        os.umask(before)
    assert (tmp_path / "ours").stat().st_mode & 0o777 == 0o644
