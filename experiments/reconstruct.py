"""Photos to a point cloud, cameras and depth maps.

``python -m experiments.reconstruct --images=photos --output=result --weights=hf:facebook/VGGT-1B`` runs VGGT once on all
photos together and writes

- ``points.ply`` and ``points.glb``: the coloured points of the surer pixels, the latter with the cameras, y up;
- ``cameras.json``: poses, intrinsics for the model's pictures and for the photos; it explains its own conventions;
- ``depth/*.png`` (16 bits; the unit stands in ``cameras.json``) and ``depth/*.npz`` (depth, confidence, points);
- ``sparse/0/``: a COLMAP model in pixels of the upright photos, and ``images/``: these photos, as COLMAP and 3DGS open
  them; ``photos.csv`` says which photo each of them is;
- ``overview.png``: all of it at a glance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from absl import flags

from experiments.presets import SMALL_MODEL
from experiments.process.command_line import DEFINE_path, DEFINE_path_or_name, InputError, run, run_if_new
from experiments.process.host_flags import DEFINE_mesh_and_hosts, join_processes, mesh_of
from experiments.process.hosts import first_console
from experiments.reconstruction.settings import CameraType, Mode, Settings
from experiments.storage.store_flags import DEFINE_store
from vggt_jax.config import DType


def main(_: Sequence[str]) -> None:
    given = flags.FLAGS
    if not given.images:
        raise InputError("--images is missing, see --help")
    settings = Settings(
        images=given.images,
        weights=given.weights,
        mode=given.mode,
        resolution=given.resolution,
        dtype=given.dtype,
        confidence=given.confidence,
        colmap_points=given.colmap_points,
        colmap_camera=given.colmap_camera,
        shared_camera=given.shared_camera,
        colmap_text=given.colmap_text,
        refine=given.refine,
        mesh=mesh_of(),
        output=given.output,
        store=given.store,
        overwrite=given.overwrite,
    )

    join_processes()
    from experiments.process.compilation_cache import keep_compiled

    keep_compiled()
    from experiments.reconstruction.pipeline import ready

    found = run_if_new(ready(settings, first_console()))
    print(
        f"wrote points.ply, points.glb, cameras.json, depth, images, photos.csv, sparse/0 and overview.png to {found.folder}: "
        f"{len(found.cloud):,} points from {len(found.scene.names)} view(s) in {found.seconds:.1f} s"
    )


if __name__ == "__main__":
    DEFINE_path_or_name("images", None, "folder of photos, or a quoted glob pattern such as 'photos/*.jpg'")
    DEFINE_path(
        "output",
        None,
        "folder to make; nothing is left there if anything fails; by default STORE/reconstruct/PHOTOS-HASH",
    )
    DEFINE_store("folder of the results of all commands")
    DEFINE_path_or_name(
        "weights",
        SMALL_MODEL,
        "a converted or official VGGT: a file, a folder, hf:OWNER/NAME of the Hugging Face hub, or one of the small "
        "models that are shipped: nano_2 knows rendered objects and heads, nano rendered rooms",
    )
    flags.DEFINE_enum(
        "mode",
        None,
        get_args(Mode),
        "crop: the photos' width becomes the resolution, tall ones lose their top and bottom; pad: the longer side "
        "becomes the resolution, the rest is filled with white; by default crop, if the model was trained on pictures of the "
        "shape that this gives (nano: squares; VGGT-1B: up to three times as wide as high), and else pad",
    )
    flags.DEFINE_integer(
        "resolution",
        None,
        "side of the model's pictures in pixels, a multiple of its patches; by default what it was made for (nano: 96, "
        "VGGT-1B: 518)",
        lower_bound=1,
    )
    flags.DEFINE_enum(
        "dtype",
        None,
        get_args(DType),
        "type of the matrix products in the transformer; by default what the model says. bfloat16 needs less memory and time, "
        "on accelerators",
    )
    flags.DEFINE_float(
        "confidence",
        50.0,
        "percentile (0 to 100) of the confidences of all photos' pixels; points below are left out of the clouds: 0 keeps all, "
        "100 the surest one",
        lower_bound=0.0,
        upper_bound=100.0,
    )
    flags.DEFINE_integer(
        "colmap_points",
        100_000,
        "most points in the COLMAP model; more are thinned out at random, by a fixed seed",
        lower_bound=1,
    )
    flags.DEFINE_enum(
        "colmap_camera",
        "PINHOLE",
        get_args(CameraType),
        "type of the COLMAP model's cameras: with two focal lengths, with one, or with one and a distortion of 0",
    )
    flags.DEFINE_boolean(
        "shared_camera", False, "one camera for all photos of the COLMAP model, which must be of one size when upright"
    )
    flags.DEFINE_boolean("colmap_text", False, "write the COLMAP model as .txt, not as .bin")
    flags.DEFINE_boolean(
        "refine",
        False,
        "solve the cameras again from the patches that a matcher finds in other photos and from the depth; for models with a "
        "matcher, such as the small ones, whose camera heads are weak",
    )
    DEFINE_mesh_and_hosts("(adapter is 1 here), the photos, the model's large matrices; by default one device does all")
    flags.DEFINE_boolean(
        "overwrite", False, "make the results again, also in place of results of other settings in the output folder"
    )
    run(main)
