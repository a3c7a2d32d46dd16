"""One folder of compiled programs for all tests of a run and the programs they start; never that of the person at home."""

import os
import shutil
import tempfile

import jaxtyping
import pytest

CACHE = "JAX_COMPILATION_CACHE_DIR"


def pytest_configure(config):
    if "PYTEST_XDIST_WORKER" in os.environ:  # a worker inherits that of the process that started it
        return
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
