"""A tiny model, scenes and a preset for fine-tuning that ends in seconds."""

from dataclasses import dataclass, replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from experiments.data.observations import Observation
from experiments.finetuning.data import TuningData
from experiments.finetuning.methods import METHODS
from experiments.finetuning.settings import Settings
from experiments.models import Base
from experiments.presets import PRESETS, Extraction
from experiments.training.optimizer import OptimizerSettings
from subspace import LowRank
from tests.experiments.analysis.planted import write_subspace
from tests.experiments.pretraining.small import box_scene
from tests.experiments.training import tiny
from vggt_jax.adaptable import adaptable
from vggt_jax.adapters import Adapter, BaseModel, save_adapter
from vggt_jax.parameters import abstract_model

MATRICES = ("aggregator.*.attn.*", "camera_head.*", "depth_head.projects.0")
"""Of the tiny model; all would take longer to compile."""
RESOLUTION = 16
PRESET = replace(
    PRESETS["nano"].training, steps=3, images=4, fewest_views=2, most_views=2, held_out_views=2, held_out=2, rank=2,
    alpha=2.0, peak_rate=0.1, cache_tokens=False,
)  # fmt: skip
TINY = replace(PRESETS["nano"], training=PRESET, extraction=Extraction(2))


@dataclass(frozen=True)
class BoxScene:
    """A scene as a data set on disk has them."""

    number: int
    num_views: int = 4

    def observe(self, view):
        scene = box_scene(self.number, self.num_views)
        arrays = (scene.images, scene.depths, scene.valid, scene.intrinsics, scene.extrinsics)
        return Observation(*(array[view] for array in arrays))


def base(seed=0):
    graphdef, params = tiny.draw_base(seed)
    return Base(BaseModel.of("tiny", tiny.CONFIG, params), graphdef, params)


def data():
    return TuningData(
        [BoxScene(i) for i in range(3)], [BoxScene(5), BoxScene(6)], ["boxes/5", "boxes/6"], 16, {"boxes": "ab"}
    )


def settings(method, store, seed=0, **given):
    """Of the tiny preset, with the method's options in ``given``."""
    given = {"matrices": MATRICES, **({"target_rank": 1} if method == "adalora" else {}), **given}
    fields = ("images", "fewest_views", "most_views", "held_out", "held_out_views", "cache_tokens")
    return Settings(
        method=METHODS[method].of(TINY, **given),
        data=(Path("boxes"),),
        optimizer=OptimizerSettings(PRESET.steps, PRESET.peak_rate),
        **{name: getattr(PRESET, name) for name in fields},
        seed=seed,
        store=Path(store),
    )


def matrices():
    return adaptable(abstract_model(tiny.CONFIG))


def subspace_folder(folder: Path, attribute, seed, dim=2, base=None, spectra=None, only=None, adapters=False):
    """What ``experiments.extract`` writes, of the tiny model's matrices; directions are drawn, as are adapters."""
    rng = np.random.default_rng(seed)

    def columns(matrix, side):
        size = min(dim, matrix.n, matrix.m)
        return jnp.asarray(np.linalg.qr(rng.normal(size=(*matrix.stack, side, size)))[0], jnp.float32)

    chosen = {path: x for path, x in matrices().items() if only is None or path in only}
    found = {path: LowRank(columns(matrix, matrix.n), columns(matrix, matrix.m)) for path, matrix in chosen.items()}
    model = BaseModel("tiny", "0123456789abcdef", tiny.CONFIG) if base is None else base.identity
    write_subspace(folder, attribute, found, rank=2, base=model, spectra=spectra)
    for i in range(3) if adapters else ():
        drawn = {
            path: LowRank(*(rng.normal(size=(*x.stack, side, 2)).astype(np.float32) for side in (x.n, x.m)))
            for path, x in chosen.items()
        }
        (folder / "adapters").mkdir(exist_ok=True)
        save_adapter(folder / "adapters" / f"{attribute}_{i:02d}.safetensors", Adapter(drawn, model))
    return folder
