"""The kernels of GPUs and TPUs, which no CPU has: their numbers where they can be imitated, and who gets which."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

from vggt_jax.attention import attention, cudnn, pallas

FORWARD, BACKWARD, MOSAIC = "__cudnn$fmhaSoftmax", "__cudnn$fmhaSoftmaxBackward", "tpu_custom_call"


def drawn(b, heads, tq, tk, d):
    """q, k, v, a gradient with respect to the output."""
    return [jax.random.normal(jax.random.key(i), (b, heads, t, d)) for i, t in enumerate((tq, tk, tk, tq))]


def expected(q, k, v, g):
    """Output and gradients as NumPy finds them in float64."""
    q, k, v, g = (np.asarray(x, np.float64) for x in (q, k, v, g))
    scale = q.shape[-1] ** -0.5
    scores = scale * q @ k.swapaxes(-1, -2)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    out = weights @ v
    of_scores = weights * (g @ v.swapaxes(-1, -2) - (out * g).sum(-1, keepdims=True))
    return out, scale * of_scores @ k, scale * of_scores.swapaxes(-1, -2) @ q, weights.swapaxes(-1, -2) @ g


def assert_close(found, wanted, atol=2e-6):
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=atol)


@pytest.mark.slow
def test_tpu_kernel_equals_exact_attention_at_odd_lengths():
    q, k, v, g = drawn(1, 2, 131, 257, 8)  # queries padded to 256, keys to 384
    with pltpu.force_tpu_interpret_mode():
        out, statistics = jax.jit(lambda *x: pallas.forward(*x, statistics=True))(q, k, v)
        gradients = jax.jit(pallas.backward)(q, k, v, out, statistics, g)
    assert_close((out, *gradients), expected(q, k, v, g))


@pytest.mark.parametrize("tokens, block", [(1374, 512), (8 * 1374, 1024), (4 * 1374, 1024), (149, 128), (2048, 1024)])
def test_tpu_blocks_pad_little(tokens, block):
    assert pallas._block(tokens) == block


def imitated(target, products, arrays, lengths, results):
    """What cuDNN does: looks at as many queries and keys as it is told, and refuses odd numbers of them in training."""
    assert all(x.shape[2] % 2 == 0 for x in arrays[:3])
    tq, tk = (int(x[0]) for x in lengths) if lengths else (arrays[0].shape[2], arrays[1].shape[2])
    q, k, v, *others = (np.asarray(x)[:, :, :size] for x, size in zip(arrays, (tq, tk, tk, tq, tq, tq), strict=False))
    sums = np.log(np.exp(q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])).sum(-1))
    if target == FORWARD:
        found = expected(q, k, v, q)[0], sums
    else:
        statistics, g, out = others
        assert_close((statistics, out), (sums, expected(q, k, v, q)[0]))
        found = expected(q, k, v, g)[1:]
    padded = []  # with garbage, at which nobody may look
    for x, (shape, _) in zip(found, results, strict=True):
        padded.append(np.full(shape.shape, 7, np.float32))
        padded[-1][:, :, : x.shape[2]] = x
    return [jnp.asarray(x) for x in padded]


@pytest.mark.parametrize("tq, tk", [(9, 9), (10, 12)])
def test_gpu_kernel_is_told_of_padding(monkeypatch, tq, tk):
    monkeypatch.setattr(cudnn, "_call", imitated)
    q, k, v, g = drawn(2, 3, tq, tk, 8)
    out, statistics = cudnn.forward(q, k, v, statistics=True)
    assert_close((out, *cudnn.backward(q, k, v, out, statistics, g)), expected(q, k, v, g))


def program(platform, function, *shapes, dtype=jnp.bfloat16, sharding=None):
    """Lowered for a platform that this process need not have."""
    arguments = [jax.ShapeDtypeStruct(shape, dtype, sharding=sharding) for shape in shapes]
    return jax.jit(function).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()


def trained(q, k, v):
    return jax.grad(lambda *x: jnp.sum(jnp.square(attention(*x))), argnums=(0, 1, 2))(q, k, v)


def calls(text):
    return sorted(re.findall(r"@(__cudnn\$\w+|tpu_custom_call)\(", text))


SHAPE = (2, 2, 149, 64)


def test_the_program_s_platform_decides():
    assert calls(program("cuda", trained, SHAPE, SHAPE, SHAPE)) == [FORWARD, BACKWARD]
    assert calls(program("tpu", trained, SHAPE, SHAPE, SHAPE)) == [MOSAIC] * 3
    for platform in ("cpu", "rocm"):
        assert not calls(program(platform, trained, SHAPE, SHAPE, SHAPE))
    assert calls(program("cuda", attention, SHAPE, SHAPE, SHAPE)) == [FORWARD]
    assert not calls(program("cuda", trained, SHAPE, SHAPE, SHAPE, dtype=jnp.float32))
    few = (2, 2, 8, 64)
    assert not calls(program("tpu", trained, few, few, few))  # a camera for each view is no work for a kernel


def test_adapters_are_one_batch_to_a_kernel():
    several = (3, *SHAPE)
    text = program("cuda", jax.vmap(trained), several, several, several)
    assert calls(text) == [FORWARD, BACKWARD]
    assert f"tensor<{3 * 2}x150x2x64xbf16>" in text  # even, tokens before heads


def settings(text, target):
    (found,) = re.findall(rf'@{re.escape(target)}\(.*?backend_config = "(.*?)"[,}}]', text)
    found = json.loads(found.replace("\\22", '"'))["cudnn_fmha_backend_config"]
    return {name: value for name, value in found.items() if name != "seed"}  # that of dropout, which there is none of


def without_defaults(content):
    """A protocol buffer in JSON leaves the same unsaid as it says by a zero or an empty list."""
    if not isinstance(content, dict):
        return content
    kept = {name: without_defaults(value) for name, value in content.items()}
    nothing = (0, "0", [], {}, False, [False] * 4, "PRIMITIVE_TYPE_INVALID")
    return {name: value for name, value in kept.items() if not any(value == x for x in nothing)}


@pytest.mark.parametrize("tokens", [150, 149])
def test_cudnn_is_called_as_jax_calls_it(monkeypatch, tokens):
    fused = pytest.importorskip("jax._src.cudnn.fused_attention_stablehlo")
    monkeypatch.setattr(fused, "check_cudnn_version", lambda: 91300)
    monkeypatch.setattr(fused, "check_is_flash_attention", lambda *_, **__: None)
    shape = (2, 2, tokens, 64)

    def as_jax_has_it(q, k, v):
        length = jnp.full(2, tokens, jnp.int32)
        lengths = {} if tokens % 2 == 0 else {"query_seq_lengths": length, "key_value_seq_lengths": length}
        even = ((0, 0), (0, tokens % 2), (0, 0), (0, 0))
        arrays = (jnp.pad(x.transpose(0, 2, 1, 3), even) for x in (q, k, v))
        out = jax.nn.dot_product_attention(*arrays, implementation="cudnn", **lengths)[:, :tokens]
        return jnp.sum(jnp.square(out.transpose(0, 2, 1, 3)))

    ours = program("cuda", trained, shape, shape, shape)
    theirs = program("cuda", jax.grad(as_jax_has_it, argnums=(0, 1, 2)), shape, shape, shape)
    for target in (FORWARD, BACKWARD):
        found, wanted = (without_defaults(settings(text, target)) for text in (ours, theirs))
        assert found == wanted


@pytest.mark.parametrize("platform, call", [("cuda", FORWARD), ("tpu", MOSAIC)])
@pytest.mark.parametrize("manual", [("adapter",), ("adapter", "data", "model"), ()])
def test_each_device_of_a_mesh_has_its_part(platform, call, manual):
    axes = ("adapter", "data", "model")
    mesh = AbstractMesh((2, 2, 2), axes, axis_types=(AxisType.Auto,) * 3)
    whole = PartitionSpec(*axes)
    function = jax.vmap(attention)
    if manual:
        specs = PartitionSpec(*(axis if axis in manual else None for axis in axes))
        function = jax.shard_map(
            function, mesh=mesh, in_specs=specs, out_specs=specs, axis_names=set(manual), check_vma=False
        )
    shape = (2, 4, 6, 150, 64)
    with jax.sharding.use_abstract_mesh(mesh):
        text = program(platform, function, shape, shape, shape, sharding=NamedSharding(mesh, whole))
    assert call in calls(text)
    part = "tensor<2x150x3x64xbf16>" if platform == "cuda" else "tensor<2x3x256x64xbf16>"
    assert part in text


def test_kernels_are_not_split_behind_their_back():
    mesh = AbstractMesh((2,), ("data",), axis_types=(AxisType.Auto,))
    with pytest.raises(NotImplementedError, match="set_mesh"):
        program("cuda", attention, SHAPE, SHAPE, SHAPE, sharding=NamedSharding(mesh, PartitionSpec("data")))
