"""From photos to a folder of points, cameras and depth maps."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from experiments.models import first_not_finite, parameters_digest
from experiments.process.hosts import is_first, wait_for_all
from experiments.process.memory import free_memory, free_on_host
from experiments.process.mesh_sizes import MeshSizes
from experiments.process.reporting import SILENT, Reporter
from experiments.reconstruction import overview, point_files, records
from experiments.reconstruction.colmap import check_one_size, colmap_model
from experiments.reconstruction.colmap_files import write_colmap
from experiments.reconstruction.framing import fitting_mode, frame_photos
from experiments.reconstruction.images import FOLDER, UprightImage, upright_images, write_images
from experiments.reconstruction.inference import (
    check_bfloat16,
    check_photos_fit,
    compile_forward,
    load_photos,
    refined,
    scene_of,
)
from experiments.reconstruction.photos import Photo, find_photos
from experiments.reconstruction.scene import PointCloud, ReconstructedScene
from experiments.reconstruction.settings import Mode, Settings
from experiments.storage.files import sha256
from experiments.storage.identity import digest, identity
from experiments.storage.results import Ready, ResultsFolder, check_output
from experiments.training.sharding import Placement, make_mesh
from subspace.errors import InputError
from vggt_jax import VGGT, VGGTConfig
from vggt_jax.matching import Matcher
from vggt_jax.pictures import UPRIGHT
from weights_convert import load_vggt
from weights_convert.checkpoint import open_checkpoint
from weights_convert.matcher import load_matcher

OUTPUTS = frozenset(
    {"points.ply", "points.glb", "cameras.json", "depth", "images", "photos.csv", "sparse", "overview.png"}
)
"""Files and folders that a reconstruction leaves."""

_VERSION = 2
"""Of what the results are; to be raised when equal settings give others: 2 has other principal points and ``images``."""
_LONGEST_LABEL = 220
"""Bytes."""
_FEW_POINTS = 100
"""Points below which the user is told what a confidence means."""
_SQUARE = 1.05
"""fx / fy, or its inverse, beyond which the user is told: the loader's whole patches alone make up to 1.04 of 1."""


@dataclass(frozen=True, eq=False)
class ReconstructionResult:
    """What :func:`reconstruct` found and where it lies."""

    folder: Path
    """Holds :data:`OUTPUTS`."""
    scene: ReconstructedScene
    """Depth maps, confidences and cameras of all photos."""
    cloud: PointCloud
    """The points that were kept, coloured."""
    threshold: float
    """Smallest confidence of a point that was kept."""
    seconds: float
    """Time that the whole reconstruction took."""


def reconstruct(settings: Settings, reporter: Reporter = SILENT) -> ReconstructionResult:
    """Run the model once on all photos together, and write everything into one folder.

    A folder of the same results stays as it is.

    Raises:
        InputError: unusable photos, weights or settings, predictions that describe no cameras, or a folder of other results
            where these should go.
        OSError: a file that cannot be read or written.
    """
    return ready(settings, reporter).run()


def ready(settings: Settings, reporter: Reporter = SILENT) -> Ready[ReconstructionResult]:
    """What :func:`reconstruct` is about to do. Arguments and errors are the same."""
    start = time.perf_counter()
    check_output(settings, {}, OUTPUTS)
    photos = _photos(settings.images, reporter)
    known = _known(settings, photos)
    check_output(settings, known, OUTPUTS)  # before the model is loaded
    names, sizes = [photo.name for photo in photos], [(photo.width, photo.height) for photo in photos]
    if settings.refine and len(photos) == 1:
        raise InputError(f"refine compares photos, and {settings.images} has one", argument="refine")
    if settings.shared_camera:
        check_one_size(sizes, names)
    config = _config(settings)
    matcher = load_matcher(settings.weights) if settings.refine else None
    patch_size = config.patch_size
    size = config.image_size if settings.resolution is None else settings.resolution
    if size % patch_size:
        raise InputError(
            f"resolution={size} is no multiple of the model's patches of {patch_size} pixels", argument="resolution"
        )
    mode = fitting_mode(sizes, config, size) if settings.mode is None else settings.mode
    framings = frame_photos(sizes, mode, size, patch_size)
    check_photos_fit(framings, free_on_host())
    placement = _placement(settings.mesh, len(photos))
    images = upright_images(photos)
    pictures, opaque = load_photos(photos, mode, size, patch_size)
    if not opaque.any():
        raise InputError(f"all photos of {settings.images} are transparent, there is nothing to see")
    model = load_vggt(settings.weights, config=config)

    depends_on = {**known, **_model_of(model, matcher), "mode": mode, "resolution": size}
    results = ResultsFolder.of(settings, "reconstruct", _label(settings.images), depends_on, OUTPUTS)
    results.check()

    def work() -> ReconstructionResult:
        reporter.info(f"{len(photos)} photo(s), model: {settings.weights}")
        with results.new() if is_first() else nullcontext() as new:
            reporter.info(f"compiling for {len(photos)} × {pictures.shape[2]}×{pictures.shape[1]} pixels")
            forward = compile_forward(config, pictures.shape, matcher, placement)
            forward.check_fits(free_memory(jax.local_devices()[0]))
            reporter.info("running the model")
            outputs = forward(model, pictures)
            if not np.isfinite(outputs.depth).all() and (damaged := first_not_finite(nnx.state(model))) is not None:
                raise InputError(
                    f"{settings.weights}: {damaged} has NaN or infinity: the file is damaged, or training had diverged",
                    argument="weights",
                )
            scene = scene_of(names, framings, pictures, outputs, opaque)
            if settings.refine:
                reporter.info("refining the cameras")
                scene = refined(scene, outputs, patch_size)
            _tell_stretched(scene, model.config, reporter)
            cloud, threshold = scene.cloud(settings.confidence), scene.threshold(settings.confidence)
            if len(cloud) < _FEW_POINTS:
                reporter.warning(
                    f"confidence={settings.confidence:g} keeps {len(cloud):,} of {scene.is_photo.sum():,} points: it is a "
                    "percentile, and points below it are left out"
                )
            reporter.info("writing depth maps, cameras, points and upright photos")
            if new is not None:
                _write(new, settings, mode, size, images, scene, cloud, threshold)
        wait_for_all("reconstruction")
        return ReconstructionResult(results.path, scene, cloud, threshold, time.perf_counter() - start)

    return Ready(results, work, reporter)


