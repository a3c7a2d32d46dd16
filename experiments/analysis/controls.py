"""Where do the drop and the overlap come from? The same attributes under other conditions.

A drop of C's spectrum at r may only mirror a random input factor that all adapters started from, and an overlap the
directions that training prefers whatever its targets. A *control* is another output of ``experiments.extract`` for an
attribute under study: with the input factors drawn otherwise, with targets of other scenes (``shuffled``), or another seed.
What remains under a control is not the attribute's.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.analysis.angles import Angles
from experiments.analysis.matrices import Matrix, over_matrices
from experiments.analysis.overlap import SIDES, eigenvalues_of_pairs, overlap_of
from experiments.analysis.specificity import captured_shares, energy
from experiments.mining.folder import Inputs, MinedAttribute, check_comparable, read_folder
from subspace import spectral_pattern
from subspace.angles import Side
from subspace.errors import InputError

Controls = dict[str, dict[str, MinedAttribute]]
"""Condition → attribute → folder."""


@dataclass(frozen=True, eq=False)
class ControlOf:
    """One control beside the run of the same attribute that is under study."""

    attribute: str
    condition: str
    mined: MinedAttribute
    drops: np.ndarray
    """(matrices, 2): size of the drop of C's first spectrum at r in decades, 0 without one; of the run and the control."""
    with_main: dict[Side, np.ndarray]
    """(matrices,): overlap (mean squared cosine) of the control's subspace with the run's."""
    captured: np.ndarray | None
    """(k,): share of the energy of the run's adapters inside the control's subspace on both sides; None without adapters."""


@dataclass(frozen=True, eq=False)
class ConditionOverlap:
    """Overlap of attributes with each other under one condition; arrays (matrices, pairs)."""

    pairs: list[tuple[str, str]]
    controls: dict[Side, np.ndarray]
    main: dict[Side, np.ndarray]
    """Of the same pairs in the runs under study."""


@dataclass(frozen=True, eq=False)
class ControlNumbers:
    """What :func:`measure_controls` finds."""

    matrices: list[Matrix]
    main: dict[str, MinedAttribute]
    controls: list[ControlOf]
    overlaps: dict[str, ConditionOverlap]
    """By condition, of those that hold at least two attributes."""
    chance: dict[Side, np.ndarray]
    """(matrices,): mean overlap of random subspaces."""
    condition_of_main: str


def condition(mined: MinedAttribute) -> str:
    """In words: how the input factors were drawn, and what the adapters were trained towards."""
    return f"{mined.origin.init or 'unknown'} initialisation, {mined.origin.targets or 'true'} targets"


def read_controls(folders: Sequence[Path], inputs: Inputs) -> Controls:
    """Read further outputs of ``experiments.extract``.

    Raises:
      ValueError: an attribute that is not under study, another base model, other matrices or sizes, one attribute twice
        under one condition, a folder that is under study itself, or what :func:`read_folder` refuses.
      OSError: a file that cannot be read.
    """
    found: Controls = {}
    for folder in folders:
        mined = read_folder(folder)
        main = inputs.attributes.get(mined.attribute)
        if main is None:
            raise InputError(
                f"--controls: {folder} holds the attribute {mined.attribute}, under study are {', '.join(inputs.names)}"
            )
        if folder.resolve() == main.folder.resolve():
            raise InputError(f"--controls: {folder} is under study itself (--subspaces)")
        check_comparable(main, mined)
        name = condition(mined) + (", another run" if condition(mined) == condition(main) else "")
        own = found.setdefault(name, {})
        if mined.attribute in own:
            raise InputError(
                f"--controls: {own[mined.attribute].folder} and {folder} are both {mined.attribute} with {name}"
            )
        own[mined.attribute] = mined
    return found


def measure_controls(inputs: Inputs, controls: Controls, angles: Angles) -> ControlNumbers:
    """Compare every control with the run of its attribute, and the attributes under every condition with each other."""
    overlaps: dict[str, ConditionOverlap] = {}
    found: list[ControlOf] = []
    for name, by_attribute in controls.items():
        if len(by_attribute) > 1:
            overlaps[name] = _between_attributes(by_attribute, angles)
        found += [_compare(inputs.attributes[attribute], mined, name) for attribute, mined in by_attribute.items()]
    return ControlNumbers(
        matrices=angles.matrices,
        main=inputs.attributes,
        controls=found,
        overlaps=overlaps,
        chance={side: angles.sides[side].expected for side in SIDES},
        condition_of_main=condition(inputs.first),
    )


def _compare(main: MinedAttribute, control: MinedAttribute, name: str) -> ControlOf:
    eigenvalues = eigenvalues_of_pairs({"main": main.factors, "control": control.factors})
    captured = None
    if main.adapter_files:
        captured = np.array([_share(main, number, control) for number in range(len(main.adapter_files))])
    return ControlOf(
        attribute=main.attribute,
        condition=name,
        mined=control,
        drops=np.stack([drops_at_rank(each) for each in (main, control)], axis=-1),
        with_main={side: _flat_overlap(found)[:, 0] for side, found in eigenvalues.items()},
        captured=captured,
    )


