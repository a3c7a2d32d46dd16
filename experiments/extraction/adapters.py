"""The second stage: k LoRA adapters, trained at once, each on its own data set.

A run is described (:class:`AdapterRun`), done (:func:`run`) and read back (:func:`load`)::

    job = AdapterRun(base, data, Recipe.of(settings))
    run(job, job.folder(store), store)
    trained = load(job.folder(store))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from experiments.extraction.data import Data
from experiments.extraction.groups import (
    Losses,
    finished,
    folder_of,
    groups_of,
    join_metrics,
    joined_losses,
    write_record,
)
from experiments.extraction.prepared import Prepared, maker_of, prepare
from experiments.extraction.recipe import Recipe
from experiments.extraction.targets import shuffled
from experiments.extraction.updates import kept
from experiments.mining.folder import SNAPSHOTS, snapshot_folder
from experiments.mining.origin import Targets
from experiments.models import Base
from experiments.process.hosts import is_first, on_host, only_first
from experiments.process.reporting import SILENT, Reporter
from experiments.storage.files import check_as_written, everything_below, hashes_of, read_json, sync, write_json
from experiments.storage.identity import identity, stage_folder
from experiments.storage.shared import settle
from experiments.training.batch import TrainingBatch
from experiments.training.continuation import Continuation
from experiments.training.feature_cache import token_cache
from experiments.training.held_out import check_base, check_trained, evenly_spaced
from experiments.training.loop import train
from experiments.training.sampling import BatchSampler, Encode
from experiments.training.step import Step, TrainingState
from experiments.training.step_plan import StepPlan
from subspace.errors import InputError
from vggt_jax.adapters import Adapter, BaseModel, Dense, FixedOutputs, LoRA, load_adapter, save_adapter

METRICS = "metrics.jsonl"
"""Losses of all adapters in the course of training."""
DONE = "held_out.json"
"""Written last: the adapters' names and the losses on held-out scenes, before and after training."""

KEPT = "energy_kept"
"""What an adapter of updates that are no LoRAs says of itself: the share, 0 to 1, of their energy that its rank has kept."""


@dataclass(frozen=True, eq=False)
class AdapterRun:
    """k adapters that can be trained."""

    base: Base
    """The model that is adapted."""
    data: Data
    """One data set for each adapter."""
    recipe: Recipe
    """How they are trained."""
    plan: StepPlan = field(default_factory=StepPlan)
    """How the work is laid out over devices and in time, on which no result depends."""
    among: Data | None = None
    """The data sets of all adapters, where these are some of several; shuffled targets are drawn among all."""

    @property
    def names(self) -> list[str]:
        """The adapters' names: ``geometry_00``, …"""
        return [f"{self.data.settings.attribute}_{number:02d}" for number in self.data.training]

    @property
    def maker(self) -> LoRA | Dense | FixedOutputs:
        """What makes updates of the base model's matrices from the numbers that are trained."""
        return maker_of(self.base, self.recipe)

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that the adapters depend on, as JSON can hold it."""
        scenes = {"training": self.data.training, "held_out": self.data.held_out}
        return {
            "base": self.base.weights,
            "data": identity(self.data.settings),
            "scenes": {
                kind: {str(number): [scene.folder.name for scene in chosen] for number, chosen in sets.items()}
                for kind, sets in scenes.items()
            },
            "sha256": identity(self.data.sha256),
            "recipe": identity(self.recipe),
        }

    def of(self, places: Sequence[int]) -> AdapterRun:
        """The adapters at some places among the k."""
        numbers = list(self.data.training)
        chosen = [numbers[place] for place in places]
        training, held_out = (
            {number: scenes[number] for number in chosen} for scenes in (self.data.training, self.data.held_out)
        )
        data = replace(self.data, training=training, held_out=held_out)
        return replace(self, data=data, among=self.among or self.data)

    def folder(self, store: Path) -> Path:
        """Where the adapters lie below the folder that commands share."""
        label = f"{self.data.settings.attribute}_{self.data.settings.setting}"
        return stage_folder(store, "adapters", label, self.identity)


@dataclass(frozen=True, eq=False)
class Adapters:
    """k trained adapters."""

    folder: Path
    """The folder that holds them."""
    adapters: dict[str, Adapter]
    """Name → adapter."""
    before: dict[str, Float[np.ndarray, "k scenes"]]
    """"loss" and its terms → values of the base model on each adapter's held-out scenes."""
    after: dict[str, Float[np.ndarray, "k scenes"]]
    """"loss" and its terms → values with the adapter."""
    targets: Targets
    """What training was towards; ``before`` and ``after`` are of true pairs in any case."""


