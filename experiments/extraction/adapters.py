"""The second stage: k LoRA adapters, trained at once, each on its own data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.data.dataset import training_arrays
from experiments.data.files import read_json, write_json
from experiments.extraction.base import Base
from experiments.extraction.data import Data
from experiments.extraction.presets import Preset
from experiments.extraction.store import stage_folder
from experiments.extraction.targets import Targets, shuffled
from experiments.training.batch import TrainingBatch
from experiments.training.feature_cache import FeatureCache, encoder_hash, frozen_encoder
from experiments.training.loop import LoopSettings, train
from experiments.training.losses import Objective
from experiments.training.optimizer import OptimizerSettings, make_optimizer
from experiments.training.sampling import BatchSampler, Encode, view_counts
from experiments.training.sharding import Placement, make_mesh
from experiments.training.step import AdaptedBase, TrainingState, adapter_loss, start, training_step
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
    preset: Preset,
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
        init: whether the k input factors are drawn independently or all the same.
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
        encode = _encoder(base, store) if preset.cache_tokens else None
        frozen = AdaptedBase(base.parameters, maker)
        loss = adapter_loss(base.graphdef, Objective())
        held_out = _HeldOut(loss, frozen, data, preset, encode)
        optimizer = make_optimizer(OptimizerSettings(preset.steps, preset.peak_rate))
        first = start(initialize(maker, jax.random.key(seed), len(names), init), optimizer)
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


def _identity(base: Base, data: Data, preset: Preset, init: Init, targets: Targets, seed: int) -> dict[str, Any]:
    """Everything that the adapters depend on; true targets are not named, as they were before there were others."""
    training = asdict(preset)
    for name in ("weights", "datasets", "dim"):  # what "base" and data.settings say already, and the subspace's
        del training[name]
    settings = data.settings
    return {
        "base": {"name": base.identity.name, "fingerprint": base.identity.fingerprint},
        "data": {name: getattr(settings, name) for name in settings.__struct_fields__},
        "datasets": list(data.training),
        "scenes": [[scene.folder.name for scene in scenes] for scenes in data.training.values()],
        "preset": training,
        "init": init,
        "seed": seed,
        **({} if targets == "true" else {"targets": targets}),
    }


def _encoder(base: Base, store: Path) -> Encode:
    folder = store / "tokens" / encoder_hash(base.config, base.parameters)[:12]
    return FeatureCache(frozen_encoder(base.graphdef, base.parameters), folder=folder)


class _HeldOut:
    """State of training → loss and terms of every adapter on its own held-out scenes, (k, scenes)."""

    def __init__(self, loss: Any, frozen: AdaptedBase, data: Data, preset: Preset, encode: Encode | None):
        self._frozen = frozen
        self._batches = [
            _sequence([scenes[i] for scenes in data.held_out.values()], preset.held_out_views, encode)
            for i in range(preset.held_out)
        ]

        @jax.jit
        def measure(params: Any, frozen: AdaptedBase, batch: TrainingBatch) -> dict[str, jax.Array]:
            values, terms = jax.vmap(loss, in_axes=(0, None, 0))(params, frozen, batch)
            return {"loss": values, **terms}

        self._measure = measure

    def __call__(self, state: TrainingState) -> dict[str, np.ndarray]:
        params = jax.device_put(state.params, jax.devices()[0])
        each = [jax.device_get(self._measure(params, self._frozen, batch)) for batch in self._batches]
        return {name: np.stack([values[name] for values in each], axis=1) for name in each[0]}


def _sequence(scenes: list[Any], views: int, encode: Encode | None) -> TrainingBatch:
    """One sequence of evenly spaced views of each data set's scene, (k, 1, S, …)."""
    loaded = [scene.load(np.linspace(0, scene.num_views, views, endpoint=False).astype(int)) for scene in scenes]
    arrays = {name: jnp.asarray(value[:, None]) for name, value in training_arrays(loaded).items()}
    tokens = None
    if encode is not None:
        found = encode(np.concatenate([each.images for each in loaded]))
        tokens = jnp.asarray(found.reshape(len(scenes), 1, views, *found.shape[1:]))
    return TrainingBatch(**arrays, patch_tokens=tokens)


def _lists(values: Mapping[str, np.ndarray]) -> dict[str, list[list[float]]]:
    return {name: value.tolist() for name, value in values.items()}


def stacked_deltas(adapters: Mapping[str, Adapter]) -> dict[str, Mapping[str, LowRank]]:
    """What :func:`experiments.mining.mine.stack_adapters` takes."""
    return {name: adapter.deltas for name, adapter in adapters.items()}
