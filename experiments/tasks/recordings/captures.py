"""Own captures with depth: a folder for each scene, as phones with LiDAR are read out.

::

    SCENE/
        rgb/NAME.jpg            or .png, .jpeg: the frames, in the order of their names
        depth/NAME.png          16 bits, millimetres; or .npy or .npz with one array: metres, millimetres if it holds integers
        intrinsics.txt          fx fy cx cy or the 3×3 matrix, in pixels of the frames; or .json: {"fx": …} or nested lists
        intrinsics/NAME.txt     in place of that, for each frame; or .json
        poses/NAME.txt          optional: 3×4 or 4×4, from the frame of the camera (x right, y down, z forward) to the world,
                                in metres; or .json: nested lists
        mask/NAME.png           optional: not 0 where a pixel counts in the task's evaluation
        confidence/NAME.png     optional: depth is unknown where it is 0

Depth 0 is unknown, and so is the largest number of 16 bits, 65,535. Depth maps, masks and confidences may have fewer pixels
than the frames (256 × 192), if they have their shape. The centre of the upper left pixel is (0, 0). Frames are used as they
are stored, whatever their metadata says about the phone's orientation.

Numbers that mean something else are converted by :class:`~experiments.tasks.recordings.conventions.Conventions`: another unit,
poses from the world to the camera, OpenGL's axes, intrinsics of pictures of another size. Views that then disagree about what
they see are refused (:mod:`~experiments.tasks.recordings.checking`).

A recording of Stray Scanner (github.com/strayrobots/scanner, ``docs/format.md``) is of this layout once its video is
unpacked: ``camera_matrix.csv`` (3×3, pixels of the video) is taken for the intrinsics, and ``odometry.csv`` for the poses:
x, y, z and the quaternion qx, qy, qz, qw of a frame are those of the camera in the world, with ARKit's camera axes turned to
OpenCV's (its ``OdometryEncoder.swift`` multiplies by half a turn about x). Depth is in millimetres, confidence 0, 1 or 2.

Scenes without poses can be evaluated on depth, nothing else.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy.spatial.transform import Rotation

from experiments.data.recorded import RecordedScene, RecordedView
from experiments.storage.files import natural
from experiments.tasks.recordings.conventions import Conventions
from experiments.tasks.recordings.source_files import evenly, picture_size, read_color, read_map
from subspace.errors import InputError
from vggt_jax.reading.arrays import read_array
from vggt_jax.reading.json_text import parse_json
from vggt_jax.reading.regular import read_bytes

_PICTURES = (".png", ".jpg", ".jpeg")
_OF_OTHERS = (".", "__MACOSX")
"""Beginnings of names that archives and file managers leave."""
_UNPACK = "ffmpeg -noautorotate -i rgb.mp4 -start_number 0 rgb/%06d.png"
_FOREIGN = {
    "frame_bundle.npz": "stores Python objects, which can run programs when they are read",
    "*.r3d": "is compressed in a format of Apple's",
}
"""What is not read, and why."""
_MODELS = {
    "sparse": "a COLMAP model",
    "cameras.bin": "of a COLMAP model",
    "cameras.txt": "of a COLMAP model",
    "transforms.json": "cameras of Nerfstudio or Instant NGP",
    "transforms_*.json": "cameras of NeRF's scenes",
}
"""Cameras in formats of other programs, which are not read."""
_KINDS = ("rgb", "depth", "intrinsics", "poses", "mask", "confidence")
"""Folders with a file for each frame."""
_ODOMETRY = "odometry.csv"
_MOST_TEXT = 1 << 26
"""Bytes of a text file; 100,000 rows of odometry have 15 million."""
_SCENE_INTRINSICS = ("intrinsics.txt", "intrinsics.json", "camera_matrix.csv")

_Matrix = Float[np.ndarray, "_ _"]


@dataclass(frozen=True)
class Stored:
    """A frame as it lies on disk, its picture not read."""

    picture: Path
    """File of the picture."""
    size: tuple[int, int]
    """Width and height of the picture."""
    depth_file: Path
    """File of the depth map."""
    depth: Shaped[np.ndarray, "dh dw"]
    """Numbers of the depth map; 0 where there is no confidence."""
    intrinsics: Float[np.ndarray, "3 3"]
    """The matrix that is stored, or made of fx, fy, cx and cy."""
    pose: Float[np.ndarray, "3 4"] | None
    """The matrix that is stored; None if there is none."""
    mask: Bool[np.ndarray, "mh mw"] | None
    """Pixels that count in the task's evaluation."""

    def view(self, conventions: Conventions) -> RecordedView:
        """What the numbers mean."""
        return RecordedView(
            name=self.picture.stem,
            depth_file=self.depth_file,
            size=self.size,
            read_image=lambda: read_color(self.picture),
            depth=conventions.metres(self.depth),
            intrinsics=conventions.intrinsics(self.intrinsics, self.size),
            world_to_camera=None if self.pose is None else conventions.world_to_camera(self.pose),
            mask=self.mask,
        )


