"""The control of trained adapters: M between the leading directions of one gradient, for which no adapter is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.finetuning.method import Option, check_positive
from experiments.finetuning.methods.psv import PSV

if TYPE_CHECKING:
    from flax import nnx

    from experiments.finetuning.trainable import Trainable
    from experiments.finetuning.training_settings import TrainingSettings
    from experiments.models import Base
    from experiments.presets import Preset


@dataclass(frozen=True, kw_only=True)
class Gradient(PSV):
    """dW = Ā M B̄ᵀ with the leading singular vectors of the loss's mean gradient at W, frozen, and as in Ours a plain LoRA.

    The gradient is that of the base model, before any step, over the first batches that training shows. What mining trained
    adapters is worth is what Ours has over this. LoRA-SB (arXiv 2411.19557) has such directions too, but its M does not start
    at zero: it starts where it approximates the first step of full fine-tuning best.
    """

    name = "gradient"
    label = "Gradient directions"
    summary = "M between the leading directions of the first gradient"
    options = PSV.options | {
        "batches": Option("training batches over whose mean the gradient is taken (16)"),
    }

    steep = True
    version = 2
    batches: int
    """Number of training batches over whose mean the gradient is taken."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(batches=self.batches)

    @classmethod
    def defaults(cls, preset: Preset) -> dict[str, Any]:
        return super().defaults(preset) | {"batches": 16}

    def trainable(self, base: Base, settings: TrainingSettings) -> Trainable:
        from experiments.finetuning.trainable import train_adapter
        from vggt_jax.parameters import adaptable_matrices

        gradient = mean_gradient(base, settings, self.matrices, self.batches)
        return train_adapter(base, self.maker(gradient, adaptable_matrices(base.config)), settings)


def mean_gradient(base: Base, settings: TrainingSettings, patterns: tuple[str, ...], batches: int) -> nnx.State:
    """The gradient of the objective in the parameters of the matrices that match, mean over the first training batches.

    Raises:
        InputError: patterns that match nothing, unusable data.
        OSError: data that cannot be read.
    """
    import jax
    import jax.numpy as jnp

    from experiments.finetuning.data import read_data
    from experiments.finetuning.methods.full import full_loss, split
    from experiments.training.division import Division
    from experiments.training.sampling import BatchSampler, view_counts

    scenes = read_data(settings.data, settings.held_out).training
    counts = view_counts(settings.images, fewest=settings.fewest_views, most=settings.most_views)
    sampler = BatchSampler({0: scenes}, settings.images, counts, settings.seed)
    parameters, frozen = split(base.parameters, patterns)
    loss = Division(settings.plan.accumulate).of(full_loss(base.graphdef, settings.objective))
    gradient_of = jax.jit(jax.grad(loss, has_aux=True))
    total = jax.tree.map(jnp.zeros_like, parameters)
    for step in range(batches):
        batch = jax.tree.map(lambda leaf: leaf[0], sampler(step))
        found, _ = gradient_of(parameters, frozen, batch)
        total = jax.tree.map(jnp.add, total, found)
    return jax.tree.map(lambda leaf: leaf / batches, total)
