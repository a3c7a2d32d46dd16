"""The folder of results: subspace, adapters, log, summary, figures and report."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from experiments.extraction.source import Source
from experiments.mining.folder import write_folder
from experiments.mining.mine import Mined
from experiments.mining.origin import Origin
from experiments.mining.report import compose, draw_figures, verdict
from experiments.mining.summary import MatrixSummary
from experiments.reports.drawings import save_drawings
from experiments.reports.page import plot
from experiments.storage.disk_space import named_if_full
from experiments.storage.files import read_json
from experiments.storage.output_folder import new_folder

SUMMARY = "summary.json"
OUTPUTS = frozenset({"subspace.safetensors", "adapters", "metrics.jsonl", SUMMARY, "figures", "report.html"})


def write_results(
    output: Path,
    source: Source,
    mined: Mined,
    summaries: Sequence[MatrixSummary],
    origin: Origin,
    facts: Mapping[str, str],
) -> None:
    """Write the folder, or replace an earlier one, once everything is complete.

    Args:
        output: the folder.
        source: the adapters that were mined.
        mined: what was found.
        summaries: the same, a row for each matrix (:func:`experiments.mining.summary.rows`).
        origin: the subspace file's header.
        facts: settings and versions.

    Raises:
        ValueError: the folder holds something that is not of this command.
        OSError: it cannot be written.
    """
    with named_if_full(output), new_folder(output, True, OUTPUTS) as folder:
        if source.metrics is not None:
            shutil.copyfile(source.metrics, folder / "metrics.jsonl")
        about = {"facts": facts, "verdict": verdict(summaries)}
        if source.learned is not None:
            about["learned"] = source.learned
        matrices = [asdict(row) for row in summaries]
        write_folder(folder, mined.subspaces, origin, matrices, source.files, about)
        (folder / "figures").mkdir()
        figures = draw_figures(list(source.deltas), mined, summaries)
        svgs = save_drawings(folder / "figures", {name: drawing for name, (drawing, _) in figures.items()})
        shown = {name: plot(svgs[name], caption) for name, (_, caption) in figures.items()}
        html = compose(source.title, summaries, shown, source.sections, facts)
        (folder / "report.html").write_text(html, encoding="utf-8")


def holds_results(output: Path, facts: Mapping[str, str]) -> bool:
    """Whether ``output`` holds complete results whose summary states these facts, among others.

    Raises ValueError for a summary that is damaged.
    """
    if not (output / SUMMARY).is_file():
        return False
    stored = read_json(output / SUMMARY).get("facts", {})
    return all(stored.get(name) == value for name, value in facts.items())
