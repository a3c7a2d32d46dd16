"""Adapters on disk: they come back as they were, and nothing else is taken for one."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load, load_file, save_file

from subspace import LowRank
from vggt_jax.adapters import Adapter, BaseModel, fingerprint, load_adapter, save_adapter

KEY = "attribute_subspaces_adapter"


@pytest.fixture(scope="module")
def params(tiny, random_model_of):
    return nnx.state(random_model_of(tiny, 0), nnx.Param)


@pytest.fixture(scope="module")
def adapter(tiny, params):
    rng = np.random.default_rng(0)

    def factor(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    deltas = {
        "aggregator.frame_blocks.attn.qkv": LowRank(factor(4, 48, 2), factor(4, 16, 2)),
        "depth_head.projects.0": LowRank(factor(8, 3), factor(32, 3)),
    }
    about = {"method": "lora", "init": "shared", "seeds": [1, 2]}
    return Adapter(deltas, BaseModel.of("tiny", tiny, params), scale=0.5, about=about)


@pytest.fixture
def stored(adapter, tmp_path):
    save_adapter(tmp_path / "adapter.safetensors", adapter)
    return tmp_path / "adapter.safetensors"


def test_an_adapter_comes_back(adapter, stored):
    found = load_adapter(stored, adapter.base)
    assert (found.base, found.scale, found.about) == (adapter.base, 0.5, adapter.about)
    assert list(found.deltas) == list(adapter.deltas)
    for path, delta in adapter.deltas.items():
        for one, other in zip(jax.tree.leaves(found.deltas[path]), jax.tree.leaves(delta), strict=True):
            np.testing.assert_array_equal(one, other)
    assert [file.name for file in stored.parent.iterdir()] == [stored.name]


def test_a_string_is_as_good_as_a_path(adapter, stored, tmp_path):
    save_adapter(str(tmp_path / "again.safetensors"), load_adapter(str(stored), adapter.base))
    assert (tmp_path / "again.safetensors").read_bytes() == stored.read_bytes()


def test_half_precision_is_stored_without_loss(adapter, tmp_path):
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), dict(adapter.deltas))
    save_adapter(tmp_path / "half.safetensors", replace(adapter, deltas=half))
    found = load_adapter(tmp_path / "half.safetensors").deltas
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(half), strict=True):
        assert one.dtype == jnp.float32
        np.testing.assert_array_equal(one, other.astype(jnp.float32))


def test_the_header_is_plain_json(stored):
    content = stored.read_bytes()
    metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    header = json.loads(metadata[KEY])
    assert header["base"]["name"] == "tiny" and header["scale"] == 0.5 and header["about"]["init"] == "shared"
    assert header["matrices"] == {
        "aggregator.frame_blocks.attn.qkv": {"shape": [4, 48, 16], "rank": 2},
        "depth_head.projects.0": {"shape": [8, 32], "rank": 3},
    }
    assert set(load(content)) == {f"{path}.{side}" for path in header["matrices"] for side in "AB"}


def test_a_failed_write_leaves_the_old_file(adapter, stored, monkeypatch):
    before = stored.read_bytes()

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match=r"(?i)no space left"):
        save_adapter(stored, replace(adapter, scale=2.0))
    assert stored.read_bytes() == before
    assert [file.name for file in stored.parent.iterdir()] == [stored.name]


def _with_first(adapter, change):
    name, delta = next(iter(adapter.deltas.items()))
    return {"deltas": {**adapter.deltas, name: change(delta)}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (lambda _: {"about": {"loss": float("nan")}}, "NaN, which is no number"),
        (lambda _: {"about": {"loss": jnp.ones(())}}, "not JSON serializable"),
        (lambda _: {"scale": float("inf")}, "Infinity, which is no number"),
        (lambda x: _with_first(x, lambda delta: delta * np.nan), r"attn\.qkv\.A has NaN or infinity"),
        (lambda x: _with_first(x, lambda delta: delta.to_numpy(np.float64) * 1e300), r"qkv\.A has NaN or infinity"),
        (lambda x: _with_first(x, lambda delta: LowRank(delta.A[..., :0], delta.B[..., :0])), r"`int` >= 1.*rank"),
    ],
)
def test_what_could_not_be_read_again_replaces_nothing(changes, message, adapter, stored):
    before = stored.read_bytes()
    with pytest.raises(ValueError, match=rf"adapter\.safetensors: .*{message}") as raised:
        save_adapter(stored, replace(adapter, **changes(adapter)))
    assert stored.read_bytes() == before and "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_files_of_other_types_come_as_float32(kind, adapter, stored):
    rewrite(stored, lambda tensors, _: tensors.update({name: x.astype(kind) for name, x in tensors.items()}))
    found = load_adapter(stored)
    for one, other in zip(jax.tree.leaves(dict(found.deltas)), jax.tree.leaves(dict(adapter.deltas)), strict=True):
        assert one.dtype == jnp.float32
        np.testing.assert_array_equal(one, np.asarray(other).astype(kind).astype(np.float32))


def test_fingerprints_tell_models_apart_but_not_their_storage(params, tiny, random_model_of):
    print_ = fingerprint(params)
    assert len(print_) == 16 and print_ == fingerprint(params)
    other = random_model_of(tiny, 1)
    assert fingerprint(nnx.state(other, nnx.Param)) != print_
    depth_only = nnx.merge(nnx.graphdef(random_model_of(tiny, 0)), params)
    depth_only.camera_head = None
    assert fingerprint(nnx.state(depth_only, nnx.Param)) == print_
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    assert fingerprint(half) == print_


def rewrite(path, change):
    """Applies ``change`` to the tensors and the header (JSON) of the file ``path``."""
    content = path.read_bytes()
    metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    tensors, header = dict(load(content)), json.loads(metadata[KEY])
    change(tensors, header)
    save_file(tensors, path, {KEY: json.dumps(header)})


def test_an_adapter_of_another_model_is_refused(adapter, stored, tiny, random_model_of):
    other = BaseModel.of("other", tiny, nnx.state(random_model_of(tiny, 1), nnx.Param))
    with pytest.raises(ValueError, match=rf"belongs to the model tiny \({adapter.base.fingerprint}\), not to other"):
        load_adapter(stored, other)


def test_all_that_differs_from_the_header_is_listed(stored):
    def change(tensors, header):
        tensors["surplus.A"] = tensors.pop("depth_head.projects.0.A")
        tensors["depth_head.projects.0.B"] = tensors["depth_head.projects.0.B"][:, :2]

    rewrite(stored, change)
    with pytest.raises(ValueError) as raised:
        load_adapter(stored)
    assert str(raised.value).splitlines() == [
        f"{stored}: tensors do not fit the header:",
        "  missing: depth_head.projects.0.A",
        "  unexpected: surplus.A",
        "  wrong shape: depth_head.projects.0.B (32, 2), the header says (32, 3)",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors, header: header.update(version=2), "version 2, this program reads 1"),
        (lambda tensors, header: header.pop("base"), "missing required field `base`"),
        (lambda tensors, header: header.update(matrices=[1]), r"array` - at `\$\.matrices`"),
        (lambda tensors, header: header["matrices"].update({"x": {"shape": [], "rank": 1}}), "length >= 2"),
        (lambda tensors, header: header["base"]["config"].update(colour=1), "VGGTConfig has no colour"),
    ],
)
def test_a_damaged_header_is_one_line(change, message, stored):
    rewrite(stored, change)
    with pytest.raises(ValueError, match=message) as raised:
        load_adapter(stored)
    assert str(raised.value).startswith(f"{stored}: the header of this adapter cannot be read")
    assert "\n" not in str(raised.value)


def test_other_files_are_no_adapters(stored, tmp_path):
    save_file(load_file(stored), tmp_path / "foreign.safetensors")
    with pytest.raises(ValueError, match=r"foreign\.safetensors: not an adapter of this project"):
        load_adapter(tmp_path / "foreign.safetensors")
    (tmp_path / "text.safetensors").write_text("nothing of the kind")
    with pytest.raises(ValueError, match=r"text\.safetensors: not a safetensors file, or cut off"):
        load_adapter(tmp_path / "text.safetensors")
    stored.write_bytes(stored.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"adapter\.safetensors: is cut off"):
        load_adapter(stored)
    with pytest.raises(FileNotFoundError, match="absent"):
        load_adapter(tmp_path / "absent.safetensors")
    with pytest.raises(IsADirectoryError):
        load_adapter(tmp_path)
