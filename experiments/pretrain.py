"""The small VGGT that ships with this package, trained from scratch on synthetic scenes.

First the data, then the training; both go on where they stopped when they are called again. The names of the data sets end
up in the model card::

    python -m experiments.generate --attribute=mixed --setting=wide_baseline --datasets=1 --scenes=700 --views=6 \\
        --resolution=96 --output=runs/data/wide
    python -m experiments.generate --attribute=mixed --setting=object_centric --datasets=1 --scenes=240 --views=12 \\
        --resolution=96 --output=runs/data/objects
    python -m experiments.generate --attribute=mixed --setting=micro_baseline --datasets=1 --scenes=80 --views=4 \\
        --resolution=96 --output=runs/data/micro
    python -m experiments.pretrain --output=runs/pretrain/nano/model \\
        --data=runs/data/wide/dataset_00,runs/data/objects/dataset_00,runs/data/micro/dataset_00

The folder that it writes has the weights, their configuration, a matcher of tokens (which ``experiments.reconstruct
--refine`` uses), a model card and the evaluation that the card's tables are made of. An interrupted run ends in the same
bits as one that was not. Several accelerators share each batch; a CPU's cores work on it as one device.

What an ingredient of the recipe brings is seen by shorter runs without it, which the card then compares::

    python -m experiments.pretrain --length=0.1 --without=matching --output=runs/pretrain/matching/model \
        --run=runs/pretrain/matching --data=...
    python -m experiments.pretrain --output=runs/pretrain/nano/model --ablations=runs/pretrain/matching/model,...
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from absl import flags

from experiments.process.command_line import DEFINE_path, DEFINE_paths, InputError, run
from experiments.process.compilation_cache import keep_compiled


def pretrain(
    data: Sequence[Path],
    output: Path,
    folder: Path,
    length: float = 1.0,
    seed: int = 0,
    without: str | None = None,
    also_evaluate: Sequence[Path] = (),
) -> str:
    """Run the command.

    Args:
        data: data sets of ``experiments.generate``, at the model's resolution.
        output: the folder to make, with the trained model.
        folder: of checkpoints and metrics.
        length: multiplies the steps of every stage.
        seed: of parameters, batches and evaluated pairs.
        without: an ingredient of :data:`experiments.pretraining.recipe.INGREDIENTS` to leave out.
        also_evaluate: data sets that are not trained on, such as the attributes', whose errors the card shows, too.

    Returns:
        One line that says what was written.

    Raises:
        ValueError: unusable data or settings, or a folder with another run.
        OSError: files that cannot be read or written.
    """
    from dataclasses import replace

    from tqdm import tqdm

    from experiments.pretraining import card, recipe, run, scenes
    from vggt_jax.atomic import check_absent

    check_absent(output)
    plan = replace(recipe.nano().scaled(length), seed=seed)
    if without is not None:
        plan = plan.without(without)  # pyright: ignore[reportArgumentType]

    def progress(items: Iterable, total: int) -> Iterable:
        return tqdm(items, total=total, desc="reading scenes", file=sys.stderr)

    sources, others = (
        [scenes.read_source(path, plan.config.image_size, progress) for path in paths]
        for paths in (data, also_evaluate)
    )
    if known := {source.name for source in sources} & {other.name for other in others}:
        raise InputError(f"--also_evaluate: {', '.join(sorted(known))} is among --data already, or is called the same")
    if len({other.name for other in others}) < len(others):
        raise InputError(f"--also_evaluate: data sets must differ, got {', '.join(other.name for other in others)}")
    training = run.Pretraining(plan, sources, folder)
    parameters, evaluations = training()
    evaluations |= training.evaluate_on(parameters, others)
    size = card.write_model(
        output,
        training.model(parameters),
        training.matcher(parameters),
        plan,
        training.described_data(),
        evaluations,
        without,
    )
    summary = "; ".join(
        f"{name}: AbsRel {found['model']['abs_rel']:.3f} (mean depth map {found['mean_depth']['abs_rel']:.3f}), "
        f"rotation {found['model']['rotation']:.1f}° (no turn {found['mean_depth']['rotation']:.1f}°)"
        for name, found in evaluations.items()
    )
    return f"wrote {size / 1e6:.1f} MB of weights to {output}; held-out scenes: {summary}; see {output / card.CARD}"


def main(_: Sequence[str]) -> None:
    given = flags.FLAGS
    if given.ablations:
        from experiments.pretraining import card

        card.compare(given.output, given.ablations)
        print(f"wrote {given.output / card.CARD} with {len(given.ablations)} runs to compare")
        return
    if not given.data:
        raise InputError("--data: name at least one data set, a folder with a manifest.json")
    keep_compiled()
    print(
        pretrain(
            given.data,
            given.output,
            given.run,
            given.length,
            given.seed,
            given.without,
            given.also_evaluate,
        )
    )


if __name__ == "__main__":
    from experiments.process.large_pages import restart_with_large_pages

    restart_with_large_pages()
    from experiments.pretraining.recipe import INGREDIENTS

    DEFINE_paths("data", None, "folders of data sets of experiments.generate, separated by commas")
    DEFINE_path("output", "runs/pretrain/nano/model", "folder to make, with weights and model card")
    DEFINE_path("run", "runs/pretrain/nano", "folder of checkpoints and metrics; an interrupted run goes on")
    flags.DEFINE_float("length", 1.0, "multiplies the steps of every stage", lower_bound=0.0)
    flags.DEFINE_integer("seed", 0, "of everything random", lower_bound=0)
    flags.DEFINE_enum("without", None, list(INGREDIENTS), "leave one ingredient out, for an ablation")
    DEFINE_paths("ablations", [], "do not train: show these other runs' outputs in the card of --output")
    DEFINE_paths("also_evaluate", [], "data sets that the card shows the errors on, without training on them")
    run(main)
