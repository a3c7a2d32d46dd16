import os
import subprocess
import sys
from pathlib import Path

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


def test_jaxs_own_variable_comes_first(tmp_path):
    said = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "said"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    compile_in({"XDG_CACHE_HOME": str(tmp_path / "home"), **said})
    assert any((tmp_path / "said").iterdir())
    assert not (tmp_path / "home").exists()


def test_without_a_cache_folder_of_the_desktops_kind_it_lies_below_the_home_folder(tmp_path):
    compile_in({"XDG_CACHE_HOME": "", "HOME": str(tmp_path)})
    assert any((tmp_path / ".cache" / "attribute-subspaces" / "xla").iterdir())
