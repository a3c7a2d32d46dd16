"""The colour of meshes: what each kind of file says, against values worked out by hand, and what is named as left out."""

import os
from typing import Any

import numpy as np
import pytest
from PIL import Image

from experiments.scenes import mesh_files
from experiments.scenes.looks import LeftOut
from tests.experiments.scenes.written_meshes import (
    SQUARE,
    UV,
    base,
    plain_picture,
    png,
    write_gltf,
    write_obj,
    write_ply,
)

DOWN = UV * (1, -1) + (0, 1)
"""glTF's coordinates of the picture that lies upright on the square."""


def linear(byte):
    value = np.asarray(byte) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def read(path) -> Any:
    """The only part, whose picture, coordinates or colours each test knows to be there."""
    [part] = mesh_files.read(path)
    return part


def written(parts, folder, names) -> Any:
    return mesh_files.write_looks(parts, folder, names)


def pixel(part, place=(0, 0)):
    return part.picture.getpixel(place)


def upright(part):
    """Whether u and v are the square's x and y."""
    return np.allclose(part.uv, part.vertices[part.faces][..., :2], atol=1e-6)


@pytest.mark.parametrize("suffix", [".glb", ".gltf"])
def test_the_base_colours_factor_without_a_picture_is_the_colour(tmp_path, suffix):
    part = read(write_gltf(tmp_path / f"a{suffix}", material=base(False, baseColorFactor=[0.5, 0.25, 1.0, 1.0])))
    np.testing.assert_allclose(part.colors, [[0.5, 0.25, 1.0]] * 4)
    assert part.picture is None and part.uv is None and not part.left_out


def test_the_factor_multiplies_the_light_of_the_picture(tmp_path):
    material = base(baseColorFactor=[0.5, 1.0, 0.0, 0.3])
    part = read(
        write_gltf(tmp_path / "a.glb", attributes={"TEXCOORD_0": DOWN}, material=material, picture=plain_picture())
    )
    assert part.picture.mode == "RGB" and upright(part)
    np.testing.assert_allclose(linear(pixel(part)), linear((200, 100, 50)) * (0.5, 1.0, 0.0), atol=4e-3)


def test_the_second_set_of_coordinates_and_their_transform(tmp_path):
    material = base()
    material["pbrMetallicRoughness"]["baseColorTexture"]["texCoord"] = 1
    both = {"TEXCOORD_0": np.zeros_like(UV), "TEXCOORD_1": DOWN}
    assert upright(read(write_gltf(tmp_path / "a.glb", attributes=both, material=material, picture=plain_picture())))
    transform = {"scale": [0.5, 0.25], "offset": [0.1, 0.2], "texCoord": 0}
    material["pbrMetallicRoughness"]["baseColorTexture"]["extensions"] = {"KHR_texture_transform": transform}
    both = {"TEXCOORD_1": np.zeros_like(UV), "TEXCOORD_0": (DOWN * 65535).astype(np.uint16)}
    part = read(write_gltf(tmp_path / "b.glb", attributes=both, material=material, picture=plain_picture()))
    u, v = part.vertices[part.faces][..., :2].transpose(2, 0, 1)
    np.testing.assert_allclose(part.uv, np.stack([0.1 + 0.5 * u, 1 - (0.2 + 0.25 * (1 - v))], axis=-1), atol=1e-5)


def test_a_transform_that_turns_is_blenders(tmp_path):
    """A quarter turn takes the picture's upper left corner, (0, 0), from the square's upper left to its lower left."""
    material = base()
    turned = {"KHR_texture_transform": {"rotation": np.pi / 2, "offset": [0.0, 1.0]}}
    material["pbrMetallicRoughness"]["baseColorTexture"]["extensions"] = turned
    part = read(
        write_gltf(tmp_path / "a.glb", attributes={"TEXCOORD_0": DOWN}, material=material, picture=plain_picture())
    )
    u, v = DOWN.T
    expected = {
        tuple(corner): (right, 1 - down) for corner, right, down in zip(SQUARE[:, :2].tolist(), v, 1 - u, strict=True)
    }
    for corner, uv in zip(part.vertices[part.faces].reshape(-1, 3), part.uv.reshape(-1, 2), strict=True):
        np.testing.assert_allclose(uv, expected[tuple(corner[:2].tolist())], atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.uint16])
