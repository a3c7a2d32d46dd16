"""The second stage: k LoRA adapters, trained at once, each on its own data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from experiments.data.manifest import AttributeSettings
from experiments.extraction.data import Data
from experiments.extraction.targets import Targets, shuffled
from experiments.models import Base
from experiments.presets import Training
from experiments.process.reporting import Reporter
from experiments.scenes.schema import Attribute, Setting
from experiments.storage.files import read_json, write_json
from experiments.storage.identity import stage_folder
from experiments.training.batch import TrainingBatch
from experiments.training.feature_cache import token_cache
from experiments.training.held_out import HeldOutLoss, evenly_spaced
from experiments.training.loop import LoopSettings, train
from experiments.training.losses import Objective
from experiments.training.optimizer import OptimizerSettings, make_optimizer
from experiments.training.sampling import BatchSampler, Encode, view_counts
from experiments.training.sharding import Placement, make_mesh
from experiments.training.step import AdaptedBase, adapter_loss, start, training_step
from subspace import LowRank
from vggt_jax.adaptable import adaptable
from vggt_jax.adapters import Adapter, Init, LoRA, initialize, load_adapter, save_adapter
from vggt_jax.parameters import abstract_model

DONE = "held_out.json"
"""Written last: the losses on held-out scenes, before and after training."""
_CHECKPOINTS = 10
"""In the course of a run."""


@dataclass(frozen=True, eq=False)
class Adapters:
    """k trained adapters."""

    folder: Path
    adapters: dict[str, Adapter]
    """By name: ``geometry_00``, …"""
    before: dict[str, np.ndarray]
    """Loss and its terms of the base model on each adapter's held-out scenes, (k, scenes)."""
    after: dict[str, np.ndarray]
    """The same with the adapter."""
    targets: Targets
    """Of training; ``before`` and ``after`` are of true pairs whatever they were."""


def make_adapters(
    store: Path,
    base: Base,
    data: Data,
    preset: Training,
    init: Init,
    targets: Targets,
    seed: int,
    say: Callable[[str], None],
) -> Adapters:
    """Train the k adapters, or go on where an earlier run stopped, or load them if they are finished.

    Args:
        store: where the stage's folder lies.
        base: the model that is adapted.
        data: k data sets.
        preset: rank, steps, learning rate and so on.
        init: whether the k input factors are drawn independently, of each other and of those of other attributes, or are all
            the same, for every attribute.
        targets: "shuffled" trains on images with the truth of other scenes (:func:`experiments.extraction.targets.shuffled`);
            the held-out scenes keep their own.
        seed: of the factors, of the batches and of shuffled targets.
        say: gets a line when something long begins.

    Raises:
        ValueError: training diverged, or the stage's folder is damaged.
        OSError: it cannot be read or written.
    """
    maker = LoRA(adaptable(abstract_model(base.config)), preset.rank, preset.alpha)
    numbers = list(data.training)
    names = [f"{data.settings.attribute}_{number:02d}" for number in numbers]
    identity = _identity(base, data, preset, init, targets, seed)
    folder = stage_folder(store, "adapters", f"{data.settings.attribute}_{data.settings.setting}", identity)
    files = {name: folder / f"{name}.safetensors" for name in names}
    if not (folder / DONE).exists():
        say(f"training {len(names)} adapters at once, {preset.steps} steps of {preset.images} images each")
        encode = token_cache(store, base.graphdef, base.config, base.parameters) if preset.cache_tokens else None
        frozen = AdaptedBase(base.parameters, maker)
        loss = adapter_loss(base.graphdef, Objective())
        held_out = HeldOutLoss(loss, frozen, _held_out_batches(data, preset, encode))
        optimizer = make_optimizer(OptimizerSettings(preset.steps, preset.peak_rate))
        first = start(initialize(maker, first_draw(seed, init, data.settings, targets), len(names), init), optimizer)
        placement = Placement(make_mesh())
        counts = view_counts(
            preset.images,
            fewest=preset.fewest_views,
            most=preset.most_views,
            multiple=placement.mesh.shape["data"],
        )
        scenes = shuffled(data.training, seed) if targets == "shuffled" else data.training
        before = held_out(first)
        last = train(
            training_step(loss, optimizer),
            first,
            frozen,
            BatchSampler(scenes, preset.images, counts, seed, encode=encode),
            placement,
            LoopSettings(preset.steps, max(1, preset.steps // _CHECKPOINTS), max(1, preset.steps // _CHECKPOINTS)),
            folder,
            identity,
            validate=lambda state: {name: value.mean(axis=1) for name, value in held_out(state).items()},
            reporter=Reporter(bars=True),
        )
        after = held_out(last)
        about = {
            "attribute": data.settings.attribute,
            "setting": data.settings.setting,
            "init": init,
            "targets": targets,
            "seed": seed,
        }
        for i, path in enumerate(files.values()):
            deltas = maker.deltas(jax.tree.map(lambda leaf, i=i: jnp.asarray(np.asarray(leaf)[i]), last.params))
            save_adapter(path, Adapter(deltas, base.identity, maker.scale, {**about, "dataset": numbers[i]}))
        write_json(folder / DONE, {"before": _lists(before), "after": _lists(after)})
    else:
        say(f"{len(names)} trained adapters found in {folder}")
    record = read_json(folder / DONE)
    before, after = ({name: np.array(value) for name, value in record[when].items()} for when in ("before", "after"))
    adapters = {name: load_adapter(path, base.identity) for name, path in files.items()}
    return Adapters(folder, adapters, before, after, targets)


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


def _identity(base: Base, data: Data, preset: Training, init: Init, targets: Targets, seed: int) -> dict[str, Any]:
    """Everything that the adapters depend on; true targets are not named, as they were before there were others."""
    training = asdict(preset)
    settings = data.settings
    return {
        "base": {"name": base.identity.name, "fingerprint": base.identity.fingerprint},
        "data": {name: getattr(settings, name) for name in settings.__struct_fields__},
        "datasets": list(data.training),
        "scenes": [[scene.folder.name for scene in scenes] for scenes in data.training.values()],
        "preset": training,
        "init": init,
        "drawn for": "everybody" if init == "shared" else "the attribute, setting and targets",
        "seed": seed,
        **({} if targets == "true" else {"targets": targets}),
    }


def _held_out_batches(data: Data, preset: Training, encode: Encode | None) -> list[TrainingBatch]:
    """Of each held-out scene of all data sets a batch."""
    return [
        evenly_spaced([scenes[i] for scenes in data.held_out.values()], preset.held_out_views, encode)
        for i in range(preset.held_out)
    ]


def _lists(values: Mapping[str, np.ndarray]) -> dict[str, list[list[float]]]:
    return {name: value.tolist() for name, value in values.items()}


def stacked_deltas(adapters: Mapping[str, Adapter]) -> dict[str, Mapping[str, LowRank]]:
    """What :func:`experiments.mining.mine.stack_adapters` takes."""
    return {name: adapter.deltas for name, adapter in adapters.items()}
