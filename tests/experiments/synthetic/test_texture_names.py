"""Which files are the maps of one material, in the layouts that libraries ship (the table in docs/own_data.md)."""

from pathlib import Path

import pytest

from experiments.synthetic.texture_names import MapKind, group

C, N, DX, R, M = MapKind.COLOR, MapKind.NORMAL, MapKind.NORMAL_DIRECTX, MapKind.ROUGHNESS, MapKind.METALLIC
AO, H, S, P = MapKind.OCCLUSION, MapKind.HEIGHT, MapKind.SPECULAR, MapKind.PREVIEW
ORM, RMA, MRA = (
    MapKind.OCCLUSION_ROUGHNESS_METALLIC, MapKind.ROUGHNESS_METALLIC_OCCLUSION, MapKind.METALLIC_ROUGHNESS_OCCLUSION
)  # fmt: skip

LAYOUTS = {
    "ambientCG": (
        "Bricks076_2K-JPG_",
        {C: "Color.jpg", N: "NormalGL.jpg", DX: "NormalDX.jpg", R: "Roughness.jpg", M: "Metalness.jpg",
         AO: "AmbientOcclusion.jpg", H: "Displacement.jpg", MapKind.OPACITY: "Opacity.jpg"},
    ),
    "Poly Haven": (
        "rock_wall_10_",
        {C: "diff_1k.jpg", N: "nor_gl_1k.exr", DX: "nor_dx_1k.exr", R: "rough_1k.exr", ORM: "arm_1k.jpg", AO: "ao_1k.jpg",
         H: "disp_1k.png", S: "spec_1k.jpg"},
    ),
    "MatSynth": (
        "",
        {C: "basecolor.png", N: "normal.png", R: "roughness.png", M: "metallic.png", H: "height.png", S: "specular.png",
         MapKind.OPACITY: "opacity.png"},
    ),
    "freepbr": (
        "rusty-metal_",
        {C: "albedo.png", N: "Normal-ogl.png", DX: "Normal-dx.png", R: "Roughness.png", M: "Metallic.png", AO: "ao.png",
         H: "Height.png", P: "preview.jpg"},
    ),
    "Megascans": (
        "ukrmeb_4K_",
        {C: "Albedo.jpg", N: "Normal_LOD0.jpg", R: "Roughness.jpg", MapKind.CAVITY: "Cavity.jpg", H: "Displacement.exr",
         S: "Specular.jpg", AO: "AO.jpg", MapKind.GLOSS: "Gloss.jpg", MapKind.OTHER: "Fuzz.jpg", P: "Preview.png"},
    ),
    "Unreal": ("T_Rock_01_", {C: "BC.tga", DX: "N.tga", ORM: "ORM.tga", MapKind.EMISSION: "E.tga", H: "H.tga"}),
    "Unreal, long": ("T_Rock_", {C: "BaseColor.png", DX: "Normal.png", N: "NormalGL.png", MRA: "MRA.png"}),
    "UDIM": ("wood_", {C: "BaseColor.1002.png", N: "Normal.1002.png", RMA: "RMA.1002.png"}),
    "Substance": (
        "Old Wood_",
        {C: "Base_Color.png", N: "Normal_OpenGL.png", DX: "Normal_DirectX.png", AO: "Mixed_AO.png", R: "Roughness.png"},
    ),
    "Poliigon": (
        "Concrete04_",
        {C: "COL_4K_METALNESS.png", N: "NRM16_4K_METALNESS.tif", M: "METALNESS_4K_METALNESS.png", S: "REFL_4K.jpg",
         MapKind.GLOSS: "GLOSS_4K.png", H: "DISP16_4K.tif"},
    ),
    "3D Textures": (
        "Brick_Wall_012_", {C: "COLOR.jpg", N: "NORM.jpg", R: "ROUGH.jpg", H: "DISP.png", AO: "OCC.jpg", S: "SPEC.jpg"}
    ),
    "glTF": ("Helmet_", {C: "baseColor.png", ORM: "metalRoughness.jpg", MapKind.EMISSION: "emissive.jpg"}),
    "letters": ("brick_", {C: "d.tga", N: "n.tga", S: "s.tga", H: "h.tga"}),
    "three letters": ("WoodFloor_", {C: "DIF.png", N: "NRM.png", S: "SPC.png"}),
    "Unity": ("Crate_", {C: "AlbedoTransparency.png", MapKind.OTHER: "MetallicSmoothness.png", N: "Normal.png"}),
}  # fmt: skip


