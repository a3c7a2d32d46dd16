"""Training a small VGGT from scratch: data in memory, helper losses, stages, evaluation, model card::

from experiments.pretraining import Settings, pretrain

model = pretrain(Settings(data=(Path("runs/data/wide/dataset_00"),), length=0.1))
model.folder, model.evaluations
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from experiments.pretraining.pipeline import PretrainedModel as PretrainedModel
    from experiments.pretraining.pipeline import pretrain as pretrain
    from experiments.pretraining.settings import Settings as Settings

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"pipeline": ["PretrainedModel", "pretrain"], "settings": ["Settings"]}
)
