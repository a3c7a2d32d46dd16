"""What training needs and no picture decides, the compiled programs above all: made while Blender renders."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

import jax
import numpy as np

from experiments.data.dataset import StoredScene
from experiments.data.observations import Observation
from experiments.extraction.adapters import AdapterRun, held_out_batches, training_batches
from experiments.extraction.data import Data, rendering_of
from experiments.extraction.prepared import Prepared, compile_for, prepare
from experiments.extraction.recipe import Recipe
from experiments.extraction.settings import Settings
from experiments.extraction.updates import leading
from experiments.mining.mine import mine
from experiments.models import Base
from experiments.training.loss_function import Params
from experiments.training.sampling import Encode
from subspace import LowRank
from vggt_jax.adapters import Dense, FixedOutputs, LoRA


class Preparation:
    """Prepares a run of adapters in a thread, from :meth:`begin` on.

    A compilation cannot be stopped, and a process ends only after its threads: :meth:`abandon` begins no further one.

    Args:
        settings: what is asked for.
        base: the model that is adapted.
    """

    def __init__(self, settings: Settings, base: Base):
        self._abandoned = Event()
        self._prepare: Callable[[], Prepared] = lambda: prepare_compiled(settings, base, self._abandoned)
        self._thread = ThreadPoolExecutor(1, "preparation")
        self._future: Future[Prepared] | None = None

    def begin(self) -> None:
        """Begin, unless that was done before."""
        if self._future is None:
            self._future = self._thread.submit(self._prepare)

    @property
    def running(self) -> bool:
        """Whether something is being done."""
        return self._future is not None and not self._future.done()

    @property
    def done(self) -> bool:
        """Whether :meth:`result` will not wait."""
        return self._future is not None and self._future.done()

    def abandon(self) -> None:
        """Compile no more than what is being compiled."""
        self._abandoned.set()

    def result(self) -> Prepared:
        """What was prepared, once that is done; raises what doing it raised."""
        self.begin()
        assert self._future is not None
        return self._future.result()


def prepare_compiled(settings: Settings, base: Base, abandoned: Event) -> Prepared:
    """The adapters' start and their programs, compiled with blank pictures in the place of those to be rendered.

    The programs of mining are compiled as well, by mining the adapters as they start.

    Args:
        settings: what is asked for.
        base: the model that is adapted.
        abandoned: once it is set, nothing more is compiled, as nobody will use it.
    """
    recipe = Recipe.of(settings)
    job = AdapterRun(base, _blank_data(settings), recipe, settings.plan)
    prepared = prepare(base, recipe, job.data.settings, settings.k, settings.plan)
    group = job.of(prepared.groups[0])
    encode = _blank_encoder(base) if recipe.training.cache_tokens else None
    sampler = training_batches(group, encode)
    training = (replace(sampler, counts=(count,))(0) for count in sampler.counts if not abandoned.is_set())
    compile_for(prepared, training, held_out_batches(group, encode)[0])
    if abandoned.is_set():
        return prepared
    every = range(settings.k)
    all_of_them = prepared.first if len(prepared.groups) == 1 else prepared.start(every)
    begun = stacked_updates(job.maker, jax.device_get(all_of_them.params), recipe.training.rank)
    mine(begun, settings.dim, exponent=settings.exponent)
    return prepared


def stacked_updates(maker: LoRA | Dense | FixedOutputs, params: Params, rank: int) -> dict[str, LowRank]:
    """The updates of k adapters as mining takes them, the adapters first: also where a part is the same for all of them.

    Args:
        maker: of one adapter's numbers.
        params: NumPy's, with the adapters' axis k in front.
        rank: columns of the factors that are taken, the first ones.
    """
    k = len(jax.tree.leaves(params)[0])
    of_each = (maker.deltas(jax.tree.map(lambda leaf, i=i: leaf[i], params)) for i in range(k))
    each = [{path: leading(update, rank) for path, update in updates.items()} for updates in of_each]
    return {
        path: LowRank(np.stack([one[path].A for one in each]), np.stack([one[path].B for one in each]))
        for path in each[0]
    }


@dataclass(frozen=True)
class _BlankScene(StoredScene):
    """Nothing is seen; shapes and types are a scene's."""

    side: int

    def observe(self, view: int) -> Observation:
        pixels = (self.side, self.side)
        return Observation(
            image=np.zeros((*pixels, 3), np.uint8),
            depth=np.zeros(pixels, np.float32),
            valid=np.zeros(pixels, bool),
            intrinsics=np.eye(3, dtype=np.float32),
            extrinsics=np.eye(3, 4, dtype=np.float32),
        )


def _blank_data(settings: Settings) -> Data:
    scene = _BlankScene(Path(), settings.views, settings.resolution)
    numbers = range(settings.k)
    held_out = settings.training.held_out
    return Data(
        folder=Path(),
        settings=rendering_of(settings).stored,
        training={number: [scene] * (settings.scenes - held_out) for number in numbers},
        held_out={number: [scene] * held_out for number in numbers},
    )


def _blank_encoder(base: Base) -> Encode:
    """Tokens of zeros, in the encoder's shape."""
    config = base.config

    def encode(images: np.ndarray) -> np.ndarray:
        tokens = (images.shape[1] // config.patch_size) * (images.shape[2] // config.patch_size)
        return np.zeros((len(images), tokens, config.width), np.float32)

    return encode
