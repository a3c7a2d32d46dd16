"""How good a reconstruction is, by the field's protocols::

    from experiments.evaluation import Settings, compare, evaluate

    found = evaluate(Settings(data=(Path("runs/data/glass/dataset_00"),), weights="nano"))
    found.mean["accuracy"], found.folder

Point maps: every pixel's depth is unprojected with the predicted cameras. The prediction is brought onto the truth by
Umeyama's similarity over corresponding pixels of all views (:mod:`~experiments.evaluation.similarity`), then by
point-to-point ICP (:mod:`~experiments.evaluation.icp`); accuracy, completeness and normal consistency are taken between
the two clouds (:mod:`~experiments.evaluation.point_metrics`), without a filter on confidence. Neighbours are exact: both
:class:`~experiments.evaluation.cloud.Cloud` and :mod:`~experiments.evaluation.moving_neighbours` only save time.

Depth maps: each view is aligned on its own, with one scale and one translation of its unprojected points
(:mod:`~experiments.evaluation.affine_depth`); AbsRel and δ < 1.25 are taken on the aligned depths.

Both are computed inside a mask, by scene, and averaged over scenes (:mod:`~experiments.evaluation.results`), whose
differences between two methods are tested in pairs (:mod:`~experiments.evaluation.paired`). Everything is NumPy
in double precision: a model is only run by :mod:`~experiments.evaluation.predictions`.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from experiments.evaluation.pipeline import Comparison as Comparison
    from experiments.evaluation.pipeline import Evaluation as Evaluation
    from experiments.evaluation.pipeline import compare as compare
    from experiments.evaluation.pipeline import evaluate as evaluate
    from experiments.evaluation.settings import Settings as Settings

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={"pipeline": ["Comparison", "Evaluation", "compare", "evaluate"], "settings": ["Settings"]},
)
