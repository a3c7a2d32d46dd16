"""A scene, as dictionaries, to one multi-layer OpenEXR file for each view.

A file holds float32 layers ``Combined`` (linear RGB), ``Depth`` (metres along the optical axis, 1e10 where nothing is hit),
``Normal`` (world) and ``IndexOB`` (``Object Index`` from Blender 5 on; the object's place plus one, 0 for the background).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import bpy  # pyright: ignore[reportMissingImports]
import numpy as np
from mathutils import Matrix, Quaternion  # pyright: ignore[reportMissingImports]

from . import lighting, materials, meshes

Json = dict[str, Any]
SENSOR_WIDTH = 36.0


def render(scene: Json, output: Path) -> float:
    """Render every view into ``output/000000.exr`` and so on; the folder is made.

    Returns:
        Seconds that building the scene took, before the first view.

    Raises:
        KeyError: a field is missing.
        ValueError: something in the scene cannot be built.
        OSError: the folder cannot be written.
    """
    start = time.perf_counter()
    output.mkdir(parents=True, exist_ok=True)
    bpy.ops.wm.read_factory_settings(use_empty=True)
    target = bpy.context.scene
    _add_objects(scene, target.collection)
    target.world = lighting.add(scene["lighting"], target.collection)
    _settings(target, scene["render"])
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    target.collection.objects.link(camera)
    target.camera = camera
    target.render.resolution_x, target.render.resolution_y = scene["cameras"]["width"], scene["cameras"]["height"]
    build_seconds = time.perf_counter() - start
    for i, view in enumerate(scene["cameras"]["views"]):
        _aim(target, camera, view)
        picture = output / f"{i:06}.exr"
        target.render.filepath = str(picture).replace("{", "{{").replace("}", "}}")  # which Blender reads as templates
        bpy.ops.render.render(write_still=True)
        if not picture.exists():
            raise OSError(f"Blender could not write {picture}")
    return build_seconds


def _add_objects(scene: Json, collection: Any) -> None:
    made: dict[int, Any] = {}
    for i, item in enumerate(scene["objects"]):
        index = item["material"] % len(scene["materials"])
        if index not in made:
            made[index] = materials.make(scene["materials"][index], f"material {index}")
        mesh = meshes.build(item["shape"], item["size"])
        data = _mesh(mesh, item["name"])
        data.materials.append(made[index])
        thing = bpy.data.objects.new(item["name"], data)
        thing.pass_index = i + 1
        thing.matrix_world = Matrix.LocRotScale(item["location"], Quaternion(item["rotation"]), None)
        collection.objects.link(thing)
        if mesh.bevelled:
            flat = thing.modifiers.new("flat faces look flat", "WEIGHTED_NORMAL")
            flat.mode, flat.weight, flat.keep_sharp = "FACE_AREA", 100, True


def _mesh(mesh: meshes.Mesh, name: str) -> Any:
    data = bpy.data.meshes.new(name)
    count = len(mesh.faces)
    data.vertices.add(len(mesh.vertices))
    data.vertices.foreach_set("co", mesh.vertices.ravel())
    data.loops.add(3 * count)
    data.loops.foreach_set("vertex_index", mesh.faces.ravel())
    data.polygons.add(count)
    data.polygons.foreach_set("loop_start", np.arange(0, 3 * count, 3, dtype=np.int32))
    data.uv_layers.new(name=materials.BOX_UV).uv.foreach_set("vector", meshes.box_coordinates(mesh).ravel())
    if mesh.uv is not None:
        data.uv_layers.new(name=materials.OWN_UV).uv.foreach_set("vector", mesh.uv.ravel())
    if mesh.colors is not None:
        opaque = np.pad(mesh.colors, ((0, 0), (0, 1)), constant_values=1)
        colors = data.color_attributes.new(materials.VERTEX_COLORS, "FLOAT_COLOR", "POINT")
        colors.data.foreach_set("color", opaque.astype(np.float32).ravel())
    data.update(calc_edges=True)
    data.shade_smooth()
    data.set_sharp_from_angle(angle=np.radians(meshes.SHARP_ANGLE))
    return data


def _aim(target: Any, camera: Any, view: Json) -> None:
    """Set the pinhole camera; OpenCV looks along +z with y down, Blender along -z with y up."""
    width, height = target.render.resolution_x, target.render.resolution_y
    lens = camera.data
    lens.sensor_fit, lens.sensor_width = "HORIZONTAL", SENSOR_WIDTH
    lens.clip_start, lens.clip_end = 1e-3, 1e4
    lens.lens = view["fx"] * SENSOR_WIDTH / width
    tall = view["fx"] / view["fy"]
    target.render.pixel_aspect_x, target.render.pixel_aspect_y = max(1, 1 / tall), max(1, tall)
    lens.shift_x = (width / 2 - view["cx"]) / width
    lens.shift_y = (view["cy"] - height / 2) * tall / width
    world_to_camera = Matrix((*np.reshape(view["world_to_camera"], (3, 4)).tolist(), (0, 0, 0, 1)))
    camera.matrix_world = world_to_camera.inverted() @ Matrix.Diagonal((1, -1, -1, 1))
    bpy.context.view_layer.update()


def _settings(target: Any, settings: Json) -> None:
    render = target.render
    render.engine = "CYCLES"
    render.resolution_percentage = 100
    render.use_persistent_data = True
    render.use_compositing = render.use_sequencer = False
    render.use_file_extension = False
    render.threads_mode, render.threads = "FIXED", 1
    render.film_transparent = False

    image = render.image_settings
    if hasattr(image, "media_type"):  # Blender 5
        image.media_type = "MULTI_LAYER_IMAGE"
        image.use_exr_interleave = True
    image.file_format = "OPEN_EXR_MULTILAYER"
    image.color_depth, image.exr_codec = "32", "ZIP"
    layer = bpy.context.view_layer
    layer.name = "ViewLayer"
    layer.use_pass_z = layer.use_pass_normal = layer.use_pass_object_index = True

    cycles = target.cycles
    cycles.device, cycles.seed = "CPU", settings["seed"]
    cycles.samples, cycles.use_adaptive_sampling = settings["samples"], False
    cycles.use_denoising, cycles.denoiser = settings["denoise"], "OPENIMAGEDENOISE"
    cycles.denoising_input_passes, cycles.denoising_prefilter = "RGB_ALBEDO_NORMAL", "FAST"
    cycles.diffuse_bounces, cycles.glossy_bounces = 2, 2
    cycles.max_bounces = cycles.transmission_bounces = settings.get("bounces", 4)
    cycles.transparent_max_bounces = max(8, cycles.max_bounces)
    cycles.caustics_reflective = cycles.caustics_refractive = False
    cycles.sample_clamp_indirect = 5
    cycles.use_light_tree = False
    cycles.filter_width = 1.0