def grouped(*names):
    found = group(sorted(Path("/lib") / name for name in names))
    maps = [{kind: path.relative_to("/lib").as_posix() for kind, path in m.maps.items()} for m in found.materials]
    return maps, found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_maps_of_each_layout(layout):
    stem, maps = LAYOUTS[layout]
    other = {kind: f"Other/Other_{name}" for kind, name in maps.items()} if not stem else {}
    expected = [{kind: f"Set/{stem}{name}" for kind, name in maps.items()}, *([other] if other else [])]
    found, rest = grouped(*(name for material in expected for name in material.values()))
    assert sorted(found, key=lambda m: m[C]) == sorted(expected, key=lambda m: m[C])
    assert not rest.beside and not rest.colorless and not any(material.spare for material in rest.materials)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_in_one_folder_the_materials_of_a_layout_stay_apart(layout):
    stem, maps = LAYOUTS[layout]
    if not stem:
        return
    twin = (
        stem.replace("Bricks076", "Bricks077").replace("_10_", "_11_").replace("_012_", "_013_").replace("_01_", "_02_")
    )
    twin = f"x{stem}" if twin == stem else twin
    if stem.startswith("T_") and twin.startswith("x"):
        twin = "T_Sand_"
    found, _ = grouped(*(s + name for s in (stem, twin) for name in maps.values()))
    assert sorted(m[C] for m in found) == sorted(s + maps[C] for s in (stem, twin))
    assert all(len(material) == len(maps) for material in found)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_without_its_colour_a_material_gives_nothing(layout):
    stem, maps = LAYOUTS[layout]
    if layout == "letters":  # which mean something only beside a colour and normals
        return
    found, rest = grouped(*(f"{stem}{name}" for kind, name in maps.items() if kind != C))
    assert found == [] and len(rest.colorless) == len(maps) - 1


@pytest.mark.parametrize(
    ("names", "colors", "left"),
    [
        (
            "a/Bricks076_2K-JPG_Color.jpg a/Bricks076_2K-JPG_NormalGL.jpg a/Bricks076.png",
            "a/Bricks076_2K-JPG_Color.jpg",
            1,
        ),
        ("a/wall_COLOR.jpg a/wall_NORM.jpg a/Material_1960.jpg", "a/wall_COLOR.jpg", 1),
        ("wood.png wood_normal.png", "wood.png", 0),
        ("specmap.png NormalMapDirectX.png NormalMapOpenGL.png rock_bumpMap.jpg", "", 4),
        ("w_color.png w_normal.png w_wet.png 1.jpg 2.jpg 3.jpg 4.jpg", "1.jpg 2.jpg 3.jpg 4.jpg w_color.png", 1),
        ("lib/color/wood.png lib/normal/wood.png lib/roughness/wood.png", "lib/color/wood.png", 0),
        ("abnormal/wood.png normal/wood.png", "abnormal/wood.png normal/wood.png", 0),
        ("Farm.jpg metal.jpg plan_b.jpg robot_arm.jpg", "Farm.jpg metal.jpg plan_b.jpg robot_arm.jpg", 0),
        ("rock_arm_1k.jpg x/rock_metal_2K.jpg x/rock_cavity.jpg", "", 3),
        ("wood_1k_color.png wood_4K_color.png wood_1k_normal.png", "wood_1k_color.png", 0),
        ("IMG_1001.jpg IMG_1002.jpg photo_2019.jpg photo_2020.jpg",) * 2 + (0,),
    ],
)
def test_pictures_that_name_no_map(names, colors, left):
    found, rest = grouped(*names.split())
    assert [material[C] for material in found] == colors.split()
    assert len(rest.beside) + len(rest.colorless) == left


def test_several_colours_of_one_material_share_its_maps():
    found, _ = grouped("cloth_col_01_1k.png", "cloth_col_02_1k.png", "cloth_nor_gl_1k.png")
    assert found == [{C: f"cloth_col_0{i}_1k.png", N: "cloth_nor_gl_1k.png"} for i in (1, 2)]


def test_tiles_are_materials_of_their_own():
    names = [f"wood_{kind}_{tile}.png" for tile in ("1001", "u2_v1") for kind in ("BaseColor", "Roughness")]
    assert [sorted(material.values()) for material in grouped(*names)[0]] == [names[:2], names[2:]]
