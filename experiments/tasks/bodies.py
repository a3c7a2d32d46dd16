"""Clothed bodies in place of scans of people: the parametric model anny, posed, dressed by a painted texture, written as OBJ.

anny (code Apache-2.0, data CC0) comes with the extra ``tasks``. Its texture coordinates are MakeHuman's, whose islands tell
eyes, mouth and head apart. Each body is a folder, as in THuman 2.1: ``0000/0000.obj``, ``material0.mtl``, ``material0.png``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image
from scipy.spatial.transform import Rotation

from experiments.data.manifest import Split
from experiments.process.reporting import SILENT, Reporter
from experiments.storage import files
from experiments.synthetic.draws import Range, pick, uniform
from experiments.tasks import clothing
from experiments.tasks.unwrapped import Unwrapped, unwrap
from subspace.errors import InputError

Kind = Split | Literal["portraits"]
Group = Literal["adult", "child", "old", "thin", "heavy", "strong"]

PHENOTYPES: dict[Group, dict[str, Range]] = {
    "adult": {"age": (0.6, 0.85), "height": (0.3, 0.7), "weight": (0.3, 0.65), "muscle": (0.3, 0.7)},
    "child": {"age": (0.2, 0.4), "height": (0.3, 0.7), "weight": (0.3, 0.6), "muscle": (0.4, 0.6)},
    "old": {"age": (0.93, 1.0), "height": (0.2, 0.6), "weight": (0.3, 0.7), "muscle": (0.2, 0.5)},
    "thin": {"age": (0.6, 0.85), "height": (0.6, 0.95), "weight": (0.0, 0.15), "muscle": (0.1, 0.4)},
    "heavy": {"age": (0.6, 0.9), "height": (0.2, 0.6), "weight": (0.85, 1.0), "muscle": (0.3, 0.6)},
    "strong": {"age": (0.6, 0.8), "height": (0.5, 0.9), "weight": (0.5, 0.7), "muscle": (0.85, 1.0)},
}
"""anny's: age 0 is a baby, 1/3 a child, 2/3 young, 1 old; the others run from 0 to 1 about an average of 0.5."""
GROUPS: dict[Kind, tuple[Group, ...]] = {
    "train": ("adult",),
    "test": ("adult",),
    "cross_domain": ("child", "old", "heavy", "thin", "strong"),
    "portraits": ("adult", "adult", "old"),
}
TEXTURE = 1024
"""Width and height, pixels."""
_PARTS = (
    (clothing.HEAD, r"head|neck|jaw|eye|tongue|special|oris|oculi|orbicularis|levator|risorius|temporalis"),
    (clothing.UPPER_ARM, r"upperarm"),
    (clothing.LOWER_ARM, r"lowerarm"),
    (clothing.HAND, r"wrist|finger|metacarpal"),
    (clothing.HIPS, r"root|pelvis|spine05"),
    (clothing.TORSO, r"spine|clavicle|shoulder|breast"),
    (clothing.THIGH, r"upperleg"),
    (clothing.SHIN, r"lowerleg"),
    (clothing.FOOT, r"foot|toe"),
)
"""By the beginnings of the bones' names; the first that fits."""
_MADE_OF = "made_of.json"
"""Beside the bodies: what they were made of."""
_OURS = re.compile(rf"{re.escape(_MADE_OF)}|\d+/(\d+\.obj|material0\.(png|mtl))|\.\d+\..*")
"""What their folder holds."""
_ROUNDING = 1e-4
"""Between the vertices of a body that was made on two machines, metres; OBJ files have five digits."""
_FORWARD, _DOWN = np.array([0.0, -1.0, 0.0]), np.array([0.0, 0.0, -1.0])


def make_bodies(folder: Path, kind: Kind, number: int, seed: int, reporter: Reporter = SILENT) -> list[Path]:
    """Write bodies, or those that are missing; bodies of another seed are replaced.

    Args:
        folder: made if need be.
        kind: a split, or upright bodies for portraits.
        number: how many.
        seed: of everything random; a body does not depend on how many there are.
        reporter: is told of progress.

    Returns:
        Their OBJ files.

    Raises:
        InputError: the bodies that are there are not those that would be made now, or anny is missing.
        OSError: the folder cannot be written.
    """
    made_of = {"kind": kind, "seed": seed}
    if (folder / _MADE_OF).exists() and files.read_json(folder / _MADE_OF) != made_of:
        files.check_all_ours(folder, _OURS)
        files.remove(folder)  # of a run that went no further, or is being replaced
    paths = [folder / f"{i:04d}" / f"{i:04d}.obj" for i in range(number)]
    missing = [i for i, path in enumerate(paths) if not path.exists()]
    if missing:
        body = _load()
        folder.mkdir(parents=True, exist_ok=True)
        files.remove_partial(folder)
        if not any(path.exists() for path in paths):
            files.write_json(folder / _MADE_OF, made_of)
        there = [i for i in range(number) if i not in missing]
        for i in there[-1:]:  # standing for all
            _check(paths[i], _make(body, kind, i, seed))
        with reporter.progress(len(missing), " bodies", "making bodies") as bar:
            for i in missing:
                _write(paths[i], _make(body, kind, i, seed), body)
                bar.update()
    return paths