def test_colours_of_vertices_in_gltf_are_linear_of_any_depth_and_multiply(tmp_path, dtype):
    share = np.tile([0.2, 0.6, 1.0, 1.0], (4, 1))
    values = share.astype(dtype) if dtype == np.float32 else (share * np.iinfo(dtype).max).round().astype(dtype)
    plain = read(write_gltf(tmp_path / "a.glb", attributes={"COLOR_0": values}))
    np.testing.assert_allclose(plain.colors, share[:, :3], atol=1e-3)
    part = read(
        write_gltf(tmp_path / "b.glb", attributes={"COLOR_0": values}, material=base(False, baseColorFactor=[0.5] * 4))
    )
    np.testing.assert_allclose(part.colors, 0.5 * share[:, :3], atol=1e-3)
    attributes = {"COLOR_0": values, "TEXCOORD_0": DOWN}
    both = read(write_gltf(tmp_path / "c.glb", attributes=attributes, material=base(), picture=plain_picture()))
    np.testing.assert_allclose(both.colors, share[:, :3], atol=1e-3)
    assert pixel(both) == (200, 100, 50)
    look = written([both], tmp_path, ["c"])[0]
    assert look.vertex_colors is True
    stored = np.load(mesh_files.write(both, tmp_path, "c").file)
    assert stored["uv"].shape == (2, 3, 2) and stored["colors"].shape == (4, 3)


@pytest.mark.parametrize("largest", [255, 4095])
def test_integer_coordinates_that_are_no_shares_are_scaled_by_their_transform(tmp_path, largest):
    """KHR_mesh_quantization, as gltfpack writes it."""
    material = base()
    transform = {"scale": [0.5 / largest, 0.25 / largest], "offset": [0.1, 0.2]}
    material["pbrMetallicRoughness"]["baseColorTexture"]["extensions"] = {"KHR_texture_transform": transform}
    values = (DOWN * largest).astype(np.uint8 if largest == 255 else np.uint16)
    needs = {"extensionsRequired": ["KHR_mesh_quantization", "KHR_texture_transform"]}
    part = read(
        write_gltf(
            tmp_path / "a.glb",
            attributes={"TEXCOORD_0": values},
            material=material,
            picture=plain_picture(),
            more=needs,
            raw=["TEXCOORD_0"],
        )
    )
    u, v = part.vertices[part.faces][..., :2].transpose(2, 0, 1)
    np.testing.assert_allclose(part.uv, np.stack([0.1 + 0.5 * u, 1 - (0.2 + 0.25 * (1 - v))], axis=-1), atol=1e-6)


def test_signed_shares_end_at_minus_one(tmp_path):
    values = np.array([[-128, 127], [127, -127], [0, 0], [64, -64]], np.int8)
    attributes = {"TEXCOORD_0": values}
    part = read(write_gltf(tmp_path / "a.glb", attributes=attributes, material=base(), picture=plain_picture()))
    by_corner = dict(zip(map(tuple, part.vertices[part.faces].reshape(-1, 3)), part.uv.reshape(-1, 2), strict=True))
    expected = [[-1, 0], [1, 2], [0, 1], [64 / 127, 1 + 64 / 127]]
    np.testing.assert_allclose([by_corner[tuple(place)] for place in SQUARE.tolist()], expected, atol=1e-6)


def test_colours_of_integers_are_shares_also_where_the_file_does_not_say_so(tmp_path):
    values = np.tile(np.uint8([51, 153, 255, 255]), (4, 1))
    part = read(write_gltf(tmp_path / "a.glb", attributes={"COLOR_0": values}, raw=["COLOR_0"]))
    np.testing.assert_allclose(part.colors, [[0.2, 0.6, 1.0]] * 4)


def half_transparent():
    picture = plain_picture((200, 100, 50, 255), mode="RGBA")
    picture.putpixel((0, 0), (200, 100, 50, 100))
    return picture


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ({}, None),
        ({"alphaMode": "BLEND"}, 100),
        ({"alphaMode": "MASK"}, 0),
        ({"alphaMode": "MASK", "alphaCutoff": 0.3}, None),
    ],
)
def test_alpha_is_what_the_material_says(tmp_path, mode, expected):
    path = write_gltf(
        tmp_path / "a.glb", attributes={"TEXCOORD_0": DOWN}, material={**base(), **mode}, picture=half_transparent()
    )
    part = read(path)
    assert pixel(part, (1, 1))[:3] == (200, 100, 50)
    assert (pixel(part)[3] if part.picture.mode == "RGBA" else None) == expected
    assert written([part], tmp_path, ["a"])[0].alpha == (True if expected is not None else mesh_files.msgspec.UNSET)


def test_what_cannot_be_seen_is_no_part(tmp_path):
    ghost = {**base(False, baseColorFactor=[1, 1, 1, 0.0]), "alphaMode": "BLEND"}
    with pytest.raises(ValueError, match="holds no triangles"):
        read(write_gltf(tmp_path / "a.glb", material=ghost))
    veil = {**base(False, baseColorFactor=[1, 0, 0, 0.5]), "alphaMode": "BLEND"}
    assert pixel(read(write_gltf(tmp_path / "b.glb", material=veil))) == (255, 0, 0, 128)


