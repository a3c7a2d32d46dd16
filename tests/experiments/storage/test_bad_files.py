"""Whatever a file holds, its reader takes it or names it in an InputError: nothing that a user hands over looks like a bug."""

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

from experiments.data.dataset import Dataset, StoredScene
from experiments.evaluation.predictions import load_prediction
from experiments.evaluation.results import read_csv
from experiments.mining.folder import read_folder
from experiments.mining.subspace_file import load_subspace
from experiments.pretraining.card import read_record
from experiments.reconstruction.photos import find_photos
from experiments.reproduction.records import RateSearch, read
from experiments.scenes import mesh_files
from experiments.storage.files import read_json
from experiments.storage.results import ResultsFolder
from experiments.training.metrics_log import read_metrics
from subspace.errors import InputError
from vggt_jax.adapters import load_adapter
from vggt_jax.preprocessing import load_images
from weights_convert.checkpoint import open_checkpoint
from weights_convert.peft_config import PeftConfig


def contents() -> Iterator[bytes | None]:
    """Things that a file may hold by mistake; None stands for a folder."""
    noise = np.random.default_rng(0).bytes(3000)
    npz, npy, objects, png = (io.BytesIO() for _ in range(4))
    np.savez(npz, a=np.ones(3))
    np.save(npy, np.ones(3))
    np.save(objects, np.array([{}], dtype=object), allow_pickle=True)
    Image.fromarray(np.frombuffer(noise[:2700], np.uint8).reshape(30, 30, 3)).save(png, "PNG")
    archive, tensors, picture = npz.getvalue(), save({"x": np.ones((2, 2), np.float32)}), png.getvalue()
    yield from (None, b"", noise, b"text 1 2 3\n", b"[1, 2]", b'{"a": 1}', b'"x"', b"null", "größe".encode("latin1"))
    yield from (archive, archive[: len(archive) // 2], archive[:60] + 30 * b"x" + archive[90:], npy.getvalue())
    yield from (objects.getvalue(), tensors, tensors[:-3], picture, picture[: len(picture) // 2])
    yield from (b"v 0 0 0\nv 1 0 0\nf 1 2 9\n", b"ply\nformat ascii 1.0\nelement vertex 3\nend_header\n1\n")


def write_scene(folder: Path) -> None:
    """A scene of one view of 2 × 2 pixels."""
    for name in ("images", "arrays"):
        (folder / name).mkdir()
    camera = {"intrinsics": np.eye(3).tolist(), "world_to_camera": np.eye(3, 4).tolist()}
    (folder / "cameras.json").write_text(json.dumps({"views": [camera]}))
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(folder / "images" / "000000.png")
    maps = {name: np.ones((2, 2), bool) for name in ("depth", "valid", "object_id", "glass")}
    np.savez(folder / "arrays" / "000000.npz", normal=np.ones((2, 2, 3)), **maps)


def load_scene(folder: Path) -> None:
    """For an evaluation and for training: both name what they cannot read."""
    StoredScene(folder, 1).observe(0)
    StoredScene(folder, 1).load()


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "data set": ("manifest.json", lambda path: Dataset(path.parent)),
    "prediction": ("scene.npz", lambda path: load_prediction(path, [0], (2, 2))),
    "scenes of an evaluation": ("scenes.csv", read_csv),
    "subspace": ("subspace.safetensors", load_subspace),
    "folder of a subspace": ("summary.json", lambda path: read_folder(path.parent)),
    "record of pretraining": ("evaluation.json", lambda path: read_record(path.parent)),
    "photo": ("photo.jpg", lambda path: find_photos(str(path.parent))),
    "picture": ("picture.png", lambda path: load_images([path], "crop", 14, 14)),
    "record of reproduce": ("record.json", lambda path: read(path, RateSearch)),
    **{f"mesh {kind}": (f"mesh.{kind}", mesh_files.read) for kind in ("obj", "ply", "glb")},
    "results": ("results.json", lambda path: ResultsFolder(path.parent, "", {}, ()).complete),
    "JSON": ("any.json", lambda path: read_json(path, dict)),
    "metrics": ("metrics.jsonl", read_metrics),
    "adapter": ("adapter.safetensors", load_adapter),
    "weights": ("weights.safetensors", open_checkpoint),
    "index of weights": ("model.safetensors.index.json", open_checkpoint),
    "PEFT": ("adapter_config.json", PeftConfig.read),
    "picture of a scene": ("images/000000.png", lambda path: load_scene(path.parents[1])),
    "maps of a scene": ("arrays/000000.npz", lambda path: load_scene(path.parents[1])),
    "cameras of a scene": ("cameras.json", lambda path: load_scene(path.parent)),
}


@pytest.mark.parametrize(("name", "reader"), READERS.values(), ids=READERS)
def test_bad_files_are_named(tmp_path, name, reader):
    refused = 0
    for number, content in enumerate(contents()):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_scene(folder)
        path = folder / name
        path.unlink(missing_ok=True)
        if content is None:
            path.mkdir()
        else:
            path.write_bytes(content)
        try:
            reader(path)
        except InputError as error:
            assert str(folder) in str(error)
            refused += 1
        except OSError as error:
            assert error.filename is not None
            refused += 1
        shutil.rmtree(folder)
    assert refused > 10  # the others are what it reads
