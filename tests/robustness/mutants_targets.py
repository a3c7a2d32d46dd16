"""What reads a user's file, with good files to begin from: every reader of the project, called in this process."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from experiments.data.dataset import Dataset
from experiments.data.scene_folder import read_record
from experiments.evaluation.predictions import check_cameras, load_prediction, save_prediction
from experiments.evaluation.results import read_csv
from experiments.evaluation.scene import Reconstruction
from experiments.loras.collection import collect
from experiments.mining.folder import read_folder
from experiments.pretraining import card
from experiments.reconstruction.photos import find_photos
from experiments.reproduction import records
from experiments.reproduction.data_sheets import DataSheet
from experiments.scenes import mesh_files
from experiments.synthetic.textures import read_library
from experiments.tasks.recordings.captures import find_captures
from experiments.tasks.recordings.clearpose import clearpose_scenes
from experiments.tasks.recordings.conventions import Conventions
from experiments.tasks.recordings.conversion import convert
from experiments.training.metrics_log import read_metrics
from subspace import LowRank
from tests.experiments.analysis.planted import draw_adapters, draw_subspaces, write_run
from tests.experiments.scenes import written_meshes
from tests.experiments.tasks.recordings.written import write_capture, write_clearpose, write_stray
from vggt_jax import VGGTConfig, pictures
from vggt_jax.adapters import Adapter, BaseModel, load_adapter, save_adapter
from weights_convert import read_peft
from weights_convert.checkpoint import open_checkpoint
from weights_convert.convert import convert as convert_weights
from weights_convert.lora_layouts import open_lora
from weights_convert.lora_places import find_loras

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "results" / "nano" / "records"


@dataclass(frozen=True)
class Target:
    """A reader."""

    name: str
    make: Callable[[Path], object]
    """Writes what is good into a new folder."""
    files: Mapping[str, str]
    """What is mutated: path in the folder → form (see :mod:`tests.robustness.mutants`)."""
    read: Callable[[Path], object]
    """Reads the folder as commands do."""
    may_be_nan: bool = False
    every: int = 1
    """Only each so many-th turn is its own: it is slow."""


# ---- photos and recordings


def _photos(folder):
    shown = Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8))
    for name in ("a.png", "b.jpg", "c.webp", "d.tif", "e.bmp", "f.gif"):
        shown.save(folder / name)
    Image.fromarray(np.arange(768, dtype=np.uint16).reshape(24, 32)).save(folder / "g.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    shown.save(folder / "h.jpg", exif=exif)


def _read_photos(name, folder):
    (photo,) = find_photos(str(folder / name)).photos
    try:
        picture = pictures.read_picture(photo.path, upright=True)
    except ValueError as error:  # as experiments.reconstruction.inference has it
        raise type(error)(f"cannot read image {photo.path}: {error}") from error
    assert picture.colours.size == (photo.width, photo.height)


def _photo(name):
    return Target(f"photo {name}", _photos, {name: "picture"}, partial(_read_photos, name))


def _frames(folder):
    views = []
    for capture in find_captures(folder, 2):
        scene = capture.scene(Conventions())
        views += [scene.read(number) for number in range(2)]
    return views


def _capture(folder):
    write_capture(folder / "room", 2)


def _other_capture(folder):
    write_capture(folder / "room", 2, suffix=".npz")
    depth = np.load(folder / "room/depth/frame_001.npz")["depth"]
    (folder / "room/depth/frame_001.npz").unlink()
    np.save(folder / "room/depth/frame_001.npy", depth)
    for path in sorted((folder / "room/poses").iterdir()):
        path.with_suffix(".json").write_text(json.dumps(np.loadtxt(path).tolist()))
        path.unlink()
    (folder / "room/intrinsics.json").unlink()
    (folder / "room/intrinsics.txt").write_text("80.0 80.0 31.5 23.5\n")


def _read_capture(folder):
    from experiments.data.recorded import convert_maps

    for view in _frames(folder):
        convert_maps(view, 16)
        view.read_image()


def _stray(folder):
    write_stray(folder / "walk", 2)


def _clearpose(folder):
    write_clearpose(folder / "set1" / "scene1", 2)


def _read_clearpose(folder):
    from experiments.data.recorded import convert_maps

    for scene in clearpose_scenes(folder, "train", 2):
        for number in range(2):
            view = scene.read(number)
            convert_maps(view, 16)
            view.read_image()


# ---- meshes and textures


def _meshes(folder):
    picture = written_meshes.plain_picture()
    written_meshes.write_obj(folder / "square.obj", mtl="Kd 1 1 1\nmap_Kd wall.png", files={"wall.png": picture})
    colors = [(name, "uchar", [10, 200, 30, 40]) for name in ("red", "green", "blue")]
    written_meshes.write_ply(folder / "square.ply", vertex=colors)
    uv = {"TEXCOORD_0": written_meshes.UV}
    for name in ("square.gltf", "square.glb"):
        material = written_meshes.base()
        written_meshes.write_gltf(folder / name, attributes=uv, material=material, picture=picture)


def _read_mesh(name, folder):
    return [(part.vertices, part.faces, part.uv, part.colors) for part in mesh_files.read(folder / name)]


def _textures(folder):
    import OpenEXR

    (folder / "wall").mkdir()
    written_meshes.plain_picture(size=(8, 8)).save(folder / "wall" / "wall_color.png")
    written_meshes.plain_picture(size=(8, 8)).save(folder / "photo.jpg")
    channels = {"RGB": np.full((8, 8, 3), 0.5, np.float32)}
    OpenEXR.File({"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}, channels).write(
        str(folder / "sky_color.exr")
    )


def _read_textures(folder):
    shutil.rmtree(folder.parent / "copies", ignore_errors=True)
    read_library(folder, folder.parent / "copies", 16)


# ---- data sets


def _dataset(folder):
    write_capture(folder / "source" / "room", 2)
    convert("captures", "faces", "test", folder / "source", folder / "out", 16, 2, accept=True)


_SCENE = "out/dataset_00/scene_0000"


def _read_dataset(folder):
    dataset = Dataset(folder / "out" / "dataset_00")
    for scene in dataset:
        for view in range(scene.num_views):
            scene.observe(view)
        scene.load()
    return [dataset.manifest.settings, dataset.manifest.sha256]


def _read_scene(folder):
    (scene,) = Dataset(folder / "out" / "dataset_00")
    views = scene.load()
    seen = [scene.observe(view) for view in range(scene.num_views)]
    return [views.depths, views.extrinsics, views.intrinsics, *(one.extrinsics for one in seen)]


# ---- weights


def tiny_config():
    from dataclasses import replace

    nano = VGGTConfig.nano()
    dense = replace(nano.depth, features=8, out_channels=(4, 4, 8, 8), layers=(0, 1, 2, 3), last_features=4)
    return replace(
        nano,
        image_size=16,
        width=16,
        encoder=replace(nano.encoder, depth=1, num_heads=2),
        aggregator=replace(nano.aggregator, depth=4, num_heads=2),
        camera=replace(nano.camera, depth=1, num_heads=2),
        depth=dense,
        point=dense,
        heads=("camera", "depth"),
    )


def _weights(folder):
    from vggt_jax.parameters import parameter_shapes

    rng = np.random.default_rng(0)
    shapes = parameter_shapes(tiny_config())
    (folder / "model").mkdir()
    tensors = {path: rng.standard_normal(shape).astype(np.float32) for path, shape in shapes.items()}
    save_file(tensors, folder / "model" / "model.safetensors")
    (folder / "model" / "config.json").write_text(json.dumps(tiny_config().to_dict()))


def _sharded(folder):
    _weights(folder)
    (folder / "model" / "model.safetensors").rename(folder / "model" / "model-00001-of-00001.safetensors")
    from safetensors.numpy import load_file

    names = load_file(folder / "model" / "model-00001-of-00001.safetensors")
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names, "model-00001-of-00001.safetensors")}
    (folder / "model" / "model.safetensors.index.json").write_text(json.dumps(index))


def _convert(folder):
    return _converted(folder, "model")


def _converted(folder, source):
    output = folder.parent / "converted"
    shutil.rmtree(output, ignore_errors=True)
    convert_weights(open_checkpoint(folder / source), output)
    from safetensors.numpy import load_file

    return load_file(output / "model.safetensors")


def _torch_weights(folder):
    import torch

    _weights(folder)
    convert_weights(open_checkpoint(folder / "model"), folder / "official.safetensors", to="official")
    from safetensors.torch import load_file

    (folder / "torch").mkdir()
    torch.save(load_file(folder / "official.safetensors"), folder / "torch" / "model.pt")
    (folder / "torch" / "config.json").write_text(json.dumps(tiny_config().to_dict()))


def _read_torch(folder):
    return _converted(folder, "torch/model.pt")


# ---- adapters

_DELTAS = {"aggregator.frame_blocks.attn.qkv": ((4, 48, 2), (4, 16, 2))}


def _adapter(folder):
    rng = np.random.default_rng(0)
    deltas = {
        name: LowRank(rng.standard_normal(a).astype(np.float32), rng.standard_normal(b).astype(np.float32))
        for name, (a, b) in _DELTAS.items()
    }
    about = {"method": "lora", "seeds": [1, 2]}
    adapter = Adapter(deltas, BaseModel("tiny", "0123456789abcdef", tiny_config()), 0.5, about)
    save_adapter(folder / "adapter.safetensors", adapter)


def _read_adapter(folder):
    from experiments.extraction.imported import read_adapters

    load_adapter(folder / "adapter.safetensors")
    return list(read_adapters([folder / "adapter.safetensors"], None)[0].values())


def _peft(folder):
    rng = np.random.default_rng(0)
    tensors = {}
    for name, (n, m) in {"model.l1": (16, 12), "model.l2": (8, 16)}.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = rng.standard_normal((2, m)).astype(np.float32)
        tensors[f"base_model.model.{name}.lora_B.weight"] = rng.standard_normal((n, 2)).astype(np.float32)
    for part in "ab":
        (folder / part).mkdir()
        save_file(tensors, folder / part / "adapter_model.safetensors")
        config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "rank_pattern": {}, "alpha_pattern": {"l2": 4}}
        config |= {"target_modules": ["l1", "l2"], "use_rslora": False, "base_model_name_or_path": "x"}
        (folder / part / "adapter_config.json").write_text(json.dumps(config))


def _read_peft(folder):
    read_peft(folder / "a")
    collection = collect([str(folder)])
    return [collection.read(path) for path in collection.modules]


def _peft_bin(folder):
    import torch
    from safetensors.torch import load_file

    _peft(folder)
    torch.save(load_file(folder / "a" / "adapter_model.safetensors"), folder / "a" / "adapter_model.bin")
    (folder / "a" / "adapter_model.safetensors").unlink()


def _open_peft_bin(folder):
    lora = open_lora(folder / "a")
    return [lora.read(name) for name in lora.modules]


def _kohya(folder):
    rng = np.random.default_rng(0)
    tensors = {}
    for name, (n, m) in {"lora_unet_l1": (16, 12), "lora_unet_l2": (8, 16)}.items():
        tensors[f"{name}.lora_down.weight"] = rng.standard_normal((2, m)).astype(np.float32)
        tensors[f"{name}.lora_up.weight"] = rng.standard_normal((n, 2)).astype(np.float32)
        tensors[f"{name}.alpha"] = np.array(2, np.float32)
    (folder / "loras").mkdir()
    save_file(tensors, folder / "loras" / "style.safetensors", {"ss_network_alpha": "2", "ss_sd_model_name": "sd"})
    (folder / "list.txt").write_text("# mine\nloras/style.safetensors\n")


def _read_kohya(folder):
    (path,) = find_loras([str(folder / "list.txt")]).values()
    lora = open_lora(path)
    return [lora.read(name) for name in lora.modules]


# ---- subspaces and results


def _mined(folder):
    shapes = {"aggregator.frame_blocks.attn.qkv": ((2,), 12, 8), "aggregator.frame_blocks.mlp.fc1": ((2,), 10, 8)}
    adapters = draw_adapters(0, draw_subspaces(0, 2, shapes), k=3, rank=2, shapes=shapes)
    write_run(folder / "geometry", "geometry", adapters, dim=2)


def _read_mined(folder):
    mined = read_folder(folder / "geometry")
    return [
        mined.factors,
        mined.statistics,
        mined.ranks,
        [mined.read_adapter(i) for i in range(len(mined.adapter_files))],
    ]


def _prediction(folder):
    eye = np.stack([np.eye(3, 4)] * 2)
    lens = np.stack([np.array([[8.0, 0, 3.5], [0, 8, 3.5], [0, 0, 1]])] * 2)
    save_prediction(folder / "scene_0000.npz", Reconstruction(np.ones((2, 8, 8)), eye, lens), [0, 1])


def _read_prediction(folder):
    predicted = load_prediction(folder / "scene_0000.npz", [0, 1], (8, 8))
    check_cameras(predicted)
    return [predicted.depths, predicted.extrinsics, predicted.intrinsics]


def _results(folder):
    from experiments.evaluation.results import METRICS

    names = [metric.name for metric in METRICS]
    rows = [",".join(["dataset", "scene", *names])]
    rows += [
        ",".join(["dataset_00", f"scene_{i:04d}", *(f"{0.1 * i + 0.01 * j}" for j in range(len(names)))])
        for i in range(3)
    ]
    (folder / "scenes.csv").write_text("\n".join(rows) + "\n")


def _copied(*names):
    def make(folder):
        for name in names:
            shutil.copyfile(RECORDS / name, folder / name)

    return make


_RUN, _RATES, _SHEET = "faces_full_seed0.json", "rates_faces_lora.json", "data_glass_test.json"


def _read_records(folder):
    return [
        records.read(folder / _RUN, records.RunRecord),
        records.read(folder / _RATES, records.RateSearch),
        records.read(folder / _SHEET, DataSheet),
    ]


def _pretrained(folder):
    shutil.copyfile(ROOT / "vggt_jax" / "weights" / "nano" / card.EVALUATION, folder / card.EVALUATION)


def _metrics(folder):
    lines = [json.dumps({"step": i, "kind": "training", "loss": [0.5, 0.25]}) for i in range(4)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def _read_metrics(folder):
    return read_metrics(folder / "metrics.jsonl")


_FRAME = "room/{}/frame_000"
_PNG = {f"{_SCENE}/images/000000.png": "picture", f"{_SCENE}/arrays/000001.npz": "npz"}

_EVERY = (
    *(_photo(name) for name in ("a.png", "b.jpg", "c.webp", "d.tif", "e.bmp", "f.gif", "g.png", "h.jpg")),
    Target(
        "captures",
        _capture,
        {
            "room/rgb/frame_000.png": "picture",
            "room/depth/frame_000.png": "picture",
            "room/poses/frame_000.txt": "text",
            "room/intrinsics.json": "json",
        },
        _read_capture,
    ),
    Target(
        "captures as arrays",
        _other_capture,
        {
            "room/depth/frame_000.npz": "npz",
            "room/depth/frame_001.npy": "npy",
            "room/poses/frame_000.json": "json",
            "room/intrinsics.txt": "text",
        },
        _read_capture,
    ),
    Target(
        "Stray Scanner",
        _stray,
        {"walk/odometry.csv": "text", "walk/camera_matrix.csv": "text", "walk/confidence/000000.png": "picture"},
        _read_capture,
    ),
    Target("ClearPose", _clearpose, {"set1/scene1/000000-label.png": "picture"}, _read_clearpose),
    Target("ClearPose's cameras", _clearpose, {"set1/scene1/metadata.mat": "bytes"}, _read_clearpose, every=8),
    Target(
        "mesh obj",
        _meshes,
        {"square.obj": "text", "m.mtl": "text", "wall.png": "picture"},
        partial(_read_mesh, "square.obj"),
    ),
    Target("mesh ply", _meshes, {"square.ply": "text"}, partial(_read_mesh, "square.ply")),
    Target("mesh gltf", _meshes, {"square.gltf": "json"}, partial(_read_mesh, "square.gltf")),
    Target("mesh glb", _meshes, {"square.glb": "glb"}, partial(_read_mesh, "square.glb")),
    Target(
        "textures",
        _textures,
        {"wall/wall_color.png": "picture", "photo.jpg": "picture", "sky_color.exr": "picture"},
        _read_textures,
    ),
    Target("data set", _dataset, {"out/dataset_00/manifest.json": "json"}, _read_dataset),
    Target(
        "record of a scene", _dataset, {f"{_SCENE}/record.json": "json"}, lambda folder: read_record(folder / _SCENE)
    ),
    Target("scene", _dataset, {f"{_SCENE}/cameras.json": "json", **_PNG}, _read_scene),
    Target("weights", _weights, {"model/model.safetensors": "safetensors", "model/config.json": "json"}, _convert),
    Target("weights in parts", _sharded, {"model/model.safetensors.index.json": "json"}, _convert),
    Target("weights of PyTorch", _torch_weights, {"torch/model.pt": "torch"}, _read_torch),
    Target("adapter", _adapter, {"adapter.safetensors": "safetensors"}, _read_adapter),
    Target("PEFT", _peft, {"a/adapter_model.safetensors": "safetensors", "a/adapter_config.json": "json"}, _read_peft),
    Target("PEFT in PyTorch's file", _peft_bin, {"a/adapter_model.bin": "torch"}, _open_peft_bin),
    Target("kohya", _kohya, {"loras/style.safetensors": "safetensors", "list.txt": "text"}, _read_kohya),
    Target(
        "mined subspace",
        _mined,
        {
            "geometry/subspace.safetensors": "safetensors",
            "geometry/summary.json": "json",
            "geometry/adapters/geometry_00.safetensors": "safetensors",
        },
        _read_mined,
    ),
    Target("stored prediction", _prediction, {"scene_0000.npz": "npz"}, _read_prediction),
    Target("results of evaluate", _results, {"scenes.csv": "text"}, lambda folder: read_csv(folder), may_be_nan=True),
    Target("records", _copied(_RUN, _RATES, _SHEET), {_RUN: "json", _RATES: "json", _SHEET: "json"}, _read_records),
    Target("evaluation of pretrain", _pretrained, {card.EVALUATION: "json"}, card.read_record),
    Target("log of metrics", _metrics, {"metrics.jsonl": "text"}, _read_metrics),
)

TARGETS = tuple(target for target in _EVERY if find_spec("torch") is not None or "torch" not in target.files.values())
"""Those whose files can be made here."""
