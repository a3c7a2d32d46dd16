"""Which files of a folder become textures."""

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from experiments.storage.results import ResultsFolder
from experiments.synthetic.texture_names import MapKind
from experiments.synthetic.texture_sheet import draw_library
from experiments.synthetic.textures import Unused, describe, read_library, size_limit, texture_files


def library(folder, resolution=96):
    return read_library(folder, folder.parent / f"{folder.name}_copies", resolution)


def find_textures(folder):
    return library(folder).textures


def pixels(path):
    return np.asarray(Image.open(path))


def picture(path, color=(200, 100, 50)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), color).save(path)


def names(texture, folder):
    maps = {kind: getattr(texture, kind) for kind in ("color", "normal", "roughness", "metallic")}
    return {kind: Path(path).relative_to(folder).as_posix() for kind, path in maps.items() if path}


def test_pictures_and_materials_of_every_naming(tmp_path):
    files = """
        photos/Farm.jpg photos/salamander.png photos/exterior.webp
        ambientcg/Wood01_2K-JPG_Color.jpg ambientcg/Wood01_2K-JPG_NormalGL.jpg ambientcg/Wood01_2K-JPG_NormalDX.jpg
        ambientcg/Wood01_2K-JPG_Roughness.jpg ambientcg/Wood01_2K-JPG_Displacement.jpg
        ambientcg/Metal02_2K-JPG_Color.jpg ambientcg/Metal02_2K-JPG_Metalness.jpg
        polyhaven/rock_wall_diff_1k.jpg polyhaven/rock_wall_nor_gl_1k.jpg polyhaven/rock_wall_rough_1k.jpg
        matsynth/tiles/basecolor.png matsynth/tiles/diffuse.png matsynth/tiles/normal.png matsynth/tiles/roughness.png
        matsynth/tiles/metallic.png matsynth/tiles/height.png
        camel/ClayBaseColor.png camel/ClayRoughness.png
        lonely/stone_normal.png .hidden/ok.png
    """.split()
    for name in files:
        picture(tmp_path / name)
    (tmp_path / "photos" / "readme.txt").write_text("no picture")
    found = [names(texture, tmp_path) for texture in find_textures(tmp_path)]
    assert sorted(found, key=lambda maps: maps["color"]) == [
        {"color": "ambientcg/Metal02_2K-JPG_Color.jpg", "metallic": "ambientcg/Metal02_2K-JPG_Metalness.jpg"},
        {
            "color": "ambientcg/Wood01_2K-JPG_Color.jpg",
            "normal": "ambientcg/Wood01_2K-JPG_NormalGL.jpg",
            "roughness": "ambientcg/Wood01_2K-JPG_Roughness.jpg",
        },
        {"color": "camel/ClayBaseColor.png", "roughness": "camel/ClayRoughness.png"},
        {
            "color": "matsynth/tiles/basecolor.png",
            "normal": "matsynth/tiles/normal.png",
            "roughness": "matsynth/tiles/roughness.png",
            "metallic": "matsynth/tiles/metallic.png",
        },
        {"color": "photos/Farm.jpg"},
        {"color": "photos/exterior.webp"},
        {"color": "photos/salamander.png"},
        {
            "color": "polyhaven/rock_wall_diff_1k.jpg",
            "normal": "polyhaven/rock_wall_nor_gl_1k.jpg",
            "roughness": "polyhaven/rock_wall_rough_1k.jpg",
        },
    ]


def test_the_hash_is_of_all_maps_in_the_order_of_the_schema(tmp_path):
    picture(tmp_path / "a_roughness.png", (1, 2, 3))
    picture(tmp_path / "a_color.png")
    (texture,) = find_textures(tmp_path)
    content = (tmp_path / "a_color.png").read_bytes() + (tmp_path / "a_roughness.png").read_bytes()
    assert texture.sha256 == hashlib.sha256(content).hexdigest()
    assert Path(texture.color).is_absolute()


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_a_torn_picture_is_named(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    path = tmp_path / f"noise.{suffix}"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"noise\.{suffix} cannot be decoded"):
        find_textures(tmp_path)


def test_folders_without_pictures(tmp_path):
    with pytest.raises(ValueError, match="there is no folder"):
        find_textures(tmp_path / "none")
    picture(tmp_path / "a_normal.png")
    with pytest.raises(ValueError, match="holds no pictures"):
        find_textures(tmp_path)


def test_what_is_left_out_is_said(tmp_path):
    for name in ("a_color.png", "a_normal.png", "a_ao.png", "b_roughness.png", "x/c_normal.png"):
        picture(tmp_path / name)
    (tmp_path / "x" / "c_color.psd").touch()
    picture(tmp_path / "photos" / "bump.png")
    found = library(tmp_path)
    assert {path.name: kind for path, kind in found.left_out.items()} == {
        "a_ao.png": MapKind.OCCLUSION,
        "b_roughness.png": MapKind.ROUGHNESS,
        "bump.png": MapKind.HEIGHT,
        "c_color.psd": Unused.FORMAT,
        "c_normal.png": MapKind.NORMAL,
    }
    assert [Path(texture.color).name for texture in found.textures] == ["a_color.png"]
    assert "1 material(s) (1 with normal)" in describe(found)
    assert all(word in describe(found) for word in ("1 occlusion", "c_color.psd", "b_roughness.png"))