def drops_at_rank(mined: MinedAttribute) -> np.ndarray:
    """(matrices,): decades by which C's first spectrum falls at r, 0 without a drop (:func:`subspace.spectral_pattern`)."""
    sizes = {}
    for path in mined.factors:
        spectra = jnp.asarray(mined.statistics[path]["initial_singular_values"])
        sizes[path] = np.asarray(spectral_pattern(spectra, mined.ranks[path]).sizes)[..., 0]
    return over_matrices(sizes, 0)


def _share(main: MinedAttribute, number: int, control: MinedAttribute) -> float:
    """Of a whole adapter: matrices weighted by energy."""
    adapter = main.read_adapter(number)
    shares = over_matrices(captured_shares(adapter, control.factors), 1)[:, 0]
    weights = over_matrices({path: energy(delta) for path, delta in adapter.items()}, 0)
    total = float(weights.sum())
    return float(shares @ weights) / total if total > 0 else 0.0


def _between_attributes(by_attribute: Mapping[str, MinedAttribute], angles: Angles) -> ConditionOverlap:
    names = [
        name for name in dict.fromkeys(itertools.chain(*angles.pairs)) if name in by_attribute
    ]  # the inputs' order
    pairs = list(itertools.combinations(names, 2))
    columns = [angles.pairs.index(pair) for pair in pairs]
    eigenvalues = eigenvalues_of_pairs({name: by_attribute[name].factors for name in names})
    return ConditionOverlap(
        pairs,
        {side: _flat_overlap(found) for side, found in eigenvalues.items()},
        {side: angles.sides[side].overlap[:, columns] for side in SIDES},
    )


def _flat_overlap(eigenvalues: Mapping[str, np.ndarray]) -> np.ndarray:
    return over_matrices({path: overlap_of(values) for path, values in eigenvalues.items()}, 1)


def surviving(main: np.ndarray, control: np.ndarray) -> np.ndarray:
    """control / main, NaN where there is nothing that could survive."""
    return np.divide(control, main, out=np.full(np.shape(main), np.nan), where=np.asarray(main) > 0)


def control_rows(numbers: ControlNumbers) -> Iterator[dict[str, Any]]:
    """One row for each control and matrix."""
    for control in numbers.controls:
        survives = surviving(control.drops[:, 0], control.drops[:, 1])
        for i, matrix in enumerate(numbers.matrices):
            yield {
                "attribute": control.attribute,
                "condition": control.condition,
                "path": matrix.path,
                "layer": matrix.layer,
                "drop at r, decades": float(control.drops[i, 0]),
                "drop under control": float(control.drops[i, 1]),
                "drop that remains": None if np.isnan(survives[i]) else float(survives[i]),
                **{f"overlap with the run, {side}": float(control.with_main[side][i]) for side in SIDES},
                **{f"by chance, {side}": float(numbers.chance[side][i]) for side in SIDES},
            }


def overlap_rows(numbers: ControlNumbers) -> Iterator[dict[str, Any]]:
    """One row for each condition, side, matrix and pair of attributes."""
    for name, found in numbers.overlaps.items():
        for side in SIDES:
            for i, matrix in enumerate(numbers.matrices):
                for j, (first, second) in enumerate(found.pairs):
                    main, control = float(found.main[side][i, j]), float(found.controls[side][i, j])
                    yield {
                        "condition": name,
                        "side": side,
                        "path": matrix.path,
                        "layer": matrix.layer,
                        "first": first,
                        "second": second,
                        "overlap": main,
                        "overlap under control": control,
                        "overlap by chance": float(chance := numbers.chance[side][i]),
                        "excess that remains": float((control - chance) / (main - chance)) if main > chance else None,
                    }


def control_summary(numbers: ControlNumbers) -> list[dict[str, Any]]:
    """One row for each control: medians over the matrices."""
    rows = []
    for control in numbers.controls:
        remains = surviving(control.drops[:, 0], control.drops[:, 1])
        remains = remains[~np.isnan(remains)]
        rows.append(
            {
                "attribute": control.attribute,
                "condition": control.condition,
                "drops in the run": int((control.drops[:, 0] > 0).sum()),
                "drops in the control": int((control.drops[:, 1] > 0).sum()),
                "median drop": float(np.median(control.drops[:, 0])),
                "median drop under control": float(np.median(control.drops[:, 1])),
                "drop that remains": float(np.median(remains)) if remains.size else None,
                **{
                    f"{side}s: overlap with the run / chance": float(
                        np.median(control.with_main[side] / numbers.chance[side])
                    )
                    for side in SIDES
                },
                "run's energy captured": None if control.captured is None else float(control.captured.mean()),
            }
        )
    return rows


def overlap_summary(numbers: ControlNumbers) -> list[dict[str, Any]]:
    """One row for each condition and side: overlap between attributes, of the runs and of the controls.

    The excess over chance that remains is that of all matrices and pairs together, Σ (control − chance) / Σ (run − chance):
    ratios of single matrices near chance would be noise. None if the runs overlap no more than chance.
    """
    rows = []
    for name, found in numbers.overlaps.items():
        for side in SIDES:
            chance = numbers.chance[side][:, None]
            excess, remaining = (float(np.sum(each[side] - chance)) for each in (found.main, found.controls))
            rows.append(
                {
                    "condition": name,
                    "side": side,
                    "pairs": len(found.pairs),
                    "overlap / chance": float(np.median(found.main[side] / chance)),
                    "control / chance": float(np.median(found.controls[side] / chance)),
                    "excess that remains": remaining / excess if excess > 0 else None,
                }
            )
    return rows
