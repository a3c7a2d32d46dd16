from tests.experiments.training.conftest import quick_jit  # noqa: F401
