import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.accelerators.double_precision import double_precision


@pytest.mark.parametrize("has_cpu", [True, False], ids=["with a CPU", "where JAX_PLATFORMS names others alone"])
def test_it_computes_in_float64(monkeypatch, has_cpu):
    devices = jax.local_devices()

    def local_devices(*, backend=None):
        if backend == "cpu" and not has_cpu:
            raise RuntimeError("Unknown backend cpu")
        return devices

    monkeypatch.setattr(jax, "local_devices", local_devices)
    with double_precision():
        found = jnp.asarray(1.0) + 1e-12
    assert found.dtype == np.float64 and float(found) == 1 + 1e-12
    assert jnp.asarray(1.0).dtype == np.float32
