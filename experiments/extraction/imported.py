"""Adapters that were trained elsewhere: this project's files and LoRAs in every usual layout, of any model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.extraction.settings import Settings
from experiments.extraction.source import Source
from experiments.loras.same_start import described, described_equal, digest_of, groups_of, matrix_of
from experiments.mining.origin import NOT_RECORDED
from experiments.models import read_base
from experiments.process.reporting import SILENT, Reporter
from experiments.storage.files import listed, sha256
from subspace import LowRank
from subspace.errors import InputError
from vggt_jax import VGGTConfig
from vggt_jax.adapters import load_adapter
from vggt_jax.deltas import low_rank_only
from weights_convert.lora_layouts import open_lora
from weights_convert.peft import stack_official
from weights_convert.peft_base import WEIGHTS, recorded_base

_UNKNOWN = (NOT_RECORDED, None)


def import_adapters(settings: Settings, reporter: Reporter = SILENT) -> Source:
    """The adapters that ``settings.adapters`` names; ``reporter`` is told what is left out. Raises as :func:`read_adapters`.

    With ``weights`` they belong to that model, whose fingerprint is then known.
    """
    if settings.weights is None:
        deltas, (base, fingerprint) = read_adapters(settings.adapters, None, reporter)
        return Source(deltas, base, fingerprint)
    model = read_base(settings.weights).identity
    deltas, (base, fingerprint) = read_adapters(settings.adapters, model.config, reporter)
    if fingerprint is None:
        base, fingerprint = model.name, model.fingerprint
    elif fingerprint != model.fingerprint:
        raise InputError(
            f"the adapters belong to {_described(base, fingerprint)}, the weights are "
            f"{_described(model.name, model.fingerprint)}",
            argument="weights",
        )
    return Source(deltas, base, fingerprint)


def read_adapters(
    paths: Sequence[Path], config: VGGTConfig | None, reporter: Reporter = SILENT
) -> tuple[dict[str, dict[str, LowRank]], tuple[str, str | None]]:
    """{name: {path: LowRank}} of k adapters, and the name and fingerprint of their base model, as far as they are known.

    Matrices that only some of them have are left out.

    Args:
      paths: each a file of :func:`vggt_jax.adapters.save_adapter`, or what :func:`weights_convert.lora_layouts.open_lora`
        reads. Names are the files' own, as far as they differ. Smaller ranks are filled with zero columns.
      config: the VGGT that LoRAs were trained on, whose layers are then stacked; None leaves every module for itself, under
        its own name, which suits any model.
      reporter: is told what is left out.

    Raises:
      InputError: adapters of different base models or without a common matrix, or what the readers refuse.
      OSError: an adapter that cannot be read.
    """
    found: dict[str, dict[str, LowRank]] = {}
    bases: dict[str, tuple[str, str | None]] = {}
    official: dict[str, Path] = {}
    for name, path in _named(paths).items():
        lora = open_lora(path)
        if lora.layout == "project":
            adapter = load_adapter(path)
            found[name] = low_rank_only(adapter.deltas, str(path))
            bases[name] = (adapter.base.name, adapter.base.fingerprint)
            continue
        found[name], bases[name] = {module: lora.read(module) for module in lora.modules}, _base_of(path)
        if lora.left_out:
            reporter.info(f"{name}: saved beside the LoRA and left out: {listed(lora.left_out)}")
        if config is not None:
            official[name] = path
    if config is not None:  # before layers are stacked, where one that is missing would count as zero
        common = _common({name: found[name] for name in official}, reporter)
        found |= {name: stack_official(common[name], config, path) for name, path in official.items()}
    (first, base), *others = bases.items()
    for name, other in others:
        if other != base:
            raise InputError(
                f"the base model of {first} is {_described(*base)}, that of {name} is {_described(*other)}",
                argument="adapters",
            )
    for name, own in found.items():
        _check_numbers(name, own)
    common = _common(found, reporter)
    for remark in _alike(common):
        reporter.warning(remark)
    return _of_equal_ranks(common), base


def _alike(adapters: Mapping[str, Mapping[str, LowRank]]) -> Iterator[str]:
    """What makes adapters share more than their data do: equal updates, and input factors that began as one draw."""
    contents: defaultdict[str, list[str]] = defaultdict(list)
    starts: dict[str, tuple[str, np.ndarray]] = {}
    for name, own in adapters.items():
        contents[digest_of(own.items())].append(name)
        chosen = matrix_of({path: (update.shape[-1], update.rank) for path, update in own.items()})
        first = np.asarray(own[chosen].B, np.float32).reshape(-1, *own[chosen].B.shape[-2:])[0]
        starts[name] = chosen, np.linalg.qr(first)[0]
    equal = [tuple(names) for names in contents.values() if len(names) > 1]
    for names in equal:
        yield described_equal(names)
    for group in groups_of(starts):
        if len(group) > 1 and group not in equal:
            yield described(group)


def _base_of(path: Path) -> tuple[str, str | None]:
    """What a LoRA of another program, or one that this one exported, says of its base model."""
    recorded = recorded_base(path) if (path / WEIGHTS).is_file() else None
    return _UNKNOWN if recorded is None else recorded


def _common(adapters: Mapping[str, Mapping[str, LowRank]], reporter: Reporter) -> dict[str, dict[str, LowRank]]:
    """The matrices that all adapters have."""
    every = dict.fromkeys(path for own in adapters.values() for path in own)
    common = [path for path in every if all(path in own for own in adapters.values())]
    if every and not common:
        raise InputError(f"the {len(adapters)} adapters have no matrix in common", argument="adapters")
    if left := [path for path in every if path not in set(common)]:
        reporter.info(
            f"matrices that only some adapters have, left out: {listed(left)} (`adapters mine --modules=union` takes them)"
        )
    return {name: {path: own[path] for path in common} for name, own in adapters.items()}


def _check_numbers(name: str, adapter: Mapping[str, LowRank]) -> None:
    """Raises InputError that names the adapter, for NaN, infinity, and updates that are all zero."""
    trained = False
    for path, update in adapter.items():
        A, B = np.asarray(update.A), np.asarray(update.B)
        if not (np.isfinite(A).all() and np.isfinite(B).all()):
            raise InputError(f"{name}: {path} has NaN or infinity", argument="adapters")
        trained = trained or bool(A.any() and B.any())
    if not trained:
        raise InputError(f"{name} is untrained, all of its updates are zero: leave it out", argument="adapters")


def _of_equal_ranks(adapters: dict[str, dict[str, LowRank]]) -> dict[str, dict[str, LowRank]]:
    """With zero columns where another adapter has a larger rank in the same matrix."""
    ranks: dict[str, int] = {}
    for path, update in (item for own in adapters.values() for item in own.items()):
        ranks[path] = max(ranks.get(path, 0), update.rank)
    return {name: {path: x.widened(ranks[path]) for path, x in own.items()} for name, own in adapters.items()}


def hashes_of(paths: Sequence[Path]) -> list[tuple[str, list[str]]]:
    """Name of every adapter and sha256 of what :func:`read_adapters` reads of it; raises OSError as that does."""
    files = {name: open_lora(path).files for name, path in _named(paths).items()}
    return [(name, [sha256(file) for file in own]) for name, own in files.items()]


def _named(paths: Sequence[Path]) -> dict[str, Path]:
    names = [path.stem if path.suffix == ".safetensors" else path.name for path in paths]
    unique = len(set(names)) == len(names)
    return dict(zip(names if unique else map(str, paths), paths, strict=True))


def _described(name: str, fingerprint: str | None) -> str:
    return name if fingerprint is None else f"{name} ({fingerprint})"
