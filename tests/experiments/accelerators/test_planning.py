"""The layout that is chosen, from compilers that are planted: the real ones are asked in ``test_compiled_for_chips``."""

from types import SimpleNamespace

import msgspec
import pytest

from experiments.accelerators import planning, present
from experiments.accelerators.chips import CHIPS
from experiments.accelerators.compiling import Compiled, TooLarge
from experiments.accelerators.costs import costs
from experiments.accelerators.kernels import Kernel
from experiments.accelerators.layouts import LAYOUTS, USUAL, Row, fitting, program_of, table
from experiments.accelerators.places import Place
from experiments.presets import PRESETS
from experiments.training.step_plan import StepPlan
from subspace.errors import InputError
from tests.experiments.commands import call

GB = 10**9
PEAKS = [70, 40, 30, 22, 18, 17, 15]
"""Of the layouts in turn, in GB."""


def rows(chip="h100", views=16, peaks=PEAKS):
    return [
        Row(chip=chip, sequences=2, views=views, layout=place, peak=None if peak is None else peak * GB)
        for place, peak in enumerate(peaks)
    ]


@pytest.mark.parametrize(("limit", "place"), [(71, 0), (64, 1), (39, 2), (19, 4), (15, 6), (14, None)])
def test_the_first_layout_that_the_memory_holds(limit, place):
    assert fitting(CHIPS["h100"], limit * GB, 16, rows()) == place


@pytest.mark.parametrize(
    ("chip", "limit", "place"), [("h100", 78, 1), ("h100", 64, 1), ("h200", 106, 0), ("h200", 80, 1)]
)
def test_the_quickest_layout_of_the_stored_plans(chip, limit, place):
    steps = [row for row in table() if (row.views, row.sequences, row.mesh, row.adapters) == (8, 4, "", 1)]
    all_kept, attention_kept = (row for row in steps if row.chip == chip)
    assert (all_kept.layout, attention_kept.layout) == (0, 1)
    assert (all_kept.seconds < attention_kept.seconds) == (chip == "h200")
    assert fitting(CHIPS[chip], limit * GB, 8, steps) == place


def test_a_chip_has_its_own_plans_or_those_of_its_kind():
    known = [*rows(), *rows("rtx3090", peaks=[41, 29]), *rows("v6e", peaks=[None, None, 20])]
    assert fitting(CHIPS["rtx3090"], 30 * GB, 16, known) == 1
    assert fitting(CHIPS["a100"], 30 * GB, 16, rows()) == 2
    assert fitting(CHIPS["v6e"], 30 * GB, 16, known) == 2
    assert fitting(CHIPS["v6e"], 30 * GB, 16, rows()) is None and fitting(CHIPS["h100"], GB, 8, rows()) is None


def planted(peaks, compiled):
    def compile_step(program, placement, chip, *, is_here):
        assert is_here
        compiled.append(program)
        peak = peaks[len(compiled) - 1]
        if peak is None:
            raise TooLarge("no room")
        kernel = Kernel("k", "attention", "bfloat16", Place("attn", "again"), 1.0, 1e12, 1e9, 16 * program.tokens)
        return Compiled(peak * GB, GB, 60.0, (kernel,), "")

    return compile_step


def test_layouts_are_compiled_until_one_fits(monkeypatch):
    compiled, said = [], []
    monkeypatch.setattr(planning, "fitting", lambda *_: 3)
    monkeypatch.setattr(planning, "on_mesh", lambda devices: None)
    monkeypatch.setattr(planning, "compile_step", planted([None, 20, 19], compiled))
    found = planning.plan("vggt_1b", CHIPS["rtx4090"], devices=[None], say=said.append)
    assert found.layout == LAYOUTS[5] and found.row.peak == 19 * GB and len(said) == 3
    assert [(each.views, each.accumulate, each.config.frames_chunk) for each in compiled] == [
        (16, None, 4),
        (16, 1, 4),
        (16, 1, 4),
    ]
    assert found.seconds[16] == pytest.approx(
        4 * found.seconds[4], rel=1e-3
    )  # the only kernel is attention over sequences
    assert found.mean_seconds == pytest.approx(28 / 48 * found.seconds[16], rel=1e-3)

    monkeypatch.setattr(planning, "fitting", lambda *_: 6)
    monkeypatch.setattr(planning, "compile_step", planted([25], []))
    with pytest.raises(InputError, match="holds no sequence of 16 pictures"):
        planning.plan("vggt_1b", CHIPS["rtx4090"], devices=[None])


