"""What all tests of a run and the programs they start have in common: how JAX compiles, and where it keeps what it compiled."""

import gc
import os
import shutil
import tempfile
from pathlib import Path

import jaxtyping
import pytest

from tests import quick_compilation

TESTS = Path(__file__).parent
CACHE = "JAX_COMPILATION_CACHE_DIR"


def pytest_addoption(parser):
    parser.addoption(
        "--as-users-compile", action="store_true", help="let XLA optimise every program, which takes twice as long"
    )


def pytest_configure(config):
    """Compile quickly, into a new folder that is not that of the person at home."""
    jaxtyping.config.update("jaxtyping_disable", True)
    if "PYTEST_XDIST_WORKER" in os.environ:  # a worker inherits the environment of the process that started it
        return
    if not config.getoption("as_users_compile"):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {quick_compilation.FLAGS}".strip()
    folder = tempfile.mkdtemp(prefix="compiled-")
    os.environ[CACHE] = folder
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def pytest_ignore_collect(collection_path, config):
    """With ``-m slow`` or ``-m chips``, files that do not have the word need not be imported, which takes 20 seconds in all."""
    marker, path = config.option.markexpr, collection_path
    if marker.isidentifier() and path.match("test_*.py") and marker not in path.read_text(encoding="utf-8"):
        return True
    return None


def pytest_collection_modifyitems(items):
    """What takes a minute or more begins first, so that no core waits for it at the end."""
    items.sort(key=lambda item: item.get_closest_marker("longest") is None)


def pytest_collection_finish():
    """By now JAX is imported, if a test needs it, with most of what stays until the end; garbage is sought among the rest."""
    quick_compilation.share_contexts()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@pytest.fixture(autouse=True)
def annotations_checked(request):
    """What the annotations of ``subspace`` and ``vggt_jax`` say holds in their own tests, but those marked ``wrong_types``."""
    own = request.path.relative_to(TESTS).parts[0] in ("subspace", "vggt_jax")
    wrong = request.node.get_closest_marker("wrong_types") is not None
    jaxtyping.config.update("jaxtyping_disable", wrong or not own)
    yield
    jaxtyping.config.update("jaxtyping_disable", True)
