"""Adapters that were trained elsewhere: this project's files and PEFT's folders, of any model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.extraction.choice import Choice
from experiments.extraction.source import Source
from subspace import LowRank
from subspace.errors import InputError
from vggt_jax import VGGTConfig
from vggt_jax.adapters import load_adapter
from weights_convert import read_config
from weights_convert.peft import CONFIG as PEFT_CONFIG
from weights_convert.peft import read_peft


def import_adapters(choice: Choice) -> Source:
    """The adapters that ``--adapters`` names; raises as :func:`read_adapters`."""
    config = None if choice.weights is None else read_config(choice.weights)
    deltas, (base, fingerprint) = read_adapters(choice.adapters, config)
    return Source(deltas, base, fingerprint, "A shared subspace")


def read_adapters(
    paths: Sequence[str], config: VGGTConfig | None
) -> tuple[dict[str, dict[str, LowRank]], tuple[str, str | None]]:
    """{name: {path: LowRank}} of k adapters, and the name and fingerprint of their base model, as far as they are known.

    Args:
      paths: each a file of :func:`vggt_jax.adapters.save_adapter` or a folder of PEFT's. Names are the files' own, as far
        as they differ.
      config: the VGGT that PEFT adapters were trained on, whose layers are then stacked; None leaves every module for
        itself, under PEFT's name, which suits any model.

    Raises:
      ValueError: fewer than two, adapters of different base models, or what the readers refuse.
      OSError: an adapter that cannot be read.
    """
    if len(paths) < 2:
        raise InputError(f"--adapters needs at least two adapters to find what they share, got {len(paths)}")
    found: dict[str, dict[str, LowRank]] = {}
    bases: dict[str, tuple[str, str | None]] = {}
    for name, path in zip(_names(paths), map(Path, paths), strict=True):
        if path.is_dir():
            if not (path / PEFT_CONFIG).exists():
                raise InputError(f"--adapters: {path} is no PEFT folder (it has no {PEFT_CONFIG})")
            found[name] = read_peft(path, config)
            bases[name] = ("of PEFT's adapters, not recorded", None)
        else:
            adapter = load_adapter(path)
            found[name] = dict(adapter.deltas)
            bases[name] = (adapter.base.name, adapter.base.fingerprint)
    (first, base), *others = bases.items()
    for name, other in others:
        if other != base:
            raise InputError(
                f"--adapters: the base model of {first} is {base[0]} ({base[1]}), that of {name} is {other[0]} ({other[1]})"
            )
    return found, base


def _names(paths: Sequence[str]) -> list[str]:
    names = [Path(path).stem if path.endswith(".safetensors") else Path(path).name for path in paths]
    return names if len(set(names)) == len(names) else list(paths)