def run(
    job: AdapterRun, folder: Path, store: Path, reporter: Reporter = SILENT, prepared: Prepared | None = None
) -> None:
    """Train the adapters, or go on where an earlier run in ``folder`` stopped.

    Args:
        job: what is trained.
        folder: gets the adapters and everything that :func:`experiments.training.loop.train` writes.
        store: folder that commands share; keeps the frozen encoder's tokens, if the recipe wants them.
        reporter: is told of progress.
        prepared: what :func:`prepare` makes of the same base, recipe and number of adapters, if that was done before.

    Raises:
        InputError: training diverged, or ``folder`` holds another run.
        OSError: something cannot be read or written.
    """
    recipe, base = job.recipe, job.base
    Continuation(folder).fetch()  # with the groups that are done
    cached = recipe.training.cache_tokens
    encode = token_cache(store, base.graphdef, base.config, base.parameters) if cached else None
    own = prepared or prepare(base, recipe, job.data.settings, len(job.names), job.plan)
    if len(own.groups) == 1:
        losses = _train(job, own, own.first, own.compiled, folder, folder, encode, reporter)
    else:
        losses = _train_groups(job, own, folder, encode, reporter)
    only_first("adapters", lambda: write_done(job, folder, losses))


def write_done(job: AdapterRun, folder: Path, losses: Losses) -> None:
    """Say that the adapters, which lie in ``folder``, are trained, and with which losses on held-out scenes."""
    record = {"adapters": job.names, "targets": job.recipe.targets, **losses}
    names = [f"{name}.safetensors" for name in job.names]
    sync(folder, [*names, METRICS])
    write_json(folder / DONE, {**record, "files": hashes_of(folder, names)}, durable=True)
    share(folder, record["adapters"])


def share(folder: Path, adapters: Sequence[str]) -> None:
    """Publish finished adapters in a store that machines share, without their checkpoints."""
    names = [f"{name}.safetensors" for name in adapters]
    snapshots = [f"{SNAPSHOTS}/{path}" for path in everything_below(folder / SNAPSHOTS)]
    settle(folder, DONE, [*names, *snapshots, METRICS, DONE])


def _train_groups(job: AdapterRun, own: Prepared, folder: Path, encode: Encode | None, reporter: Reporter) -> Losses:
    names, devices = job.names, own.placement.mesh.shape["adapter"]
    done = finished(folder)
    places = {place for place, name in enumerate(names) if name in done}
    groups = groups_of(len(names), len(own.groups[0]), devices, places)
    for number, group in enumerate(groups, start=1):
        part = job.of(group)
        reporter.info(f"group {number} of {len(groups)}: {', '.join(part.names)}")
        first = own.first if group == own.groups[0] else own.start(group)
        compiled = own.compiled if len(group) == len(own.groups[0]) else own.placement.compile(own.step, first)
        here = folder_of(folder, part.data.training)
        losses = _train(part, own, first, compiled, here, folder, encode, reporter)
        only_first(here.name, lambda here=here, part=part, losses=losses: write_record(here, part.names, losses))
    done = finished(folder)
    members = [done[name] for name in names]
    only_first("metrics", lambda: join_metrics(members, METRICS, folder / METRICS))
    return joined_losses(members)


