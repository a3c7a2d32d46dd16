"""Adapters to mine, wherever they come from: trained here, or imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from experiments.extraction.adapters import METRICS, AdapterRun, Adapters, is_done, load, run, share
from experiments.extraction.data import Data, make_data
from experiments.extraction.on_ray import train_there
from experiments.extraction.preparation import Preparation
from experiments.extraction.prepared import Prepared
from experiments.extraction.recipe import Recipe
from experiments.extraction.schedule import COMPILING, RENDERING, TRAINING
from experiments.extraction.settings import Settings
from experiments.models import Base
from experiments.process.hosts import after_first, is_first
from experiments.process.mesh_sizes import MeshSizes
from experiments.process.reporting import SILENT, Reporter
from experiments.storage.locks import after_first_alone
from subspace import LowRank
from vggt_jax.deltas import low_rank_only


@dataclass(frozen=True, eq=False)
class Source:
    """k adapters, and what is known about them."""

    deltas: Mapping[str, Mapping[str, LowRank]]
    """Adapter → path → A (*layers, n, r), B (*layers, m, r)."""
    base: str
    """Name of the base model, for people."""
    fingerprint: str | None
    """What tells base models apart; None where it was not recorded."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """Adapter → the file that is copied into the results; none of imported ones."""
    data: Data | None = None
    """What the adapters were trained on; None for imported ones."""
    trained: Adapters | None = None
    """How the adapters learned; None for imported ones."""

    @property
    def metrics(self) -> Path | None:
        """The training's log."""
        return None if self.trained is None else self.trained.folder / METRICS


def train_adapters(settings: Settings, base: Base, reporter: Reporter = SILENT) -> Source:
    """Render and train what is missing in the store.

    Args:
        settings: what is asked for.
        base: the model that is adapted.
        reporter: is told what begins, and of progress.

    Raises:
        InputError: data sets that cannot be rendered, training that diverged, or a damaged folder.
        OSError: something that cannot be read or written.
    """
    reporter.info(f"base model: {settings.weights}")
    reporter.info(f"data: {settings.k} data sets in which the {settings.attribute} varies")
    if settings.executor is not None:
        return _source(*train_there(settings, settings.executor, base, reporter), base)
    preparation = Preparation(settings, base)
    try:
        with reporter.stage(RENDERING):
            if not is_first():
                preparation.begin()
            data = after_first("data", lambda: make_data(settings, reporter, preparation.begin))
    except BaseException as error:
        preparation.abandon()
        if preparation.running and not isinstance(error, KeyboardInterrupt):  # which ends commands whatever is running
            reporter.info("stopping: what is being compiled has to end first, in half a minute or less")
        raise
    job = AdapterRun(base, data, Recipe.of(settings), settings.plan)
    folder = job.folder(settings.store)
    if is_done(folder):
        reporter.info(f"{len(job.names)} trained adapters found in {folder}")
    else:
        with after_first_alone(folder, reporter):
            if is_done(folder):  # another process was at it
                preparation.abandon()
                reporter.info(f"{len(job.names)} trained adapters found in {folder}")
            else:
                _train(job, folder, settings, preparation, reporter)
    if is_first():
        share(folder, job.names)
    return _source(data, folder, base)


def _source(data: Data, folder: Path, base: Base) -> Source:
    trained = load(folder, base.identity)
    return Source(
        deltas={name: low_rank_only(adapter.deltas, name) for name, adapter in trained.adapters.items()},
        base=base.identity.name,
        fingerprint=base.identity.fingerprint,
        files={name: folder / f"{name}.safetensors" for name in trained.adapters},
        data=data,
        trained=trained,
    )


def _train(job: AdapterRun, folder: Path, settings: Settings, preparation: Preparation, reporter: Reporter) -> None:
    steps, images = settings.training.steps, settings.training.images
    if not preparation.done:
        reporter.info("compiling training's programs, or finding them again …")
    with reporter.stage(COMPILING):
        prepared = preparation.result()
    reporter.info(f"training {_in_groups(prepared, settings.k)}, {steps} steps of {images} images each")
    with reporter.stage(TRAINING):
        run(job, folder, settings.store, reporter, prepared)


def _in_groups(prepared: Prepared, k: int) -> str:
    """How many adapters are trained at once, and on which devices."""
    size, mesh = len(prepared.groups[0]), prepared.placement.mesh
    text = f"{k} adapters at once" if size == k else f"{k} adapters, {size} at once"
    return text if mesh.size == 1 else f"{text} on {mesh.size} devices ({MeshSizes(**mesh.shape)})"
