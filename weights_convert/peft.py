"""PEFT's folders of LoRAs and DoRAs (``adapter_config.json`` and ``adapter_model.safetensors``) in and out.

A LoRA that was trained in PyTorch on the official VGGT becomes updates of this project's model, and any update of that
model becomes a LoRA for the official one. In PEFT's names dW = scale · lora_B · lora_A, so A is ``scale · lora_B`` and B
is ``lora_Aᵀ``; of a convolution, ``lora_A`` holds r filters (r, Cin, kh, kw) and ``lora_B`` is (Cout, r, 1, 1).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from math import prod
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from safetensors.numpy import save

from subspace import LowRank
from subspace.errors import InputError
from vggt_jax.atomic import write_new
from vggt_jax.config import VGGTConfig
from vggt_jax.deltas import Deltas, Update, WeightDecomposed, low_rank_only
from vggt_jax.parameters import parameter_shapes
from vggt_jax.reading.safetensors_file import SafetensorsFile, Shape
from weights_convert.names import CONV, LINEAR, OFFICIAL
from weights_convert.peft_base import WEIGHTS, metadata_of
from weights_convert.peft_config import CONFIG, PeftConfig
from weights_convert.table import report

if TYPE_CHECKING:
    from vggt_jax.adapters import BaseModel

_SMALLEST, _LARGEST = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
_PREFIX = "base_model.model."
_NAME = re.compile(r"base_model\.model\.(.+)\.(?:lora_([AB])\.weight|lora_(magnitude)_vector)")


class Module(NamedTuple):
    """A Linear or Conv2d of the official model: its place in this project's, and its weight's shape in PyTorch."""

    path: str
    layer: int | None
    weight: Shape


def read_peft(folder: str | PathLike[str], config: VGGTConfig | None = None) -> dict[str, LowRank]:
    """The low-rank updates in a folder that PEFT's ``save_pretrained`` wrote: those of a LoRA.

    Arguments and errors are those of :func:`read_peft_deltas`. Raises InputError for a DoRA as well, whose updates are of no
    low rank.
    """
    return low_rank_only(read_peft_deltas(folder, config), fspath(folder))


def read_peft_deltas(folder: str | PathLike[str], config: VGGTConfig | None = None) -> dict[str, Update]:
    """The updates in a folder that PEFT's ``save_pretrained`` wrote, scale included, in float32.

    A LoRA's are low-rank, a DoRA's weight-decomposed.

    Args:
        folder: holds ``adapter_config.json`` and ``adapter_model.safetensors``.
        config: the VGGT that it was trained on. The updates come under this project's paths, stacked over layers: smaller
            ranks are padded with zero columns, layers without a LoRA are zero. Encoder, point head and track head are
            read as well, which ``merge`` takes, but the model itself does not. None for any other model: one update
            (n, r), (m, r) for each module, under the module's own name.

    Raises:
        InputError: a file that is corrupt or of another kind; another method than LoRA and DoRA, or options that do
            more than to add scale · lora_B · lora_A to weights (trained biases, ``modules_to_save``, …); modules that the
            model does not have, tensors that are missing, unexpected or wrongly shaped (all of them in one message); a DoRA
            of some layers of a stack only, since the others would need the lengths of the base's rows.
        OSError: a file that is missing or cannot be read.
    """
    folder = Path(folder)
    settings = PeftConfig.read(folder / CONFIG)
    file = SafetensorsFile(folder / WEIGHTS)
    modules = None if config is None else official_modules(config)
    updates: dict[str, Update] = {}
    for module in _checked_modules(file, settings, modules):
        lora_A, lora_B = (file.read(_tensor(module, side)).astype(np.float32) for side in "AB")
        A = np.float32(settings.scale(module)) * lora_B.reshape(lora_B.shape[:2])
        update = LowRank(jnp.asarray(A), jnp.asarray(lora_A.reshape(len(lora_A), -1).T))
        updates[module] = update
        if settings.use_dora:
            magnitude = file.read(_magnitude(module)).astype(np.float32).reshape(-1)
            updates[module] = WeightDecomposed(update, jnp.asarray(magnitude))
    if modules is None:
        return updates
    if settings.use_dora:
        _check_whole_stacks(file, updates, modules)
    return _stack(updates, modules)


def write_peft(
    folder: str | PathLike[str],
    deltas: Deltas,
    config: VGGTConfig,
    *,
    scale: float = 1.0,
    base: BaseModel | None = None,
) -> None:
    """Writes updates of a VGGT as a LoRA that PEFT loads into the official model; the folder must be new.

    Every layer gets its own rank: columns that are zero in A and B are left out, and so are layers without any other.
    ``scale`` is the factor that each A contains (see :class:`vggt_jax.adapters.Adapter`): PEFT's ``lora_alpha`` is
    scale · r and ``lora_B`` is A / scale. Weight-decomposed updates become PEFT's DoRA, which every layer then has.
    Tensors are float32. Where ``base`` is given, the file knows its model, and ``evaluate`` and ``extract`` refuse others.

    Raises:
        InputError: paths that the model does not have, factors that do not fit, are all zero (a fresh LoRA's are not) or
            not finite in float32 once A is divided by the scale, updates of which some are weight-decomposed and others
            are not, a scale that is no positive number in float32.
        FileExistsError: the folder exists.
        OSError: the disk is full or cannot be written.
    """
    if not _SMALLEST <= scale <= _LARGEST:
        raise InputError(f"scale must be positive, and a number in float32, got {scale}")
    modules = official_modules(config)
    if problems := misfits({path: delta.shape for path, delta in deltas.items()}, modules):
        raise InputError(report(problems, "deltas do not fit the model"))
    kinds = {isinstance(delta, WeightDecomposed) for delta in deltas.values()}
    if len(kinds) > 1:
        raise InputError("deltas: PEFT has weight-decomposed updates (DoRA) in all modules or in none")
    tensors: dict[str, np.ndarray] = {}
    ranks: dict[str, int] = {}
    for name, (path, layer, weight) in modules.items():
        if path not in deltas:
            continue
        update = deltas[path] if layer is None else jax.tree.map(lambda leaf, i=layer: leaf[i], deltas[path])
        if isinstance(update, WeightDecomposed):
            shape = _magnitude_shape(weight)
            tensors[_magnitude(name)] = np.asarray(update.magnitude, np.float32).reshape(shape)
        low_rank = update.direction if isinstance(update, WeightDecomposed) else update
        with np.errstate(over="ignore"):
            A, B = np.asarray(low_rank.A, np.float32) / np.float32(scale), np.asarray(low_rank.B, np.float32)
        used = (A != 0).any(0) | (B != 0).any(0)
        used[0] |= isinstance(update, WeightDecomposed)  # whose rows may change in length alone
        if rank := int(used.sum()):
            ranks[name] = rank
            tensors[_tensor(name, "A")] = B[:, used].T.reshape(rank, *weight[1:])
            tensors[_tensor(name, "B")] = A[:, used].reshape(weight[0], rank, *(1,) * len(weight[2:]))
    if not ranks:
        raise InputError("deltas: all of them are zero, there is nothing to write")
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise InputError(f"deltas: {name} would have NaN or infinity in float32, nothing was written")
    text = PeftConfig.of(ranks, scale, use_dora=True in kinds).to_json(list(ranks))
    contiguous = {
        name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()
    }  # save takes the bytes as they lie
    content = {WEIGHTS: save(contiguous, {"format": "pt", **metadata_of(base)}), CONFIG: text.encode()}
    write_new(Path(folder), content)


def _tensor(module: str, side: str) -> str:
    """The name of ``lora_A`` or ``lora_B`` of a module in PEFT's file."""
    return f"{_PREFIX}{module}.lora_{side}.weight"


def _magnitude(module: str) -> str:
    """The name of the lengths of a module's rows in PEFT's file."""
    return f"{_PREFIX}{module}.lora_magnitude_vector"


def _magnitude_shape(weight: Shape) -> Shape:
    return (1, weight[0], 1, 1) if weight[2:] else weight[:1]


def stack_official(updates: Mapping[str, LowRank], config: VGGTConfig, source: Path) -> dict[str, LowRank]:
    """Updates of modules of the official VGGT under this project's paths, stacked over layers as :func:`read_peft` does.

    Raises InputError that names ``source``, for modules that this VGGT does not have or has in another size.
    """
    modules = official_modules(config)
    problems = [f"unknown module: {name}" for name in updates if name not in modules]
    for name, update in updates.items():
        if name in modules and update.shape != (size := (modules[name].weight[0], prod(modules[name].weight[1:]))):
            problems.append(f"wrong shape: {name} has dW {update.shape}, the model needs {size}")
    if problems:
        raise InputError(f"{source}: {report(problems, 'this is no LoRA of that VGGT')}")
    return low_rank_only(_stack(updates, modules), str(source))


def official_modules(config: VGGTConfig) -> dict[str, Module]:
    """Every Linear and Conv2d by its official name."""
    kernels = {path: shape for path, shape in parameter_shapes(config).items() if path.endswith(".kernel")}
    return {
        name.removesuffix(".weight"): Module(
            piece.path.removesuffix(".kernel"), piece.layer, piece.source_shape(kernels[piece.path])
        )
        for name, piece in OFFICIAL.names(kernels).items()
        if name.endswith(".weight") and piece.transform in (LINEAR, CONV)
    }


def misfits(shapes: Mapping[str, Shape], modules: Mapping[str, Module]) -> list[str]:
    """Every path that the model does not have and every shape of an update, layers first, that it has otherwise, in words."""
    depths = Counter(module.path for module in modules.values() if module.layer is not None)
    known = {
        path: (*((depths[path],) if layer is not None else ()), weight[0], prod(weight[1:]))
        for path, layer, weight in modules.values()
    }
    problems = [f"unknown path: {path}" for path in shapes if path not in known]
    return problems + [
        f"wrong shape: {path} has dW {shape}, the model needs {known[path]}"
        for path, shape in shapes.items()
        if path in known and shape != known[path]
    ]


def _checked_modules(file: SafetensorsFile, settings: PeftConfig, modules: Mapping[str, Module] | None) -> list[str]:
    """The names of the modules in ``file``, once every tensor of them is known to be right."""
    problems = [f"given twice: {name}" for name in file.repeated]
    found: defaultdict[str, dict[str, Shape]] = defaultdict(dict)
    for name, tensor in file.tensors.items():
        match = _NAME.fullmatch(name)
        if match is not None and (match[2] or settings.use_dora):
            found[match[1]][match[2] or match[3]] = tensor.shape
        else:
            problems.append(f"unexpected: {name} {tensor.shape}")
    needed: dict[str, Callable[[str], str]] = {side: partial(_tensor, side=side) for side in "AB"}
    if settings.use_dora:
        needed["magnitude"] = _magnitude
    for module, shapes in found.items():
        if modules is not None and module not in modules:
            problems.append(f"unknown module: {module}")
        elif absent := needed.keys() - shapes.keys():
            problems += [f"missing: {needed[part](module)}" for part in sorted(absent)]
        else:
            rank = settings.rank(module)
            outputs = shapes["B"][0] if shapes["B"] else 0
            weight = (outputs, *shapes["A"][1:]) if modules is None else modules[module].weight
            right = {
                "A": (rank, *weight[1:]),
                "B": (weight[0], rank, *(1,) * len(weight[2:])),
                "magnitude": _magnitude_shape(weight),
            }
            problems += [
                f"wrong shape: {name(module)} {shapes[part]}, rank {rank} needs {right[part]}"
                for part, name in needed.items()
                if shapes[part] != right[part]
            ]
    if problems or not found:
        raise InputError(f"{file.path}: {report(problems, 'the LoRA cannot be read') if problems else 'holds no LoRA'}")
    return list(found)


def _check_whole_stacks(file: SafetensorsFile, updates: Mapping[str, Update], modules: Mapping[str, Module]) -> None:
    """Raises InputError that lists the layers that a stack of weight-decomposed updates lacks."""
    touched = {modules[name].path for name in updates}
    if absent := [name for name, module in modules.items() if module.path in touched and name not in updates]:
        problems = [f"missing: {name}" for name in absent]
        raise InputError(f"{file.path}: {report(problems, 'a DoRA can be read if it is on all layers of a stack')}")


def _stack(updates: Mapping[str, Update], modules: Mapping[str, Module]) -> dict[str, Update]:
    """The updates by path, those of a stack with zeros in the place of missing layers and columns."""
    by_path: defaultdict[str, dict[int | None, Update]] = defaultdict(dict)
    for name, update in updates.items():
        by_path[modules[name].path][modules[name].layer] = update
    depths = Counter(module.path for module in modules.values())
    return {
        path: layers[None] if None in layers else _stacked(layers, depths[path]) for path, layers in by_path.items()
    }


def _stacked(layers: Mapping[int | None, Update], depth: int) -> Update:
    low_rank = {i: layer.direction if isinstance(layer, WeightDecomposed) else layer for i, layer in layers.items()}
    stack = LowRank(*(_padded(low_rank, depth, side) for side in "AB"))
    magnitudes = {i: layer.magnitude for i, layer in layers.items() if isinstance(layer, WeightDecomposed)}
    if not magnitudes:
        return stack
    return WeightDecomposed(stack, jnp.stack([magnitudes[i] for i in range(depth)]))


def _padded(layers: Mapping[int | None, LowRank], depth: int, side: str) -> Array:
    factors = {layer: getattr(update, side) for layer, update in layers.items()}
    rank = max(factor.shape[1] for factor in factors.values())
    stack = np.zeros((depth, len(next(iter(factors.values()))), rank), np.float32)
    for layer, factor in factors.items():
        stack[layer, :, : factor.shape[1]] = factor
    return jnp.asarray(stack)
