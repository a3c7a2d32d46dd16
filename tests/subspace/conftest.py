import jax
import pytest


@pytest.fixture(autouse=True)
def allow_float64():
    """Lets a test choose float64; what it hands over as float32 stays float32."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture
def tolerance(dtype):
    """Relative error that the issue of this package allows against a dense float64 oracle."""
    return {"float32": 2e-5, "float64": 1e-10}[dtype]