@dataclass(frozen=True)
class _Body:
    """The model, its topology and its surface."""

    model: Any
    faces: Int[np.ndarray, "m 3"]
    uv: Float[np.ndarray, "k 2"]
    uv_faces: Int[np.ndarray, "m 3"]
    surface: Unwrapped
    marks: clothing.Landmarks


def _load() -> _Body:
    try:
        import anny  # pyright: ignore[reportMissingImports]
        import warp  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(f"{error.name} is missing, which makes the bodies: pip install -e '.[tasks]'") from None
    warp.config.log_level = warp.LOG_ERROR  # anny computes with it; it greets, and regrets that there is no GPU
    model = anny.Anny()
    faces, uv_faces = (_triangles(model_faces) for model_faces in (model.faces, model.face_texture_coordinate_indices))
    assert model.texture_coordinates is not None
    uv = model.texture_coordinates.numpy().astype(np.float64)
    vertices = model()["vertices"][0].detach().numpy().astype(np.float64)
    weights = np.zeros((len(vertices), len(clothing.PARTS)))
    for bones, shares in zip(model.vertex_bone_indices.numpy().T, model.vertex_bone_weights.numpy().T, strict=True):
        parts = np.array([_part(label) for label in model.bone_labels])[bones]
        np.add.at(weights, (np.arange(len(vertices)), parts), shares)
    corners = uv[uv_faces]
    eyes, mouth = _eyes_and_mouth(vertices, faces, corners)
    for eye in eyes:
        weights[eye] = 0
        weights[eye, clothing.EYE] = 1
    head = vertices[weights.argmax(axis=1) == clothing.HEAD]
    marks = clothing.Landmarks(
        np.array([vertices[eye].mean(axis=0) for eye in eyes]), vertices[mouth].mean(axis=0), float(head[:, 1].min())
    )
    return _Body(model, faces, uv, uv_faces, unwrap(vertices, weights, faces, corners, TEXTURE), marks)


def _part(bone: str) -> int:
    return next(part for part, names in _PARTS if re.match(names, bone))


def _triangles(polygons: Any) -> Int[np.ndarray, "m 3"]:
    polygons = np.asarray(polygons)
    if polygons.shape[1] == 3:
        return polygons
    return np.concatenate([polygons[:, [0, 1, 2]], polygons[:, [0, 2, 3]]])


def _eyes_and_mouth(
    vertices: np.ndarray, faces: np.ndarray, corners: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray]:
    """Vertices of the left and of the right eyeball, and those where the skin meets the mouth's inside."""
    u, v = np.moveaxis(corners.mean(axis=1), -1, 0)
    eye = np.unique(faces[(u > 0.73) & (u < 0.83) & (v > 0.9)])
    cavity = np.unique(faces[(u > 0.75) & (u < 0.94) & (v < 0.14)])
    skin = np.unique(faces[(u > 0.62) & (v > 0.14) & (v < 0.85)])
    left = vertices[eye, 0] > 0
    return [eye[left], eye[~left]], np.intersect1d(cavity, skin)


@dataclass(frozen=True)
class _Made:
    """A body."""

    vertices: Float[np.ndarray, "n 3"]
    """Vertices as in the OBJ file, y up."""
    picture: UInt8[np.ndarray, "h w 3"]


