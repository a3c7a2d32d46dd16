"""How XLA compiles in tests: in a quarter of the time, into programs that run slowly. Models of tests are tiny."""

import sys
import threading
from importlib.metadata import version

_PROGRAMS_OF_A_CONTEXT = 50
"""A context keeps the constants of all programs that were written in it."""

_HAS_FUSION_EMITTERS = tuple(int(part) for part in version("jaxlib").split(".")[:2]) < (0, 12)
"""jax 0.12 refuses the option, which it no longer has."""
_LEVEL, _EMITTERS = "xla_backend_optimization_level", "xla_cpu_use_fusion_emitters"
_PARTS = "--xla_cpu_parallel_codegen_split_count=1"
"""Each part of a program that is compiled by itself costs time; the cores have other tests to run."""

FLAGS = f"--{_LEVEL}=0 {_PARTS}" + (f" --{_EMITTERS}=false" if _HAS_FUSION_EMITTERS else "")
"""For XLA_FLAGS of the tests' process and of those it starts."""
AS_USERS: dict[str, int | bool] = {_LEVEL: 3} | ({_EMITTERS: True} if _HAS_FUSION_EMITTERS else {})
"""XLA's defaults, for ``jax.jit(compiler_options=…)`` of a test that compares what users get."""


def share_contexts() -> None:
    """Let programs of a thread share MLIR's context, which takes longer to make than a small program to be written in it.

    Each context also takes memory for as long as JAX remembers one of its programs. Nothing happens where JAX is not
    imported yet or makes them in another way.
    """
    mlir = sys.modules.get("jax._src.interpreters.mlir")
    make = getattr(mlir, "make_ir_context", None)
    if mlir is not None and make is not None and not isinstance(make, _Shared):
        vars(mlir)["make_ir_context"] = _Shared(make)


class _Shared(threading.local):
    def __init__(self, make):
        self._make, self._uses, self._context = make, 0, None

    def __call__(self):
        if self._uses % _PROGRAMS_OF_A_CONTEXT == 0:
            self._context = self._make()
        self._uses += 1
        return self._context
