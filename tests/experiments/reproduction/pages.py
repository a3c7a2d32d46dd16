"""Records as lines of tables on the page of results, and its sections."""

import re
from pathlib import Path

import numpy as np

from experiments.presets import PRESETS
from experiments.reproduction.labels import row_label
from experiments.reproduction.records import scene_means
from experiments.reproduction.rows import CHAMFER
from experiments.reproduction.tables import Line, records_of

SCALE = PRESETS["nano"].scale
PAGE = Path(__file__).parents[3] / "docs" / "results" / "index.md"


def section_of(title):
    """The section of the page whose heading begins so."""
    (found,) = re.findall(rf"### {title} .*?(?=\n##)", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return found


def of_row(row, table, seeds, records):
    """Seed → record, of minings of its own."""
    return {each.run.seed: each for each in records_of(row, table, SCALE, seeds, records, "each")}


def line_of_row(row, table, seeds, records, unit):
    """Parameters, rates, the Chamfer distance of each seed in the table's unit and its mean, the mean validation loss; None
    where nothing was run."""
    found = of_row(row, table, seeds, records)
    if not found:
        return None
    distances = {seed: unit * scene_means(record.tests["test"], CHAMFER) for seed, record in found.items()}
    if row.method is None:  # the same for all seeds
        distances = dict.fromkeys(seeds, *distances.values())
    losses = [record.validation["after"] for record in found.values() if record.validation]
    complete = len(distances) == len(seeds)
    rates = sorted({record.rate for record in found.values() if record.rate is not None})
    cells = [row_label(row, table, SCALE), Line(row, tuple(found.values())).trained if rates else "–"]
    cells.append(", ".join(f"{rate:g}" for rate in rates) or "–")
    cells += [f"{distances[seed]:.2f}" if seed in distances else "–" for seed in seeds]
    cells.append(f"{np.mean(list(distances.values())):.2f}" if complete else "–")
    cells.append(f"{np.mean(losses):.3f}" if complete and losses else "–")
    return f"| {' | '.join(cells)} |"


def line_of_run(label, record):
    """Parameters, rate, accuracy, completeness and Chamfer distance in cm, that of the other domain if there is one, the
    validation loss; of one run."""
    cells = [label, f"{record.parameters:,}" if record.rate else "–", f"{record.rate:g}" if record.rate else "–"]
    for split, metrics in (("test", ("accuracy", "completeness", CHAMFER)), ("cross_domain", (CHAMFER,))):
        if split in record.tests:
            cells += [f"{100 * scene_means(record.tests[split], metric):.2f}" for metric in metrics]
    cells.append(f"{record.validation['after']:.3f}" if record.rate else "–")
    return f"| {' | '.join(cells)} |"
