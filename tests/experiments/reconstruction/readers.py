"""What programs that train Gaussian splats expect of a scene's folder, after their documentation.

Each reader returns the views and the points that its program would train on, and fails where the program would, or where it
would go on with something else than what the files mean.
"""

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

TYPES = {0: ("SIMPLE_PINHOLE", 3), 1: ("PINHOLE", 4), 2: ("SIMPLE_RADIAL", 4)}
"""Number → name and number of parameters of the types of cameras that are written here."""


class View(NamedTuple):
    path: Path
    extrinsics: np.ndarray
    intrinsics: np.ndarray
    """From the corner, as COLMAP has them."""


class Scene(NamedTuple):
    views: list[View]
    positions: np.ndarray
    colours: np.ndarray


def graphdeco(folder: Path) -> Scene:
    """graphdeco-inria/gaussian-splatting, ``train.py -s FOLDER``: cameras without distortion whose principal point is the
    photo's middle, as it takes nothing but fields of view; photos of the cameras' size; files found by the last part of
    their name, and told apart by what comes before the first dot of it."""
    cameras, images, positions, colours = binary_model(folder / "sparse" / "0")
    views, shorts = [], set()
    for name, camera, pose in images:
        kind, width, height, parameters = cameras[camera]
        assert kind in ("SIMPLE_PINHOLE", "PINHOLE"), f"{kind} is not handled"
        path = folder / "images" / Path(name).name
        check_picture(path, width, height)
        shorts.add(path.name.split(".")[0])
        K = matrix(kind, parameters)
        np.testing.assert_allclose(K[:2, 2], [width / 2, height / 2], atol=1e-6)
        views.append(View(path, pose, K))
    assert len(shorts) == len(views)
    return Scene(views, positions, colours)


def gsplat(folder: Path) -> Scene:
    """nerfstudio-project/gsplat, ``simple_trainer.py --data_dir FOLDER --data_factor 1``: as many files in ``images`` as there
    are images in the model, matched by the order of their sorted names; points that are seen by images of the model."""
    cameras, images, positions, colours = binary_model(folder / "sparse" / "0")
    names = sorted(name for name, _, _ in images)
    files = sorted(path.relative_to(folder / "images").as_posix() for path in (folder / "images").rglob("*.*"))
    assert len(names) == len(files)
    matched = dict(zip(names, files, strict=True))
    views = []
    for name, camera, pose in sorted(images, key=lambda image: image[0]):
        kind, width, height, parameters = cameras[camera]
        path = folder / "images" / matched[name]
        check_picture(path, width, height)
        assert path.name == name
        assert kind != "SIMPLE_RADIAL" or parameters[3] == 0
        views.append(View(path, pose, matrix(kind, parameters)))
    return Scene(views, positions, colours)


def nerfstudio(folder: Path) -> Scene:
    """nerfstudio, ``ns-train splatfacto --data FOLDER colmap --colmap-path sparse/0``: files at ``images/NAME``, read as they
    are stored, whatever their EXIF orientation says."""
    cameras, images, positions, colours = binary_model(folder / "sparse" / "0")
    views = []
    for name, camera, pose in images:
        kind, width, height, parameters = cameras[camera]
        check_picture(folder / "images" / name, width, height)
        views.append(View(folder / "images" / name, pose, matrix(kind, parameters)))
    assert len(positions)
    return Scene(views, positions, colours)


READERS = (graphdeco, gsplat, nerfstudio)


def check_picture(path, width, height):
    """Three or four channels, as the readers slice them, of the camera's size without a turn."""
    with Image.open(path) as image:
        assert image.size == (width, height) and image.mode in ("RGB", "RGBA")


def matrix(kind, parameters):
    fx, fy = (parameters[0], parameters[1]) if kind == "PINHOLE" else (parameters[0], parameters[0])
    cx, cy = parameters[2:4] if kind == "PINHOLE" else parameters[1:3]
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def binary_model(folder: Path):
    """Cameras by number, images as (name, camera, world to camera), positions and colours, value by value."""
    cameras, images, positions, colours = {}, [], [], []
    seen = {}
    file = Values((folder / "cameras.bin").read_bytes())
    for _ in range(file.take("Q")[0]):
        number, kind, width, height = file.take("IiQQ")
        name, count = TYPES[kind]
        cameras[number] = (name, width, height, file.take("d" * count))
    file.ends()

    file = Values((folder / "images.bin").read_bytes())
    for _ in range(file.take("Q")[0]):
        number, w, x, y, z, *translation, camera = file.take("I7dI")
        name = file.text()
        rotation = Rotation.from_quat([x, y, z, w]).as_matrix()
        images.append((name, camera, np.column_stack([rotation, translation])))
        seen[number] = [file.take("ddQ") for _ in range(file.take("Q")[0])]
    file.ends()

    file = Values((folder / "points3D.bin").read_bytes())
    for _ in range(file.take("Q")[0]):
        number, x, y, z, red, green, blue, _, length = file.take("Q3d3BdQ")
        for _ in range(length):
            image, index = file.take("II")
            assert seen[image][index][2] == number
        positions.append((x, y, z))
        colours.append((red, green, blue))
    file.ends()
    return cameras, images, np.array(positions), np.array(colours, np.uint8)


class Values:
    """Little-endian values, one after the other, without gaps."""

    def __init__(self, content: bytes):
        self.content, self.place = content, 0

    def take(self, kinds: str) -> tuple:
        values = struct.unpack_from(f"<{kinds}", self.content, self.place)
        self.place += struct.calcsize(f"<{kinds}")
        return values

    def text(self) -> str:
        end = self.content.index(b"\0", self.place)
        text = self.content[self.place : end].decode()
        self.place = end + 1
        return text

    def ends(self) -> None:
        assert self.place == len(self.content)
