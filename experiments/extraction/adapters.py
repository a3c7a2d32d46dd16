"""The second stage: k LoRA adapters, trained at once, each on its own data set.

A run is described (:class:`AdapterRun`), done (:func:`run`) and read back (:func:`load`)::

    job = AdapterRun(base, data, Recipe.of(settings))
    run(job, job.folder(store), store)
    trained = load(job.folder(store))
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self, get_args

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key

from experiments.data.manifest import AttributeSettings
from experiments.extraction.data import Data
from experiments.extraction.settings import Settings
from experiments.extraction.targets import shuffled
from experiments.mining.origin import Init, Targets
from experiments.models import Base
from experiments.presets import Training
from experiments.process.reporting import SILENT, Reporter
from experiments.scenes.schema import Attribute, Setting
from experiments.storage.files import check_as_written, hashes_of, read_json, write_json
from experiments.storage.identity import identity, stage_folder
from experiments.training.batch import TrainingBatch
from experiments.training.feature_cache import token_cache
from experiments.training.held_out import HeldOutLoss, evenly_spaced
from experiments.training.loop import LoopSettings, train
from experiments.training.losses import Objective
from experiments.training.optimizer import OptimizerSettings, make_optimizer
from experiments.training.sampling import BatchSampler, Encode, view_counts
from experiments.training.sharding import Placement, make_mesh
from experiments.training.step import AdaptedBase, LossFunction, Step, TrainingState, adapter_loss, start, training_step
from subspace.errors import InputError
from vggt_jax.adaptable import adaptable
from vggt_jax.adapters import Adapter, BaseModel, LoRA, initialize, load_adapter, save_adapter
from vggt_jax.parameters import abstract_model

METRICS = "metrics.jsonl"
"""Losses of all adapters in the course of training."""
DONE = "held_out.json"
"""Written last: the adapters' names and the losses on held-out scenes, before and after training."""
_CHECKPOINTS = 10
"""Number of checkpoints in the course of a run."""
_VERSION = 1
"""To be raised when the same settings come to mean other adapters."""


