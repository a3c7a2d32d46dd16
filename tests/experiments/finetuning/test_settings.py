"""Settings: what a preset fills in, what counts as other work, and what cannot be asked for."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from absl.flags import FlagValues

from experiments import finetune
from experiments.finetuning import METHODS, Settings
from experiments.finetuning.inside_bases import PlainLoRA
from experiments.finetuning.methods.adalora import AdaLoRA
from experiments.finetuning.methods.lora import LoRA
from experiments.finetuning.methods.pissa import PiSSA
from experiments.finetuning.methods.psv import PSV
from experiments.finetuning.settings import depends_on
from experiments.presets import PRESETS
from experiments.storage.identity import digest, identity
from subspace.errors import InputError
from tests.experiments.finetuning import small
from vggt_jax.patterns import HEADS

NANO = PRESETS["nano"]


def made(method, **given) -> Any:
    needed = {"subspaces": (Path("s"),)} if method == "subspace" else {}
    return METHODS[method].of(NANO, **(needed | given))


def test_sizes_are_the_presets():
    assert made("lora") == LoRA(rank=8) and made("pissa") == PiSSA(rank=8)
    assert made("adalora") == AdaLoRA(rank=8, target_rank=5)
    assert made("adalora", rank=4).target_rank == 3
    assert made("psv") == PSV(dim=32, plain=PlainLoRA(rank=8, matrices=HEADS))
    assert made("subspace").dim is None and made("subspace", rank=4).plain.rank == 4
    assert made("psv", plain=("",)).plain is None


def test_the_schedule_is_the_presets():
    found = Settings.of("vggt_1b", "lora", data=["d"])
    assert (found.weights, found.optimizer.steps, found.dtype) == ("hf:facebook/VGGT-1B", 24_000, "bfloat16")
    found = Settings.of("nano", LoRA(rank=2), data=["d"], steps=7, peak_rate=0.5, held_out=1, weights="w")
    assert (found.optimizer.steps, found.optimizer.peak_rate, found.held_out, found.weights) == (7, 0.5, 1, "w")


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        ("lora", {"rank": 0}, "rank must be positive, got 0"),
        ("psv", {"dim": -1}, "dim must be positive, got -1"),
        ("psv", {"rank": 4, "plain": ("",)}, "rank=4 has no meaning without a plain LoRA"),
        ("adalora", {"rank": 4, "target_rank": 5}, "target_rank=5 is larger than the rank 4"),
    ],
)
def test_contradictions_are_one_line(method, given, message):
    with pytest.raises(InputError, match=message) as raised:
        made(method, **given)
    assert "\n" not in str(raised.value)


def test_settings_of_another_method_cannot_be_given():
    with pytest.raises(TypeError, match="dim"):
        made("pissa", dim=4)


def test_settings_that_cannot_train_are_refused():
    with pytest.raises(InputError, match="data: name at least one data set"):
        Settings.of("nano", "lora", data=[])
    with pytest.raises(InputError, match="held_out must be at least 0"):
        Settings.of("nano", "lora", data=["d"], held_out=-1)


@pytest.fixture(scope="module")
def base():
    return small.base()


def name_of(settings, base):
    return digest(depends_on(settings, base, small.data()))


def test_equal_settings_find_each_others_work(base, tmp_path):
    plain = small.settings("lora", tmp_path)
    said_aloud = small.settings("lora", tmp_path / "elsewhere", rank=small.PRESET.rank)
    assert name_of(plain, base) == name_of(said_aloud, base)
    others = replace(plain, cache_tokens=True, remat=True, data=(Path("moved"),), weights="moved")
    assert name_of(others, base) == name_of(plain, base)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"images": 2},
        {"held_out": 1},
        {"dtype": "bfloat16"},
        {"method": LoRA(rank=2, matrices=("aggregator.*",))},
        {"method": LoRA(rank=3, matrices=small.MATRICES)},
        {"method": PiSSA(rank=2, matrices=small.MATRICES)},
        *({"optimizer": change} for change in (
            {"clip": 1.0}, {"weight_decay": 0.0}, {"warmup": 0.5}, {"end_rate": 1e-7}, {"steps": 4}, {"peak_rate": 0.2}
        )),
        {"objective": {"camera": None}},
    ],
    ids=str,
)  # fmt: skip
def test_every_setting_that_matters_counts(base, tmp_path, change):
    """The optimiser's clipping, decay, warm-up and end rate, and the objective, did not once."""
    plain = small.settings("lora", tmp_path)
    changed = {
        name: replace(getattr(plain, name), **value) if isinstance(value, dict) else value
        for name, value in change.items()
    }
    assert name_of(replace(plain, **changed), base) != name_of(plain, base)


def test_methods_with_equal_fields_differ():
    one, other = (Settings.of("nano", method, data=["d"]) for method in (LoRA(rank=2), AdaLoRA(rank=2, target_rank=1)))
    assert identity(one)["method"]["type"] == "LoRA" and identity(other)["method"]["type"] == "AdaLoRA"


def test_what_the_subspaces_hold_counts_and_not_where_they_lie(base, tmp_path):
    def settings(folder):
        return small.settings("subspace", tmp_path, subspaces=(folder,))

    first = small.subspace_folder(tmp_path / "a", "texture", 0, base=base)
    same = small.subspace_folder(tmp_path / "b", "texture", 0, base=base)
    other = small.subspace_folder(tmp_path / "c", "texture", 1, base=base)
    names = [name_of(settings(folder), base) for folder in (first, same, other)]
    assert names[0] == names[1] != names[2]


COMMAND = [sys.executable, "-m", "experiments.finetune"]


def test_the_command_says_what_is_wrong_in_one_line_and_exits_with_2(tmp_path):
    done = subprocess.run(
        [*COMMAND, "--method=lora", f"--data={tmp_path}/none"], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.strip() == (f"python -m experiments.finetune: there is no folder {tmp_path}/none")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method=subspace", "--data=d"], "subspaces: name at least one folder"),
        (
            ["--method=lora", "--data=d", "--subspaces=s"],
            "--method=lora does not have --subspaces .--subspaces is for mean, pooled, shuffled, subspace",
        ),
        (
            ["--method=pissa", "--data=d", "--dim=4"],
            "--method=pissa does not have --dim .--dim is for gradient, mean, pooled, psv, random, shuffled, subspace",
        ),
        (["--method=psv", "--data=d", "--allocation=exact"], "--method=psv does not have --allocation"),
        (["--method=full", "--data=d", "--rank=4"], "--method=full does not have --rank"),
        (["--method=psv", "--data=d", "--rank=4", "--plain="], "rank=4 has no meaning without a plain LoRA"),
    ],
)
def test_flags_of_other_methods_are_refused(flags, message):
    found = FlagValues()
    finetune.define_flags(found)
    with pytest.raises(InputError, match=message):
        found(["finetune", *flags])
        finetune.method_of(found)


def test_flags_that_are_given_are_the_methods_settings():
    found = FlagValues()
    finetune.define_flags(found)
    found(["finetune", "--method=subspace", "--subspaces=a,b", "--dim=2", "--plain=depth_head.*", "--rank=3"])
    method: Any = finetune.method_of(found)
    assert (method.subspaces, method.dim, method.allocation) == ((Path("a"), Path("b")), 2, "uniform")
    assert method.plain == PlainLoRA(rank=3, matrices=("depth_head.*",))
