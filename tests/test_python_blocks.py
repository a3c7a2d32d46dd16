"""Python on the pages: the block from photos to points is run, and what every block imports is there."""

import ast
import importlib
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
OURS = ("subspace", "vggt_jax", "weights_convert", "experiments")


def blocks(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_what_blocks_import_is_there(page):
    for block in blocks(page):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in OURS:
                module = importlib.import_module(node.module)
                assert [each.name for each in node.names if not hasattr(module, each.name)] == []


def test_from_photos_to_points(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for i in range(2):
        Image.fromarray(rng.integers(0, 255, (60, 80, 3), np.uint8)).save(tmp_path / "photos" / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    (block,) = [each for each in blocks(ROOT / "docs" / "vggt.md") if "load_images" in each]
    found = {}
    exec(block, found)
    size = found["model"].config.image_size
    assert found["images"].shape == (2, size, size, 3) and found["depth"].shape == (1, 2, size, size)
    assert found["points"].shape == (1, 2, size, size, 3)
    pose, points = (np.asarray(found[name][0], np.float64) for name in ("extrinsics", "points"))
    z = np.einsum("sj,shwj->shw", pose[:, 2, :3], points) + pose[:, 2, 3, None, None]  # along each camera's axis
    np.testing.assert_allclose(z, found["depth"][0], rtol=1e-4, atol=1e-4)