def test_a_normal_map_is_no_colour_whatever_its_name(tmp_path):
    slope = np.random.default_rng(0).normal(0, 0.3, (32, 32, 2))
    normal = np.dstack([slope, np.ones((32, 32))])
    normal = 127.5 + 127.5 * normal / np.linalg.norm(normal, axis=-1, keepdims=True)
    Image.fromarray(normal.round().astype(np.uint8)).save(tmp_path / "wall_xyz.png")
    picture(tmp_path / "sky.png", (120, 170, 235))
    picture(tmp_path / "photo.png", (90, 110, 200))
    found = library(tmp_path)
    assert found.left_out == {tmp_path / "wall_xyz.png": Unused.NORMALS}
    assert [Path(texture.color).name for texture in found.textures] == ["photo.png", "sky.png"]


def test_packed_inverted_and_directx_maps_are_written_as_they_are_rendered(tmp_path):
    folder = tmp_path / "lib"
    picture(folder / "T_Rock_BC.tga")
    picture(folder / "T_Rock_N.tga", (100, 60, 240))
    picture(folder / "T_Rock_ORM.tga", (10, 20, 30))
    picture(folder / "b_color.png")
    picture(folder / "b_gloss.png", (55, 55, 55))
    rock, other = find_textures(folder)
    assert rock.color == str(folder / "T_Rock_BC.tga")
    values = [pixels(path)[0, 0].tolist() for path in (rock.normal, rock.roughness, rock.metallic, other.roughness)]
    assert values == [[100, 195, 240], 20, 30, 200]
    assert find_textures(folder) == (rock, other)
    picture(folder / "T_Rock_ORM.tga", (10, 99, 30))
    changed = find_textures(folder)[0]
    assert changed.sha256 != rock.sha256 and pixels(changed.roughness)[0, 0] == 99


def test_large_maps_are_scaled_once_and_small_ones_stay(tmp_path):
    folder = tmp_path / "lib"
    folder.mkdir()
    Image.new("RGB", (1500, 750), (200, 100, 50)).save(folder / "large.jpg")
    picture(folder / "small.png")
    large, small = find_textures(folder)
    assert Image.open(large.color).size == (1024, 512) and small.color == str(folder / "small.png")
    assert np.abs(pixels(large.color).astype(int) - (200, 100, 50)).max() <= 2
    written = os.stat(large.color).st_mtime_ns
    assert library(folder).textures == (large, small) and os.stat(large.color).st_mtime_ns == written
    assert large.sha256 == hashlib.sha256((folder / "large.jpg").read_bytes()).hexdigest()
    assert [size_limit(resolution) for resolution in (96, 512, 518)] == [1024, 1024, 2048]
    assert library(folder, 1024).textures[0].color == str(folder / "large.jpg")


def test_modes_that_blender_reads_otherwise(tmp_path):
    (tmp_path / "x").mkdir()
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "x" / "red.jpg", quality=100)
    Image.fromarray(np.full((8, 8), 0.25, np.float32)).save(tmp_path / "b_roughness.tif")
    Image.new("RGBA", (8, 8), (10, 20, 30, 0)).save(tmp_path / "b_color.png")
    write_exr(tmp_path / "b_nor_gl_1k.exr", (0.5, 0.25, 1.0))
    material, red = find_textures(tmp_path)
    assert np.abs(pixels(red.color)[0, 0].astype(int) - (255, 0, 0)).max() <= 2
    assert np.unique(pixels(material.roughness)).tolist() == [64]
    assert pixels(material.normal)[0, 0].tolist() == [128, 64, 255]
    assert material.color == str(tmp_path / "b_color.png")


def write_exr(path, color):
    import OpenEXR

    values = np.broadcast_to(np.array(color, np.float32), (8, 8, 3)).copy()
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {"RGB": values}).write(str(path))


def test_the_sheet_shows_every_map_of_every_texture(tmp_path):
    picture(tmp_path / "a_color.png", (250, 0, 0))
    picture(tmp_path / "a_roughness.png", (0, 250, 0))
    picture(tmp_path / "z" / "z.png", (0, 0, 250))
    sheet = np.asarray(draw_library(library(tmp_path))).reshape(-1, 3).tolist()
    assert all(sheet.count(color) == 56 * 56 for color in ([250, 0, 0], [0, 250, 0], [0, 0, 250]))


def test_results_of_this_program_are_no_textures(tmp_path):
    store = SimpleNamespace(store=tmp_path, output=tmp_path / "results", overwrite=False)
    with ResultsFolder.of(store, "extract", "", {}, {"figures"}).new() as folder:
        (folder / "figures").mkdir()
        picture(folder / "figures" / "plot.png")
    picture(tmp_path / "results" / "figures" / "mine.png")
    picture(tmp_path / "own.png")
    assert [path.name for path in texture_files(tmp_path)] == ["own.png", "mine.png"]
