"""The folder of results: subspace, adapters, log, summary, figures and report."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments.extraction.adapters import METRICS
from experiments.extraction.imported import hashes_of
from experiments.extraction.recipe import Recipe
from experiments.extraction.report import facts, sections, title, training_verdict
from experiments.extraction.schedule import REPORT as REPORT_STAGE
from experiments.extraction.settings import Settings
from experiments.extraction.source import Source
from experiments.mining.folder import ADAPTERS, SNAPSHOTS, SUBSPACE, SUMMARY, write_folder
from experiments.mining.mine import Mined
from experiments.mining.origin import Origin
from experiments.mining.report import compose, draw_figures, verdict
from experiments.mining.summary import MatrixSummary
from experiments.process.reporting import SILENT, Reporter
from experiments.reports.drawings import save_drawings
from experiments.reports.page import plot
from experiments.storage.identity import identity
from vggt_jax import VGGTConfig

REPORT = "report.html"
STAGES = "stages"
"""The entry of the summary with the fields of :class:`experiments.process.stages.StageTime` of every stage."""
OUTPUTS = frozenset({SUBSPACE, ADAPTERS, SNAPSHOTS, METRICS, SUMMARY, "figures", REPORT})
"""What the folder may hold."""
_VERSION = 1
"""To be raised when the same settings come to mean other results."""


def identity_of_trained(settings: Settings, weights: str) -> dict[str, Any]:
    """Everything that the results of adapters to train depend on, as JSON can hold it.

    Args:
        settings: what is asked for.
        weights: of the base model, as :attr:`experiments.models.Base.weights` tells them apart.
    """
    recipe = identity(Recipe.of(settings))
    return {
        **identity(settings),
        "base": weights,
        **{name: recipe[name] for name in ("optimizer", "objective", "loop", "outputs_sha256") if name in recipe},
        "versions": {"results": _VERSION, "recipe": recipe["version"]},
    }


def identity_of_imported(
    settings: Settings, config: VGGTConfig | None, fingerprint: str | None = None
) -> dict[str, Any]:
    """Everything that the results of finished adapters depend on, as JSON can hold it.

    Args:
        settings: what is asked for.
        config: the model whose layers are stacked; None where every module stands for itself.
        fingerprint: of that model.

    Raises OSError for an adapter that cannot be read.
    """
    mined = identity(settings)
    return {
        **{name: mined[name] for name in ("attribute", "dim", "exponent")},
        "adapters": identity(hashes_of(settings.adapters)),
        "config": None if config is None else config.to_dict(),
        **({} if config is None else {"base": fingerprint}),
        "versions": {"results": _VERSION},
    }


def write_results(
    folder: Path,
    settings: Settings,
    source: Source,
    mined: Mined,
    matrices: Sequence[MatrixSummary],
    origin: Origin,
    seconds: float,
    reporter: Reporter = SILENT,
) -> None:
    """Fill the folder of results.

    Args:
        folder: it exists and is empty.
        settings: what was asked for.
        source: the adapters that were mined.
        mined: what was found.
        matrices: what was found as a row for each matrix (:func:`experiments.mining.summary.rows`).
        origin: the subspace file's header.
        seconds: how long it took up to here.
        reporter: has the stages' times.

    Raises OSError if something cannot be written.
    """
    if source.metrics is not None:
        shutil.copyfile(source.metrics, folder / METRICS)
    shown_facts = facts(settings, source, origin, seconds)
    about: dict[str, Any] = {"settings": identity(settings), "facts": shown_facts, "verdict": verdict(matrices)}
    if source.trained is not None:
        about["learned"] = training_verdict(source.trained)
    with reporter.stage(REPORT_STAGE):
        (folder / "figures").mkdir()
        figures = draw_figures(list(source.deltas), mined, matrices)
        svgs = save_drawings(folder / "figures", {name: drawing for name, (drawing, _) in figures.items()})
        shown = {name: plot(svgs[name], caption) for name, (_, caption) in figures.items()}
        html = compose(title(settings, origin), matrices, shown, sections(source), shown_facts)
        (folder / REPORT).write_text(html, encoding="utf-8")
    about[STAGES] = [asdict(stage) for stage in reporter.times]
    write_folder(folder, mined.subspaces, origin, [asdict(row) for row in matrices], source.files, about)
    if settings.snapshots and source.trained is not None:
        shutil.copytree(source.trained.folder / SNAPSHOTS, folder / SNAPSHOTS)
