"""What all tests of a run and the programs they start have in common: how JAX compiles, and where it keeps what it compiled."""

import os
import shutil
import tempfile

import jaxtyping
import pytest

from tests import quick_compilation

CACHE = "JAX_COMPILATION_CACHE_DIR"


def pytest_addoption(parser):
    parser.addoption(
        "--as-users-compile", action="store_true", help="let XLA optimise every program, which takes four times as long"
    )


def pytest_configure(config):
    """Compile quickly, into a new folder that is not that of the person at home."""
    if "PYTEST_XDIST_WORKER" in os.environ:  # a worker inherits the environment of the process that started it
        return
    if not config.getoption("as_users_compile"):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {quick_compilation.FLAGS}".strip()
    folder = tempfile.mkdtemp(prefix="compiled-")
    os.environ[CACHE] = folder
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@pytest.fixture(autouse=True)
def annotations_unchecked(request):
    """For tests marked ``wrong_types``, in a run with ``--jaxtyping-packages=…``."""
    wrong = request.node.get_closest_marker("wrong_types") is not None
    jaxtyping.config.update("jaxtyping_disable", wrong)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
