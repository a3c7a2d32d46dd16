"""What a TPU's compiler says before it generates instructions; the compiler itself is asked in ``test_compiled_for_chips``."""

from multiprocessing import get_context
from pathlib import Path
from threading import Timer

import pytest

from experiments.accelerators import absent
from experiments.accelerators.chips import CHIPS
from experiments.accelerators.compiling import TooLarge
from experiments.process.mesh_sizes import MeshSizes

REFUSED = (
    "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries ({}) exceeds "
    "available HBM (3.91G)."
)


@pytest.mark.parametrize(
    ("written", "number"),
    [("21.50G", 21.5 * 2**30), ("200.00M", 200 * 2**20), ("1.5K", 1536), ("12", 12)],
)
def test_what_a_refused_program_needs(written, number):
    assert absent.needed(REFUSED.format(written)) == number


def test_other_words_are_a_fault():
    with pytest.raises(ValueError, match="does not say"):
        absent.needed("RESOURCE_EXHAUSTED: no room")


def test_a_program_is_read_when_it_is_whole(tmp_path):
    hears, says = get_context("spawn").Pipe(duplex=False)
    file = tmp_path / "17-TLP-hlo.txt"
    file.write_text("HloModule")
    later = Timer(0.7, lambda: file.write_text("HloModule whole"))
    later.start()
    assert absent._awaited(tmp_path, hears) == "HloModule whole"
    file.unlink()
    says.send(TooLarge("no room"))
    with pytest.raises(TooLarge, match="no room"):
        absent._awaited(tmp_path, hears)


def dies(program, chip, sizes, folder, says):
    (Path(folder) / "printed").write_text("first\nCheck failed: 2 vs. 1\n\n")


def test_a_compiler_that_dies_is_quoted(monkeypatch):
    monkeypatch.setattr(absent, "_schedule", dies)
    with pytest.raises(RuntimeError, match=r"v5e.*died: Check failed: 2 vs. 1"):
        absent._scheduled(None, CHIPS["v5e"], MeshSizes())
