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
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from absl import flags

from experiments.extraction.flags import define_flags
from experiments.process.command_line import (
    DEFINE_path,
    DEFINE_paths_or_names,
    InputError,
    nearest,
    refuse,
    run,
    run_if_new,
)
from experiments.storage.store_flags import DEFINE_stored


def main(_: Sequence[str]) -> None:
    given = flags.FLAGS
    if given.all and given.subspaces:
        raise InputError("--all finds the folders itself: leave --subspaces out")
    if not given.all:
        refuse(("setting", "preset", "weights"), "without --all")

    from experiments.process.compilation_cache import keep_compiled
    from experiments.process.reporting import console

    keep_compiled()
    from experiments.analysis import Settings, headline
    from experiments.analysis.extracted import CONTROLS, Control, find_or_extract
    from experiments.analysis.pipeline import ready

    named_controls = [name for name in given.controls if name in CONTROLS and not Path(name).is_dir()]
    if named_controls and not given.all:
        raise InputError(
            f"--controls={','.join(named_controls)} goes with --all; without it, name the folders of the controls"
        )
    reporter = console()
    settings = Settings(
        tuple(map(Path, given.subspaces)),
        tuple(map(Path, given.controls)),
        seed=given.seed,
        curves=given.curves,
        store=Path(os.path.abspath(given.store)),
        output=given.output and Path(os.path.abspath(given.output)),
        overwrite=given.overwrite,
    )
    if given.all:
        from experiments.analysis.section import OUTPUTS
        from experiments.extraction import Settings as Extraction
        from experiments.storage.results import check_output

        check_output(settings, {"seed": given.seed}, OUTPUTS)  # before hours of rendering and training
        extraction = Extraction.of(given.preset, setting=given.setting, weights=given.weights, store=settings.store)
        names: dict[str, Control] = {name: name for name in CONTROLS}
        named: list[Control | Path] = [names.get(control) or Path(control) for control in given.controls]
        for control in named:
            if isinstance(control, Path) and not control.is_dir():
                known = nearest(str(control), names) or f", and no control called so: {', '.join(names)}"
                raise InputError(f"--controls: there is no folder {control}{known}")
        subspaces, controls = find_or_extract(extraction, named, reporter)
        settings = replace(settings, subspaces=tuple(subspaces), controls=tuple(controls))
    found = run_if_new(ready(settings, reporter))
    print(headline(found.verdict))
    print(f"wrote {found.folder} in {found.seconds:.0f} s; open {found.folder}/report.html")


if __name__ == "__main__":
    DEFINE_stored("subspaces", [], "folders of experiments.extract with commas, one for each attribute, at least two")
    flags.DEFINE_boolean(
        "all", False, "extract what is missing for texture, geometry, camera and lighting first, and analyse these"
    )
    DEFINE_paths_or_names(
        "controls",
        [],
        "further folders of attributes under study, mined with another --init or with shuffled targets: how much of the drop "
        "at r and of the overlap is there as well? With --all also the names shared (one draw of the input factors), shuffled "
        "(targets of other scenes), full (full fine-tuning in place of LoRAs) and gradient (mean gradients of the base model), "
        "which are extracted for all attributes where they are missing",
    )
    define_flags()
    DEFINE_path("output", None, "folder of the results; by default STORE/analyze/ATTRIBUTES-HASH")
    flags.DEFINE_boolean(
        "overwrite", False, "make the results again, also in place of results of other folders or settings at --output"
    )
    flags.DEFINE_boolean(
        "curves",
        False,
        "also held-out energy by part and side over the number of adapters, and over steps where extract kept --snapshots",
    )
    flags.DEFINE_integer("seed", 0, "of the random subspaces, halves and labels", lower_bound=0)
    run(main)
