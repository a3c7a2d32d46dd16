"""One folder of compiled programs for all tests of a run and the programs they start; never that of the person at home."""

import os
import shutil
import tempfile

CACHE = "JAX_COMPILATION_CACHE_DIR"


def pytest_configure(config):
    if "PYTEST_XDIST_WORKER" in os.environ:  # a worker inherits that of the process that started it
        return
    folder = tempfile.mkdtemp(prefix="compiled-")
    os.environ[CACHE] = folder
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
