"""The README's example, run as it stands, on five PEFT folders with a planted shared part."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _python_block(first_line: str) -> str:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    return next(block for block in blocks if block.startswith(first_line))


@pytest.fixture
def adapters(tmp_path):
    """Four LoRAs that share a rank-8 update under two paths, and one that does not, as PEFT writes them."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    names = [f"base_model.model.blocks.{i}.attn.qkv" for i in range(2)]
    common = {name: (normal(96, 8), normal(8, 64)) for name in names}
    for i in range(5):
        tensors = {}
        for name in names:
            shared_B, shared_A = common[name] if i < 4 else (normal(96, 8), normal(8, 64))
            tensors[f"{name}.lora_A.weight"] = np.concatenate([shared_A, 0.1 * normal(8, 64)])
            tensors[f"{name}.lora_B.weight"] = np.concatenate([shared_B, 0.1 * normal(96, 8)], axis=1)
        folder = tmp_path / "adapters" / f"lora_{i}"
        folder.mkdir(parents=True)
        save_file(tensors, folder / "adapter_model.safetensors")
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 16, "lora_alpha": 32}))
    return tmp_path


def test_five_lora_example_runs_and_finds_the_planted_part(adapters):
    code = _python_block("from pathlib")
    check = """
for result in shared.values():
    assert np.max(result.weights[4:]) < 0.2 * np.min(result.weights[:4]), result.weights
"""
    process = subprocess.run(
        [sys.executable, "-c", code + check],
        cwd=adapters,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("attn.qkv") == 2
    energies = [float(x) for x in re.findall(r"([\d.]+)% of its energy", process.stdout)]
    chances = [float(x) for x in re.findall(r"([\d.]+)% would by chance", process.stdout)]
    assert len(energies) == len(chances) == 2 and min(energies) > 70 and max(chances) < 2


def test_readme_shows_the_two_commands_first():
    commands = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    assert commands[0] == "pip install -e . && python -m experiments.extract --attribute=geometry\n"
    assert commands[1] == "pip install -e '.[test]' && pytest -n logical\n"
