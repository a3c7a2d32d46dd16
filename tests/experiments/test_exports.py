"""What packages of pipelines export: settings at once, verbs without waiting for JAX before they are called for."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

EXPORTED = {
    "evaluation": ["Settings", "evaluate", "compare", "Evaluation", "Comparison"],
    "reconstruction": ["Settings", "reconstruct", "ReconstructionResult"],
    "pretraining": ["Settings", "pretrain", "PretrainedModel"],
}


@pytest.mark.parametrize("package", EXPORTED)
def test_names_are_there_and_listed(package):
    module = import_module(f"experiments.{package}")
    assert set(module.__all__) == set(EXPORTED[package]) <= set(dir(module))
    assert all(callable(getattr(module, name)) for name in EXPORTED[package])


def test_settings_do_not_wait_for_jax():
    packages = [f"experiments.{package}" for package in EXPORTED]
    lines = ["import sys", *(f"from {package} import Settings" for package in packages)]
    lines.append("sys.exit(', '.join({'jax', 'flax', 'matplotlib'} & set(sys.modules)) or None)")
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