@dataclass(frozen=True)
class Recipe:
    """Everything that adapters depend on besides base model and data."""

    training: Training
    """Size of the adapters, and length of their training."""
    optimizer: OptimizerSettings
    """How losses change the adapters."""
    objective: Objective
    """What the adapters minimise."""
    loop: LoopSettings
    """When training is looked at."""
    init: Init
    """Whether the k input factors are drawn independently, of each other and of those of other attributes, or are all the
    same, for every attribute."""
    targets: Targets
    """Whether adapters are trained towards the truth of the scene in the images; held-out scenes keep it in any case."""
    seed: int
    """Seed of the factors, of the batches and of shuffled targets."""
    version: int = _VERSION
    """Version of the meaning of these fields."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The paper's recipe at the size of the settings."""
        training = settings.training
        every = max(1, training.steps // _CHECKPOINTS)
        return cls(
            training=training,
            optimizer=OptimizerSettings(training.steps, training.peak_rate),
            objective=Objective(),
            loop=LoopSettings(training.steps, checkpoint_every=every, validate_every=every, log=settings.log),
            init=settings.init,
            targets=settings.targets,
            seed=settings.seed,
        )


@dataclass(frozen=True, eq=False)
class AdapterRun:
    """k adapters that can be trained."""

    base: Base
    """The model that is adapted."""
    data: Data
    """One data set for each adapter."""
    recipe: Recipe
    """How they are trained."""

    @property
    def names(self) -> list[str]:
        """The adapters' names: ``geometry_00``, …"""
        return [f"{self.data.settings.attribute}_{number:02d}" for number in self.data.training]

    @property
    def maker(self) -> LoRA:
        """What makes updates of the base model's matrices from the numbers that are trained."""
        return _maker(self.base, self.recipe)

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that the adapters depend on, as JSON can hold it."""
        scenes = {"training": self.data.training, "held_out": self.data.held_out}
        return {
            "base": self.base.identity.fingerprint,
            "data": identity(self.data.settings),
            "scenes": {
                kind: {str(number): [scene.folder.name for scene in chosen] for number, chosen in sets.items()}
                for kind, sets in scenes.items()
            },
            "sha256": identity(self.data.sha256),
            "recipe": identity(self.recipe),
        }

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


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a run has before it sees a picture."""

    frozen: AdaptedBase
    """The base model, and what makes updates of it."""
    first: TrainingState
    """The state before the first step."""
    placement: Placement
    """Where the arrays live."""
    step: Step
    """The training step."""
    compiled: Step
    """The same as a program; it is compiled when it is called, or before by :func:`compile_for`."""
    held_out: HeldOutLoss
    """The loss on held-out scenes."""


def prepare(base: Base, recipe: Recipe, settings: AttributeSettings, k: int) -> Prepared:
    """The start of k adapters and their programs, which are not compiled yet.

    Args:
        base: the model that is adapted.
        recipe: how they are trained.
        settings: what is rendered.
        k: number of adapters.
    """
    loss, step = _functions(base.graphdef, recipe.objective, recipe.optimizer)
    optimizer = make_optimizer(recipe.optimizer)
    maker = _maker(base, recipe)
    frozen = AdaptedBase(base.parameters, maker)
    draw = first_draw(recipe.seed, recipe.init, settings, recipe.targets)
    first = jax.jit(lambda key: start(initialize(maker, key, k, recipe.init), optimizer))(draw)
    placement = Placement(make_mesh())
    return Prepared(frozen, first, placement, step, placement.compile(step, first), HeldOutLoss(loss, frozen))


def compile_for(prepared: Prepared, training: Iterable[TrainingBatch], held_out: TrainingBatch) -> None:
    """Compile the programs for batches of these shapes, whatever is in them."""
    prepared.held_out.prepare(prepared.first, held_out)
    for batch in training:
        prepared.placement.prepare(prepared.compiled, prepared.first, prepared.frozen, batch)


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
    cached = recipe.training.cache_tokens
    encode = token_cache(store, base.graphdef, base.config, base.parameters) if cached else None
    own = prepared or prepare(base, recipe, job.data.settings, len(job.names))
    scenes = held_out_batches(job, encode)
    measured: dict[int, dict[str, np.ndarray]] = {}

    def held_out(state: TrainingState) -> dict[str, np.ndarray]:
        """Measured once for each step: the last validation is also the loss with the adapters."""
        step = int(state.step)
        if step not in measured:
            measured.clear()
            measured[step] = own.held_out(state, scenes)
        return measured[step]

    before = held_out(own.first)
    last = train(
        own.step,
        own.first,
        own.frozen,
        training_batches(job, own.placement.mesh.shape["data"], encode),
        own.placement,
        recipe.loop,
        folder,
        job.identity,
        compiled=own.compiled,
        validate=lambda state: {name: value.mean(axis=1) for name, value in held_out(state).items()},
        reporter=reporter,
    )
    after = held_out(last)
    _save_adapters(job, folder, last.params)
    losses = {
        when: {name: value.tolist() for name, value in values.items()}
        for when, values in {"before": before, "after": after}.items()
    }
    files = hashes_of(folder, [f"{name}.safetensors" for name in job.names])
    write_json(folder / DONE, {"adapters": job.names, "targets": recipe.targets, **losses, "files": files})


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


def training_batches(job: AdapterRun, multiple: int, encode: Encode | None) -> BatchSampler:
    """Step → batch of all adapters.

    Args:
        job: what is trained.
        multiple: the numbers of sequences in a step are multiples of it.
        encode: adds the frozen encoder's tokens.
    """
    recipe = job.recipe
    counts = view_counts(
        recipe.training.images,
        fewest=recipe.training.fewest_views,
        most=recipe.training.most_views,
        multiple=multiple,
    )
    scenes = shuffled(job.data.training, recipe.seed) if recipe.targets == "shuffled" else job.data.training
    return BatchSampler(scenes, recipe.training.images, counts, recipe.seed, encode=encode)


def held_out_batches(job: AdapterRun, encode: Encode | None) -> list[TrainingBatch]:
    """One batch for each held-out scene, of that scene in the data sets of all adapters."""
    views = job.recipe.training.held_out_views
    return [evenly_spaced(scenes, views, encode) for scenes in zip(*job.data.held_out.values(), strict=True)]


def first_draw(seed: int, init: Init, settings: AttributeSettings, targets: Targets) -> Key[Array, ""]:
    """The key of the input factors.

    Two attributes whose adapters began with the same factors would have input-side subspaces in common that no data put
    there, so the key of independent ones is another for every attribute, setting and kind of targets.
    """
    key = jax.random.key(seed)
    if init == "shared":
        return key
    places = (
        get_args(Attribute).index(settings.attribute),
        get_args(Setting).index(settings.setting),
        get_args(Targets).index(targets),
    )
    for place in places:
        key = jax.random.fold_in(key, place)
    return key


@lru_cache(maxsize=1)
def _functions(graphdef: nnx.GraphDef, objective: Objective, optimizer: OptimizerSettings) -> tuple[LossFunction, Step]:
    """Loss and step; the same for the next attribute, so that JAX has its programs at hand and traces nothing again."""
    loss = adapter_loss(graphdef, objective)
    return loss, training_step(loss, make_optimizer(optimizer))


def _maker(base: Base, recipe: Recipe) -> LoRA:
    return LoRA(adaptable(abstract_model(base.config)), recipe.training.rank, recipe.training.alpha)


def _save_adapters(job: AdapterRun, folder: Path, params: Any) -> None:
    recipe, maker = job.recipe, job.maker
    about = {
        "attribute": job.data.settings.attribute,
        "setting": job.data.settings.setting,
        "init": recipe.init,
        "targets": recipe.targets,
        "seed": recipe.seed,
    }
    hosted = jax.device_get(params)  # NumPy's factors stay with NumPy, where JAX would compile for each matrix
    for i, (name, number) in enumerate(zip(job.names, job.data.training, strict=True)):
        deltas = maker.deltas(jax.tree.map(lambda leaf, i=i: leaf[i], hosted))
        save_adapter(
            folder / f"{name}.safetensors",
            Adapter(deltas, job.base.identity, maker.scale, {**about, "dataset": number}),
        )
