"""``python -m experiments.benchmark input``: how fast pictures come to a training step, stage by stage."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import jax
import numpy as np
from PIL import Image

from experiments.accelerators.adapter_step import lora
from experiments.benchmarks import machine, training
from experiments.data.dataset import Dataset, PackedScene, StoredScene
from experiments.data.observations import ViewReader, stacked
from experiments.data.packed import DepthKind
from experiments.data.packing import pack_scene
from experiments.data.scene_folder import make_folders, view_files, write_arrays, write_cameras
from experiments.process.cores import available_cores
from experiments.training.augmentation import ColorAugmentation
from experiments.training.batch import TrainingBatch
from experiments.training.normalization import normalize
from experiments.training.sampling import BatchSampler
from subspace.errors import InputError
from vggt_jax import VGGTConfig

IMAGES = 32
"""Of a step, as in the paper."""
VIEWS = (8, 4, 2, 1)
"""Of a step's sequences: the first that the scenes have."""
SIDES = (96, 518)
"""Of the presets' pictures."""
REPEATS = 3
"""The quickest counts."""


@dataclass(frozen=True)
class Stage:
    """What one of the things that are done for every picture costs."""

    name: str
    cpu_s: float
    """Processor time of a batch, of all threads."""
    wall_s: float
    """Duration for a batch."""

    def __str__(self) -> str:
        return f"  {self.name:<52} {self.cpu_s:>8.3f} s {self.wall_s:>8.3f} s {IMAGES / self.wall_s:>9.0f}"


def report(data: Path | None, step: bool) -> Iterator[str]:
    """The tables, line by line as they fill.

    Args:
        data: folder of a data set to read; None draws pictures of both presets' sizes.
        step: also take training steps.
    """
    own = None if data is None else Dataset(data).scenes
    if own is not None and not own:
        raise InputError(f"data: {data} has no scenes", argument="data")
    yield machine.describe()
    if own is not None:
        yield from _of_one_size(own, own[0].observe(0).image.shape[0])
    else:
        with tempfile.TemporaryDirectory() as folder:
            for side in SIDES:
                yield from _of_one_size(drawn_scenes(Path(folder) / str(side), side), side)
    if step:
        yield from _steps()


def _of_one_size(scenes: Sequence[StoredScene], side: int) -> Iterator[str]:
    yield f"\n{IMAGES} pictures of {side}², {len(available_cores())} cores"
    yield "  {:<52} {:>10} {:>10} {:>9}".format("", "CPU", "duration", "images/s")
    yield from map(str, stages(scenes))
    with tempfile.TemporaryDirectory() as folder:
        yield from packed(scenes, Path(folder))


def packed(scenes: Sequence[StoredScene], folder: Path) -> Iterator[str]:
    """The same scenes in few large files (``python -m experiments.pack``): bytes, and a batch of the first's views."""
    views = sum(scene.num_views for scene in scenes)
    yield f"  {_bytes([scene.path for scene in scenes]) / views / 1e3:,.0f} kB a view as they are; packed:"
    for depth in get_args(DepthKind):
        new = [PackedScene(folder / depth / scene.folder.name, scene.num_views) for scene in scenes]
        for scene, copy in zip(scenes, new, strict=True):
            pack_scene(scene, copy.path, depth)
        chosen = [(scene, view) for scene in new for view in range(scene.num_views)]
        chosen = (chosen * math.ceil(IMAGES / len(chosen)))[:IMAGES]
        yield f"  {_bytes([scene.path for scene in new]) / views / 1e3:,.0f} kB a view, depth {depth}"
        yield str(timed("  depth and valid", lambda chosen=chosen: [scene.read_depth(view) for scene, view in chosen]))
        sampler = _sampler(new, next(count for count in VIEWS if count <= min(scene.num_views for scene in new)))
        yield str(timed("  a batch from the disk, all cores", lambda sampler=sampler: jax.device_put(sampler(0))))


def _sampler(scenes: Sequence[StoredScene], views: int) -> BatchSampler:
    """Of batches that are read from the disk each time."""
    return BatchSampler({0: scenes}, IMAGES, (views,), seed=0, read=ViewReader(memory_bytes=0))


def _bytes(paths: Iterable[Path]) -> int:
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    return sum(file.stat().st_size for file in files if file.is_file())


