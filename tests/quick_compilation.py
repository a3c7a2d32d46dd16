"""Options of XLA that compile in a third of the time, and run slowly: for tiny models whose properties are tested."""

from importlib.metadata import version

_HAS_FUSION_EMITTERS = tuple(int(part) for part in version("jaxlib").split(".")[:2]) < (0, 12)
"""jax 0.12 refuses the option, which it no longer has."""

OPTIONS: dict[str, int | bool] = {"xla_backend_optimization_level": 0}
"""For ``jax.jit(compiler_options=…)`` on any device."""
CPU_OPTIONS = OPTIONS | ({"xla_cpu_use_fusion_emitters": False} if _HAS_FUSION_EMITTERS else {})
"""For programs that are compiled for CPUs."""
FLAGS = " ".join(f"--{name}={str(value).lower()}" for name, value in CPU_OPTIONS.items())
"""For XLA_FLAGS of a process."""
