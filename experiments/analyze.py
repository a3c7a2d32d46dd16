"""Are the attributes' subspaces disentangled, and does that mean anything?

``python -m experiments.analyze --subspaces=runs/extract/texture…,runs/extract/geometry…,… --output=analysis`` reads the
folders that ``experiments.extract`` wrote for two or more attributes of one base model, compares their subspaces in every
matrix on the output and the input side with each other and with chance, and writes ``report.html``, figures (PNG and PDF),
tables (CSV) and ``analysis.json``. Seconds for a small model, about a minute for VGGT-1B.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from weights_convert.command_line import run


def analyze(subspaces: Sequence[Path], output: Path, seed: int) -> None:
    """Run the command.

    Raises ValueError and OSError for folders that are missing, damaged or do not belong together.
    """
    from experiments.analysis.angle_topic import angle_topic
    from experiments.analysis.angles import measure_angles
    from experiments.analysis.inputs import read_inputs
    from experiments.analysis.report import OUTPUTS, write_report
    from experiments.output_folder import check_free, new_folder

    start = time.perf_counter()
    check_free(output, True, OUTPUTS)
    inputs = read_inputs(subspaces)
    _say(f"angles between {len(inputs.names)} attributes")
    angles = measure_angles(inputs, seed)
    topics = [angle_topic(angles)]
    facts = {
        "base model": inputs.first.origin.base,
        **{f"subspace of {name}": str(mined.folder) for name, mined in inputs.attributes.items()},
        "d'": str(inputs.first.origin.dim),
        "seed": str(seed),
        "seconds": f"{time.perf_counter() - start:.0f}",
    }
    verdict = ""
    with new_folder(output, True, OUTPUTS) as folder:
        write_report(folder, "Are the attributes disentangled?", verdict, topics, facts)
    print(verdict)
    print(f"wrote {output} in {time.perf_counter() - start:.0f} s; open {output}/report.html")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(_: Sequence[str]) -> None:
    given = flags.FLAGS.flag_values_dict()
    if given["output"] is None:
        raise ValueError("--output is missing: the folder to write")
    analyze([Path(folder) for folder in given["subspaces"]], Path(os.path.abspath(given["output"])), given["seed"])


if __name__ == "__main__":
    flags.DEFINE_list(
        "subspaces", [], "folders of experiments.extract with commas, one for each attribute, at least two"
    )
    flags.DEFINE_string("output", None, "folder of the results, replaced if it is there")
    flags.DEFINE_integer("seed", 0, "of the random subspaces", lower_bound=0)
    run(main)
