"""What is kept of LoRAs, on disk."""

import numpy as np
import pytest

from experiments.loras.sketch_file import SKETCH, Sketches, load_sketches, save_sketches
from subspace.errors import InputError
from subspace.sketch import Sketch


def drawn(spread=0.25):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in ((6, 3), (5, 3), (2, 3, 2), (2, 3, 2))]
    return Sketches({"a": ("x", "y")}, {"a": Sketch(*arrays, np.ones(2), np.full(2, 0.5), 3, 0.125, spread, 0.5)})


def test_the_same_sketches_are_the_same_bytes_and_come_back(tmp_path):
    written = set()
    for _ in range(6):
        save_sketches(tmp_path / SKETCH, drawn())
        written.add((tmp_path / SKETCH).read_bytes())
    assert len(written) == 1
    found = load_sketches(tmp_path)
    assert found.owners == {"a": ("x", "y")} and found.matrices["a"].spread == 0.25
    np.testing.assert_array_equal(found.matrices["a"].A, drawn().matrices["a"].A)


def test_numbers_that_are_none_are_refused(tmp_path):
    save_sketches(tmp_path / SKETCH, drawn(np.nan))
    with pytest.raises(InputError, match=r"sketch.safetensors: a.spread has NaN or infinity"):
        load_sketches(tmp_path)
