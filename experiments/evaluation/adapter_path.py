"""What a path that should lead to an adapter leads to instead."""

from __future__ import annotations

from pathlib import Path

from subspace.errors import InputError
from vggt_jax.missing import nearest_path

_OF_PEFT = "adapter_config.json"
_SUBSPACE, _ADAPTERS = "subspace.safetensors", "adapters"
"""What ``experiments.extract`` writes: what the adapters share, and the adapters."""
_MODEL = "model"
"""What ``experiments.finetune`` writes of a model that was fine-tuned in full."""


def check_adapter(path: Path) -> None:
    """Raises InputError that says what is at ``path`` and what to name in its place, unless it may be an adapter."""
    if not path.exists():
        raise InputError(f"adapter: there is no {path}{nearest_path(path)}", argument="adapter")
    if path.name == _SUBSPACE:
        raise InputError(
            f"{path} is what several adapters share, and no adapter; experiments.finetune trains inside of it",
            argument="adapter",
        )
    if not path.is_dir() or (path / _OF_PEFT).is_file():
        return
    if (path / _SUBSPACE).is_file():
        files = sorted((path / _ADAPTERS).glob("*.safetensors"))
        one = f"name one of the adapters in it, such as {files[0]}" if files else "it has no adapters"
        raise InputError(f"{path} is a result of experiments.extract: {one}", argument="adapter")
    if (path / _MODEL).is_dir():
        raise InputError(
            f"{path} holds no adapter but a whole model: weights={path / _MODEL} without an adapter", argument="adapter"
        )
    files = sorted(path.glob("*.safetensors"))
    named = f"; name the adapter in it, {files[0]}" if files else ""
    raise InputError(f"{path} is no PEFT folder, it has no {_OF_PEFT}{named}", argument="adapter")
