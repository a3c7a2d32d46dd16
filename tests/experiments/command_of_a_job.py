"""A command at a tiny preset: ``python -m tests.experiments.command_of_a_job FOLDER MODULE …``.

Extractions find their data in the folder; with ``-`` in its place they render them.
"""

import runpy
import sys
from dataclasses import replace
from pathlib import Path
from typing import cast

from experiments.presets import PRESETS, Preset
from tests.experiments.rendering.small_scenes import SIZE

VIEWS = 4
DATA = ("dataset_00", "dataset_01")


def shrink():
    """The preset nano at the size of the tiny model and of the data."""
    usual = PRESETS["nano"]
    training = replace(
        usual.training, held_out=1, held_out_views=2, rank=2, alpha=2.0, steps=2, images=4, fewest_views=2, most_views=2,
        cache_tokens=False,
    )  # fmt: skip
    rendering = replace(usual.rendering, resolution=SIZE, views=VIEWS, scenes=4, samples=1)
    cast(dict[str, Preset], PRESETS)["nano"] = replace(usual, training=training, rendering=rendering)


def use_data(folder):
    """Extractions find these data sets in place of rendering any."""
    from experiments.data.dataset import Dataset
    from experiments.extraction import source
    from experiments.extraction.data import Data, rendering_of

    def make_data(settings, reporter, meanwhile):
        meanwhile()
        sets = [Dataset(folder / name) for name in DATA]
        return Data(
            folder=folder,
            settings=rendering_of(settings).stored,
            training={number: dataset.scenes[:-1] for number, dataset in enumerate(sets)},
            held_out={number: dataset.scenes[-1:] for number, dataset in enumerate(sets)},
            sha256={number: dataset.manifest.sha256 for number, dataset in enumerate(sets)},
        )

    source.make_data = make_data


if __name__ == "__main__":
    folder, module, *arguments = sys.argv[1:]
    shrink()
    if module == "experiments.extract" and folder != "-":
        use_data(Path(folder))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__")
