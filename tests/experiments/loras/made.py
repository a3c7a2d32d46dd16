"""Small LoRAs as files, made without PyTorch."""

import json

import numpy as np
from safetensors.numpy import save_file

SHAPES = {"model.layers.0.q_proj": (24, 20), "model.layers.1.q_proj": (24, 20), "model.layers.0.down_proj": (16, 30)}


def factors(seed, rank=3, shapes=SHAPES, common=1.0):
    """Matrix → up (outputs, rank) and down (rank, inputs); the first direction is nearly the same for every seed."""
    shared, own = np.random.default_rng(99), np.random.default_rng(seed)
    found = {}
    for name, (n, m) in shapes.items():
        up, down = own.standard_normal((n, rank)), own.standard_normal((rank, m))
        up[:, 0] = 2 * common * shared.standard_normal(n) + 0.2 * up[:, 0]
        down[0] = 2 * common * shared.standard_normal(m) + 0.2 * down[0]
        found[name] = (up.astype(np.float32), down.astype(np.float32))
    return found


def write(folder, made, alpha=None, base=None):
    """A folder of PEFT's."""
    rank = next(iter(made.values()))[0].shape[1]
    folder.mkdir(parents=True)
    tensors = {f"base_model.model.{name}.lora_B.weight": up for name, (up, _) in made.items()}
    tensors |= {f"base_model.model.{name}.lora_A.weight": down for name, (_, down) in made.items()}
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha or rank, "base_model_name_or_path": base}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return str(folder)
