"""Do attributes of 3D scenes occupy subspaces of their own? Measured from the folders that the extraction writes::

    from experiments.analysis import Settings, analyze

    found = analyze(Settings(subspaces=(Path("runs/extract/texture-…"), Path("runs/extract/geometry-…"))))
    found.verdict.clear_sides, found.angles.sides["output"].overlap, found.folder

:func:`find_or_extract` extracts all attributes first, where the store does not hold them::

    subspaces, controls = find_or_extract(experiments.extraction.Settings.of("nano"), controls=["shuffled"])

Every topic has two modules: ``angles`` measures (:class:`Angles`) and makes typed rows, ``angles_section`` makes text, tables
and figures of them and needs the plotting that the numbers do not; ``magnitudes`` is small enough to be one. Several topics
measure with ``matrices``, ``overlap`` and ``resampling``, and show with ``panels`` and ``section``.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from experiments.analysis.extracted import find_or_extract as find_or_extract
    from experiments.analysis.pipeline import Analysis as Analysis
    from experiments.analysis.pipeline import Settings as Settings
    from experiments.analysis.pipeline import analyze as analyze
    from experiments.analysis.verdict import Verdict as Verdict
    from experiments.analysis.verdict import headline as headline

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "extracted": ["find_or_extract"],
        "pipeline": ["Analysis", "Settings", "analyze"],
        "verdict": ["Verdict", "headline"],
    },
)