@dataclass(frozen=True)
class Capture:
    """A scene whose frames are read one at a time."""

    folder: Path
    """Folder of the scene."""
    chosen: Sequence[Path]
    """Pictures of the frames that are taken."""
    intrinsics: Callable[[str], _Matrix]
    """Frame → the intrinsics that are stored."""
    pose: Callable[[str], _Matrix] | None
    """Frame → the pose that is stored; None if there are none."""

    def read(self, view: int) -> Stored:
        """A frame; raises InputError that names the file."""
        picture, folder = self.chosen[view], self.folder
        name = picture.stem
        depth_file, depth = _read_depth(folder / "depth", name)
        mask, confidence = (
            read_map(folder / kind / f"{name}.png") > 0 if (folder / kind).is_dir() else None
            for kind in ("mask", "confidence")
        )
        if confidence is not None:
            if confidence.shape != depth.shape:
                raise InputError(f"{folder / 'confidence'}: {name} has {confidence.shape} pixels, depth {depth.shape}")
            depth = np.where(confidence, depth, 0)
        return Stored(
            picture=picture,
            size=picture_size(picture),
            depth_file=depth_file,
            depth=depth,
            intrinsics=self.intrinsics(name),
            pose=None if self.pose is None else self.pose(name),
            mask=mask,
        )

    def check_sizes(self) -> None:
        """InputError for a frame of another size than most if one file has the intrinsics of all; no picture is read."""
        if (self.folder / "intrinsics").is_dir():
            return
        sizes = [picture_size(picture) for picture in self.chosen]
        usual = Counter(sizes).most_common(1)[0][0]
        for picture, size in zip(self.chosen, sizes, strict=True):
            if size != usual:
                raise InputError(
                    f"{picture} has {size[0]} × {size[1]} pixels, other frames {usual[0]} × {usual[1]}, and one file has the "
                    f"intrinsics of all: write {self.folder / 'intrinsics'}/NAME.txt for each frame"
                )

    def scene(self, conventions: Conventions) -> RecordedScene:
        """What its numbers mean."""
        return RecordedScene(
            name=self.folder.name,
            num_views=len(self.chosen),
            has_poses=self.pose is not None,
            read=lambda view: self.read(view).view(conventions),
            files=_files(self.folder, {path.stem for path in self.chosen}),
        )


def find_captures(source: Path, views: int) -> list[Capture]:
    """All scenes of a folder, by name.

    Args:
        source: the folder with the scenes' folders.
        views: to take of each, evenly spread over its frames.

    Raises:
        InputError: there are none, one is of another layout or has fewer frames.
    """
    folders = sorted(path for path in source.iterdir() if path.is_dir() and not path.name.startswith(_OF_OTHERS))
    if (source / "rgb").is_dir():
        raise InputError(f"{source} is one scene: give the folder with all scenes' folders")
    if not folders:
        raise InputError(f"{source} has no folders of scenes")
    return [_capture(folder, views) for folder in folders]


