"""The worker's protocol where there is no Blender."""

import json
import subprocess
import sys

from experiments.rendering.blender_command import WORKER


def test_a_python_without_bpy_is_told_what_to_install():
    ended = subprocess.run([sys.executable, "-IS", WORKER], input="", capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    [hello] = [json.loads(line) for line in ended.stdout.splitlines()]
    assert hello["ready"] is False
    assert "bpy==4.5.15" in hello["error"]
    assert ended.stderr.splitlines() == [hello["error"]]


def test_a_missing_system_library_names_the_packages(tmp_path):
    (tmp_path / "bpy.py").write_text("raise ImportError('libSM.so.6: cannot open shared object file')")
    ended = subprocess.run(
        [sys.executable, WORKER],
        env={"PYTHONPATH": str(tmp_path)},
        input="",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    error = json.loads(ended.stdout)["error"]
    assert "libSM.so.6" in error
    assert "apt-get install" in error
    assert "libsm6" in error