def _train(
    job: AdapterRun,
    own: Prepared,
    first: TrainingState,
    compiled: Step,
    folder: Path,
    results: Path,
    encode: Encode | None,
    reporter: Reporter,
) -> Losses:
    """Train the adapters of one group in ``folder``, and leave their files in ``results``."""
    scenes = held_out_batches(job, encode)
    measured: dict[int, dict[str, np.ndarray]] = {}

    def held_out(state: TrainingState) -> dict[str, np.ndarray]:
        """Measured once for each step: the last validation is also the loss with the adapters."""
        step = int(state.step)
        if step not in measured:
            measured.clear()
            measured[step] = own.held_out(state, scenes)
        return measured[step]

    def look(state: TrainingState) -> dict[str, np.ndarray]:
        if job.recipe.snapshots:
            _save_adapters(job, results / SNAPSHOTS / snapshot_folder(int(state.step)), state.params)
        return {name: value.mean(axis=1) for name, value in held_out(state).items()}

    names = [[str(scene.folder) for scene in own] for own in job.data.held_out.values()]
    before = held_out(first)
    check_base(before, names)
    last = train(
        own.step,
        first,
        own.frozen,
        training_batches(job, encode),
        own.placement,
        job.recipe.loop,
        folder,
        job.identity if folder == results else {**job.identity, "adapters": job.names},
        compiled=compiled,
        whole=results,
        validate=look,
        reporter=reporter,
    )
    after = held_out(last)
    check_trained(before, after, names)
    _save_adapters(job, results, last.params)
    return {
        when: {name: value.tolist() for name, value in values.items()}
        for when, values in {"before": before, "after": after}.items()
    }


def load(folder: Path, base: BaseModel | None = None) -> Adapters:
    """What :func:`run` left.

    Args:
        folder: what :func:`run` was given.
        base: the model that the adapters must belong to; None takes those of any.

    Raises:
        InputError: the folder is not finished, or damaged.
        OSError: it cannot be read.
    """
    if not is_done(folder):
        raise InputError(f"{folder} holds no adapters whose training has ended (it has no {DONE})")
    record = read_json(folder / DONE)
    try:
        names, targets = list(record["adapters"]), record["targets"]
        before, after = (
            {name: np.array(value) for name, value in record[when].items()} for when in ("before", "after")
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder / DONE} is damaged: {error!r}") from None
    check_as_written(folder, record.get("files", {}))  # version 0.2.0 had no hashes
    adapters = {name: load_adapter(folder / f"{name}.safetensors", base) for name in names}
    return Adapters(folder, adapters, before, after, targets)


def is_done(folder: Path) -> bool:
    """Whether :func:`run` has ended in this folder."""
    return (folder / DONE).is_file()


def training_batches(job: AdapterRun, encode: Encode | None) -> BatchSampler:
    """Step → batch of all adapters.

    Args:
        job: what is trained.
        encode: adds the frozen encoder's tokens.
    """
    recipe = job.recipe
    scenes = job.data.training
    if recipe.targets == "shuffled":
        every = shuffled((job.among or job.data).training, recipe.seed)
        scenes = {number: every[number] for number in scenes}
    return BatchSampler(scenes, recipe.training.images, recipe.view_counts, recipe.seed, encode=encode)


def held_out_batches(job: AdapterRun, encode: Encode | None) -> list[TrainingBatch]:
    """One batch for each held-out scene, of that scene in the data sets of all adapters."""
    views = job.recipe.training.held_out_views
    return [evenly_spaced(scenes, views, encode) for scenes in zip(*job.data.held_out.values(), strict=True)]


def _save_adapters(job: AdapterRun, folder: Path, params: Any) -> None:
    recipe, maker = job.recipe, job.maker
    about = {
        "attribute": job.data.settings.attribute,
        "setting": job.data.settings.setting,
        "init": recipe.init,
        "targets": recipe.targets,
        "seed": recipe.seed,
        **({} if recipe.outputs_sha256 is None else {"outputs": recipe.outputs_sha256}),
        **({} if recipe.updates == "lora" else {"updates": recipe.updates}),
    }
    hosted = on_host(params)  # NumPy's factors stay with NumPy, where JAX would compile for each matrix
    if not is_first():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for i, (name, number) in enumerate(zip(job.names, job.data.training, strict=True)):
        deltas = maker.deltas(jax.tree.map(lambda leaf, i=i: leaf[i], hosted))
        own = {**about, "dataset": number}
        if recipe.updates != "lora":
            deltas, own[KEPT] = kept(deltas, recipe.training.rank)
        save_adapter(folder / f"{name}.safetensors", Adapter(deltas, job.base.identity, maker.scale, own))
