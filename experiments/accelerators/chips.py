"""Accelerators from their makers' public data sheets: what XLA must know to compile for one, and what a roofline takes.

A GPU is described by the text that ``jax.experimental.topologies`` takes for CUDA, a TPU by the name of its smallest slice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Platform = Literal["cuda", "tpu"]
GPU_SHARE = 0.75
"""Of a GPU's memory, what JAX takes unless ``XLA_PYTHON_CLIENT_MEM_FRACTION`` says another share."""
CUDNN = (9, 28, 1)
"""The version that programs are compiled for."""


@dataclass(frozen=True)
class Gpu:
    """What XLA asks of an NVIDIA GPU before it compiles for it."""

    capability: tuple[int, int]
    """Compute capability."""
    multiprocessors: int
    """Number of streaming multiprocessors."""
    clock_ghz: float
    """Boost clock."""
    shared_kib: int
    """Shared memory of a multiprocessor."""
    block_kib: int
    """Shared memory that a block may ask for."""
    threads: int
    """Resident threads of a multiprocessor."""
    cache_mib: int
    """Second-level cache."""


@dataclass(frozen=True)
class Chip:
    """One accelerator."""

    name: str
    """What commands call it."""
    title: str
    """What its maker calls it."""
    device_kinds: tuple[str, ...]
    """What JAX calls it, in whole or in part."""
    memory: int
    """Bytes of its memory."""
    bandwidth: float
    """Bytes that its memory moves in a second."""
    bfloat16: float
    """Operations of dense bfloat16 products in a second, sums in float32."""
    tensor_float32: float
    """The same of float32 numbers rounded to TF32; on TPUs three bfloat16 products stand for one."""
    float32: float
    """The same of float32 numbers that keep all bits; on TPUs six bfloat16 products stand for one."""
    gpu: Gpu | None = None
    """What is special to a GPU; None for a TPU."""
    topology: str = ""
    """Name of the TPU's smallest slice; empty for a GPU."""
    reserved: int = 0
    """Bytes of a TPU's memory that its compiler gives to no program."""

    @property
    def platform(self) -> Platform:
        """The plugin of JAX that compiles for it."""
        return "tpu" if self.gpu is None else "cuda"

    @property
    def usable(self) -> int:
        """Bytes that JAX lets a program take by default: three quarters of a GPU, of a TPU all but a small reserve."""
        return int(self.memory * GPU_SHARE) if self.gpu else self.memory - self.reserved

    @property
    def target(self) -> str:
        """The description of a GPU as XLA reads it."""
        assert self.gpu is not None
        gpu, (major, minor), version = self.gpu, self.gpu.capability, ".".join(map(str, CUDNN))
        info = {
            "threads_per_block_limit": 1024,
            "threads_per_warp": 32,
            "shared_memory_per_block": 48 * 2**10,
            "shared_memory_per_core": gpu.shared_kib * 2**10,
            "threads_per_core_limit": gpu.threads,
            "core_count": gpu.multiprocessors,
            "fpus_per_core": 64 if gpu.capability == (8, 0) else 128,
            "block_dim_limit_x": 2**31 - 1,
            "block_dim_limit_y": 2**16 - 1,
            "block_dim_limit_z": 2**16 - 1,
            "memory_bandwidth": round(self.bandwidth),
            "l2_cache_size": gpu.cache_mib * 2**20,
            "clock_rate_ghz": gpu.clock_ghz,
            "device_memory_size": self.memory,
            "shared_memory_per_block_optin": gpu.block_kib * 2**10,
            "registers_per_core_limit": 2**16,
            "registers_per_block_limit": 2**16,
            "thread_dim_limit_x": 1024,
            "thread_dim_limit_y": 1024,
            "thread_dim_limit_z": 64,
            "pcie_bandwidth": 32 * 2**30,
        }
        lines = "\n".join(f"  {key}: {value}" for key, value in info.items())
        cudnn = " ".join(f"{part}: {n}" for part, n in zip(("major", "minor", "patch"), CUDNN, strict=True))
        return f"""gpu_device_info {{
{lines}
  cuda_compute_capability {{ major: {major} minor: {minor} }}
  name: "{self.title}"
  driver_version: "13.0.0"
  runtime_version: "13.0.0"
  compile_time_toolkit_version: "13.0.0"
  dnn_version: "{version}"
}}
platform_name: "CUDA"
dnn_version_info {{ {cudnn} }}
runtime_version {{ major: 13 }}
device_description_str: "{self.title}"
"""


_HOPPER = Gpu((9, 0), 132, 1.98, shared_kib=228, block_kib=227, threads=2048, cache_mib=50)

_ALL = (
    Chip(
        "h100", "NVIDIA H100 SXM, 80 GB", ("H100 80GB HBM3",), 81_008 * 2**20, 3.35e12,
        bfloat16=989e12, tensor_float32=495e12, float32=67e12, gpu=_HOPPER,
    ),
    Chip(
        "h200", "NVIDIA H200 SXM, 141 GB", ("H200",), 143_156 * 2**20, 4.8e12,
        bfloat16=989e12, tensor_float32=495e12, float32=67e12, gpu=_HOPPER,
    ),
    Chip(
        "a100", "NVIDIA A100 SXM, 80 GB", ("A100-SXM4-80GB",), 81_920 * 2**20, 2.039e12,
        bfloat16=312e12, tensor_float32=156e12, float32=19.5e12,
        gpu=Gpu((8, 0), 108, 1.41, shared_kib=164, block_kib=163, threads=2048, cache_mib=40),
    ),
    Chip(
        "rtx4090", "NVIDIA GeForce RTX 4090, 24 GB", ("RTX 4090",), 24_564 * 2**20, 1.008e12,
        bfloat16=165e12, tensor_float32=82.6e12, float32=82.6e12,
        gpu=Gpu((8, 9), 128, 2.52, shared_kib=100, block_kib=99, threads=1536, cache_mib=72),
    ),
    Chip(
        "rtx3090", "NVIDIA GeForce RTX 3090, 24 GB", ("RTX 3090",), 24_576 * 2**20, 0.936e12,
        bfloat16=71e12, tensor_float32=35.6e12, float32=35.6e12,
        gpu=Gpu((8, 6), 82, 1.70, shared_kib=100, block_kib=99, threads=1536, cache_mib=6),
    ),
    Chip(
        "v5e", "Google TPU v5e, 16 GB", ("TPU v5 lite", "TPU v5e"), 16 * 2**30, 0.819e12,
        bfloat16=197e12, tensor_float32=197e12 / 3, float32=197e12 / 6, topology="v5e:2x2", reserved=2**28,
    ),
    Chip(
        "v6e", "Google TPU v6e, 32 GB", ("TPU v6 lite", "TPU v6e"), 32 * 2**30, 1.64e12,
        bfloat16=918e12, tensor_float32=918e12 / 3, float32=918e12 / 6, topology="v6e:2x2", reserved=3 * 2**28,
    ),
    Chip(
        "v5p", "Google TPU v5p, 95 GB", ("TPU v5", "TPU v5p"), 95 * 2**30, 2.765e12,
        bfloat16=459e12, tensor_float32=459e12 / 3, float32=459e12 / 6, topology="v5p:2x2x1",
    ),
)  # fmt: skip

CHIPS: Mapping[str, Chip] = {chip.name: chip for chip in _ALL}
"""By the name that commands know."""


def chip_of(device_kind: str) -> Chip | None:
    """The chip that JAX calls so; None if it is none of them."""
    found = {kind: chip for chip in _ALL for kind in chip.device_kinds if kind in device_kind}
    return found[max(found, key=len)] if found else None
