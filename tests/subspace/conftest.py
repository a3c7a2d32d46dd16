import jax
import pytest


@pytest.fixture(autouse=True)
def strict():
    """Lets a test choose float64, and allows no type or rank to be promoted that was not meant to be."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture
def tolerance(dtype):
    """Relative error that the issue of this package allows against a dense float64 oracle."""
    return {"float32": 2e-5, "float64": 1e-10}[dtype]
