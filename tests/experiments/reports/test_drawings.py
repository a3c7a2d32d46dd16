"""Figures that several processes draw: the same files as one process alone writes, and errors that arrive."""

import io
import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from experiments.reports import drawings
from experiments.reports.drawings import DPI, Drawings, save_drawings, svg


def _figures(count=3):
    found = {}
    for i in range(count):
        figure = Figure(figsize=(2, 1.5), layout="constrained" if i % 2 else None)
        panel = figure.subplots()
        panel.plot(np.arange(5), np.arange(5) ** i)
        panel.set_title(f"number {i}")
        found[f"figure_{i}"] = figure
    return found


def _pixels(source):
    with Image.open(source) as image:
        return np.asarray(image)


@pytest.mark.parametrize("cores", [1, 2])
def test_files_and_svgs_are_those_of_each_figure(cores, tmp_path, monkeypatch):
    monkeypatch.setattr(drawings, "available_cores", lambda: list(range(cores)))
    svgs = save_drawings(tmp_path, _figures())
    assert {path.name for path in tmp_path.iterdir()} == {
        f"figure_{i}.{form}" for i in range(3) for form in ("png", "pdf")
    }
    assert list(svgs) == [f"figure_{i}" for i in range(3)]
    for name, figure in _figures().items():
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        alone = io.BytesIO()
        figure.savefig(alone, format="png", dpi=DPI)
        np.testing.assert_array_equal(_pixels(tmp_path / f"{name}.png"), _pixels(alone))
        pdf = (tmp_path / f"{name}.pdf").read_bytes()
        assert pdf.startswith(b"%PDF-") and b"CreationDate" not in pdf
        root, expected = ElementTree.fromstring(svgs[name]), ElementTree.fromstring(svg(figure))
        assert root.get("viewBox") == expected.get("viewBox") == "0 0 144 108"
        assert len(list(root.iter())) == len(list(expected.iter()))


@pytest.mark.parametrize("cores", [1, 2])
def test_a_folder_that_is_not_there_is_an_error(cores, tmp_path, monkeypatch):
    monkeypatch.setattr(drawings, "available_cores", lambda: list(range(cores)))
    with pytest.raises(OSError, match="absent"):
        save_drawings(tmp_path / "absent", _figures())


def test_no_figures_no_files(tmp_path):
    assert save_drawings(tmp_path, {}) == {} and not list(tmp_path.iterdir())


def test_figures_that_are_added_bit_by_bit_are_saved_together(tmp_path):
    with Drawings() as found:
        for name, figure in _figures().items():
            found.add({name: figure})
        assert list(found.save(tmp_path)) == list(_figures())
    assert len(list(tmp_path.iterdir())) == 6


def _with_artist(draw):
    figure = Figure(figsize=(2, 1.5))
    artist = figure.subplots().text(0, 0, "text")
    artist.draw = draw
    return figure


@pytest.mark.parametrize("cores", [1, 2])
def test_errors_of_drawing_arrive(cores, tmp_path, monkeypatch):
    monkeypatch.setattr(drawings, "available_cores", lambda: list(range(cores)))
    with pytest.raises(ZeroDivisionError):
        save_drawings(tmp_path, {"failing": _with_artist(_divide_by_zero), **_figures(1)})


def _divide_by_zero(*_):
    return 1 / 0


def test_a_process_that_dies_is_an_error_and_not_a_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(drawings, "available_cores", lambda: [0, 1])
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(RuntimeError, match="ended with status 1"), Drawings() as found:
        found.add(_figures())
        time.sleep(0.2)
        found.save(tmp_path)


def test_a_script_needs_no_guard(tmp_path):
    """Where processes are spawned by multiprocessing, each of them would run the user's script again."""
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\nfrom matplotlib.figure import Figure\nfrom experiments.reports import drawings\n"
        "drawings.available_cores = lambda: [0, 1]\nprint('once')\n"
        "print(list(drawings.save_drawings(Path('.'), {'a': Figure(), 'b': Figure()})))\n"
    )
    found = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip
    assert found.returncode == 0 and found.stdout == "once\n['a', 'b']\n", found.stderr


def test_an_error_ends_the_processes_that_draw(monkeypatch):
    monkeypatch.setattr(drawings, "available_cores", lambda: [0, 1])
    with pytest.raises(KeyboardInterrupt), Drawings() as drawn:
        drawn.add(_figures(1))
        while not drawn._helpers._all:
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert [helper.poll() for helper in drawn._helpers._all] == [-9]