def _make(body: _Body, kind: Kind, number: int, seed: int) -> _Made:
    import torch  # pyright: ignore[reportMissingImports]

    key = (2000, [*get_args(Split), "portraits"].index(kind), number)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    group = GROUPS[kind][number % len(GROUPS[kind])]
    shape = {name: uniform(rng, between) for name, between in PHENOTYPES[group].items()}
    shape |= {"gender": pick(rng, [0.0, 1.0]), "proportions": uniform(rng, (0.2, 0.8))}
    rest = body.model(phenotype_kwargs=shape)
    turns = _pose(rng, dict(zip(body.model.bone_labels, rest["bone_poses"][0, :, :3, 3].numpy(), strict=True)), kind)
    pose = {bone: torch.eye(4)[None].clone() for bone in turns}
    for bone, turn in turns.items():
        pose[bone][0, :3, :3] = torch.from_numpy(turn.as_matrix())
    posed = body.model(pose_parameters=pose, phenotype_kwargs=shape) if pose else rest
    picture = clothing.paint(rng, body.surface, body.marks, elderly=group == "old")
    return _Made(posed["vertices"][0].detach().numpy()[:, [0, 2, 1]] * (1, 1, -1), picture)


def _write(path: Path, made: _Made, body: _Body) -> None:
    with files.new_folder(path.parent) as folder:
        Image.fromarray(made.picture).save(folder / "material0.png")
        (folder / "material0.mtl").write_text("newmtl material0\nmap_Kd material0.png\n")
        (folder / path.name).write_text(_obj(made.vertices, body))


def _check(path: Path, made: _Made) -> None:
    """Raises InputError if a file holds another body than would be made now, but for what machines round differently."""
    with files.reading(path):
        lines = [line.split()[1:] for line in path.read_text().splitlines() if line.startswith("v ")]
        vertices = np.array(lines, np.float64)
    with files.reading(path.with_name("material0.png")), Image.open(path.with_name("material0.png")) as picture:
        painted = np.asarray(picture, np.float32)
    same = vertices.shape == made.vertices.shape and np.allclose(vertices, made.vertices, atol=_ROUNDING)
    if not same or painted.shape != made.picture.shape or np.abs(painted - made.picture).mean() > 1:
        raise InputError(
            f"{path} is not the body that this version makes: delete {path.parent.parent}, or name another output"
        )


def _pose(rng: np.random.Generator, joints: dict[str, Float[np.ndarray, "3"]], kind: Kind) -> dict[str, Rotation]:
    """Turns of bones about axes of the world, within what is natural for someone who stands or walks.

    Args:
        rng: the stream.
        joints: places of the bones' beginnings in rest.
        kind: portraits only turn the head a little, and let their arms hang.
    """

    def bent(bone: str, end: str, way: np.ndarray, between: Range) -> Rotation:
        """Towards a direction, by degrees."""
        axis = np.cross(joints[end] - joints[bone], way)
        return Rotation.from_rotvec(np.radians(uniform(rng, between)) * axis / np.linalg.norm(axis))

    share = 0.25 if kind == "portraits" else 1.0
    turns = {
        "neck01": Rotation.from_euler("zx", share * rng.uniform((-25, -8), (25, 10)), degrees=True),
        "spine03": Rotation.from_euler("zxy", 0.3 * share * rng.uniform((-40, -15, -20), (40, 30, 20)), degrees=True),
    }
    for side in ".L", ".R":
        if kind == "portraits":
            turns[f"upperarm01{side}"] = bent(f"upperarm01{side}", f"lowerarm01{side}", _DOWN, (15, 38))
        else:
            down = bent(f"upperarm01{side}", f"lowerarm01{side}", _DOWN, (-30, 38))
            turns[f"upperarm01{side}"] = down * bent(f"upperarm01{side}", f"lowerarm01{side}", _FORWARD, (-25, 40))
            turns[f"lowerarm01{side}"] = bent(f"lowerarm01{side}", f"wrist{side}", _FORWARD, (0, 80))
            out = joints[f"upperleg01{side}"] * (1, 0, 0)
            swing = bent(f"upperleg01{side}", f"lowerleg01{side}", _FORWARD, (-18, 35))
            turns[f"upperleg01{side}"] = swing * bent(f"upperleg01{side}", f"lowerleg01{side}", out, (0, 14))
            turns[f"lowerleg01{side}"] = bent(f"lowerleg01{side}", f"foot{side}", -_FORWARD, (0, 40))
    return turns


def _obj(vertices: Float[np.ndarray, "n 3"], body: _Body) -> str:
    """With y up, looking along z."""
    lines = ["mtllib material0.mtl", *(f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in vertices)]
    lines += [f"vt {u:.5f} {v:.5f}" for u, v in body.uv]
    lines.append("usemtl material0")
    for corners, texels in zip((body.faces + 1).tolist(), (body.uv_faces + 1).tolist(), strict=True):
        lines.append("f " + " ".join(f"{corner}/{texel}" for corner, texel in zip(corners, texels, strict=True)))
    return "\n".join(lines) + "\n"
