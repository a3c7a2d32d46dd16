from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

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
    options = {"xla_backend_optimization_level": 0}
    if jax.default_backend() == "cpu":
        options["xla_cpu_use_fusion_emitters"] = False
    return partial(jax.jit, compiler_options=options)
