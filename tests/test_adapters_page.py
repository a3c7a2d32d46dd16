"""The page on LoRA collections: its example makes LoRAs with PEFT, and its commands run on them as they stand."""

import re
from pathlib import Path

import pytest

from tests.experiments.commands import call
from weights_convert.lora_layouts import open_lora

PAGE = (Path(__file__).parents[1] / "docs" / "adapters.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_example_and_the_commands_run(tmp_path, monkeypatch):
    pytest.importorskip("peft")
    monkeypatch.chdir(tmp_path)
    example = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
    exec(compile(example, "docs/adapters.md", "exec"), {})
    told = {}
    for line in re.findall(r"^attribute-subspaces adapters ([^#\n]+)", PAGE, re.MULTILINE):
        action, *arguments = line.split()
        found = call("experiments.adapters", action, *arguments)
        assert found.status == 0, found.stderr
        told[action] = found.stdout
    assert list(told) == ["info", "compare", "mine", "add", "merge", "project", "convert"]
    assert "cluster of 4: lora_0, lora_1, lora_2, lora_3" in told["compare"]
    assert "In 4 of 4 matrices the adapters share more than chance" in told["mine"]
    assert [open_lora(Path(name)).layout for name in ("merged", "inside", "one.safetensors")] == [
        "peft",
        "peft",
        "kohya",
    ]