def stages(scenes: Sequence[StoredScene]) -> Iterator[Stage]:
    """From the disk to the device, each stage for itself, then all of them together, then what is not done any more."""
    chosen = [(scene, view) for scene in scenes for view in range(scene.num_views)]
    chosen = (chosen * math.ceil(IMAGES / len(chosen)))[:IMAGES]
    observed = [scene.observe(view) for scene, view in chosen]
    views = next(count for count in VIEWS if count <= min(scene.num_views for scene in scenes))
    lead = (1, IMAGES // views, views)

    yield timed("pictures", lambda: [scene.read_pixels(view) for scene, view in chosen])
    yield timed("depth and valid", lambda: [scene.read_depth(view) for scene, view in chosen])
    yield timed("stacking", lambda: stacked(observed, *lead))
    arrays: dict[str, Any] = stacked(observed, *lead)
    batch = TrainingBatch(**arrays)
    yield timed(f"transfer to the device, {_megabytes(batch):.0f} MB", lambda: jax.device_put(batch))
    on_device, normalized = jax.device_put(batch), jax.jit(jax.vmap(normalize))
    yield timed("points and normalisation on the device", lambda: normalized(on_device))
    pixels = arrays["images"][0].astype(np.float32) / 255
    yield timed("(colours changed, which no command does)", lambda: _augmented(pixels))

    sampler = _sampler(scenes, views)
    yield timed("a batch from the disk to the device, all cores", lambda: jax.device_put(sampler(0)))
    remembered = replace(sampler, read=ViewReader())
    remembered(0)
    yield timed("a batch of views that were read before", lambda: jax.device_put(remembered(0)))

    before = partial(_as_before, [(scene, [view]) for scene, view in chosen])
    yield timed("for comparison: Pillow, all arrays, float64, one core", before, repeats=1)


def timed(name: str, function: Callable[[], Any], repeats: int = REPEATS) -> Stage:
    """The quickest of some calls, each waited for; one before them compiles."""
    jax.block_until_ready(function())
    found = []
    for _ in range(repeats):
        cpu, wall = time.process_time(), time.perf_counter()
        jax.block_until_ready(function())
        found.append((time.process_time() - cpu, time.perf_counter() - wall))
    return Stage(name, min(cpu for cpu, _ in found), min(wall for _, wall in found))


def _as_before(chosen: Sequence[tuple[StoredScene, list[int]]]) -> dict[str, np.ndarray]:
    """What training was fed with up to version 0.2."""
    views = [scene.load(numbers) for scene, numbers in chosen]
    return {
        "images": np.stack([each.images.astype(np.float32) / 255 for each in views]),
        "depths": np.stack([each.depths for each in views]),
        "point_masks": np.stack([each.valid for each in views]),
        "world_points": np.stack([each.world_points for each in views]),
    }


def _augmented(sequences: np.ndarray) -> list[np.ndarray]:
    change, rng = ColorAugmentation(shared=0), np.random.default_rng(0)
    return [change(sequence, rng) for sequence in sequences]


def _megabytes(batch: TrainingBatch) -> float:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(batch)) / 1e6


def drawn_scenes(folder: Path, side: int, scenes: int = 4, views: int = VIEWS[0]) -> list[StoredScene]:
    """Scenes as :mod:`experiments.rendering` writes them: smooth colours with the noise of few light paths, smooth depths
    with edges, a fifth of the picture without a surface."""
    rng = np.random.default_rng(0)
    centre = (side - 1) / 2
    camera = {
        "intrinsics": [[1.2 * side, 0, centre], [0, 1.2 * side, centre], [0, 0, 1]],
        "world_to_camera": np.eye(3, 4).tolist(),
    }
    for number in range(scenes):
        scene = folder / f"scene_{number:04d}"
        scene.mkdir(parents=True)
        make_folders(scene)
        write_cameras(scene, side, side, [camera] * views)
        for view in range(views):
            image, arrays = (scene / name for name in view_files(view))
            colours = np.stack([_smooth(rng, side, 24) for _ in range(3)], axis=-1)
            noisy = 255 * colours + rng.integers(-2, 3, colours.shape)
            Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(image)
            valid = _smooth(rng, side, 4) > np.quantile(_smooth(rng, side, 4), 0.2)
            objects = (3 * _smooth(rng, side, 6)).astype(np.uint16)
            normal = np.stack([2 * _smooth(rng, side, 24) - 1 for _ in range(3)], axis=-1)
            stored = {
                "depth": np.where(valid, 2 + _smooth(rng, side, 24) + objects, 0).astype(np.float32),
                "valid": valid,
                "normal": (valid[..., None] * normal).astype(np.float16),
                "object_id": valid * objects,
                "glass": np.zeros_like(valid),
            }
            write_arrays(arrays, stored)
    return [StoredScene(folder / f"scene_{number:04d}", views) for number in range(scenes)]


def _smooth(rng: np.random.Generator, side: int, cells: int) -> np.ndarray:
    """Random numbers from 0 to 1, interpolated between ``cells`` × ``cells`` draws."""
    drawn = Image.fromarray(rng.uniform(size=(cells, cells)).astype(np.float32))
    return np.clip(np.asarray(drawn.resize((side, side), Image.Resampling.BICUBIC)), 0, 1)


def _steps() -> Iterator[str]:
    """What a step needs: nano's; and VGGT-1B's where an accelerator takes it."""
    yield "\nWhat a LoRA step of one adapter takes in, images/s"
    nano = VGGTConfig.nano()
    tokens = ((nano.image_size // nano.patch_size) ** 2, nano.width)
    case = training.Case((1, training.SEQUENCES, training.VIEWS, nano.image_size, tokens), steps=training.STEPS)
    config = replace(nano, heads=("camera", "depth"))
    found = machine.in_own_process(training.measure, config, partial(lora, rank=8), case, training.RUNS)
    yield f"  nano, 2 × 4 images of 96², tokens cached: {training.SEQUENCES * training.VIEWS / found.run_s:.0f}"
    if jax.default_backend() == "cpu":
        yield "  VGGT-1B, 4 × 8 images of 518²: not measured on a CPU (planned for an H100: see docs/speed.md)"
        return
    config = replace(VGGTConfig.vggt_1b(), heads=("camera", "depth"), remat=True, dtype="bfloat16")
    case = training.Case((1, IMAGES // VIEWS[0], VIEWS[0], 518, None))
    found = machine.in_own_process(training.measure, config, partial(lora, rank=16), case, training.RUNS)
    yield f"  VGGT-1B, 4 × 8 images of 518², bfloat16: {IMAGES / found.run_s:.1f}"
