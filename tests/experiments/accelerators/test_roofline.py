import pytest

from experiments.accelerators.chips import CHIPS, chip_of
from experiments.accelerators.kernels import Kernel
from experiments.accelerators.places import Place
from experiments.accelerators.roofline import LAUNCH, SHARES, TRAFFIC, roofline, with_views

H100 = CHIPS["h100"]


def kernel(kind, operations, moved, times=1.0, keys=0, direction="forward"):
    return Kernel("k", kind, "bfloat16", Place("attn", direction), times, operations, moved, keys)


def test_a_kernel_takes_the_longer_of_its_products_and_its_traffic():
    busy, waiting = kernel("products", 1e12, 1.0, times=3), kernel("products", 1.0, 1e9, direction="again")
    found = roofline([busy, waiting], H100)
    expected = 3 * 1e12 / (H100.bfloat16 * SHARES["products"]) + 1e9 / (H100.bandwidth * TRAFFIC) + 4 * LAUNCH
    assert found.seconds == pytest.approx(expected)
    assert found.total == 3e12 + 1 and found.repeated == 1 and found.launches == 4 and found.bytes == 3 + 1e9


def test_longer_sequences_change_attention_over_them_alone():
    frame, whole, product = (
        kernel("attention", 5.0, 1.0, keys=1408),
        kernel("attention", 7.0, 1.0, keys=11_264),
        kernel("products", 3.0, 1.0),
    )
    found = with_views([frame, whole, product], 1374, 8, 16)
    assert found[0] == frame and found[2] == product and found[1].operations == 14.0 and found[1].keys == 22_528


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA GeForce RTX 3090", "rtx3090"),
        ("TPU v5 lite", "v5e"),
        ("TPU v5", "v5p"),
        ("TPU v6 lite", "v6e"),
        ("cpu", None),
    ],
)
def test_chips_by_what_jax_calls_them(kind, name):
    assert chip_of(kind) == (None if name is None else CHIPS[name])


def test_memory_that_jax_takes():
    assert CHIPS["rtx4090"].usable == pytest.approx(19.3e9, rel=0.01) and CHIPS["v6e"].usable == 31.25 * 2**30
