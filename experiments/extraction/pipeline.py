"""From settings to results: data, adapters, and what they share."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from experiments.extraction.base import weights_of, with_base
from experiments.extraction.groups import group_size
from experiments.extraction.imported import import_adapters
from experiments.extraction.prepared import mesh_for
from experiments.extraction.recipe import Recipe
from experiments.extraction.report import training_verdict
from experiments.extraction.results import OUTPUTS, identity_of_imported, identity_of_trained, write_results
from experiments.extraction.schedule import MINING, expected_seconds, schedule
from experiments.extraction.settings import Settings
from experiments.extraction.source import Source, train_adapters
from experiments.mining.mine import mine, stack_adapters
from experiments.mining.origin import Origin
from experiments.mining.subspace_file import load_subspace
from experiments.mining.summary import MatrixSummary, rows
from experiments.models import load_base
from experiments.process.compilation_cache import count_programs
from experiments.process.hosts import is_first, wait_for_all
from experiments.process.memory import check_training_fits, free_memory
from experiments.process.reporting import SILENT, Reporter
from experiments.process.stages import StageTime
from experiments.storage.identity import identity
from experiments.storage.results import Ready, ResultsFolder, check_output
from subspace import SharedSubspace
from vggt_jax import VGGTConfig
from vggt_jax.adaptable import check_room
from vggt_jax.parameters import adaptable_matrices
from weights_convert import read_config

__all__ = ["Extracted", "extract", "extract_missing", "load_subspace"]


@dataclass(frozen=True, eq=False)
class Extracted:
    """One attribute's subspace, and how good it is."""

    folder: Path
    """The folder of results, which :func:`experiments.mining.folder.read_folder` reads."""
    origin: Origin
    """What was mined."""
    subspaces: dict[str, SharedSubspace]
    """Path → what the adapters share in that matrix, layers in front."""
    matrices: list[MatrixSummary]
    """One row for each matrix of each layer: weights, spectrum, energy inside the subspace."""
    before: dict[str, Float[np.ndarray, "k scenes"]] | None
    """"loss" and its terms → values of the base model on each adapter's held-out scenes; None for imported adapters."""
    after: dict[str, Float[np.ndarray, "k scenes"]] | None
    """"loss" and its terms → values with the adapter; None for imported adapters."""
    learned: str
    """The same in words, and how much of updates that are no LoRAs is mined; empty for imported adapters."""
    data: Path | None
    """Folder of the data sets; None for imported adapters."""
    adapters: Path | None
    """Folder of the trained adapters, below the store; None for imported ones."""
    seconds: float
    """Duration of this call."""
    stages: list[StageTime]
    """What each stage of this call took; of those whose results were found there is none."""


def extract(settings: Settings, reporter: Reporter = SILENT) -> Extracted:
    """Render data sets, train an adapter on each, mine what the adapters share, and write a folder of results.

    What an earlier call left in the store is used: data sets and adapters of the same settings, and checkpoints of a
    training that was interrupted. A folder of the same results stays as it is.

    Args:
        settings: what is asked for.
        reporter: is told what begins, and of progress.

    Raises:
        InputError: what is wrong with settings, data, weights or adapters, or results that may not be replaced.
        OSError: something that cannot be read or written.
    """
    return ready(settings, reporter).run()


def ready(settings: Settings, reporter: Reporter = SILENT) -> Ready[Extracted]:
    """What :func:`extract` is about to do. Arguments and errors are the same."""
    start = time.perf_counter()
    check_output(settings, {} if settings.adapters else identity(settings), OUTPUTS)
    count_programs()
    reporter = reporter.planned(schedule(settings))
    content, find_adapters = _prepare(settings, reporter)
    results = _results(settings, content)
    results.check()
    return Ready(results, lambda: _extract(settings, results, find_adapters, start, reporter), reporter)


