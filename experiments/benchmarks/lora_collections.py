"""``python -m experiments.benchmark adapters``: collections of LoRAs, from their files to the report of what they share."""

from __future__ import annotations

import importlib.util
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from experiments.benchmarks import machine

VLORA = "vlora"
"""The module of the package vlora-dev, which decomposes the factors A and B apart; measured where it is installed."""


@dataclass(frozen=True)
class Case:
    """A collection of random LoRAs with a common part."""

    name: str
    k: int
    rank: int
    shapes: tuple[tuple[int, int], ...]
    """Outputs and inputs of each matrix."""
    dtype: type = np.float32


_LLAMA_BLOCK = ((4096, 4096),) * 4 + ((11008, 4096),) * 2 + ((4096, 11008),)
SMALL = (
    Case("200 LoRAs, 6 matrices of 64², r = 4", 200, 4, ((64, 64),) * 6),
    Case("10 LoRAs, 224 matrices of 1,024², r = 16", 10, 16, ((1024, 1024),) * 224),
)
LARGE = (
    Case("1,000 LoRAs, 24 matrices of 1,024², r = 8", 1000, 8, ((1024, 1024),) * 24),
    Case("10 LoRAs of Llama 7B (224 matrices), r = 16, bfloat16", 10, 16, _LLAMA_BLOCK * 32, ml_dtypes.bfloat16),
)


def report(large: bool) -> Iterator[str]:
    """A line for each collection as it is done; ``large`` adds those that take minutes and gigabytes of disk."""
    yield machine.describe()
    for case in SMALL + LARGE * large:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write(folder / "loras", case)
            took, cpu, peak = machine.in_own_process(_mine, folder)
            yield f"  {case.name}"
            yield f"    mined, each held out, report: {took:.0f} s ({cpu:.0f} CPU-s), peak memory {peak / 1e9:.2f} GB"
            if case.dtype is np.float32 and importlib.util.find_spec(VLORA) is not None:  # it takes no bfloat16
                took, cpu, peak = machine.in_own_process(_vlora, folder)
                yield f"    vlora, a basis of A and one of B: {took:.0f} s ({cpu:.0f} CPU-s), peak memory {peak / 1e9:.2f} GB"


def write(folder: Path, case: Case) -> None:
    """A PEFT folder for each LoRA."""
    for number in range(case.k):
        tensors = {}
        for i, (n, m) in enumerate(case.shapes):
            common, own = np.random.default_rng([0, i]), np.random.default_rng([1 + number, i])
            for side, shape in (("A", (case.rank, m)), ("B", (n, case.rank))):
                values = common.standard_normal(shape, np.float32) + own.standard_normal(shape, np.float32)
                tensors[f"base_model.model.layers.{i}.proj.lora_{side}.weight"] = values.astype(case.dtype)
        target = folder / f"lora_{number:04}"
        target.mkdir(parents=True)
        save_file(tensors, target / "adapter_model.safetensors")
        config = {"peft_type": "LORA", "r": case.rank, "lora_alpha": case.rank, "target_modules": ["proj"]}
        (target / "adapter_config.json").write_text(json.dumps(config))


def _mine(folder: Path) -> tuple[float, float, int]:
    """Seconds, CPU-seconds (imports and compilation included) and bytes."""
    start, cpu = time.perf_counter(), time.process_time()
    from experiments.loras.mining import MineSettings, mine_loras

    mine_loras(MineSettings(adapters=(str(folder / "loras"),), output=folder / "mined"))
    return time.perf_counter() - start, time.process_time() - cpu, machine.peak_memory()


def _vlora(folder: Path) -> tuple[float, float, int]:
    start, cpu = time.perf_counter(), time.process_time()
    import torch
    import vlora  # pyright: ignore[reportMissingImports]

    torch.set_num_threads(2)
    loaded = [vlora.load_adapter(path) for path in sorted((folder / "loras").iterdir())]
    vlora.SharedSubspace.from_adapters(loaded, task_ids=[str(i) for i in range(len(loaded))])
    return time.perf_counter() - start, time.process_time() - cpu, machine.peak_memory()
