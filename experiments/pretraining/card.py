"""The folder that is shipped: weights, configuration and a model card that states what a run did and found."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from safetensors.numpy import save_file

from experiments.pretraining.recipe import Recipe
from experiments.pretraining.run import Evaluations
from experiments.reports.markdown import render_markdown
from experiments.revision import commit
from vggt_jax import VGGT
from vggt_jax.deltas import dotted
from vggt_jax.matching import Matcher
from weights_convert.matcher import MATCHER, save_matcher
from weights_convert.pending import pending_output
from weights_convert.sources import CONFIG

WEIGHTS, CARD = "weights.safetensors", "README.md"
EVALUATION = "evaluation.json"
"""Beside the weights: what the card's tables are made of, and what later cards compare with."""
_TEMPLATE = "card.md.jinja"


@dataclass(frozen=True)
class Ablation:
    """Another finished run, with what its recipe left out."""

    description: str
    evaluations: Evaluations


def write_model(
    output: Path,
    model: VGGT,
    matcher: Matcher,
    recipe: Recipe,
    data: Sequence[Mapping[str, Any]],
    evaluations: Evaluations,
    without: str | None,
    ablations: Sequence[Ablation] = (),
) -> int:
    """Writes a folder that :func:`weights_convert.load_vggt` reads; returns the bytes of the weights.

    Args:
        output: the folder to be.
        model: what was trained.
        matcher: of its tokens, trained beside it.
        recipe: how.
        data: of each data set "name", "scenes", "views", "resolution", "held_out", "sha256", "renderer".
        evaluations: on held-out scenes.
        without: the ingredient that the recipe left out.
        ablations: runs to compare with.

    Raises:
        FileExistsError: the folder exists.
        OSError: it cannot be written.
    """
    weights = {dotted(keys): np.asarray(leaf[...]) for keys, leaf in nnx.to_flat_state(nnx.state(model))}
    size = sum(4 * prod(value.shape) for value in weights.values())
    card = render_card(recipe, data, evaluations, ablations, parameters=size // 4)
    record = {"without": without, "recipe": recipe.to_dict(), "data": list(data), "evaluations": evaluations}
    with pending_output(output, size) as folder:
        folder.mkdir()
        save_file(weights, folder / WEIGHTS)
        save_matcher(folder / MATCHER, matcher)
        (folder / CONFIG).write_text(json.dumps(recipe.config.to_dict(), indent=2) + "\n", encoding="utf-8")
        (folder / EVALUATION).write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        (folder / CARD).write_text(card, encoding="utf-8")
    return size


def read_ablation(folder: Path) -> Ablation:
    """What another run wrote.

    Raises:
        ValueError: its evaluation is not this module's.
        OSError: it cannot be read.
    """
    path = folder / EVALUATION
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        stages = record["recipe"]["stages"]
        steps = sum(stage["steps"] for stage in stages)
        left_out = f"without {record['without'].replace('_', ' ')}" if record["without"] else "all ingredients"
        return Ablation(f"{left_out}, {steps} steps", record["evaluations"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not an evaluation of experiments.pretrain ({error})") from None


def render_card(
    recipe: Recipe,
    data: Sequence[Mapping[str, Any]],
    evaluations: Evaluations,
    ablations: Sequence[Ablation],
    parameters: int,
) -> str:
    """The card's text; every number in it comes from the arguments."""
    return render_markdown(
        Path(__file__).with_name(_TEMPLATE),
        recipe=recipe,
        config=recipe.config,
        data=data,
        evaluations=evaluations,
        ablations=ablations,
        parameters=parameters,
        commit=commit(),
    )
