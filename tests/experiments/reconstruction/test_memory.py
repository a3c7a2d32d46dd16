"""Too little memory is one line, before the model runs where the compiled program's plan says so."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from experiments.process import memory
from experiments.reconstruction import Settings, pipeline, reconstruct
from experiments.reconstruction.framing import frame_photos
from experiments.reconstruction.inference import Compiled, check_bfloat16, check_photos_fit, compile_forward
from subspace.errors import InputError
from tests.experiments.commands import call
from tests.weights_convert.conftest import SMALL
from weights_convert import read_config


def raises(error):
    def run(*_):
        raise error

    return run


def test_what_does_not_fit_is_refused_before_it_runs(tmp_path, monkeypatch):
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    monkeypatch.setattr(
        pipeline, "compile_forward", lambda *_: Compiled(raises(AssertionError()), (1, 70, 70, 3), 2**40)
    )
    done = call("experiments.reconstruct", f"--images={tmp_path}", f"--weights={SMALL}", f"--store={tmp_path / 'runs'}")
    last = done.stderr.splitlines()[-1]
    assert done.status == 2 and "1 view(s) of 70×70 pixels need 1,024.0 GiB" in last and "--resolution" in last
    assert not list((tmp_path / "runs").rglob("results.json"))


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 17179869184 bytes.")]
)
def test_what_ends_while_it_runs_is_said_in_the_same_words(error):
    compiled = Compiled(raises(error), (3, 70, 70, 3), 2**34)
    model = nnx.Module()
    with pytest.raises(InputError, match=r"3 view.* of 70×70 pixels need 16\.0 GiB") as caught:
        compiled(model, np.zeros((3, 70, 70, 3), np.float32))
    assert caught.value.argument == "resolution"
    with pytest.raises(RuntimeError, match="a bug"):
        Compiled(raises(RuntimeError("a bug")), (1, 1, 1, 3), 0)(model, np.zeros((1, 1, 1, 3), np.float32))


def test_only_what_is_larger_than_what_is_free_is_refused():
    compiled = Compiled(raises(AssertionError()), (1, 70, 70, 3), 1000)
    compiled.check_fits(1000)
    compiled.check_fits(None)
    with pytest.raises(InputError):
        compiled.check_fits(999)
    Compiled(raises(AssertionError()), (1, 70, 70, 3), 1000, loaded=400).check_fits(600)


def test_pictures_that_the_machine_cannot_hold_are_refused_before_they_are_loaded():
    framings = frame_photos([(4000, 3000)] * 50, "pad", 9600, 8)
    check_photos_fit(framings, None)
    check_photos_fit(framings, 2**40)
    with pytest.raises(InputError, match=r"50 view.* of 9600×9600 pixels need 90\.1 GiB, and 16\.0 GiB are free"):
        check_photos_fit(framings, 2**34)


@pytest.mark.slow
def test_the_plan_grows_with_the_views():
    """It holds the weights, which are 4 bytes a parameter, and at least what goes in and comes out."""
    config = read_config(SMALL)
    one, four = (compile_forward(config, (views, 70, 70, 3)).needed for views in (1, 4))
    assert 4 * 1_000_000 < one < four < 2**30
    assert four - one > 3 * 70 * 70 * 3 * 4


def test_what_is_free(tmp_path, monkeypatch):
    assert 2**20 < (memory.free_on_host() or 0) < 2**50
    device = SimpleNamespace(platform="gpu", memory_stats=lambda: {"bytes_limit": 100, "bytes_in_use": 30})
    assert memory.free_memory(device) == 70
    device.memory_stats = lambda: None
    assert memory.free_memory(device) is None
    assert memory.free_memory(jax.devices("cpu")[0]) is not None
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.stat").write_text("anon 600\ninactive_file 200\nactive_file 100\n")
    monkeypatch.setattr(memory, "_GROUPS", ((tmp_path / "memory.max", tmp_path / "memory.current"),))
    assert memory.free_on_host() == 400
    (tmp_path / "memory.max").write_text("max\n")
    assert (memory.free_on_host() or 0) > 2**20
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "nothing")
    monkeypatch.setattr(memory.resource, "getrlimit", lambda _: (2**45, 2**45))
    assert 0 < 2**45 - (memory.free_on_host() or 0) < 2**44


@pytest.mark.parametrize(
    ("platform", "capability", "has"),
    [("cpu", None, False), ("gpu", "7.5", False), ("gpu", "8.0", True), ("gpu", "gfx90a", True), ("tpu", None, True)],
)
def test_bfloat16_where_the_device_has_it(platform, capability, has):
    device = SimpleNamespace(platform=platform, device_kind="a device", compute_capability=capability)
    if has:
        check_bfloat16(device)
    else:
        with pytest.raises(InputError) as caught:
            check_bfloat16(device)
        assert caught.value.argument == "dtype"


def test_dtype_reaches_the_model(tmp_path, monkeypatch):
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    seen = []

    class Stop(Exception):
        pass

    def compile_forward(config, *_):
        seen.append(config.dtype)
        raise Stop

    monkeypatch.setattr(pipeline, "compile_forward", compile_forward)
    monkeypatch.setattr(pipeline, "check_bfloat16", lambda _: None)
    for dtype in (None, "float32", "bfloat16"):
        with pytest.raises(Stop):
            reconstruct(Settings(str(tmp_path), weights=str(SMALL), dtype=dtype, store=tmp_path / "runs"))
    assert seen == [read_config(SMALL).dtype, "float32", "bfloat16"]