def _extract(
    settings: Settings, results: ResultsFolder, find_adapters: Callable[[], Source], start: float, reporter: Reporter
) -> Extracted:
    source = find_adapters()
    stacks = stack_adapters(source.deltas)
    matrices = sum(stack.A[0, ..., 0, 0].size for stack in stacks.values())
    reporter.info(f"mining {matrices} matrices of {len(source.deltas)} adapters")
    with reporter.stage(MINING):
        mined = mine(stacks, settings.dim, exponent=settings.exponent)
        found = rows(mined)
    origin = _origin(settings, source)
    if is_first():
        with results.new() as new:
            write_results(new, settings, source, mined, found, origin, time.perf_counter() - start, reporter)
    wait_for_all("results")
    return Extracted(
        folder=results.path,
        origin=origin,
        subspaces=mined.subspaces,
        matrices=found,
        before=None if source.trained is None else source.trained.before,
        after=None if source.trained is None else source.trained.after,
        learned="" if source.trained is None else training_verdict(source.trained),
        data=None if source.data is None else source.data.folder,
        adapters=None if source.trained is None else source.trained.folder,
        seconds=time.perf_counter() - start,
        stages=reporter.times,
    )


def extract_missing(wanted: Sequence[Settings], reporter: Reporter = SILENT) -> list[Path]:
    """Extract what the store does not hold yet.

    Args:
        wanted: settings of adapters to train.
        reporter: is told what is found and what begins, and of progress.

    Returns:
        The folders of results, in the same order; raises as :func:`extract`.
    """
    known: dict[tuple[str, int], str] = {}
    found = []
    for settings in wanted:
        weights = weights_of(settings)
        if (weights, settings.resolution) not in known:
            known[weights, settings.resolution] = load_base(weights, settings.resolution, settings.training).weights
        content = identity_of_trained(settings, known[weights, settings.resolution])
        found.append(_results(settings, content))
    later = [
        expected_seconds(settings) for settings, results in zip(wanted, found, strict=True) if not results.complete
    ]
    for number, (settings, results) in enumerate(zip(wanted, found, strict=True), start=1):
        if results.complete:
            reporter.info(f"{number} of {len(wanted)}: found in {results.path}")
        else:
            reporter.info(f"{number} of {len(wanted)}: extracting {results.path}")
            later.pop(0)
            extract(settings, reporter.before(sum(later)))
    return [results.path for results in found]


def _prepare(settings: Settings, reporter: Reporter) -> tuple[dict[str, Any], Callable[[], Source]]:
    """Everything that the results depend on, and what finds or trains their adapters."""
    if settings.adapters:
        source = import_adapters(settings, reporter)
        config = None if settings.weights is None else read_config(settings.weights)
        return identity_of_imported(settings, config, source.fingerprint), lambda: source
    planned, base = with_base(settings, SILENT if settings.executor else reporter)
    if settings.executor is not None:
        check_room(adaptable_matrices(base.identity.config), rank=settings.training.rank, dim=settings.dim)
        content = identity_of_trained(settings, base.weights)
        return content, lambda: train_adapters(settings, base, reporter)
    _check_sizes(planned, base.identity.config)
    mesh_for(Recipe.of(planned), planned.k, planned.plan)  # before anything is rendered
    content = identity_of_trained(planned, base.weights)
    return content, lambda: train_adapters(planned, base, reporter)


def _check_sizes(settings: Settings, config: VGGTConfig) -> None:
    """InputError for adapters that the model's matrices have no room for, or the memory."""
    matrices = adaptable_matrices(config)
    rank = settings.training.rank
    if settings.updates == "lora":
        check_room(matrices, rank=rank, dim=settings.dim)
        numbers = sum(prod(matrix.stack) * (matrix.n + matrix.m) * rank for matrix in matrices.values())
    else:
        check_room(matrices, dim=settings.dim)
        numbers = sum(prod(matrix.stack) * matrix.n * matrix.m for matrix in matrices.values())
    device = jax.local_devices()[0]
    pixels = settings.training.images * settings.resolution**2
    at_once = group_size(settings.plan.adapters_at_once, settings.k, 1, pixels, on_cpu=device.platform == "cpu")
    check_training_fits(at_once * numbers, free_memory(device), "k")


def _results(settings: Settings, content: dict[str, Any]) -> ResultsFolder:
    return ResultsFolder.of(settings, "extract", settings.label, content, OUTPUTS)


def _origin(settings: Settings, source: Source) -> Origin:
    imported = bool(settings.adapters)
    return Origin(
        attribute=settings.attribute,
        base=source.base,
        fingerprint=source.fingerprint,
        dim=settings.dim,
        exponent=settings.exponent,
        adapters=tuple(source.deltas),
        init=None if imported or settings.made != "lora" else settings.init,
        targets=None if imported else settings.targets,
        updates="lora" if imported else settings.made,
    )
