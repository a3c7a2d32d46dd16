"""Extractions in which adapters are drawn, in place of rendering and training."""

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

from experiments.extraction import base, pipeline
from experiments.extraction.source import Source
from experiments.mining.folder import write_folder
from experiments.presets import SMALL_MODEL
from experiments.storage.identity import digest, identity
from tests.experiments.analysis.planted import draw_adapters, draw_subspaces
from vggt_jax import VGGTConfig
from vggt_jax.adapters import Adapter, BaseModel, save_adapter

SHAPES = {"aggregator.frame_blocks.attn.qkv": ((2,), 48, 40)}
FINGERPRINT = "0123456789abcdef"


def plant(monkeypatch, folder: Path, *, drawn=False):
    """From now on extractions take drawn adapters, other ones for other settings; returns the settings of those made.

    Only with ``drawn`` there are figures and a report, which take longer than all the rest.
    """
    made = []

    def load_base(weights, resolution, training, **layout):
        fingerprint = FINGERPRINT if weights == SMALL_MODEL else digest(weights)
        return SimpleNamespace(identity=BaseModel(weights, fingerprint, VGGTConfig.nano()), weights=fingerprint)

    def train_adapters(settings, base, reporter):
        made.append(settings)
        seed = int(digest([identity(settings), base.identity.fingerprint])[:6], 16)
        shared = draw_subspaces(9, shapes=SHAPES)
        drawn = draw_adapters(seed, shared, k=settings.k, rank=settings.training.rank, shapes=SHAPES)
        deltas = {f"{settings.attribute}_{i:02d}": adapter for i, adapter in enumerate(drawn)}
        files = {name: folder / f"{name}.safetensors" for name in deltas}
        for name, file in files.items():
            save_adapter(file, Adapter(deltas[name], base.identity))
        return Source(deltas, base.identity.name, base.identity.fingerprint, files)

    def write_results(folder, settings, source, mined, matrices, origin, seconds, reporter):
        write_folder(folder, mined.subspaces, origin, [asdict(row) for row in matrices], source.files)

    if not drawn:
        monkeypatch.setattr(pipeline, "write_results", write_results)
    for module in (pipeline, base):
        monkeypatch.setattr(module, "read_config", lambda weights: VGGTConfig.nano())
        monkeypatch.setattr(module, "load_base", load_base)
    monkeypatch.setattr(pipeline, "train_adapters", train_adapters)
    return made
