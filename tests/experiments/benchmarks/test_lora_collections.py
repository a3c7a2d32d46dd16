"""What the benchmark of LoRA collections writes is what it mines."""

import ml_dtypes

from experiments.benchmarks.lora_collections import Case, write
from experiments.loras.collection import collect


def test_the_loras_are_those_of_the_case(tmp_path):
    write(tmp_path / "loras", Case("three", 3, 2, ((8, 6), (5, 7)), ml_dtypes.bfloat16))
    found = collect([str(tmp_path / "loras")])
    assert list(found.loras) == ["lora_0000", "lora_0001", "lora_0002"] and not found.same_start
    assert {path: (x.n, x.m, x.rank) for path, x in found.stacks.layouts.items()} == {
        "layers.0.proj": (8, 6, 2),
        "layers.1.proj": (5, 7, 2),
    }
    assert found.loras["lora_0000"].dtype == "BF16"