def _capture(folder: Path, views: int) -> Capture:
    for pattern, why in _FOREIGN.items():
        for path in folder.glob(pattern):
            raise InputError(
                f"{path} {why}: write frames, depth and intrinsics as help(experiments.tasks.recordings.captures) says"
            )
    if (folder / "rgb.mp4").exists() and not (folder / "rgb").is_dir():
        raise InputError(f"{folder}/rgb.mp4 is a video: make the folder rgb in {folder} and run there: {_UNPACK}")
    if not (folder / "rgb").is_dir():
        raise InputError(
            f"{folder} has no rgb: it must hold a scene's frames, and {folder.parent} nothing but such folders"
            f"{_unread(folder, folder.parent)}"
        )
    frames: dict[str, Path] = {}
    for path in sorted(filter(_is_picture, (folder / "rgb").iterdir()), key=natural):
        if path.stem in frames:
            raise InputError(f"{frames[path.stem]} and {path} are of one name: which is the frame {path.stem}?")
        frames[path.stem] = path
    chosen = evenly(list(frames.values()), views, folder / "rgb")
    if not (folder / "depth").is_dir():
        raise InputError(f"{folder} has no depth")
    return Capture(folder, chosen, _intrinsics_reader(folder), _pose_reader(folder))


def _unread(*folders: Path) -> str:
    """The end of a line that says which cameras of other programs lie there; empty if none do."""
    for folder in folders:
        for pattern, what in _MODELS.items():
            for path in folder.glob(pattern):
                return (
                    f"; {path}, {what}, is not read: write intrinsics and poses as docs/own_data.md says "
                    "(COLMAP: pose=world_to_camera; NeRF: axes=opengl)"
                )
    return ""


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in _PICTURES and not path.name.startswith(_OF_OTHERS)


def _files(folder: Path, frames: Set[str]) -> list[Path]:
    """All files of a scene that are read for some frames."""
    of_frames = [path for kind in _KINDS if (folder / kind).is_dir() for path in (folder / kind).iterdir()]
    of_scene = [folder / name for name in (*_SCENE_INTRINSICS, _ODOMETRY)]
    return [path for path in of_frames if path.stem in frames] + [path for path in of_scene if path.is_file()]


def _read_depth(folder: Path, name: str) -> tuple[Path, Shaped[np.ndarray, "h w"]]:
    """The depth map of a frame, and its file."""
    path = _one_of(folder, name, (".png", ".npy", ".npz"))
    if path.suffix == ".png":
        return path, read_map(path, sixteen_bits=True)
    stored = read_array(path)
    if stored.ndim != 2 or stored.dtype.kind not in "fui" or not stored.size:
        raise InputError(f"{path} holds no depth map, but {stored.dtype} of shape {stored.shape}")
    return path, stored if stored.dtype.kind in "ui" else stored.astype(np.float64)


def _intrinsics_reader(folder: Path) -> Callable[[str], _Matrix]:
    """Frame → its intrinsics (3, 3)."""
    if (folder / "intrinsics").is_dir():
        return lambda name: _intrinsics(_one_of(folder / "intrinsics", name, (".txt", ".json")))
    found = [path for name in _SCENE_INTRINSICS if (path := folder / name).is_file()]
    if len(found) != 1:
        there = "none" if not found else " and ".join(path.name for path in found)
        raise InputError(
            f"{folder} needs one of {', '.join(_SCENE_INTRINSICS)} or the folder intrinsics, it has {there}"
            f"{_unread(folder)}"
        )
    matrix = _intrinsics(found[0])
    return lambda _: matrix


