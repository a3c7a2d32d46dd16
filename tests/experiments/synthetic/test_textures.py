"""Which files of a folder become textures."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from experiments.synthetic.textures import find_textures


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
        {"color": ".hidden/ok.png"},
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
    with pytest.raises(ValueError, match="is no folder"):
        find_textures(tmp_path / "none")
    picture(tmp_path / "a_normal.png")
    with pytest.raises(ValueError, match="holds no pictures"):
        find_textures(tmp_path)
