import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from experiments.process.compilation_cache import keep_compiled

ROOT = Path(__file__).parents[3]
PROGRAM = """
from experiments.process.compilation_cache import keep_compiled
keep_compiled()
import jax
print(jax.jit(lambda x: x @ x)(jax.numpy.eye(3)).sum())
"""


def compile_in(environment: dict[str, str]) -> None:
    inherited = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, env=inherited | environment, check=True)


def test_compiled_programs_lie_in_the_users_cache(tmp_path):
    compile_in({"XDG_CACHE_HOME": str(tmp_path)})
    kept = {path.name for path in (tmp_path / "attribute-subspaces" / "xla").iterdir()}
    assert kept
    compile_in({"XDG_CACHE_HOME": str(tmp_path)})
    assert {path.name for path in (tmp_path / "attribute-subspaces" / "xla").iterdir()} == kept


@pytest.fixture
def changed(monkeypatch):
    """Settings of JAX that :func:`keep_compiled` changes, which are only noted."""
    found = {}
    monkeypatch.setattr(jax.config, "update", found.__setitem__)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    return found


def test_jaxs_own_variable_comes_first(changed, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "said")
    keep_compiled()
    assert changed == {}


def test_without_a_cache_folder_of_the_desktops_kind_it_lies_below_the_home_folder(changed, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "/home/ada")
    keep_compiled()
    assert changed["jax_compilation_cache_dir"] == "/home/ada/.cache/attribute-subspaces/xla"
    assert changed["jax_persistent_cache_min_compile_time_secs"] == 0


def test_nothing_is_kept_for_a_user_without_a_home(changed, monkeypatch):
    def none():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", none)
    keep_compiled()
    assert changed == {}