def test_programs_are_those_of_the_preset():
    program = program_of("vggt_1b", LAYOUTS[6], 4)
    assert (program.sequences, program.views, program.side, program.rank, program.tokens) == (8, 4, 518, 16, 1374)
    assert program.accumulate == 1 and program.config.frames_chunk == 2 and program.config.remat
    assert program.config.dtype == "bfloat16" and program.config.heads == ("camera", "depth")


class Device:
    platform, device_kind = "gpu", "NVIDIA GeForce RTX 4090"

    @staticmethod
    def memory_stats():
        return {"bytes_limit": 23 * GB}


def test_commands_take_the_layout_that_fits_and_wishes_stay(monkeypatch):
    monkeypatch.setattr(present, "fitting", lambda chip, limit, views: fitting(chip, limit, views, rows()))
    size = {"width": 1024, "pixels": 8 * 4 * 518**2, "views": 16}
    assert present.laid_out_for(Device, StepPlan(), **size) == LAYOUTS[3]
    assert present.laid_out_for(Device, StepPlan(), **{**size, "width": 128}) == StepPlan()
    assert present.laid_out_for(Device, StepPlan(), **{**size, "views": 32}) == StepPlan()
    assert present.laid_out_for(SimpleNamespace(platform="cpu"), StepPlan(), **size) == StepPlan()
    wish = StepPlan(adapters_at_once=2, frames_chunk=1)
    assert present.laid_out_for(Device, wish, **size) == StepPlan(
        adapters_at_once=2, keep_attention=False, frames_chunk=1
    )


def test_what_the_experiment_takes():
    preset, config = PRESETS["vggt_1b"], program_of("vggt_1b", LAYOUTS[USUAL], 8).config
    found = costs(preset, config, 1.5, adapters=10, steps=24_000, setting="object_centric", chips=4, price=3.0)
    assert found.pictures == 208_000 and 110 < found.core_hours < 112 and found.hours == pytest.approx(30)
    assert found.money == pytest.approx(30 * 4 * 3)
    alone = costs(preset, config, 1.5, adapters=1, steps=24_000, setting=None)
    assert alone.pictures == alone.core_hours == alone.data_bytes == 0 and alone.money is None
    assert alone.result_bytes * 10 == found.result_bytes


def test_the_stored_table_can_be_read():
    assert all(row.chip in CHIPS and 0 <= row.layout < len(LAYOUTS) for row in table())
    assert msgspec.json.decode(msgspec.json.encode(table()), type=tuple[Row, ...]) == table()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device=h100"], "say what to plan"),
        (["extrct", "--device=h100"], "did you mean extract?"),
        (["extract", "--device=h10"], "h10"),
        (["extract"], "device"),
        (["finetune", "--device=h100", "--k=3"], "--k"),
        (["extract", "--device=here"], "this machine has 'cpu'"),
    ],
)
def test_slips_are_one_line(arguments, message):
    found = call("experiments.plan", *arguments)
    assert found.status == 2 and message in found.stderr and found.stderr.count("\n") == 1


def test_a_missing_plugin_is_named(monkeypatch):
    from experiments.accelerators import compiling

    monkeypatch.setattr(compiling, "find_spec", lambda name: None)
    found = call("experiments.plan", "extract", "--device=h100")
    assert found.status == 2 and "pip install -e '.[plan]'" in found.stderr and found.stderr.count("\n") == 1
