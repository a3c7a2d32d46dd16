"""LoRAs of any model, written as PEFT, diffusers or kohya's scripts keep them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from safetensors.numpy import save

from subspace import LowRank
from subspace.errors import InputError
from vggt_jax.atomic import write_new
from weights_convert.lora_file import LoraModule
from weights_convert.peft_base import WEIGHTS
from weights_convert.peft_config import CONFIG, PeftConfig

Target = Literal["peft", "diffusers", "kohya"]
TARGETS: tuple[Target, ...] = get_args(Target)
CARD = "README.md"
_OUT_PROJ = ".out_proj"
_KOHYA_PARTS = {
    "unet": "lora_unet",
    "text_encoder": "lora_te",
    "text_encoder_2": "lora_te2",
    "transformer": "lora_unet",
}


def cannot_hold(modules: Mapping[str, LoraModule], to: Target) -> list[str]:
    """Matrices that the layout has no place for, each with the reason."""
    reasons = []
    for name, module in modules.items():
        if module.kind == "expert":
            reasons.append(f"{name} (one of several experts)")
        elif module.kind == "embedding" and to != "peft":
            reasons.append(f"{name} (an embedding)")
        elif "." not in name and name.startswith("lora_") and to != "kohya":
            reasons.append(f"{name} (kohya's spelling, which does not tell dots from underscores)")
    if to == "kohya":
        spelled: dict[str, str] = {}
        for name in modules:
            other = spelled.setdefault(_kohya_name(name), name)
            if other != name:
                reasons.append(f"{name} beside {other} (kohya's spelling, {_kohya_name(name)}, is the same)")
    return reasons


def peft_names(modules: Mapping[str, LoraModule]) -> dict[str, str]:
    """What PEFT calls the matrices.

    It has one adapter for the two matrices of an ``nn.MultiheadAttention``: ``x``, which is queries, keys and values, and
    ``x.base_layer.out_proj``, which is no target of its own. No other module has both a weight and an ``out_proj`` in it.
    """
    found = {}
    for name, module in modules.items():
        outer = name.removesuffix(_OUT_PROJ)
        own, whole = module.weight, modules[outer].weight if outer in modules else ()
        is_inner = outer != name and len(own) == 2 and whole == (3 * own[1], own[1])
        found[name] = f"{outer}.base_layer{_OUT_PROJ}" if is_inner else name
    return found


def write_lora(
    path: Path,
    updates: Mapping[str, LowRank],
    modules: Mapping[str, LoraModule],
    *,
    to: Target = "peft",
    base: str | None = None,
    card: str | None = None,
    beside: Mapping[str, bytes] | None = None,
    may_be_zero: bool = False,
    dtype: np.dtype | type = np.float32,
) -> None:
    """Write updates so that PEFT (a folder), diffusers or kohya's scripts (a file) load them; the place must be new.

    Scales are kept: up is A / scale, and alpha is scale · rank.

    Args:
        path: the new folder, or the new file, whose name alone ends in ``.safetensors``.
        updates: matrix → its update, scale included.
        modules: matrix → what it is, of which ``rank`` is not read.
        to: the layout.
        base: name of the base model, for PEFT's settings.
        card: text of the model card, written into a folder.
        beside: name → content of further files of a folder.
        may_be_zero: write updates that are all zero, too.
        dtype: of the tensors.

    Raises:
        InputError: NaN, infinity, numbers that ``dtype`` cannot hold, updates that are all zero, matrices that the layout
            cannot hold, or a file's name that ends otherwise.
        FileExistsError: something is there.
        OSError: it cannot be written.
    """
    check_name(path, to)
    if impossible := cannot_hold({name: modules[name] for name in updates}, to):
        raise InputError(f"{to} cannot hold {', '.join(impossible[:3])}{' …' if len(impossible) > 3 else ''}")
    tensors: dict[str, np.ndarray] = {}
    modules = {name: modules[name] for name in updates}
    called = {name: name for name in updates}
    if to == "peft":
        called = peft_names(modules)
        updates, modules = _of_one_adapter(updates, modules, called)
    for name, update in updates.items():
        if not (np.isfinite(update.A).all() and np.isfinite(update.B).all()):
            raise InputError(f"{name} has NaN or infinity: nothing was written")
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            own = _tensors(called[name], update, modules[name], to, dtype)
        if not all(np.isfinite(tensor).all() for tensor in own.values()):
            raise InputError(f"{name} has numbers that {np.dtype(dtype)} cannot hold: nothing was written")
        tensors |= own
    if not may_be_zero and not any(np.any(update.A) and np.any(update.B) for update in updates.values()):
        raise InputError("all updates are zero, there is nothing to write")
    stored = save({name: np.ascontiguousarray(x) for name, x in tensors.items()}, {"format": "pt"})
    if to != "peft":
        write_new(path, stored)
        return
    targets = [name for name in updates if called[name] == name]
    ranks, scales = {name: updates[name].rank for name in targets}, {name: modules[name].scale for name in targets}
    config = PeftConfig.of_modules(ranks, scales, base).to_json(targets)
    described = {CARD: card.encode()} if card else {}
    write_new(path, {WEIGHTS: stored, CONFIG: config.encode(), **described, **(beside or {})})


def check_name(path: Path, to: str) -> None:
    """Raises InputError unless the layout can lie at ``path``: programs tell a file from a folder by the ending of its name."""
    if to == "peft":
        if path.suffix == ".safetensors":
            raise InputError(
                f"{path}: the layout peft is a folder, whose name must not end in .safetensors; diffusers and kohya are files",
                argument="output",
            )
    elif path.suffix != ".safetensors" or path.is_dir():
        raise InputError(f"{path}: the layout {to} is one file, whose name must end in .safetensors", argument="output")


def _of_one_adapter(
    updates: Mapping[str, LowRank], modules: Mapping[str, LoraModule], called: Mapping[str, str]
) -> tuple[dict[str, LowRank], dict[str, LoraModule]]:
    """The two matrices of an attention with one rank and one scale, as PEFT has them; the others as they are."""
    found, described = dict(updates), dict(modules)
    for inner in (name for name in updates if called[name] != name):
        outer = inner.removesuffix(_OUT_PROJ)
        rank = max(updates[inner].rank, updates[outer].rank)
        found |= {name: updates[name].widened(rank) for name in (outer, inner)}
        described[inner] = replace(modules[inner], scale=modules[outer].scale)
    return found, described


def _tensors(
    name: str, update: LowRank, module: LoraModule, to: Target, dtype: np.dtype | type
) -> dict[str, np.ndarray]:
    rank, (outputs, *inputs) = update.rank, module.weight
    up, down = np.asarray(update.A / module.scale, dtype), np.asarray(update.B.T, dtype)
    if module.kind == "embedding":
        prefix = f"base_model.model.{name}.lora_embedding_"
        return {f"{prefix}A": up.T, f"{prefix}B": down.T}
    shaped = up.reshape(outputs, rank, *(1,) * (len(inputs) - 1)), down.reshape(rank, *inputs)
    if to == "kohya":
        plain = _kohya_name(name)
        alpha = np.asarray(module.scale * rank, np.float32)
        return {f"{plain}.lora_up.weight": shaped[0], f"{plain}.lora_down.weight": shaped[1], f"{plain}.alpha": alpha}
    prefix = f"base_model.model.{name}" if to == "peft" else name
    found = {f"{prefix}.lora_A.weight": shaped[1], f"{prefix}.lora_B.weight": shaped[0]}
    return found if to == "peft" else {**found, f"{name}.alpha": np.asarray(module.scale * rank, np.float32)}


def _kohya_name(name: str) -> str:
    if "." not in name and name.startswith("lora_"):  # spelled so already
        return name
    part, _, rest = name.partition(".")
    known = _KOHYA_PARTS.get(part)
    return f"{known}_{rest.replace('.', '_')}" if known else f"lora_{name.replace('.', '_')}"
