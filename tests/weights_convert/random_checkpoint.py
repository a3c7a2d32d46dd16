"""Random official checkpoints of any size, written a tensor at a time."""

import json
import re
from pathlib import Path

import numpy as np

from vggt_jax.reading.safetensors_file import TYPES, SafetensorsWriter

MANIFEST = Path(__file__).parents[1] / "fixtures" / "vggt_1b_manifest.json"


def vggt_1b_shapes():
    """Official name → shape of all 1,797 tensors; the manifest writes equal layers once, as "blocks.0-23"."""
    shapes = {}
    for name, shape in json.loads(MANIFEST.read_text())["state_dict"].items():
        layers = re.search(r"\.(\d+)-(\d+)\.", name)
        numbers = [None] if layers is None else range(int(layers[1]), int(layers[2]) + 1)
        for number in numbers:
            shapes[name if layers is None else name.replace(layers[0], f".{number}.")] = tuple(shape)
    return shapes


def write_random(path, shapes, seed=0):
    """float32, small enough for finite outputs: norms and layer scales near 1, all else normal with σ = 0.02."""
    rng = np.random.default_rng(seed)
    with path.open("xb") as file:
        writer = SafetensorsWriter(file, {name: (TYPES["F32"], shape) for name, shape in shapes.items()}, {})
        for name, shape in shapes.items():
            values = rng.standard_normal(shape, np.float32)
            values *= np.float32(0.02)
            if name.endswith("gamma") or ("norm" in name and name.endswith("weight")):
                values += 1
            writer.append(values)
        writer.finish()
