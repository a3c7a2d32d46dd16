from pathlib import Path

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
