"""Scenes for the stand-in worker: a ball on a floor, seen by three cameras, and how to start that worker."""

import atexit
import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from experiments.data.manifest import AttributeSettings
from experiments.scenes import schema

WORKER = Path(__file__).with_name("stand_in_worker.py")
COMMAND = [sys.executable, "-I", str(WORKER)]


def _program():
    """A program that takes the place of an installed Python with bpy: this Python, whatever PATH says."""
    folder = Path(tempfile.mkdtemp(prefix="stand-in-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -I {shlex.quote(str(WORKER))} "$@"\n')
    program.chmod(0o755)
    return program


STAND_IN = _program()
VIEWS, SIZE = 3, 20
SETTINGS = AttributeSettings(
    attribute="geometry", setting="object_centric", seed=0, views=VIEWS, resolution=SIZE, samples=1, textures=None
)


def view(angle, size=SIZE):
    centre = 2.5 * np.array([np.cos(angle), np.sin(angle), 0.15])
    forward = -centre / np.linalg.norm(centre)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    matrix = np.concatenate([rotation, -rotation @ centre[:, None]], axis=1)
    return schema.View(
        fx=1.1 * size, fy=1.2 * size, cx=0.48 * size, cy=0.53 * size, world_to_camera=tuple(matrix.ravel().tolist())
    )


def make_scene(dataset, scene, attempt, size=SIZE, views=VIEWS):
    def thing(name, shape, z, material):
        return schema.Object(
            name=name, role="clutter", shape=shape, size=(1.2, 1.2, 1.2), rotation=(1.0, 0.0, 0.0, 0.0),
            location=(0.0, 0.0, z), material=material,
        )  # fmt: skip

    plain = schema.Plain(color=(0.5, 0.5, 0.5))
    return schema.Scene(
        version=schema.SCHEMA_VERSION,
        provenance=schema.Provenance(
            attribute="geometry", setting="object_centric", seed=0, dataset=dataset, scene=scene, attempt=attempt
        ),
        objects=(thing("floor", schema.Rectangle(), -0.6, 0), thing("ball", schema.Ellipsoid(), 0.0, 1)),
        materials=(schema.Material(base=plain), schema.Material(base=plain, transmission=1.0)),
        lighting=schema.Lighting(environment=schema.UniformSky(color=(1.0, 1.0, 1.0), strength=1.0), lights=()),
        cameras=schema.Cameras(
            width=size,
            height=size,
            views=tuple(view(0.4 * i + 0.1 * scene + 0.05 * attempt, size) for i in range(views)),
        ),
    )


@contextmanager
def told(**instructions):
    """What the stand-in workers that are started meanwhile are to do, see their file."""
    os.environ["STAND_IN"] = json.dumps(instructions)
    try:
        yield
    finally:
        os.environ.pop("STAND_IN", None)


def content(folder):
    """sha256 of everything that must not depend on how a run went."""
    from experiments.storage import files

    everything = files.hashes(folder)
    return {
        name: digest for name, digest in everything.items() if Path(name).name not in ("record.json", "manifest.json")
    }


def wait_until(condition, seconds=120.0):
    """Poll until the condition holds; an AssertionError if it never does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
