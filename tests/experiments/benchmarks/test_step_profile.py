"""A step whose parts are known: where the profiler's kernels are counted, and with how many operations."""

import jax
import jax.numpy as jnp
import pytest

from experiments.accelerators.places import Place
from experiments.benchmarks.step_profile import StepProfile, kind_of, profile


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        ("dot.12", "products"),
        ("ynn_fusion.3", "products"),
        ("conv_general_dilated.4", "convolutions"),
        ("convolution.66", "convolutions"),
        ("transpose_copy_fusion.7", "copies"),
        ("wrapped_broadcast.2", "copies"),
        ("bitcast_dynamic-update-slice_fusion", "copies"),
        ("multiply_bitcast_fusion.1", "the rest"),
        ("convert_divide_fusion", "the rest"),
    ],
)
def test_kind_of_a_kernel(kernel, kind):
    assert kind_of(kernel) == kind


def test_a_step_of_known_parts():
    n = 96

    def step(x):
        with jax.named_scope("attn"):
            y = x @ x
        with jax.named_scope("depth_head"):
            image = jnp.sin(y).reshape(1, n, n, 1)
            kernel = jnp.ones((3, 3, 1, 2))
            return jax.lax.conv_general_dilated(
                image, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )

    x = jnp.ones((n, n))
    compiled = jax.jit(step).lower(x).compile()
    found = profile(compiled, lambda: jax.block_until_ready(compiled(x)), step, x, runs=2)
    product, convolution = Place("attn", "forward"), Place("depth_head", "forward")
    assert found.operations == {product: 2 * n**3, convolution: 2 * 9 * 2 * n**2}
    assert found.seconds[product, "products"] > 0 and found.seconds[convolution, "convolutions"] > 0
    assert {place for place, _ in found.seconds} == {product, convolution}
    assert 3 <= found.launches <= 8


def test_the_table_has_shares_and_rates():
    place = Place("mlp", "backward")
    found = StepProfile({(place, "products"): 0.03, (place, "copies"): 0.01}, {place: 2e9}, 12)
    _, row, total = found.report(100.0)
    assert row.split() == ["mlp,", "backward", "40.0", "100.0%", "75.0%", "0.0%", "25.0%", "0.0%", "2.0", "50", "50%"]
    assert total.split()[:3] == ["all", "12", "kernels"]