def _intrinsics(path: Path) -> _Matrix:
    numbers = _numbers(path)
    if numbers.size == 4:
        fx, fy, cx, cy = numbers.ravel()
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    if numbers.size != 9:
        raise InputError(f"{path} holds {numbers.size} numbers: neither fx fy cx cy nor a 3×3 matrix")
    return numbers.reshape(3, 3)


def _pose_reader(folder: Path) -> Callable[[str], _Matrix] | None:
    """Frame → its pose (3, 4); None if the scene has no poses."""
    if (folder / "poses").is_dir():
        return lambda name: _pose(_one_of(folder / "poses", name, (".txt", ".json")))
    if not (path := folder / _ODOMETRY).is_file():
        return None
    rows = _odometry(path)

    def read(name: str) -> _Matrix:
        if name not in rows:
            raise InputError(f"{path} has no row for frame {name}")
        return rows[name]

    return read


def _pose(path: Path) -> _Matrix:
    numbers = _numbers(path)
    if numbers.size not in (12, 16):
        raise InputError(f"{path} holds {numbers.size} numbers, no 3×4 or 4×4 matrix")
    matrix = numbers.reshape(-1, 4)
    if len(matrix) == 4 and not np.allclose(matrix[3], (0, 0, 0, 1), atol=1e-6):
        turned = ", as if it were written column by column" * np.allclose(matrix[:, 3], (0, 0, 0, 1), atol=1e-6)
        raise InputError(
            f"{path}: the last row of a 4×4 pose must be 0 0 0 1, not {' '.join(f'{x:g}' for x in matrix[3])}{turned}"
        )
    return matrix[:3]


def _odometry(path: Path) -> Mapping[str, _Matrix]:
    """Stray Scanner's poses by frame."""
    try:
        lines = read_bytes(path, _MOST_TEXT).decode("utf-8").splitlines()
        rows = list(csv.DictReader(lines, skipinitialspace=True))
        turns = Rotation.from_quat([[float(row[name]) for name in ("qx", "qy", "qz", "qw")] for row in rows])
        places = [[float(row[name]) for name in "xyz"] for row in rows]
        poses = np.concatenate([turns.as_matrix(), np.array(places)[..., None]], axis=2)
        return dict(zip((row["frame"].strip() for row in rows), poses, strict=True))
    except (OSError, KeyError, TypeError, ValueError, AttributeError, csv.Error) as error:
        raise InputError(f"{path} is no odometry.csv of Stray Scanner: {' '.join(str(error).split())}") from None


def _numbers(path: Path) -> Float[np.ndarray, "..."]:
    """Of a text file, whatever stands between them, or of JSON: nested lists, or fx, fy, cx and cy by name."""
    try:
        text = read_bytes(path, _MOST_TEXT).decode("utf-8")
        if path.suffix == ".json":
            content = parse_json(text)
            if isinstance(content, dict):
                content = [content[name] for name in ("fx", "fy", "cx", "cy")]
            return np.array(_plain_numbers(content), np.float64)
        return np.array(text.replace(",", " ").split(), np.float64)
    except KeyError as error:
        raise InputError(f"{path} has no {error}") from None
    except (OSError, TypeError, ValueError) as error:
        raise InputError(f"{path} holds no numbers: {' '.join(str(error).split())}") from None


def _plain_numbers(content: Any) -> Any:
    """Nested lists, unless something else than numbers is in them: texts and truths would be taken for numbers."""
    if isinstance(content, list):
        return [_plain_numbers(part) for part in content]
    if isinstance(content, bool) or not isinstance(content, int | float):
        raise TypeError(f"{content!r} is no number")
    return content


def _one_of(folder: Path, name: str, suffixes: tuple[str, ...]) -> Path:
    """The file of a frame."""
    found = [path for suffix in suffixes if (path := folder / f"{name}{suffix}").is_file()]
    if len(found) != 1:
        raise InputError(
            f"{folder} must have one of {', '.join(name + suffix for suffix in suffixes)}, it has {len(found)}"
        )
    return found[0]