def test_vertices_of_no_triangle_take_no_part(tmp_path):
    red = [("red", "uchar", [255] * 6), ("green", "uchar", [0] * 6), ("blue", "uchar", [0] * 6)]
    part = read(write_ply(tmp_path / "a.ply", vertex=red, extra=[[900.0, 0.0, 0.0], ["nan", 0.0, 0.0]]))
    np.testing.assert_array_equal(part.vertices, sorted(SQUARE.tolist()))
    np.testing.assert_array_equal(part.colors, [[1, 0, 0]] * 4)


@pytest.mark.parametrize(("kind", "half"), [("uchar", 188), ("ushort", 48316), ("float", 0.7373)])
def test_colours_of_vertices_in_ply_are_srgb_of_any_depth(tmp_path, kind, half):
    channels = [(name, kind, [value] * 4) for name, value in (("red", half), ("green", 0), ("blue", half))]
    part = read(write_ply(tmp_path / "a.ply", vertex=channels))
    np.testing.assert_allclose(part.colors, [[0.503, 0, 0.503]] * 4, atol=2e-3)


def test_faces_have_their_own_colours(tmp_path):
    channels = [("red", "uchar", [250, 10]), ("green", "uchar", [20, 30]), ("blue", "uchar", [0, 70])]
    part = read(write_ply(tmp_path / "a.ply", face=channels))
    size = np.array(part.picture.size)
    places = np.floor(part.uv * (1, -1) * size + (0, size[1])).astype(int)
    shown = [{part.picture.getpixel(tuple(corner.tolist())) for corner in face} for face in places]
    assert shown == [{(250, 20, 0)}, {(10, 30, 70)}]


@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_colours_of_vertices_stand_beside_a_plain_material_in_obj(tmp_path, scale):
    colors = np.tile([188 / 255 * scale, 0.0, scale], (4, 1))
    part = read(write_obj(tmp_path / "a.obj", mtl="Kd 0.8 0.8 0.8", colors=colors))
    np.testing.assert_allclose(part.colors, [[0.503, 0, 1]] * 4, atol=1e-3)
    assert part.picture is None


def test_the_diffuse_colour_of_an_obj_without_a_picture(tmp_path):
    part = read(write_obj(tmp_path / "a.obj", mtl="Kd 0.5 0.25 0.1", uv=False))
    np.testing.assert_allclose(part.colors, [[0.5, 0.25, 0.1]] * 4)


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        (Image.fromarray(np.full((4, 4), 257 * 90, np.uint16)), (90, 90, 90)),
        (plain_picture(90, mode="L"), (90, 90, 90)),
        (plain_picture((90, 128), mode="LA"), (90, 90, 90)),
        (plain_picture((9, 8, 7, 0), mode="RGBA"), (9, 8, 7)),
        (plain_picture((9, 8, 7)).quantize(), (9, 8, 7)),
        (plain_picture((9, 8, 7), size=(1, 1)), (9, 8, 7)),
        (plain_picture((9, 8, 7), size=(2, 2)), (9, 8, 7)),
    ],
)
def test_pictures_of_every_mode_and_size_have_their_colour(tmp_path, picture, expected):
    part = read(write_obj(tmp_path / "a.obj", mtl="map_Kd p.png", files={"p.png": picture}))
    written = Image.open(mesh_files.write_picture(part.picture, tmp_path / "out.png").color)
    assert written.mode == "RGB" and np.abs(np.subtract(written.getpixel((0, 0)), expected)).max() <= 1
    assert (LeftOut.OPACITY in part.left_out) == (picture.mode in ("LA", "RGBA"))


@pytest.mark.parametrize(
    "named", ["P.PNG", "tex/p.png", "tex\\p.png", "C:\\art\\p.png", "Tex\\P.png", "./p.png", "-s 2 2 2 p.png"]
)
def test_pictures_are_found_as_they_were_meant(tmp_path, named):
    place = "tex/p.png" if "tex" in named.lower() else "p.png"
    path = write_obj(tmp_path / "a.obj", mtl=f"map_Kd {named}", files={place: plain_picture()})
    part = read(path)
    assert pixel(part) == (200, 100, 50)
    assert (LeftOut.PLACEMENT in part.left_out) == named.startswith("-s")
    assert tmp_path / place in mesh_files.files_of(path)


