"""The synthetic attributes of the analysis benchmark: folders that the analysis reads, with and without adapters."""

import numpy as np
import pytest

from experiments.analysis.specificity import captured_shares
from experiments.benchmarks import analysis
from experiments.mining.folder import read_inputs


@pytest.fixture
def small(monkeypatch):
    for name, value in {"LAYERS": 2, "ADAPTERS": 3, "RANK": 4, "DIM": 4}.items():
        monkeypatch.setattr(analysis, name, value)
    monkeypatch.setattr(analysis, "MATRICES", {"qkv": (96, 32), "fc2": (32, 128)})


def test_folders_without_and_with_adapters_are_read(small, tmp_path):
    folders = [analysis.write_attribute(tmp_path / name, i, name) for i, name in enumerate(("texture", "camera"))]
    inputs = read_inputs(folders)
    assert not inputs.has_adapters and len(inputs.paths) == 4
    for seed, folder in enumerate(folders):
        analysis.write_adapters(folder, seed)
    inputs = read_inputs(folders)
    assert inputs.has_adapters and [len(mined.adapter_files) for mined in inputs.attributes.values()] == [3, 3]


def test_adapters_lie_in_their_own_subspace_and_less_in_another(small, tmp_path):
    folders = [analysis.write_attribute(tmp_path / name, i, name) for i, name in enumerate(("texture", "camera"))]
    analysis.write_adapters(folders[0], 0)
    texture, camera = read_inputs(folders).attributes.values()
    adapter = texture.read_adapter(0)
    own, other = (
        np.concatenate([shares[0] for shares in captured_shares(adapter, mined.factors).values()])  # the first layer
        for mined in (texture, camera)
    )
    assert own.reshape(-1, 3)[:, 0].min() > 2 * other.reshape(-1, 3)[:, 0].max()
