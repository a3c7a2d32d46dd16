"""What the user of ``experiments.finetune`` asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from experiments.mining.union import Allocation
from experiments.presets import PRESETS, PresetName, Training
from subspace.errors import InputError
from vggt_jax.parameters import Method

METHODS: tuple[Method, ...] = get_args(Method)
_WITH_RANK: tuple[Method, ...] = ("lora", "pissa", "adalora")
_WITH_M: tuple[Method, ...] = ("psv", "subspace")
HEADS = ("camera_head.*", "depth_head.*")
"""Where the paper keeps a plain LoRA beside the M."""
_TRAINING = ("steps", "images", "fewest_views", "most_views", "peak_rate", "dtype", "held_out", "held_out_views")
"""Fields of the preset that every method's result depends on."""


@dataclass(frozen=True)
class Choice:
    """The command's flags, checked against each other, with the defaults that hang on other flags filled in."""

    method: Method
    preset_name: PresetName
    preset: Training
    """The training of that preset, with the changes that were asked for."""
    weights: str
    data: tuple[Path, ...]
    subspaces: tuple[Path, ...]
    """Folders of ``experiments.extract``, one for each attribute; of ``subspace`` only."""
    dim: int | None
    """d of each attribute (None: all that was mined) for ``subspace``, D for ``psv``."""
    allocation: Allocation
    target_rank: int | None
    """Mean rank that AdaLoRA ends with."""
    matrices: tuple[str, ...]
    """Patterns of the matrices that the method changes; of ``full``, of the parameters."""
    plain: tuple[str, ...]
    """Patterns of the matrices that get a plain LoRA as well, beside M; none for other methods."""
    seed: int
    store: Path

    @property
    def settings(self) -> dict[str, Any]:
        """What the result depends on besides base model, data and subspaces, as JSON can hold it."""
        found: dict[str, Any] = {
            "method": self.method,
            "seed": self.seed,
            "matrices": list(self.matrices),
            **{name: getattr(self.preset, name) for name in _TRAINING},
        }
        if self.method in _WITH_RANK or self.plain:
            found |= {"rank": self.preset.rank, "alpha": self.preset.alpha}
        if self.method == "adalora":
            found["target_rank"] = self.target_rank
        if self.method in _WITH_M:
            found |= {"dim": self.dim, "plain": list(self.plain)}
        if self.method == "subspace":
            found["allocation"] = self.allocation
        return found

    @property
    def default_output(self) -> Path:
        """Where the results lie if nothing else is said: below the store, replaced by the next run of the method."""
        return self.store / "finetune" / f"{self.method}_{self.preset_name}"


def choose(
    *,
    method: Method,
    data: Sequence[str],
    preset: PresetName = "nano",
    weights: str | None = None,
    subspaces: Sequence[str] | None = None,
    rank: int | None = None,
    target_rank: int | None = None,
    dim: int | None = None,
    allocation: Allocation | None = None,
    matrices: Sequence[str] | None = None,
    plain: Sequence[str] | None = None,
    steps: int | None = None,
    peak_rate: float | None = None,
    held_out: int | None = None,
    seed: int = 0,
    store: str = "runs",
) -> Choice:
    """The command's flags of the same names as one value; None stands for the preset's or the method's own.

    Raises ValueError for flags that are missing or have no meaning for the method, and for a target above the rank.
    """
    original = PRESETS[preset]
    wanted = {"rank": rank, "steps": steps, "peak_rate": peak_rate, "held_out": held_out}
    changes: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    if rank is not None:
        changes["alpha"] = float(rank)
    chosen = replace(original.training, **changes)
    if not data:
        raise InputError("--data: name at least one data set, a folder with a manifest.json")
    _refuse(method, ("subspace",), subspaces=subspaces, allocation=allocation)
    _refuse(method, _WITH_M, dim=dim, plain=plain)
    _refuse(method, ("adalora",), target_rank=target_rank)
    if method == "subspace" and not subspaces:
        raise InputError("--subspaces: name at least one folder that experiments.extract wrote")
    if method in _WITH_M:
        plain = HEADS if plain is None else [pattern for pattern in plain if pattern]
    if rank is not None and method not in _WITH_RANK and not plain:
        raise InputError(f"--rank has no meaning for --method={method}" + " without --plain" * (method in _WITH_M))
    if method == "psv" and dim is None:
        dim = len(("texture", "geometry", "camera", "lighting")) * original.extraction.dim
    if method == "adalora":
        target_rank = max(1, round(2 / 3 * chosen.rank)) if target_rank is None else target_rank
        if target_rank > chosen.rank:
            raise InputError(f"--target_rank={target_rank} is larger than the rank {chosen.rank} to begin with")
    return Choice(
        method=method,
        preset_name=preset,
        preset=chosen,
        weights=original.weights if weights is None else weights,
        data=tuple(map(Path, data)),
        subspaces=tuple(map(Path, subspaces or ())),
        dim=dim,
        allocation=allocation or "uniform",
        target_rank=target_rank,
        matrices=("*",) if matrices is None else tuple(matrices),
        plain=tuple(plain or ()),
        seed=seed,
        store=Path(store),
    )


def _refuse(method: Method, methods: Sequence[Method], **given: Any) -> None:
    for name, value in given.items():
        if value is not None and method not in methods:
            raise InputError(f"--{name} has no meaning for --method={method}, only for {', '.join(methods)}")
