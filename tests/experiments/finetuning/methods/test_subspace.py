"""Ours: which mined subspaces may be used, and how many of their directions."""

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.finetuning.methods.subspace import Subspace, read_subspaces
from experiments.storage.identity import digest
from subspace.errors import InputError
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


def test_every_attribute_brings_the_dimension_that_was_asked_for(mined, folders):
    settings = Subspace(subspaces=tuple(folders), dim=2, plain=None)
    assert settings.unite(mined, [QKV]).spent == {"texture": 2, "geometry": 2}
    assert replace(settings, dim=None).unite(mined, [QKV]).spent == {"texture": 3, "geometry": 3}
    with pytest.raises(InputError, match=r"^dim=4: the subspaces in .*texture have 3 directions"):
        replace(settings, dim=4).unite(mined, [QKV])


def test_subspaces_of_something_else_are_one_line(folders, tmp_path):
    matrices = small.matrices()
    other = BaseModel("other", "f" * 16, small.tiny.CONFIG)
    wrong = {**matrices, QKV: matrices["aggregator.frame_blocks.mlp.fc1"]}
    lacking = small.subspace_folder(tmp_path / "x", "camera", 0, only=[QKV])
    cases = [
        (
            folders,
            other,
            matrices,
            r"the base model of .* is tiny \(0123456789abcdef\), the weights are other \(f{16}\)$",
        ),
        (folders[:1] * 2, BASE, matrices, "both hold the attribute texture"),
        (folders, BASE, wrong, r"qkv is \(4, 24, 8\), in the base model it is \(4, 32, 8\)"),
        ([lacking], BASE, matrices, "has no subspace for"),
        ([tmp_path / "none"], BASE, matrices, "there is no folder"),
    ]
    for given, base, wanted, message in cases:
        with pytest.raises(InputError, match=message) as raised:
            read_subspaces(given, base, wanted)
        assert "\n" not in str(raised.value)


def test_the_order_of_the_attributes_makes_other_work(folders):
    base = small.base()
    base = replace(base, identity=BASE)
    first, second = (
        Subspace(subspaces=tuple(each), dim=2, plain=None, matrices=(QKV,)).inputs(base)
        for each in (folders, folders[::-1])
    )
    assert digest(first) != digest(second) and sorted(first["subspaces"]) == sorted(second["subspaces"])


def test_folders_may_be_named_by_strings():
    assert Subspace(subspaces=["a", "b"], plain=None) == Subspace(subspaces=(Path("a"), Path("b")), plain=None)  # pyright: ignore[reportArgumentType]


def test_settings_without_subspaces_cannot_be_made():
    with pytest.raises(InputError, match="name at least one folder"):
        Subspace(plain=None)
    with pytest.raises(InputError, match="dim must be positive, got 0"):
        Subspace(subspaces=(Path("s"),), dim=0, plain=None)
