"""What a training of k adapters has before it sees a picture: their start, programs and devices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import get_args

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Key

from experiments.data.manifest import AttributeSettings
from experiments.extraction.groups import (
    group_size,
    groups_of,
)
from experiments.extraction.recipe import Recipe
from experiments.mining.folder import check_base, read_folder
from experiments.mining.origin import Init, Targets
from experiments.models import Base
from experiments.scenes.schema import Attribute, Setting
from experiments.training.batch import TrainingBatch
from experiments.training.division import Division
from experiments.training.held_out import HeldOutLoss
from experiments.training.loss_function import LossFunction
from experiments.training.losses import Objective
from experiments.training.optimizer import OptimizerSettings, make_optimizer
from experiments.training.sharding import Placement, choose_mesh
from experiments.training.step import AdaptedBase, Step, TrainingState, TrainingStep, adapter_loss, start
from experiments.training.step_plan import StepPlan
from subspace import Basis
from vggt_jax.adaptable import adaptable
from vggt_jax.adapters import Dense, FixedOutputs, LoRA, initialize
from vggt_jax.parameters import abstract_model


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a run has before it sees a picture."""

    frozen: AdaptedBase
    """The base model, and what makes updates of it."""
    start: Callable[[Sequence[int]], TrainingState]
    """The state of the adapters at some places before the first step."""
    groups: list[tuple[int, ...]]
    """Places of the adapters that are trained together, group by group."""
    first: TrainingState
    """The state of the first group."""
    placement: Placement
    """Where the arrays live."""
    step: TrainingStep
    """The training step."""
    compiled: Step
    """The same as a program for the first group; it is compiled when it is called, or before by :func:`compile_for`."""
    held_out: HeldOutLoss
    """The loss on held-out scenes."""


def prepare(
    base: Base,
    recipe: Recipe,
    settings: AttributeSettings,
    k: int,
    plan: StepPlan = StepPlan(),  # noqa: B008
    places: Sequence[int] | None = None,
) -> Prepared:
    """The start of k adapters and their programs, which are not compiled yet.

    Args:
        base: the model that is adapted.
        recipe: how they are trained.
        settings: what is rendered.
        k: number of adapters.
        plan: how the work is laid out.
        places: of the adapters among the k that are trained; by default all are.

    Raises InputError for a plan that the adapters, batches or devices do not allow.
    """
    training = recipe.training
    loss, step = _functions(base.graphdef, recipe.objective, recipe.optimizer, plan.accumulate)
    optimizer = make_optimizer(recipe.optimizer)
    maker = maker_of(base, recipe)
    wanted = tuple(range(k)) if places is None else tuple(places)
    placement = Placement(mesh_for(recipe, len(wanted), plan))
    devices = placement.mesh.shape["adapter"]
    size = group_size(
        plan.adapters_at_once,
        len(wanted),
        devices,
        training.images * settings.resolution**2,
        on_cpu=placement.is_of_cpus,
    )
    groups = [tuple(wanted[i] for i in group) for group in groups_of(len(wanted), size, devices)]
    draw = first_draw(recipe.seed, recipe.init, settings, recipe.targets)

    def begin(places: Sequence[int]) -> TrainingState:
        begun = jax.jit(lambda key: start(initialize(maker, key, k, recipe.init, tuple(places)), optimizer))
        return begun(draw)

    first = begin(groups[0])
    frozen = placement.frozen(AdaptedBase(base.parameters, maker))
    compiled = placement.compile(step, first)
    return Prepared(frozen, begin, groups, first, placement, step, compiled, HeldOutLoss(loss, frozen, placement))


def mesh_for(recipe: Recipe, k: int, plan: StepPlan) -> Mesh:
    """The devices of k adapters' training. Raises InputError for a plan that adapters, batches or devices do not allow."""
    sequences = {recipe.training.images // count for count in recipe.view_counts}
    return choose_mesh(plan.mesh, adapters=k, sequences=sequences)


def compile_for(prepared: Prepared, training: Iterable[TrainingBatch], held_out: TrainingBatch) -> None:
    """Compile the programs for batches of these shapes, whatever is in them."""
    prepared.held_out.prepare(prepared.first, held_out)
    for batch in training:
        prepared.placement.prepare(prepared.compiled, prepared.first, prepared.frozen, batch)


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
def _functions(
    graphdef: nnx.GraphDef, objective: Objective, optimizer: OptimizerSettings, accumulate: int | None
) -> tuple[LossFunction, TrainingStep]:
    """Loss and step; the same for the next attribute, so that JAX has its programs at hand and traces nothing again."""
    loss = adapter_loss(graphdef, objective)
    return loss, TrainingStep(loss, make_optimizer(optimizer), Division(accumulate))


def maker_of(base: Base, recipe: Recipe) -> LoRA | Dense | FixedOutputs:
    """What makes updates of the base model's matrices; raises InputError for outputs of another model."""
    matrices = adaptable(abstract_model(base.config))
    if recipe.updates != "lora":
        return Dense(matrices)
    if recipe.outputs is None:
        return LoRA(matrices, recipe.training.rank, recipe.training.alpha)
    mined = read_folder(recipe.outputs, "outputs")
    check_base(mined, base.identity, "outputs")
    directions = {
        path: np.asarray(Basis.of_canonical(factors).A, np.float32) for path, factors in mined.factors.items()
    }
    return FixedOutputs(directions, {path: matrices[path].m for path in directions})
