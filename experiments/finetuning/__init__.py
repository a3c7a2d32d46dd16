"""Fine-tuning for a task: one trainer for all methods, what a method is, and the results::

    from experiments.finetuning import Settings, finetune
    from experiments.finetuning.methods.lora import LoRA

    tuned = finetune(Settings.of("nano", LoRA(rank=4), data=["runs/data/glass/dataset_00"], steps=50))
    tuned.adapter, tuned.after["loss"].mean()

:mod:`experiments.finetuning.methods` has a file for each method; :mod:`experiments.finetuning.method` says how to add one.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from experiments.finetuning.method import Method as Method
    from experiments.finetuning.methods import METHODS as METHODS
    from experiments.finetuning.pipeline import finetune as finetune
    from experiments.finetuning.run import FineTuned as FineTuned
    from experiments.finetuning.run import tune as tune
    from experiments.finetuning.settings import Settings as Settings

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "method": ["Method"],
        "methods": ["METHODS"],
        "pipeline": ["finetune"],
        "run": ["FineTuned", "tune"],
        "settings": ["Settings"],
    },
)
