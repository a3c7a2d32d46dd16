"""Adapters that were trained elsewhere: this project's files and PEFT's folders, of any model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.extraction.settings import Settings
from experiments.extraction.source import Source
from experiments.storage.files import sha256
from subspace import LowRank
from subspace.errors import InputError
from vggt_jax import VGGTConfig
from vggt_jax.adapters import load_adapter
from vggt_jax.deltas import low_rank_only
from weights_convert import read_config
from weights_convert.peft import CONFIG, WEIGHTS, read_peft

_UNKNOWN = ("of PEFT's adapters, not recorded", None)


def import_adapters(settings: Settings) -> Source:
    """The adapters that ``settings.adapters`` names; raises as :func:`read_adapters`."""
    config = None if settings.weights is None else read_config(settings.weights)
    deltas, (base, fingerprint) = read_adapters(settings.adapters, config)
    return Source(deltas, base, fingerprint)


def read_adapters(
    paths: Sequence[Path], config: VGGTConfig | None
) -> tuple[dict[str, dict[str, LowRank]], tuple[str, str | None]]:
    """{name: {path: LowRank}} of k adapters, and the name and fingerprint of their base model, as far as they are known.

    Args:
      paths: each a file of :func:`vggt_jax.adapters.save_adapter` or a folder of PEFT's. Names are the files' own, as far
        as they differ.
      config: the VGGT that PEFT adapters were trained on, whose layers are then stacked; None leaves every module for
        itself, under PEFT's name, which suits any model.

    Raises:
      InputError: adapters of different base models, or what the readers refuse.
      OSError: an adapter that cannot be read.
    """
    found: dict[str, dict[str, LowRank]] = {}
    bases: dict[str, tuple[str, str | None]] = {}
    for name, path in _named(paths).items():
        if path.is_dir():
            if not (path / CONFIG).exists():
                raise InputError(f"{path} is no PEFT folder (it has no {CONFIG})", argument="adapters")
            found[name] = read_peft(path, config)
            bases[name] = _UNKNOWN
        else:
            adapter = load_adapter(path)
            found[name] = low_rank_only(adapter.deltas, str(path))
            bases[name] = (adapter.base.name, adapter.base.fingerprint)
    (first, base), *others = bases.items()
    for name, other in others:
        if other != base:
            raise InputError(
                f"the base model of {first} is {_described(*base)}, that of {name} is {_described(*other)}",
                argument="adapters",
            )
    return found, base


def hashes_of(paths: Sequence[Path]) -> list[tuple[str, list[str]]]:
    """Name of every adapter and sha256 of what :func:`read_adapters` reads of it; raises OSError as that does."""
    files = {name: [path / CONFIG, path / WEIGHTS] if path.is_dir() else [path] for name, path in _named(paths).items()}
    return [(name, [sha256(file) for file in own]) for name, own in files.items()]


def _named(paths: Sequence[Path]) -> dict[str, Path]:
    names = [path.stem if path.suffix == ".safetensors" else path.name for path in paths]
    unique = len(set(names)) == len(names)
    return dict(zip(names if unique else map(str, paths), paths, strict=True))


def _described(name: str, fingerprint: str | None) -> str:
    return name if fingerprint is None else f"{name} ({fingerprint})"
