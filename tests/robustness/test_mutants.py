"""Damaged, absurd and hostile files: one clear line or a plausible result, in time, within memory, and nothing is executed.

``pytest -s`` shows the table; so does ``python -m tests.robustness.mutants_trial 5000 1``, with every fault in full.
"""

import json
import os
import shutil
import socket
import subprocess
import time
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest

from experiments.reports.page import Section, Table, render
from subspace.errors import InputError
from tests.robustness import mutants
from tests.robustness.mutants_targets import TARGETS
from tests.robustness.mutants_trial import TRACEBACK, WRONG, clock, faults, table, trial
from vggt_jax.pictures import read_picture
from vggt_jax.reading.arrays import read_array, read_arrays
from vggt_jax.reading.json_text import DEEPEST, parse_json, read_json
from vggt_jax.reading.regular import check_regular
from vggt_jax.reading.safetensors_file import SafetensorsFile
from weights_convert.peft_config import PeftConfig


def check(count, seed):
    tried = trial(count, seed)
    print(f"\n{table(tried)}")
    wrong = [
        f"{one.outcome}: {one.target} {one.file} [{one.mutant.kind}] #{one.number}: {one.said[-500:]}"
        for one in faults(tried)
    ]
    assert not wrong, "\n".join(wrong)
    assert len({one.mutant.kind for one in tried}) > 30


def test_three_hundred_mutants():
    check(300, 0)


@pytest.mark.slow
def test_five_thousand_mutants():
    check(5_000, 1)


def test_the_trial_sees_faults(tmp_path):
    """The harness itself, with readers that believe everything."""
    from tests.robustness.mutants_targets import Target

    def make(folder):
        (folder / "x.json").write_text(json.dumps({"a": {"b": [1.5, 2]}, "c": "d"}))

    def believing(folder):
        return json.loads((folder / "x.json").read_bytes())

    found = {one.outcome for one in faults(trial(60, 0, (Target("x", make, {"x.json": "json"}, believing),)))}
    assert {TRACEBACK, WRONG} <= found


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_is_no_file_is_refused_at_once(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind("x")
    else:
        path.symlink_to("/dev/zero")
    readers = (
        check_regular, read_json, read_array, read_arrays, SafetensorsFile, read_picture, PeftConfig.read,
    )  # fmt: skip
    start = time.monotonic()
    for reader in readers:
        with pytest.raises(InputError, match=r"not a file"):
            reader(path)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_no_reader_waits_for_a_pipe(kind, tmp_path):
    """Every reader, each of its files."""
    made = {}
    for place, target in enumerate(TARGETS):
        if target.make not in made:
            made[target.make] = tmp_path / str(place)
            made[target.make].mkdir()
            target.make(made[target.make])
        folder = made[target.make]
        for file in target.files:
            content = (folder / file).read_bytes()
            (folder / file).unlink()
            os.mkfifo(folder / file) if kind == "pipe" else (folder / file).symlink_to("/dev/zero")
            with clock(), suppress(InputError, OSError):  # some pass it over, which is right too
                target.read(folder)
            (folder / file).unlink()
            (folder / file).write_bytes(content)


def test_a_bomb_of_three_gigabytes_ends_at_a_limit(tmp_path):
    (tmp_path / "bomb.npz").write_bytes(mutants.npz_bomb("depth", (3, 1 << 14, 1 << 14)))
    assert (tmp_path / "bomb.npz").stat().st_size < 1 << 22
    tracemalloc.start()
    with pytest.raises(InputError, match=r"bomb.npz: .*3,221,225,472 bytes, more than"):
        read_arrays(tmp_path / "bomb.npz")
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()


def test_plain_numbers_come_back_in_every_order(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "c": rng.standard_normal((3, 4)), "f": np.asfortranarray(rng.standard_normal((3, 4))), "none": np.zeros((0, 3)),
        "scalar": np.array(2.5), "half": rng.standard_normal(5).astype(np.float16), "truth": np.array([True, False]),
        "big": np.arange(5, dtype=">i4"),
    }  # fmt: skip
    np.savez_compressed(tmp_path / "x.npz", **arrays)
    for name, found in read_arrays(tmp_path / "x.npz").items():
        np.testing.assert_array_equal(found, arrays[name])
        assert found.dtype == arrays[name].dtype and found.flags.writeable
    np.save(tmp_path / "x.npy", arrays["f"])
    np.testing.assert_array_equal(read_array(tmp_path / "x.npy"), arrays["f"])


def test_deepest():
    assert parse_json("[" * DEEPEST + "]" * DEEPEST) is not None
    with pytest.raises(ValueError, match="deep"):
        parse_json("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1))


def test_twenty_thousand_overlapping_entries_are_seen_at_once(tmp_path):
    entries = ",".join(f'"t{i % 10_000}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}' for i in range(20_000))
    (tmp_path / "x.safetensors").write_bytes(mutants.safetensors(f"{{{entries}}}".encode(), bytes(4)))
    start = time.process_time()
    with pytest.raises(InputError, match=r"x.safetensors"):
        SafetensorsFile(tmp_path / "x.safetensors")
    assert time.process_time() - start < 2


@pytest.mark.parametrize("pattern", ["(a+)+", "(.*)*x", ".*.*.*.*.*.*x", "(a|a)*", "a" * 2_000])
def test_patterns_that_take_for_ever_are_refused(pattern, tmp_path):
    content = {"peft_type": "LORA", "r": 4, "lora_alpha": 4, "rank_pattern": {pattern: 8}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="repeats too much"):
        PeftConfig.read(tmp_path / "adapter_config.json")


HOSTILE = "<script>document.title='executed'</script><img src=x onerror=\"document.title='executed'\">"


def page():
    return render(
        HOSTILE, HOSTILE, [Section(HOSTILE, [HOSTILE, Table([HOSTILE], [[HOSTILE]], HOSTILE)])], {HOSTILE: HOSTILE}
    )


def test_names_in_reports_are_text():
    assert HOSTILE not in page() and page().count("&lt;script&gt;") == 11


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_a_browser_executes_no_name(tmp_path):
    (tmp_path / "report.html").write_text(page(), encoding="utf-8")
    command = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
    ]
    seen = subprocess.run([*command, (tmp_path / "report.html").as_uri()], capture_output=True, text=True, timeout=120)
    assert "<title>executed" not in seen.stdout and "&lt;script&gt;" in seen.stdout
