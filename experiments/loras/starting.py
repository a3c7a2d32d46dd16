"""A PEFT folder that begins in a mined subspace, for training in PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save

from experiments.mining.folder import MinedAttribute
from subspace import Basis, LowRank
from subspace.errors import InputError
from weights_convert.lora_file import LoraFile
from weights_convert.lora_write import write_lora

BASES, SCRIPT = "bases.safetensors", "train_inside.py"
_SCRIPT = '''"""Trains dW = U M V^T inside a mined subspace: M alone, in a PEFT model.

    model = PeftModel.from_pretrained(base, FOLDER, is_trainable=True)
    inside(model, FOLDER)
    ...                            # any training loop or Trainer
    finish(model)                  # an ordinary LoRA again
    model.save_pretrained("trained")
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.nn.utils import parametrize


class Inside(torch.nn.Module):
    """lora_B = U M; lora_A is V^T and stays."""

    def __init__(self, outputs, shape):
        super().__init__()
        self.register_buffer("outputs", outputs)
        self.shape = shape

    def forward(self, M):
        return (self.outputs @ M).reshape(self.shape)

    def right_inverse(self, lora_B):
        return self.outputs.T @ lora_B.flatten(1)


def inside(model, folder, adapter="default"):
    """Freeze everything but the M of each matrix."""
    bases = load_file(Path(folder) / "bases.safetensors")
    model.requires_grad_(False)
    for name, module in list(model.named_modules()):
        outputs = bases.get(name.removeprefix("base_model.model."))
        if outputs is None or not hasattr(module, "lora_B"):
            continue
        up = module.lora_B[adapter]
        inner = Inside(outputs.to(up.weight), up.weight.shape)
        parametrize.register_parametrization(up, "weight", inner)
        up.parametrizations.weight.original.requires_grad_(True)


def finish(model):
    """Put U M in the place of M."""
    for module in model.modules():
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
'''


def write_start(folder: Path, subspace: MinedAttribute, example: LoraFile) -> int:
    """Write the folder, with the bases of the outputs and a file of Python that trains M inside them.

    PEFT's ``lora_A`` is V̄ᵀ, and ``lora_B`` = Ū M is zero, so that nothing changes until training begins.

    Args:
        folder: new.
        subspace: what was mined.
        example: a LoRA of the same model, which says what the matrices are.

    Returns:
        How many numbers M has in all matrices.

    Raises:
        InputError: a matrix that the example does not have, or embeddings.
        FileExistsError: the folder exists.
    """
    updates, outputs, modules, count = {}, {}, {}, 0
    for path, factors in subspace.factors.items():
        module = example.modules.get(path)
        if module is None or module.size != factors.shape or module.kind != "matrix":
            raise InputError(f"{example.path} has no linear map {path} of {factors.shape}: it is no LoRA of this model")
        basis = Basis.of_canonical(factors.to_numpy(np.float64)).narrowed()
        width = max(basis.A.shape[1], basis.B.shape[1])
        outputs[path] = np.ascontiguousarray(basis.A, np.float32)
        updates[path] = LowRank(np.zeros((factors.shape[0], width), np.float32), np.asarray(basis.B, np.float32))
        modules[path] = module.plain
        count += basis.A.shape[1] * basis.B.shape[1]
    beside = {BASES: save(outputs), SCRIPT: _SCRIPT.encode()}
    write_lora(folder, updates, modules, base=example.base, beside=beside, may_be_zero=True)
    return count
