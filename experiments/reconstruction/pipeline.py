"""From photos to a folder of points, cameras and depth maps."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flax import nnx

from experiments.models import parameters_digest
from experiments.process.reporting import SILENT, Reporter
from experiments.reconstruction import colmap, overview, point_files, records
from experiments.reconstruction.framing import frame_photos
from experiments.reconstruction.inference import compile_forward, load_photos, refined, scene_of
from experiments.reconstruction.photos import UPRIGHT, Photo, find_photos
from experiments.reconstruction.scene import PointCloud, ReconstructedScene
from experiments.reconstruction.settings import Settings
from experiments.storage.files import sha256
from experiments.storage.identity import digest, identity
from experiments.storage.results import check_replaceable, new_results, results_folder
from subspace.errors import InputError
from vggt_jax import VGGT
from vggt_jax.matching import Matcher
from weights_convert import load_vggt
from weights_convert.matcher import load_matcher

OUTPUTS = frozenset({"points.ply", "points.glb", "cameras.json", "depth", "sparse", "overview.png"})
"""Files and folders that a reconstruction leaves."""


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

    Raises:
        InputError: unusable photos, weights or settings, predictions that describe no cameras, or a folder of other results
            where these should go.
        OSError: a file that cannot be read or written.
    """
    start = time.perf_counter()
    if settings.output is not None:
        check_replaceable(settings.output, None, ours=OUTPUTS, overwrite=True)  # before the model is loaded
    photos = _photos(settings.images, reporter)
    names = [photo.name for photo in photos]
    matcher = load_matcher(settings.weights) if settings.refine else None
    reporter.info(f"loading weights from {settings.weights}")
    model = load_vggt(settings.weights, heads=("camera", "depth"))
    patch_size = model.config.patch_size
    size = model.config.image_size if settings.resolution is None else settings.resolution
    if size % patch_size:
        raise InputError(
            f"resolution={size} is no multiple of the model's patches of {patch_size} pixels", argument="resolution"
        )

    depends_on = _depends_on(settings, size, photos, model, matcher)
    label, folder = _label(settings.images), settings.output
    if folder is None:
        folder = results_folder(settings.store, "reconstruct", label, depends_on)
    with new_results(folder, depends_on, label=label, ours=OUTPUTS, overwrite=settings.overwrite) as new:
        reporter.info(f"loading {len(photos)} photo(s)")
        pictures = load_photos(photos, settings.mode, size, patch_size, new)
        framings = frame_photos([(photo.width, photo.height) for photo in photos], settings.mode, size, patch_size)
        reporter.info(f"compiling for {len(photos)} × {pictures.shape[2]}×{pictures.shape[1]} pixels")
        forward = compile_forward(model, pictures.shape, matcher)
        reporter.info("running the model")
        outputs = forward(pictures)
        scene = scene_of(names, framings, pictures, outputs)
        if settings.refine:
            reporter.info("refining the cameras")
            scene = refined(scene, outputs, patch_size)
        cloud, threshold = scene.cloud(settings.confidence), scene.threshold(settings.confidence)
        reporter.info("writing depth maps, cameras and points")
        _write(new, settings, size, [photo.stem for photo in photos], scene, cloud, threshold)
    return ReconstructionResult(folder, scene, cloud, threshold, time.perf_counter() - start)


def _photos(images: str, reporter: Reporter) -> list[Photo]:
    photos, others = find_photos(images)
    if others:
        some = ", ".join(path.name for path in others[:5])
        reporter.warning(f"passed over {len(others)} file(s) that are no images: {some}")
    if turned := [photo.name for photo in photos if photo.orientation != UPRIGHT]:
        reporter.info(f"turned upright by their EXIF orientation: {', '.join(turned)}")
    return photos


def _depends_on(
    settings: Settings, size: int, photos: Sequence[Photo], model: VGGT, matcher: Matcher | None
) -> dict[str, Any]:
    described = identity(settings)
    return {
        "photos": {photo.name: sha256(photo.path) for photo in photos},
        "parameters": parameters_digest(nnx.state(model)),
        "config": digest(identity(model.config)),
        "matcher": None if matcher is None else parameters_digest(matcher),
        "resolution": size,
        **{name: described[name] for name in ("mode", "confidence", "colmap_points", "refine")},
    }


def _label(images: str) -> str:
    """A name for the photos: that of their folder."""
    parts = [part for part in Path(os.path.abspath(images)).parts if not set(part) & set("*?[]")]
    return re.sub(r"[^\w.-]+", "_", parts[-1] if parts else "").strip("._") or "photos"


def _write(
    folder: Path,
    settings: Settings,
    size: int,
    stems: Sequence[str],
    scene: ReconstructedScene,
    cloud: PointCloud,
    threshold: float,
) -> None:
    unit = records.write_depth_maps(folder / "depth", scene, stems)
    described = {
        "mode": settings.mode,
        "resolution": size,
        "refined_from_matches": settings.refine,
        "confidence_percentile": settings.confidence,
        "confidence_threshold": threshold,
        "points": len(cloud),
        "depth_png_unit": unit,
    }
    records.write_cameras(folder / "cameras.json", scene, stems, described)
    point_files.write_ply(folder / "points.ply", cloud)
    point_files.write_glb(folder / "points.glb", cloud, scene.frusta(cloud))
    colmap.write_colmap(folder / "sparse", scene, cloud.subsample(settings.colmap_points))
    title = (
        f"{len(scene.names)} view(s), {len(cloud):,} points with a confidence of at least {threshold:.3g} "
        f"(percentile {settings.confidence:g})"
    )
    overview.draw_overview(folder / "overview.png", scene, cloud, title)
