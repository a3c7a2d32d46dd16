"""The analysis from end to end: folders of mined attributes in, what they say and a report out."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.analysis.angles import Angles, measure_angles
from experiments.analysis.angles_section import angles_section
from experiments.analysis.basis import BasisNumbers, measure_basis
from experiments.analysis.basis_section import basis_section
from experiments.analysis.conditions import Controls, read_controls
from experiments.analysis.controls import ControlNumbers, measure_controls
from experiments.analysis.controls_section import controls_section
from experiments.analysis.curves import CurvePoint, measure_curves
from experiments.analysis.curves_section import curves_section
from experiments.analysis.empirical import Resampled, compare_empirically
from experiments.analysis.empirical_section import empirical_section
from experiments.analysis.first_factors import FirstFactorRow, first_factor_rows
from experiments.analysis.first_factors_section import first_factors_section
from experiments.analysis.magnitudes import Magnitudes, magnitudes_section, measure_magnitudes
from experiments.analysis.resampling import adapter_counts
from experiments.analysis.section import OUTPUTS, Section, write_report
from experiments.analysis.specificity import Specificity, measure_specificity
from experiments.analysis.specificity_section import specificity_section
from experiments.analysis.spectra import Spectra, measure_spectra
from experiments.analysis.spectra_section import spectra_section
from experiments.analysis.verdict import Verdict, headline, judge, verdict_section
from experiments.mining.folder import SUBSPACE, Inputs, MinedAttribute, read_inputs
from experiments.process.reporting import SILENT, Reporter
from experiments.reports.drawings import Drawings
from experiments.storage.arguments import convert_fields
from experiments.storage.files import sha256
from experiments.storage.identity import NO_EFFECT, NO_EFFECT_BY_DEFAULT
from experiments.storage.results import Ready, ResultsFolder, check_output
from subspace.errors import InputError

_RECIPE = 2
"""To be raised where an analysis of the same folders comes to mean something else."""


@dataclass(frozen=True)
class Settings:
    """What :func:`analyze` analyses. Raises InputError for what is no path."""

    subspaces: tuple[Path, ...]
    """Folders that the extraction wrote, one for each attribute under study, at least two."""
    controls: tuple[Path, ...] = ()
    """Folders of the same attributes, mined under other conditions: other initialisation, shuffled targets, another seed."""
    seed: int = 0
    """Of the random subspaces, of the divisions into halves and of the shuffled labels."""
    curves: bool = field(default=False, metadata=NO_EFFECT_BY_DEFAULT)
    """Also held-out energy over the number of adapters, and over steps where the folders hold snapshots of adapters."""
    store: Path = field(default=Path("runs"), metadata=NO_EFFECT)
    """Folder of the results of all commands."""
    output: Path | None = field(default=None, metadata=NO_EFFECT)
    """Folder of the results; by default below the store, named by everything that they depend on."""
    overwrite: bool = field(default=False, metadata=NO_EFFECT)
    """Replace results in ``output`` that were made from other settings."""

    def __post_init__(self) -> None:
        convert_fields(self)


@dataclass(frozen=True, eq=False)
class Analysis:
    """What :func:`analyze` found."""

    folder: Path
    """The folder that was written: report, figures, CSV files and ``analysis.json``."""
    verdict: Verdict
    """The result in a few numbers; :func:`experiments.analysis.verdict.headline` puts it into words."""
    spectra: Spectra
    """Singular values of C, their patterns and drops."""
    magnitudes: Magnitudes
    """The largest singular value of every subspace."""
    angles: Angles
    """Overlap of all pairs of attributes in every matrix, against random subspaces."""
    resampled: Resampled | None
    """Halves of the adapters and shuffled labels; None where a folder holds no adapters."""
    specificity: Specificity | None
    """Where held-out adapters lie; None where a folder holds no adapters."""
    first_factors: list[FirstFactorRow]
    """What adapters keep of their first input factors; empty where it is not known how these were drawn."""
    curves: list[CurvePoint]
    """Held-out energy over adapters and steps; empty where that was not asked for."""
    controls: ControlNumbers | None
    """What remains under other conditions; None without controls."""
    basis: BasisNumbers
    """The union of the attributes as a basis for fine-tuning."""
    seconds: float
    """Wall-clock time from reading to the finished folder."""


def analyze(settings: Settings, reporter: Reporter = SILENT) -> Analysis:
    """Compare the subspaces of several attributes with each other, with chance, and with themselves.

    A folder of the same results stays as it is.

    Args:
        settings: what to analyse.
        reporter: told of every part that begins.

    Raises:
        InputError: folders that are missing, damaged or do not belong together, or an output that may not be replaced.
        OSError: something that cannot be read or written.
    """
    return ready(settings, reporter).run()


def ready(settings: Settings, reporter: Reporter = SILENT) -> Ready[Analysis]:
    """What :func:`analyze` is about to do. Arguments and errors are the same."""
    start = time.perf_counter()
    check_output(settings, {"seed": settings.seed}, OUTPUTS)
    inputs = read_inputs(settings.subspaces)
    if settings.curves and (not inputs.has_adapters or min(adapter_counts(inputs).values()) < 3):
        raise InputError("curves need folders that hold three adapters or more each", argument="curves")
    inputs, controls = _changed(inputs, read_controls(settings.controls, inputs), reporter)
    identity = _identity(inputs, controls, settings.seed)
    if settings.curves:
        identity |= {"curves": {name: sorted(mined.snapshots) for name, mined in inputs.attributes.items()}}
    results = ResultsFolder.of(settings, "analyze", "_".join(inputs.names), identity, OUTPUTS)
    results.check()
    return Ready(results, lambda: _analyze(inputs, controls, settings, results, start, reporter), reporter)


def _changed(inputs: Inputs, controls: Controls, reporter: Reporter) -> tuple[Inputs, Controls]:
    """Without the matrices that the adapters of an attribute do not change, unless there are no others."""
    unchanged = [path for path in inputs.paths if any(path in own.unchanged for own in inputs.attributes.values())]
    if not unchanged or len(unchanged) == len(inputs.paths):
        return inputs, controls
    others = f" and {len(unchanged) - 1} more" if len(unchanged) > 1 else ""
    reporter.info(f"left out: {unchanged[0]}{others}, which the adapters of an attribute do not change")

    def of_others(mined: Mapping[str, MinedAttribute]) -> dict[str, MinedAttribute]:
        return {name: own.without(unchanged) for name, own in mined.items()}

    return Inputs(of_others(inputs.attributes)), {condition: of_others(each) for condition, each in controls.items()}


def _analyze(
    inputs: Inputs, controls: Controls, settings: Settings, results: ResultsFolder, start: float, reporter: Reporter
) -> Analysis:
    seed = settings.seed
    sections: list[Section] = []
    curves: list[CurvePoint] = []
    resampled = specificity = control_numbers = None
    with Drawings() as drawings:

        def add(section: Section) -> None:
            sections.append(section)
            drawings.add({name: figure for name, (figure, _) in section.figures.items()})

        reporter.info("spectra and magnitudes")
        add(spectra_section(spectra := measure_spectra(inputs)))
        add(magnitudes_section(magnitudes := measure_magnitudes(inputs)))
        reporter.info(f"angles between {len(inputs.names)} attributes")
        add(angles_section(angles := measure_angles(inputs, seed)))
        if inputs.has_adapters:
            add(empirical_section(resampled := compare_empirically(inputs, angles, seed, reporter)))
            add(specificity_section(specificity := measure_specificity(inputs, reporter)))
        if first_factors := first_factor_rows(inputs):
            add(first_factors_section(first_factors))
        if settings.curves:
            add(curves_section(curves := measure_curves(inputs, reporter)))
        if controls:
            reporter.info(f"{sum(map(len, controls.values()))} controls")
            add(controls_section(control_numbers := measure_controls(inputs, controls, angles)))
        reporter.info("the union as a basis")
        add(basis_section(basis := measure_basis(inputs)))
        verdict = judge(angles, resampled, specificity, control_numbers)
        facts = _facts(inputs, controls) | {
            "seed": str(seed),
            "seconds until the report": f"{time.perf_counter() - start:.0f}",
        }
        reporter.info("figures and report")
        with results.new() as folder:
            title = "Are the attributes disentangled?"
            write_report(folder, title, headline(verdict), [verdict_section(verdict), *sections], facts, drawings)
    return Analysis(
        folder=results.path,
        verdict=verdict,
        spectra=spectra,
        magnitudes=magnitudes,
        angles=angles,
        resampled=resampled,
        specificity=specificity,
        first_factors=first_factors,
        curves=curves,
        controls=control_numbers,
        basis=basis,
        seconds=time.perf_counter() - start,
    )


def _identity(inputs: Inputs, controls: Controls, seed: int) -> dict[str, Any]:
    """What the results depend on. The adapters' contents are those of the subspaces that were mined from them."""
    return {
        "recipe": _RECIPE,
        "subspaces": _contents(list(inputs.attributes.values())),
        "controls": _contents([mined for own in controls.values() for mined in own.values()]),
        "seed": seed,
    }


def _contents(folders: Sequence[MinedAttribute]) -> list[dict[str, Any]]:
    return [
        {
            "attribute": mined.attribute,
            "subspace": sha256(mined.folder / SUBSPACE),
            "with adapters": bool(mined.adapter_files),
        }
        for mined in folders
    ]


def _facts(inputs: Inputs, controls: Controls) -> dict[str, str]:
    """Where everything comes from, for the end of the page."""
    facts = {"base model": inputs.first.origin.base_label}
    facts |= {f"subspace of {name}": _origin(mined) for name, mined in inputs.attributes.items()}
    for condition, own in controls.items():
        facts |= {f"control: {name}, {condition}": _origin(mined) for name, mined in own.items()}
    return facts


def _origin(mined: MinedAttribute) -> str:
    origin = mined.origin
    known = [f"k = {len(origin.adapters)}", f"d' = {origin.dim}", f"α = {origin.exponent:g}"]
    known += [f"input factors drawn: {origin.init}"] if origin.init else []
    known += [f"targets: {origin.targets}"] if origin.targets else []
    known += [f"updates: {origin.updates}"] if origin.updates != "lora" else []
    return f"{mined.folder}: {', '.join(known)}"
