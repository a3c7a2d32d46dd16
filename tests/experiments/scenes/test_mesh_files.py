"""Meshes of other programs: what is read of each format, what is refused, and what the renderer is given."""

import numpy as np
import pytest
import trimesh
from PIL import Image
from trimesh.visual import TextureVisuals

from experiments.rendering import export
from experiments.scenes import mesh_files, schema
from experiments.scenes.support import bounds
from tests.experiments.scenes.examples import thing
from tests.experiments.scenes.written_meshes import base, write_gltf

CORNERS = np.array([[0, 0, 0], [2, 0, 0], [2, 1, 0], [0, 1, 0], [0, 0, 3]], float)
FACES = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4]])
UV = np.array([[0.1, 0.2], [0.9, 0.2], [0.9, 0.7], [0.1, 0.7], [0.5, 0.5]])


def textured(size=8):
    visual = TextureVisuals(uv=UV, image=Image.new("RGB", (size, size), (250, 10, 20)))
    return trimesh.Trimesh(CORNERS, FACES, visual=visual, process=False)


@pytest.mark.parametrize("suffix", [".obj", ".glb"])
def test_textured_meshes_are_what_was_written(tmp_path, suffix):
    textured().export(tmp_path / f"a{suffix}")
    [part] = mesh_files.read(tmp_path / f"a{suffix}")
    corners = np.concatenate([part.vertices[part.faces], part.uv], axis=2)
    expected = np.concatenate([CORNERS[FACES], UV[FACES]], axis=2)
    order = [np.lexsort(c.reshape(3, -1).T) for c in (corners, expected)]
    np.testing.assert_allclose(corners[order[0]], expected[order[1]], atol=1e-5)
    assert part.picture is not None and part.picture.size == (8, 8) and part.colors is None


def test_vertices_that_a_seam_cuts_apart_are_one(tmp_path):
    lines = [f"v {x} {y} {z}" for x, y, z in CORNERS[:4]] + ["vt 0 0", "vt 1 0", "vt 1 1", "vt 0.2 0.3", "vt 0.4 0.5"]
    lines = ["mtllib m.mtl", *lines, "usemtl m", "f 1/1 2/2 3/3", "f 1/4 3/5 4/1"]
    (tmp_path / "a.obj").write_text("\n".join(lines))
    (tmp_path / "m.mtl").write_text("newmtl m\nmap_Kd m.png\n")
    Image.new("RGB", (4, 4)).save(tmp_path / "m.png")
    [part] = mesh_files.read(tmp_path / "a.obj")
    assert part.vertices.shape == (4, 3)
    assert part.uv is not None and len(np.unique(part.uv.reshape(-1, 2), axis=0)) == 5


def test_colours_of_vertices_become_linear(tmp_path):
    colors = np.array([[255, 0, 188, 255]] * 5, np.uint8)
    trimesh.Trimesh(CORNERS, FACES, vertex_colors=colors, process=False).export(tmp_path / "a.ply")
    [part] = mesh_files.read(tmp_path / "a.ply")
    np.testing.assert_allclose(part.colors, [[1.0, 0.0, 0.503]] * 5, atol=1e-3)


def test_each_material_is_a_part(tmp_path):
    both = trimesh.Scene([textured(), textured(16).apply_translation((5, 0, 0))])
    both.export(tmp_path / "a.glb")
    parts = mesh_files.read(tmp_path / "a.glb")
    assert sorted(part.picture.size[0] for part in parts if part.picture) == [8, 16]
    assert sorted(part.vertices[:, 0].max() for part in parts) == [2, 7]


QUANTISED = {"translation": [-0.5, 0.25, 3.0], "scale": [1.8, 1.8, 1.8]}
"""What gltfpack puts into a node of its own, so that integers become metres again."""


def standing_twice(of_the_mesh):
    """A mesh in two nodes below others, with what its own nodes say."""
    nodes = [
        {"translation": [5.0, 0.0, 0.0], "scale": [2.0, 1.0, 0.5], "children": [1]},
        {"mesh": 0, **of_the_mesh},
        {"translation": [0.0, -7.0, 0.0], "rotation": [0.0, 0.6, 0.0, 0.8], "children": [3]},
        {"mesh": 0, **of_the_mesh},
    ]
    return {"nodes": nodes, "scenes": [{"nodes": [0, 2]}]}


