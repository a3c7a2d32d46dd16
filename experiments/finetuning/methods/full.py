"""Full fine-tuning: the parameters themselves are trained, with the rest of the model frozen."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.finetuning.files import MODEL
from experiments.finetuning.method import Method
from vggt_jax.patterns import ADAPTABLE_PARTS, matching

if TYPE_CHECKING:
    from flax import nnx

    from experiments.finetuning.trainable import Trainable
    from experiments.finetuning.training_settings import TrainingSettings
    from experiments.models import Base
    from experiments.training.loss_function import LossFunction, Seen
    from experiments.training.losses import Objective
    from vggt_jax import VGGTConfig
    from vggt_jax.parameters import ParameterCount


@dataclass(frozen=True, kw_only=True)
class Full(Method):
    """All parameters of aggregator blocks, camera and depth head, or of those whose path or layer ``matrices`` match.

    What is written is a model, with the base's sizes and the heads that were trained.
    """

    name = "full"
    label = "Full"
    summary = "all parameters of blocks and heads"
    size = None
    symbol = ""
    result = MODEL

    def count(self, config: VGGTConfig) -> ParameterCount:
        from vggt_jax.parameters import by_part, parameter_shapes

        shapes = parameter_shapes(config)
        return by_part({name: prod(shapes[name]) for name in _chosen(shapes, self.matrices)})

    def trainable(self, base: Base, settings: TrainingSettings) -> Trainable:
        import jax

        from experiments.finetuning.trainable import Trainable
        from experiments.training.optimizer import make_optimizer

        trained, frozen = split(base.parameters, self.matrices)
        loss = full_loss(base.graphdef, settings.objective)
        return Trainable(
            params=jax.tree.map(lambda leaf: leaf[None], trained),
            frozen=frozen,
            loss=loss,
            measured=loss,
            optimizer=make_optimizer(settings.optimizer),
            count=self.count(base.config),
            write=_writer(base.config, frozen),
        )


def split(base: nnx.State, patterns: Sequence[str]) -> tuple[nnx.State, nnx.State]:
    """(trained, frozen) parameters: trained are those that may be and of which a pattern matches the path or the layer's.

    Raises InputError for a pattern that matches none.
    """
    from flax import nnx

    from vggt_jax.deltas import dotted

    flat = list(nnx.to_flat_state(base))
    names = [dotted(keys) for keys, _ in flat]
    chosen = _chosen(names, patterns)
    trained, frozen = (
        nnx.from_flat_state([leaf for name, leaf in zip(names, flat, strict=True) if (name in chosen) is wanted])
        for wanted in (True, False)
    )
    return trained, frozen


def _chosen(names: Iterable[str], patterns: Sequence[str]) -> set[str]:
    parts = tuple(part + "." for part in ADAPTABLE_PARTS)
    spellings = {name: (name, name.rpartition(".")[0]) for name in names if name.startswith(parts)}
    return matching(spellings, patterns, "parameter to fine-tune")


def joined(trained: nnx.State, frozen: nnx.State) -> nnx.State:
    """The inverse of :func:`split`."""
    from flax import nnx

    return nnx.from_flat_state([*nnx.to_flat_state(trained), *nnx.to_flat_state(frozen)])


def full_loss(graphdef: nnx.GraphDef, objective: Objective) -> LossFunction:
    """The objective of the model that trained and frozen parameters make together."""
    from flax import nnx

    from experiments.training.loss_function import LossFunction, judged_by, sequence_axes

    def predict(params: nnx.State, frozen: nnx.State, seen: Seen) -> Any:
        return nnx.merge(graphdef, joined(params, frozen))(seen.images, patch_tokens=seen.patch_tokens)

    return LossFunction(predict, judged_by(objective), sequence_axes)


def _writer(config: VGGTConfig, frozen: nnx.State) -> Callable[[Path, nnx.State, Mapping[str, Any]], Path]:
    import numpy as np
    from flax import nnx

    from experiments.storage.files import new_folder
    from vggt_jax.deltas import dotted
    from vggt_jax.reading.safetensors_file import write_safetensors
    from weights_convert.convert import WEIGHTS
    from weights_convert.sources import CONFIG

    def write(folder: Path, params: nnx.State, about: Mapping[str, Any]) -> Path:
        parts = (nnx.to_flat_state(part) for part in (params, frozen))
        weights = {dotted(keys): np.asarray(leaf[...]) for part in parts for keys, leaf in part}
        plain = replace(config, dtype="float32", head_dtype="float32", remat=False, keep_attention=True).to_dict()
        with new_folder(folder / MODEL) as made:
            write_safetensors(made / WEIGHTS, weights)
            (made / CONFIG).write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
            (made / "about.json").write_text(json.dumps(dict(about), indent=2) + "\n", encoding="utf-8")
        return folder / MODEL

    return write