@pytest.mark.parametrize(
    ("named", "content", "reason"),
    [
        ("no.png", None, r"its picture no\.png is not there"),
        ("C:\\art\\no.png", None, r"its picture C:\\art\\no\.png, a path of Windows, is not there"),
        ("../p.png", None, r"its picture \.\./p\.png lies outside of its folder"),
        ("p.png", b"", r"its picture .*p\.png is no picture"),
        ("p.png", png(plain_picture(size=(64, 64)))[:60], r"p\.png cannot be read|cannot be used"),
    ],
)
@pytest.mark.parametrize("kind", ["obj", "gltf", "ply"])
def test_a_picture_that_cannot_be_read_is_named_with_the_reason(tmp_path, kind, named, content, reason):
    folder = tmp_path / "mesh"
    folder.mkdir()
    (tmp_path / "p.png").write_bytes(png(plain_picture()))
    if content is not None:
        (folder / "p.png").write_bytes(content)
    if kind == "obj":
        path = write_obj(folder / "a.obj", mtl=f"map_Kd {named}")
    elif kind == "ply":
        uv = [("s", "float", UV[:, 0]), ("t", "float", UV[:, 1])]
        path = write_ply(folder / "a.ply", vertex=uv, comment=f"TextureFile {named}")
    else:
        path = write_gltf(folder / "a.gltf", attributes={"TEXCOORD_0": DOWN}, material=base(), picture=named)
    with pytest.raises(ValueError, match=reason) as caught:
        mesh_files.read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("material", "kinds"),
    [
        ({"normalTexture": {"index": 0}}, {LeftOut.NORMAL_MAP}),
        ({"occlusionTexture": {"index": 0}, "emissiveFactor": [0, 0, 1]}, {LeftOut.OCCLUSION, LeftOut.EMISSION}),
        ({"extensions": {"KHR_materials_unlit": {}}}, {LeftOut.UNLIT}),
        ({"extensions": {"KHR_materials_sheen": {}}}, {LeftOut.EXTENSION}),
        (base(metallicFactor=1.0), {LeftOut.REFLECTION}),
        (base(metallicFactor=0.0, roughnessFactor=0.5), set()),
    ],
)
def test_what_gltf_says_and_is_not_rendered_is_named(tmp_path, material, kinds):
    made = {**base(), **material}
    path = write_gltf(tmp_path / "a.glb", attributes={"TEXCOORD_0": DOWN}, material=made, picture=plain_picture())
    assert read(path).left_out == kinds


def test_a_diffuse_colour_of_the_older_extension_is_the_colour(tmp_path):
    older = {"KHR_materials_pbrSpecularGlossiness": {"diffuseFactor": [0.5, 0.25, 0.125, 1.0]}}
    part = read(write_gltf(tmp_path / "a.glb", material={"extensions": older}))
    np.testing.assert_allclose(part.colors, [[0.5, 0.25, 0.125]] * 4)
    assert part.left_out == {LeftOut.REFLECTION}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"material": {}}, "has neither pictures nor colours"),
        ({}, "has neither pictures nor colours"),
        (
            {"more": {"extensionsRequired": ["KHR_draco_mesh_compression"]}},
            "needs KHR_draco_mesh_compression, which is not read",
        ),
        ({"material": base(), "picture": plain_picture()}, "a picture and no coordinates in it"),
    ],
)
def test_gltf_without_a_colour_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        mesh_files.read(write_gltf(tmp_path / "a.glb", **changes))


def test_white_beside_other_colours_is_white(tmp_path):
    path = write_gltf(tmp_path / "a.gltf", attributes={"COLOR_0": np.full((4, 3), 0.5)})
    text = path.read_text().replace(
        '"primitives": [{', '"primitives": [{"indices": 2, "attributes": {"POSITION": 0}}, {'
    )
    path.write_text(text)
    parts: list[Any] = mesh_files.read(path)
    assert sorted(part.colors[0, 0] for part in parts) == [0.5, 1.0]


def test_nothing_is_printed_of_pictures_that_are_missing(tmp_path, capfd):
    uv = [("s", "float", UV[:, 0]), ("t", "float", UV[:, 1])]
    with pytest.raises(ValueError, match="is not there"):
        mesh_files.read(write_ply(tmp_path / "a.ply", vertex=uv, comment="TextureFile no.png"))
    assert capfd.readouterr() == ("", "")
    assert tmp_path / "no.png" in mesh_files.files_of(tmp_path / "a.ply") and os.listdir(tmp_path) == ["a.ply"]


def test_a_picture_of_several_parts_is_written_once_and_a_very_large_one_is_scaled(monkeypatch, tmp_path):
    path = write_gltf(
        tmp_path / "a.gltf", attributes={"TEXCOORD_0": DOWN}, material=base(), picture=plain_picture(size=(40, 20))
    )
    twice = '"primitives": [{"indices": 2, "material": 0, "attributes": {"POSITION": 0, "TEXCOORD_0": 1}}, {'
    path.write_text(path.read_text().replace('"primitives": [{', twice))
    parts = mesh_files.read(path)
    monkeypatch.setattr(mesh_files, "LARGEST_PICTURE", 10)
    one, other = written(parts, tmp_path, ["0", "1"])
    assert one == other and Image.open(one.color).size == (10, 5) and len(list(tmp_path.glob("*.png"))) == 1