@pytest.mark.parametrize("shares", [True, False])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16])
def test_quantised_positions_are_those_of_the_file_of_floats(tmp_path, dtype, shares):
    largest = np.iinfo(dtype).max
    corners = np.array([[0, 0, 0], [largest, 5, 7], [largest // 2, largest, 1], [0, largest // 3, 100]], dtype)
    corners[0] = np.iinfo(dtype).min  # −1, as the next number is
    numbers = np.maximum(corners / largest, -1) if shares else corners
    floats = numbers * QUANTISED["scale"] + QUANTISED["translation"]
    plain = write_gltf(
        tmp_path / "plain.glb",
        attributes={"POSITION": floats},
        material=base(False, baseColorFactor=[1, 0, 0, 1]),
        more=standing_twice({}),
    )
    quantised = write_gltf(
        tmp_path / "quantised.glb",
        attributes={"POSITION": corners},
        material=base(False, baseColorFactor=[1, 0, 0, 1]),
        more={**standing_twice(QUANTISED), "extensionsRequired": ["KHR_mesh_quantization"]},
        raw=() if shares else ["POSITION"],
    )
    expected, found = mesh_files.read(plain), mesh_files.read(quantised)
    assert len(expected) == len(found) == 2
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(
            sorted_corners(other), sorted_corners(one), atol=1e-6 * np.abs(one.vertices).max(), rtol=0
        )


def sorted_corners(part):
    corners = part.vertices[part.faces].reshape(-1, 3)
    return corners[np.lexsort(corners.round(3).T)]


def test_quantised_positions_that_a_skin_scales_are_refused(tmp_path):
    material = base(False, baseColorFactor=[1, 0, 0, 1])
    skinned = {"nodes": [{"mesh": 0, "skin": 0}, {}], "skins": [{"joints": [1]}]}
    [part] = mesh_files.read(write_gltf(tmp_path / "a.glb", material=material, more=skinned))
    assert part.vertices.max() == 1
    integers = {"POSITION": np.array([[0, 0, 0], [9, 0, 0], [9, 9, 0], [0, 9, 0]], np.uint16)}
    path = write_gltf(tmp_path / "b.glb", attributes=integers, material=material, more=skinned, raw=["POSITION"])
    with pytest.raises(ValueError, match=r"b\.glb has positions of integers that a skin scales"):
        mesh_files.read(path)


PLY = """ply
format ascii 1.0
element vertex 3
property float x
property float y
property float z
element face 1
property list uchar int vertex_indices
end_header
0 0 0
1 0 0
0 1 0
"""


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.obj", "", "is no mesh: an empty file"),
        ("a.obj", "# nothing", "holds no triangles"),
        ("a.glb", "nonsense", "is no GLB file"),
        ("a.ply", "nonsense", "is no PLY file"),
        ("a.obj", "<html>", "is no mesh: a web page"),
        ("a.ply", "version https://git-lfs.github.com/spec/v1", "is no mesh: a Git LFS pointer"),
        ("a.ply", "ply\nnonsense", "is damaged: it is cut off"),
        ("a.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "is damaged: .* refers to something that it does not have"),
        ("a.obj", "v 0 0\nv 1 0\nv 0 1\nf 1 2 3\n", "vertices that are not three numbers"),
        ("a.obj", "v a b c\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "is damaged"),
        ("a.ply", PLY + "3 0 1 8\n", r"a triangle has vertex 8 \(from 0\), and there are 3 vertices"),
        ("a.ply", PLY + "3 0 1 -5\n", "a triangle has vertex -5"),
        ("a.gltf", "{not JSON", "JSON"),
        ("a.gltf", "[]", "is damaged"),
        ("a.gltf", '{"buffers": [{"uri": "gone.bin", "byteLength": 9}]}', "its file gone.bin is not there"),
        ("a.glb", "glTF" + "\x02\x00\x00\x00" + "\x40\x00\x00\x00", "is cut off: it announces 64 bytes and has 12"),
        ("a.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "neither a picture nor colours"),
        (
            "a.obj",
            "mtllib no.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nusemtl no\nf 1/1 2/2 3/3\n",
            "its material file no.mtl is not there",
        ),
    ],
)
def test_what_cannot_be_used_is_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        mesh_files.read(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)


def test_the_renderers_mesh_is_the_files(tmp_path):
    textured().export(tmp_path / "a.glb")
    [part] = mesh_files.read(tmp_path / "a.glb")
    size, middle = mesh_files.box(part.vertices)
    item = thing(mesh_files.write(part, tmp_path, "part"), tuple(size.tolist()), tuple(middle.tolist()))
    np.testing.assert_allclose(export.object_mesh(item).bounds, [[0, 0, 0], [2, 1, 3]], atol=1e-6)
    np.testing.assert_allclose(bounds(item), [[0, 0, 0], [2, 1, 3]], atol=1e-6)
    again = mesh_files.write(part, tmp_path, "part")
    assert again == item.shape


def test_fields_that_are_not_used_leave_no_trace_in_a_specification():
    described = schema.Scene(
        version=1,
        provenance=schema.Provenance("mixed", "object_centric", seed=0, dataset=0, scene=0),
        objects=(),
        materials=(),
        lighting=schema.Lighting(schema.UniformSky((1.0, 1.0, 1.0), 1.0), ()),
        cameras=schema.Cameras(8, 8, ()),
    )
    written = schema.to_json(described)
    assert not any(word in written for word in (b"region", b"bounces", b"clear_shadow", b"task"))
    assert schema.from_json(written) == described