def _placement(mesh: MeshSizes | None, photos: int) -> Placement | None:
    """Where the work is done; None for one device. Raises InputError for a mesh that photos or devices do not allow."""
    if mesh is None:
        if jax.process_count() > 1:
            raise InputError("mesh: say what the processes share, such as model:2 or data:2", argument="mesh")
        return None
    if photos % mesh.data:
        raise InputError(f"mesh: {photos} photo(s) cannot be shared evenly by data:{mesh.data}", argument="mesh")
    return Placement(make_mesh(data=mesh.data, model=mesh.model))


def _config(settings: Settings) -> VGGTConfig:
    """The model's configuration, once its files are known to fit it."""
    config = open_checkpoint(settings.weights, heads=("camera", "depth"), dtype="float32").config
    if settings.dtype is None:
        return config
    if settings.dtype == "bfloat16":
        check_bfloat16(jax.local_devices()[0])
    return replace(config, dtype=settings.dtype)


def _photos(images: str, reporter: Reporter) -> Sequence[Photo]:
    found = find_photos(images)
    if os.path.isdir(images) and not os.path.samefile(images, found.folder):
        reporter.info(f"taking the photos in {found.folder}")
    for remark in found.remarks():
        reporter.warning(remark)
    if turned := [photo.name for photo in found.photos if photo.orientation != UPRIGHT]:
        reporter.info(f"turned upright by their EXIF orientation: {', '.join(turned)}")
    if animated := [photo.name for photo in found.photos if photo.animated]:
        reporter.warning(f"only the first frame is taken of {', '.join(animated)}")
    return found.photos


def _known(settings: Settings, photos: Sequence[Photo]) -> dict[str, Any]:
    """What the results depend on, besides the model, and the mode and the resolution where these are left to it."""
    described = identity(settings)
    counted = ("confidence", "colmap_points", "colmap_camera", "shared_camera", "colmap_text", "refine")
    return {
        "version": _VERSION,
        "photos": {photo.name: sha256(photo.path) for photo in photos},
        **{name: described[name] for name in counted},
        **{name: described[name] for name in ("mode", "resolution") if described[name] is not None},
    }


def _model_of(model: VGGT, matcher: Matcher | None) -> dict[str, Any]:
    return {
        "parameters": parameters_digest(nnx.state(model)),
        "config": digest(identity(model.config)),
        "matcher": None if matcher is None else parameters_digest(matcher),
    }


def _tell_stretched(scene: ReconstructedScene, config: VGGTConfig, reporter: Reporter) -> None:
    aspects = scene.pixel_aspects
    stretched = np.maximum(aspects, 1 / aspects) > _SQUARE
    if not stretched.any():
        return
    height, width = scene.depth.shape[1:]
    why = "the model is unsure of these cameras"
    if not config.knows(height, width):
        why = f"the model was not trained on pictures of the shape {width}×{height}: leave the mode to it"
    reporter.warning(
        f"{stretched.sum()} of {len(aspects)} camera(s) have pixels that are not square, fx/fy is {aspects.min():.3f} to "
        f"{aspects.max():.3f}; {why}"
    )


def _label(images: str) -> str:
    """A name for the photos: that of their folder, as far as it leaves room for a digest and a hidden folder."""
    parts = [part for part in Path(os.path.abspath(images)).parts if not set(part) & set("*?[]")]
    name = re.sub(r"[^\w.-]+", "_", parts[-1] if parts else "").strip("._")
    return name.encode()[:_LONGEST_LABEL].decode(errors="ignore") or "photos"


def _write(
    folder: Path,
    settings: Settings,
    mode: Mode,
    size: int,
    images: Sequence[UprightImage],
    scene: ReconstructedScene,
    cloud: PointCloud,
    threshold: float,
) -> None:
    stems, names = [image.depth for image in images], [image.name for image in images]
    unit = records.write_depth_maps(folder / "depth", scene, stems)
    described = {
        "mode": mode,
        "resolution": size,
        "refined_from_matches": settings.refine,
        "confidence_percentile": settings.confidence,
        "confidence_threshold": threshold,
        "points": len(cloud),
        "depth_png_unit": unit,
    }
    records.write_cameras(folder / "cameras.json", scene, stems, [f"{FOLDER}/{name}" for name in names], described)
    point_files.write_ply(folder / "points.ply", cloud)
    point_files.write_glb(folder / "points.glb", cloud, scene.frusta(cloud))
    some = cloud.subsample(settings.colmap_points)
    model = colmap_model(scene, some, names, settings.colmap_camera, shared=settings.shared_camera)
    write_colmap(folder / "sparse" / "0", model, text=settings.colmap_text)
    write_images(folder / FOLDER, images)
    title = (
        f"{len(scene.names)} view(s), {len(cloud):,} points with a confidence of at least {threshold:.3g} "
        f"(percentile {settings.confidence:g})"
    )
    overview.draw_overview(folder / "overview.png", scene, cloud, title)
