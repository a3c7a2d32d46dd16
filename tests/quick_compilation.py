"""How XLA compiles in tests: in a quarter of the time, into programs that run slowly. Models of tests are tiny."""

from importlib.metadata import version

_HAS_FUSION_EMITTERS = tuple(int(part) for part in version("jaxlib").split(".")[:2]) < (0, 12)
"""jax 0.12 refuses the option, which it no longer has."""
_LEVEL, _EMITTERS = "xla_backend_optimization_level", "xla_cpu_use_fusion_emitters"
_PARTS = "--xla_cpu_parallel_codegen_split_count=1"
"""Each part of a program that is compiled by itself costs time; the cores have other tests to run."""

FLAGS = f"--{_LEVEL}=0 {_PARTS}" + (f" --{_EMITTERS}=false" if _HAS_FUSION_EMITTERS else "")
"""For XLA_FLAGS of the tests' process and of those it starts."""
AS_USERS: dict[str, int | bool] = {_LEVEL: 3} | ({_EMITTERS: True} if _HAS_FUSION_EMITTERS else {})
"""XLA's defaults, for ``jax.jit(compiler_options=…)`` of a test that compares what users get."""
