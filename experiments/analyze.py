"""Are the attributes' subspaces disentangled, and does that mean anything?

``python -m experiments.analyze --subspaces=runs/extract/texture…,runs/extract/geometry…,… --output=analysis`` reads the
folders that ``experiments.extract`` wrote for two or more attributes of one base model. It shows how spectra and magnitudes
change over depth, compares the attributes' subspaces in every matrix on the output and the input side with each other and
with chance, and writes ``report.html``, figures (PNG and PDF), tables (CSV) and ``analysis.json``. Where the folders hold their
adapters, subspaces are also mined from halves of them, from shuffled labels, and without one: does an attribute overlap with
itself, and does a held-out adapter lie in it? ``--controls`` adds folders of the same attributes under other conditions. About
a minute; several with the adapters of VGGT-1B.

``python -m experiments.analyze --all`` first extracts what is missing for the four attributes (``--setting``, ``--preset``,
``--weights``, ``--store`` as in ``experiments.extract``, whose folders, data sets and adapters it finds again), and
``--all --controls=shared,shuffled`` the controls too, each of which trains as long again on the same data sets.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments.extraction.choice import define_flags
from experiments.process.compilation_cache import keep_compiled
from subspace.errors import InputError
from weights_convert.command_line import run


def analyze(subspaces: Sequence[Path], controls: Sequence[Path], output: Path, seed: int) -> None:
    """Run the command.

    Raises ValueError and OSError for folders that are missing, damaged or do not belong together.
    """
    from experiments.analysis.controls import read_controls
    from experiments.analysis.report import OUTPUTS, write_report
    from experiments.analysis.topics import make_topics
    from experiments.mining.folder import read_inputs
    from experiments.reports.drawings import Drawings
    from experiments.storage.output_folder import check_free, new_folder

    start = time.perf_counter()
    check_free(output, True, OUTPUTS)
    inputs = read_inputs(subspaces)
    further = read_controls(controls, inputs)
    with Drawings() as drawings:
        topics, words, facts = make_topics(inputs, further, seed, drawings, _say)
        facts |= {"seed": str(seed), "seconds until the report": f"{time.perf_counter() - start:.0f}"}
        _say("figures and report")
        with new_folder(output, True, OUTPUTS) as folder:
            write_report(folder, "Are the attributes disentangled?", words, topics, facts, drawings)
    print(words)
    print(f"wrote {output} in {time.perf_counter() - start:.0f} s; open {output}/report.html")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(_: Sequence[str]) -> None:
    given = flags.FLAGS.flag_values_dict()
    output = given["output"]
    if given["all"]:
        if given["subspaces"]:
            raise InputError("--all finds the folders itself: leave --subspaces out")
        output = output or Path(given["store"]) / "analyze" / f"{given['setting']}_{given['preset']}"
    else:
        for name in ("setting", "preset", "weights", "store"):
            if flags.FLAGS[name].present:
                raise InputError(f"--{name} is of use only with --all")
        if output is None:
            raise InputError("--output is missing: the folder to write")
    output = Path(os.path.abspath(output))
    keep_compiled()
    if given["all"]:
        from experiments.analysis.extracted import find_or_extract
        from experiments.analysis.report import OUTPUTS
        from experiments.storage.output_folder import check_free

        check_free(output, True, OUTPUTS)  # before hours of rendering and training
        extraction = (given[name] for name in ("setting", "preset", "weights", "store", "controls"))
        subspaces, controls = find_or_extract(*extraction)
    else:
        subspaces, controls = ([Path(folder) for folder in given[name]] for name in ("subspaces", "controls"))
    analyze(subspaces, controls, output, given["seed"])


if __name__ == "__main__":
    flags.DEFINE_list(
        "subspaces", [], "folders of experiments.extract with commas, one for each attribute, at least two"
    )
    flags.DEFINE_boolean(
        "all", False, "extract what is missing for texture, geometry, camera and lighting first, and analyse these"
    )
    flags.DEFINE_list(
        "controls",
        [],
        "further folders of attributes under study, mined with another --init or with shuffled targets: how much of the drop "
        "at r and of the overlap is there as well? With --all also the names shared (one draw of the input factors) and "
        "shuffled (targets of other scenes), which are extracted for all attributes where they are missing",
    )
    define_flags()
    flags.DEFINE_string(
        "output", None, "folder of the results, replaced if it is there; with --all by default below the store"
    )
    flags.DEFINE_integer("seed", 0, "of the random subspaces, halves and labels", lower_bound=0)
    run(main)
