"""The folder that is shipped: weights, configuration and a model card that states what a run did and found."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from experiments.pretraining.recipe import Recipe
from experiments.pretraining.run import Evaluations
from experiments.process.revision import commit
from experiments.reports.markdown import render_markdown
from experiments.storage.files import read_json, write_bytes
from subspace.errors import InputError
from vggt_jax import VGGT
from vggt_jax.deltas import dotted
from vggt_jax.disk_space import named_if_full
from vggt_jax.matching import Matcher
from vggt_jax.reading import typed
from vggt_jax.reading.safetensors_file import write_safetensors
from weights_convert.matcher import MATCHER, save_matcher
from weights_convert.sources import CONFIG

WEIGHTS, CARD = "weights.safetensors", "README.md"
EVALUATION = "evaluation.json"
"""Beside the weights: all that the card says, and what later cards compare with."""
OUTPUTS = frozenset({WEIGHTS, MATCHER, CONFIG, CARD, EVALUATION})
"""Files of a finished model."""
_TEMPLATE = "card.md.jinja"


@dataclass(frozen=True)
class Ablation:
    """Another finished run, with what its recipe left out."""

    without: str | None
    """The ingredient that the recipe left out; None for the whole recipe."""
    steps: int
    """Steps of all stages."""
    scenes: int
    """Number of scenes that it was trained on."""
    evaluations: Evaluations
    """Metrics on held-out scenes."""

    @property
    def description(self) -> str:
        return f"without {self.without.replace('_', ' ')}" if self.without else "all ingredients"


@dataclass(frozen=True)
class PretrainingRecord:
    """What a run did and found; plain numbers, strings, lists and dictionaries."""

    without: str | None
    """The ingredient that the recipe left out."""
    commit: str
    """Git commit of the code that ran."""
    parameters: int
    """Number of the model's parameters."""
    recipe: Mapping[str, Any]
    """The recipe as :meth:`experiments.pretraining.recipe.Recipe.to_dict` gives it."""
    data: Sequence[Mapping[str, Any]]
    """A mapping for each data set with "name", "scenes", "views", "resolution", "held_out", "sha256", "renderer"."""
    evaluations: Evaluations
    """Metrics on held-out scenes."""
    ablations: Sequence[Ablation] = ()
    """Runs to compare with each other."""

    @property
    def as_ablation(self) -> Ablation:
        """What another card says about this run."""
        steps = sum(stage["steps"] for stage in self.recipe["stages"])
        scenes = sum(each["scenes"] - each["held_out"] for each in self.data)
        return Ablation(self.without, steps, scenes, self.evaluations)

    def card(self) -> str:
        """The model card's text; every number in it is the record's."""
        return render_markdown(Path(__file__).with_name(_TEMPLATE), record=self)


def write_model(
    folder: Path,
    model: VGGT,
    matcher: Matcher,
    recipe: Recipe,
    data: Sequence[Mapping[str, Any]],
    evaluations: Evaluations,
    without: str | None,
) -> int:
    """Writes what :func:`weights_convert.load_vggt` reads, and the card; returns the bytes of the weights.

    Args:
        folder: an empty folder that gets :data:`OUTPUTS`.
        model: what was trained.
        matcher: of its tokens, trained beside it.
        recipe: how.
        data: as in :class:`PretrainingRecord`.
        evaluations: on held-out scenes.
        without: the ingredient that the recipe left out.

    Raises:
        OSError: the folder cannot be written. A full disk is named.
    """
    weights = {dotted(keys): np.asarray(leaf[...]) for keys, leaf in nnx.to_flat_state(nnx.state(model))}
    parameters = sum(prod(value.shape) for value in weights.values())
    record = PretrainingRecord(without, commit(), parameters, recipe.to_dict(), data, evaluations)
    with named_if_full(folder):
        write_safetensors(folder / WEIGHTS, weights)
        save_matcher(folder / MATCHER, matcher)
        (folder / CONFIG).write_text(json.dumps(recipe.config.to_dict(), indent=2) + "\n", encoding="utf-8")
        _write_record(folder, record)
    return 4 * parameters


def read_record(folder: Path) -> PretrainingRecord:
    """What a run wrote.

    Raises:
        InputError: its evaluation is not this module's.
        OSError: it cannot be read.
    """
    path = folder / EVALUATION
    try:
        record = typed.convert(read_json(path), PretrainingRecord)
        record.as_ablation.description  # noqa: B018 (what is not there is noticed here)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not an evaluation of experiments.pretrain ({error})") from None
    return record


def compare(folder: Path, ablations: Sequence[Path]) -> None:
    """Puts other runs into the card of a finished one, beside those that it shows, or in their place if they are alike.

    Args:
        folder: of the model whose card it is.
        ablations: folders of the others.

    Raises:
        InputError: one of them is not of :func:`write_model`.
        OSError: files that cannot be read or written.
    """
    others = [read_record(other).as_ablation for other in ablations]
    record = read_record(folder)
    shown = {(each.without, each.steps, each.scenes): each for each in (*record.ablations, *others)}
    _write_record(folder, replace(record, ablations=list(shown.values())))


def _write_record(folder: Path, record: PretrainingRecord) -> None:
    card = record.card()  # before anything is written
    text = json.dumps(asdict(record), indent=1, allow_nan=False) + "\n"
    write_bytes(folder / EVALUATION, text.encode())
    write_bytes(folder / CARD, card.encode())
