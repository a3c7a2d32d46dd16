"""A whole run: stages one after the other, each a resumable training; evaluation on held-out scenes along the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from experiments.pretraining import evaluation
from experiments.pretraining.initial import Start, initial_model
from experiments.pretraining.objective import forward, initial_helpers, matcher, matching, pretraining_loss
from experiments.pretraining.recipe import Recipe, Stage
from experiments.pretraining.sampling import StageSampler, stacked
from experiments.pretraining.scenes import LoadedScene, Source, split
from experiments.process.reporting import SILENT, Reporter
from experiments.reconstruction.matched_pose import solve_views
from experiments.training.batch import TrainingBatch
from experiments.training.loop import LoopSettings, train
from experiments.training.normalization import normalize
from experiments.training.optimizer import make_optimizer
from experiments.training.sharding import Placement, choose_mesh
from experiments.training.step import TrainingState, TrainingStep, start
from experiments.training.trackers import TrackerName
from subspace.errors import InputError
from vggt_jax import VGGT
from vggt_jax.matching import Matcher
from vggt_jax.parameters import abstract_model
from vggt_jax.pose_encoding import decode_pose

CHECKPOINT_EVERY = 100
_EVALUATED_AT_ONCE = 16
"""Pairs."""
_BASELINE_PAIRS = 512
"""Pairs of training scenes whose means are the baselines."""


@dataclass(frozen=True)
class Parameters:
    """All numbers that a run trains."""

    parts: Mapping[str, Any]
    """Parameters of the model by part, such as "aggregator"."""
    helpers: Mapping[str, jax.Array]
    """Parameters of the helper losses, see :func:`experiments.pretraining.objective.initial_helpers`."""


Evaluations = dict[str, dict[str, evaluation.Metrics]]
"""Data set → "model", "solved" (pose from matched tokens) or a baseline → metric → value."""


class Pretraining:
    """One run of a recipe on some data sets.

    Args:
        recipe: stages, model, seed and so on.
        sources: data sets, no two with one name.
        folder: gets metrics and checkpoints of each stage.
        log: where metrics go besides ``metrics.jsonl``.
        reporter: gets a line for each stage, and a bar of its steps.
        begun: what is at the recipe's ``start``.

    Raises:
        InputError: too few scenes to hold some out, a data set that is given twice, or none of a stage's setting.
    """

    def __init__(
        self,
        recipe: Recipe,
        sources: Sequence[Source],
        folder: Path,
        log: tuple[TrackerName, ...] = (),
        reporter: Reporter = SILENT,
        begun: Start | None = None,
    ):
        if len({source.name for source in sources}) < len(sources):
            raise InputError(f"data sets must differ, got {', '.join(source.name for source in sources)}")
        self.recipe, self.sources, self.folder = recipe, sources, folder
        self._log, self._reporter = log, reporter
        # Chunks of frames and forced devices would split the same axis, which costs copies.
        self._config = replace(recipe.config, frames_chunk=4096)
        self._graphdef, state = nnx.split(initial_model(self._config, recipe.seed))
        if begun is not None:
            state = nnx.state(begun.model)
        self._begun_from = None if begun is None else begun.digest
        helpers = initial_helpers(
            self._config, recipe.seed, recipe.reads_motion, None if begun is None else begun.matcher
        )
        self._start = Parameters(dict(state), helpers)
        halves = [split(source.scenes, self._held_out_scenes(source)) for source in sources]
        self._training = [scene for training, _ in halves for scene in training]
        recipe.check_settings([source.setting for source in sources])
        training = [replace(source, scenes=half) for source, (half, _) in zip(sources, halves, strict=True)]
        self._drawn_from = [scenes_of(stage, training) for stage in recipe.stages]
        self._held_out = {
            source.name: evaluation.held_out_pairs(held_out, recipe.pairs_per_scene, recipe.seed)
            for source, (_, held_out) in zip(sources, halves, strict=True)
        }
        self._baselines = self._training_means()
        sequences = {stage.images // views for stage in recipe.stages for views in stage.views}
        self._placement = Placement(choose_mesh(None, sequences=sequences))
        self._probe = jax.jit(self._look)

    def __call__(self) -> tuple[Parameters, Evaluations]:
        """Train all stages, or what is left of them; returns the result and its evaluation."""
        parameters = self._start
        for number, stage in enumerate(self.recipe.stages, start=1):
            self._reporter.info(f"stage {number} of {len(self.recipe.stages)}, {stage.name}: {stage.steps} steps")
            parameters = self._run_stage(number, stage, parameters)
        return parameters, self.evaluate(parameters)

    def model(self, parameters: Parameters) -> VGGT:
        """The trained model, with the recipe's run-time choices."""
        return nnx.merge(nnx.graphdef(abstract_model(self.recipe.config)), nnx.State(parameters.parts))

    def matcher(self, parameters: Parameters) -> Matcher:
        """What finds the model's tokens in other views."""
        return matcher(parameters.helpers)

    def described_data(self) -> list[dict[str, Any]]:
        """What the model card says about each data set."""
        return [
            {
                "name": source.name,
                "scenes": len(source.scenes),
                "held_out": self._held_out_scenes(source),
                "views": source.scenes[0].num_views,
                "resolution": self.recipe.config.image_size,
                "renderer": source.renderer,
                "sha256": source.sha256,
            }
            for source in self.sources
        ]

    def evaluate(self, parameters: Parameters) -> Evaluations:
        """On the held-out pairs of every data set, with poses solved from matched tokens beside the camera head's."""
        return self._evaluate(parameters, self._held_out, solve=True)

    def evaluate_on(self, parameters: Parameters, sources: Sequence[Source]) -> Evaluations:
        """On pairs of all scenes of other data sets, such as those of an attribute."""
        per_scene, seed = self.recipe.pairs_per_scene, self.recipe.seed
        pairs = {source.name: evaluation.held_out_pairs(source.scenes, per_scene, seed) for source in sources}
        return self._evaluate(parameters, pairs, solve=True)

    def _evaluate(
        self, parameters: Parameters, pairs_by_name: Mapping[str, Sequence[LoadedScene]], solve: bool
    ) -> Evaluations:
        found = {}
        for name, pairs in pairs_by_name.items():
            matched: list[tuple[int, dict[str, float]]] = []
            found[name] = evaluation.evaluate(
                self._predictor(parameters, matched, solve), pairs, self._baselines, _EVALUATED_AT_ONCE
            )
            counts = [count for count, _ in matched]
            found[name]["model"] |= {
                key: float(np.average([shares[key] for _, shares in matched], weights=counts)) for key in matched[0][1]
            }
        return found

    def _held_out_scenes(self, source: Source) -> int:
        return max(1, round(self.recipe.held_out * len(source.scenes)))

    def _run_stage(self, number: int, stage: Stage, before: Parameters) -> Parameters:
        objective, optimizer = stage.objective, make_optimizer(stage.optimizer)
        patch = self._config.patch_size
        trained = {name: before.parts[name] for name in stage.parts}
        frozen = {name: part for name, part in before.parts.items() if name not in trained}
        # The loop trains k models at once; here k = 1.
        params = jax.tree.map(lambda leaf: leaf[None], {"model": trained, "helpers": before.helpers})

        def after(state: TrainingState) -> Parameters:
            own = jax.tree.map(lambda leaf: np.asarray(leaf)[0], state.params)
            return Parameters({**before.parts, **own["model"]}, own["helpers"])

        sampler = StageSampler(
            self._drawn_from[number - 1],
            stage.images,
            stage.views,
            stage.turns,
            widening=round(stage.widening * stage.steps),
            seed=self.recipe.seed * 1000 + number,
            augmentation=self.recipe.augmentation,
        )
        state = train(
            TrainingStep(pretraining_loss(self._graphdef, objective, patch), optimizer),
            start(params, optimizer),
            frozen,
            sampler,
            self._placement,
            LoopSettings(
                stage.steps,
                checkpoint_every=CHECKPOINT_EVERY,
                validate_every=self.recipe.validate_every,
                log=self._log,
            ),
            self.folder / f"stage_{number}_{stage.name}",
            self._identity(number),
            whole=self.folder,
            validate=lambda state: of_model(self._evaluate(after(state), self._held_out, solve=False)),
            reporter=self._reporter,
        )
        return after(state)

    def _identity(self, number: int) -> dict[str, Any]:
        """What determines the result of a stage: data, everything shared, and the stages up to it."""
        recipe = self.recipe.to_dict()
        return {
            "data": {source.name: source.sha256 for source in self.sources},
            **{name: value for name, value in recipe.items() if name not in ("stages", "start", "validate_every")},
            **({} if self._begun_from is None else {"start": self._begun_from}),
            "stages": recipe["stages"][:number],
        }

    def _look(self, parts: Mapping[str, Any], helpers: Mapping[str, jax.Array], batch: TrainingBatch) -> Any:
        batch = normalize(batch)
        outputs = forward(self._graphdef, parts, batch.images)
        poses, depth = outputs.predictions.pose_enc, outputs.predictions.depth
        assert poses is not None and depth is not None
        terms = matching(helpers, outputs, batch, self._config.patch_size)
        height, width = (side // self._config.patch_size for side in batch.image_size)
        extrinsics, intrinsics = decode_pose(poses, batch.image_size)
        return depth[..., 0], extrinsics, intrinsics, matcher(helpers)(outputs.patches, (height, width)), terms

    def _predictor(
        self, parameters: Parameters, matched: list[tuple[int, dict[str, float]]], solve: bool
    ) -> Callable[[TrainingBatch], evaluation.Predicted]:
        """Predictions, and on the way into ``matched`` for each batch its pairs and its shares of found tokens."""

        def predict(batch: TrainingBatch) -> evaluation.Predicted:
            found = self._probe(parameters.parts, parameters.helpers, batch)
            depths, extrinsics, intrinsics, (positions, weights), terms = jax.tree.map(np.asarray, found)
            shares = {name: float(value) for name, value in terms.items() if name.startswith("matched")}
            matched.append((int(np.any(batch.point_masks, axis=(1, 2, 3)).sum()), shares))
            solved = None
            if solve:
                patch = self._config.patch_size
                each = zip(depths, positions, weights, intrinsics, extrinsics, strict=True)
                solved = np.stack([solve_views(*pair, patch) for pair in each])
            return evaluation.Predicted(depths, extrinsics, solved)

        return predict

    def _training_means(self) -> evaluation.Baselines:
        per_scene = -(-_BASELINE_PAIRS // len(self._training))
        pairs = evaluation.held_out_pairs(self._training, per_scene, self.recipe.seed)
        some = np.random.default_rng(self.recipe.seed).permutation(len(pairs))[:_BASELINE_PAIRS]
        return evaluation.Baselines.of(evaluation.Truth.of(stacked([pairs[i] for i in some])))


def scenes_of(stage: Stage, sources: Sequence[Source]) -> list[LoadedScene]:
    """What a stage draws from."""
    return [scene for source in sources if stage.setting in (None, source.setting) for scene in source.scenes]


def of_model(evaluations: Evaluations) -> dict[str, float]:
    """The model's own metrics as "data set/metric", and those of the guesses that they are to beat."""
    shown = {
        f"{name}/{metric}": value for name, found in evaluations.items() for metric, value in found["model"].items()
    }
    for name, found in evaluations.items():
        shown |= {f"{name}/no_turn_{metric}": found["constant"][metric] for metric in ("rotation", "direction")}
        shown |= {f"{name}/constant_{metric}": found["constant"][metric] for metric in ("abs_rel", "chamfer")}
    return shown
