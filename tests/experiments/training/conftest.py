from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from tests import quick_compilation

FIXTURES = Path(__file__).parents[2] / "fixtures" / "losses"


@pytest.fixture(scope="session")
def golden():
    """``golden("loss_case")``: the arrays of ``tests/fixtures/losses/loss_case.npz``."""

    def read(name: str) -> dict[str, np.ndarray]:
        with np.load(FIXTURES / f"{name}.npz") as stored:
            return dict(stored)

    return read


@pytest.fixture(scope="session")
def quick_jit():
    """``jax.jit`` that compiles quickly and runs slowly, for tiny shapes."""
    on_cpu = jax.default_backend() == "cpu"
    return partial(jax.jit, compiler_options=quick_compilation.CPU_OPTIONS if on_cpu else quick_compilation.OPTIONS)
