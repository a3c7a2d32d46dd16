"""Which mined subspaces may be fine-tuned in."""

import pytest

from experiments.finetuning.basis import read_subspaces, unite_directions
from tests.experiments.finetuning import small
from vggt_jax.adapters import BaseModel

BASE = BaseModel("tiny", "0123456789abcdef", small.tiny.CONFIG)
QKV = "aggregator.frame_blocks.attn.qkv"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("subspaces")
    return [small.subspace_folder(folder / name, name, i, dim=3) for i, name in enumerate(("texture", "geometry"))]


@pytest.fixture(scope="module")
def mined(folders):
    return read_subspaces(folders, BASE, small.matrices())


def test_subspaces_of_something_else_are_one_line(folders, mined, tmp_path):
    matrices = small.matrices()
    other = BaseModel("other", "f" * 16, small.tiny.CONFIG)
    wrong = {**matrices, QKV: matrices["aggregator.frame_blocks.mlp.fc1"]}
    lacking = small.subspace_folder(tmp_path / "x", "camera", 0, only=[QKV])
    cases = [
        (folders, other, matrices, r"the base model tiny \(0123456789abcdef\), this one is other \(f{16}\)"),
        (folders[:1] * 2, BASE, matrices, "both hold the attribute texture"),
        (folders, BASE, wrong, r"qkv is \(4, 24, 8\), in the base model it is \(4, 32, 8\)"),
        ([lacking], BASE, matrices, r"has no subspace for .*; leave it out with --matrices"),
        ([tmp_path / "none"], BASE, matrices, "--subspaces: there is no folder"),
    ]
    for given, base, wanted, message in cases:
        with pytest.raises(ValueError, match=message) as raised:
            read_subspaces(given, base, wanted)
        assert "\n" not in str(raised.value)
    with pytest.raises(ValueError, match=r"^dim=4: the subspaces in .*texture have 3 directions"):
        unite_directions(mined, matrices, 4, "uniform")
