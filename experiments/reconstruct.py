"""Photos to a point cloud, cameras and depth maps.

``python -m experiments.reconstruct --images=photos --output=result --weights=hf:facebook/VGGT-1B`` runs VGGT once on all
photos together and writes

- ``points.ply`` and ``points.glb``: the coloured points of the surer pixels, the latter with the cameras, y up;
- ``cameras.json``: poses, intrinsics for the model's pictures and for the photos; it explains its own conventions;
- ``depth/*.png`` (16 bits; the unit stands in ``cameras.json``) and ``depth/*.npz`` (depth, confidence, points);
- ``sparse/``: a COLMAP text model in pixels of the photos;
- ``overview.png``: all of it at a glance.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from absl import flags

from experiments.process.compilation_cache import keep_compiled
from subspace.errors import InputError
from weights_convert.command_line import run

OUTPUTS = frozenset({"points.ply", "points.glb", "cameras.json", "depth", "sparse", "overview.png"})


def reconstruct(
    images: str,
    output: Path,
    weights: str,
    mode: str = "crop",
    resolution: int | None = None,
    confidence: float = 50.0,
    colmap_points: int = 100_000,
    refine: bool = False,
    overwrite: bool = False,
) -> str:
    """Run the command.

    Args:
        images: a folder or a glob pattern, see :func:`experiments.reconstruction.photos.find_photos`.
        output: the folder to make.
        weights: what :func:`weights_convert.load_vggt` takes.
        mode: ``"crop"`` or ``"pad"``, see :func:`vggt_jax.preprocessing.load_images`.
        resolution: side of the model's pictures in pixels; by default the one that the model was made for.
        confidence: percentile of the confidences of all views below which points are left out.
        colmap_points: largest number of points in the COLMAP model.
        refine: solve the cameras again from matched tokens and depth, with a model that has a matcher.
        overwrite: replace an earlier reconstruction.

    Returns:
        One line that says what was written.

    Raises:
        ValueError: unusable photos, weights or settings, or predictions that describe no cameras.
        OSError: a file that cannot be read or written.
    """
    from experiments.reconstruction.photos import UPRIGHT, find_photos
    from experiments.storage.output_folder import new_folder

    start = time.perf_counter()
    photos, others = find_photos(images)
    if others:
        _say(f"passed over {len(others)} file(s) that are no images: {', '.join(path.name for path in others[:5])}")
    if turned := [photo.name for photo in photos if photo.orientation != UPRIGHT]:
        _say(f"turned upright by their EXIF orientation: {', '.join(turned)}")

    with new_folder(output, overwrite, OUTPUTS) as folder:
        # JAX and the writers take seconds to import; bad arguments are refused before
        from experiments.reconstruction import colmap, overview, point_files, records
        from experiments.reconstruction.framing import frame_photos
        from experiments.reconstruction.inference import compile_forward, load_photos, refined, scene_of
        from weights_convert import load_vggt
        from weights_convert.matcher import load_matcher

        matcher = load_matcher(weights) if refine else None
        with _stage(f"loading weights from {weights}"):
            model = load_vggt(weights, heads=("camera", "depth"))
        patch_size = model.config.patch_size
        size = model.config.image_size if resolution is None else resolution
        if size % patch_size:
            raise InputError(f"--resolution={size} is no multiple of the model's patches of {patch_size} pixels")
        with _stage(f"loading {len(photos)} photo(s)"):
            pictures = load_photos(photos, mode, size, patch_size, folder)
            framings = frame_photos([(photo.width, photo.height) for photo in photos], mode, size, patch_size)
        with _stage(f"compiling for {len(photos)} × {pictures.shape[2]}×{pictures.shape[1]} pixels"):
            forward = compile_forward(model, pictures.shape, matcher)
        with _stage("running the model"):
            outputs = forward(pictures)
            scene = scene_of([photo.name for photo in photos], framings, pictures, outputs)
        if refine:
            with _stage("refining the cameras"):
                scene = refined(scene, outputs, patch_size)

        cloud = scene.cloud(confidence)
        threshold = scene.threshold(confidence)
        stems = [photo.stem for photo in photos]
        with _stage("writing depth maps and cameras"):
            unit = records.write_depth_maps(folder / "depth", scene, stems)
            settings = {
                "mode": mode,
                "resolution": size,
                "refined_from_matches": refine,
                "confidence_percentile": confidence,
                "confidence_threshold": threshold,
                "points": len(cloud),
                "depth_png_unit": unit,
            }
            records.write_cameras(folder / "cameras.json", scene, stems, settings)
        with _stage("writing points"):
            point_files.write_ply(folder / "points.ply", cloud)
            point_files.write_glb(folder / "points.glb", cloud, scene.frusta(cloud))
            colmap.write_colmap(folder / "sparse", scene, cloud.subsample(colmap_points))
        with _stage("drawing the overview"):
            title = (
                f"{len(photos)} view(s), {len(cloud):,} points with a confidence of at least {threshold:.3g} "
                f"(percentile {confidence:g})"
            )
            overview.draw_overview(folder / "overview.png", scene, cloud, title)
    return (
        f"wrote {', '.join(sorted(OUTPUTS))} to {output}: {len(cloud):,} points from {len(photos)} view(s) "
        f"in {time.perf_counter() - start:.1f} s"
    )


@contextmanager
def _stage(what: str) -> Iterator[None]:
    start = time.perf_counter()
    print(f"{what} …", end="", file=sys.stderr, flush=True)
    try:
        yield
    except BaseException:
        print(file=sys.stderr)
        raise
    print(f" {time.perf_counter() - start:.1f} s", file=sys.stderr)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def main(_: Sequence[str]) -> None:
    given = flags.FLAGS
    for name in ("images", "output"):
        if not given[name].value:
            raise InputError(f"--{name} is missing, see --help")
    keep_compiled()
    line = reconstruct(
        given.images,
        Path(os.path.abspath(given.output)),
        given.weights,
        mode=given.mode,
        resolution=given.resolution,
        confidence=given.confidence,
        colmap_points=given.colmap_points,
        refine=given.refine,
        overwrite=given.overwrite,
    )
    print(line)


if __name__ == "__main__":
    flags.DEFINE_string("images", None, "folder of photos, or a quoted glob pattern such as 'photos/*.jpg'")
    flags.DEFINE_string("output", None, "folder to make; nothing is left there if anything fails")
    flags.DEFINE_string(
        "weights",
        "nano",
        "a converted or official VGGT: a file, a folder, hf:OWNER/NAME of the Hugging Face hub, or nano, the small model "
        "that is shipped, which knows rendered rooms only",
    )
    flags.DEFINE_enum(
        "mode",
        "crop",
        ["crop", "pad"],
        "crop: the photos' width becomes the resolution, tall ones lose their top and bottom; pad: the longer side "
        "becomes the resolution, the rest is filled with white",
    )
    flags.DEFINE_integer(
        "resolution",
        None,
        "side of the model's pictures in pixels, a multiple of its patches; by default what it was made for (nano: 96, "
        "VGGT-1B: 518)",
        lower_bound=1,
    )
    flags.DEFINE_float(
        "confidence",
        50.0,
        "percentile (0 to 100) of the confidences of all photos' pixels; points below are left out of the clouds",
        lower_bound=0.0,
        upper_bound=100.0,
    )
    flags.DEFINE_integer(
        "colmap_points",
        100_000,
        "most points in the COLMAP model; more are thinned out at random, by a fixed seed",
        lower_bound=1,
    )
    flags.DEFINE_boolean(
        "refine",
        False,
        "solve the cameras again from the patches that a matcher finds in other photos and from the depth; for models with a "
        "matcher, such as nano, whose camera head is weak",
    )
    flags.DEFINE_boolean("overwrite", False, "replace an earlier reconstruction in the output folder")
    run(main)
