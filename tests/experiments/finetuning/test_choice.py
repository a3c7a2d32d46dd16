import subprocess
import sys

import pytest

from experiments.finetuning.choice import HEADS, METHODS, choose


def chosen(method, **flags):
    needed = {"subspaces": ["s"]} if method == "subspace" else {}
    return choose(method=method, data=["d"], **(needed | flags))


@pytest.mark.parametrize("method", METHODS)
def test_defaults_are_the_presets(method):
    choice = chosen(method)
    assert choice.weights == "nano" and choice.matrices == ("*",) and choice.default_output.name == f"{method}_nano"
    assert choice.plain == (HEADS if method in ("psv", "subspace") else ())
    expected = {"psv": 32, "subspace": None}
    assert choice.settings.get("dim") == expected.get(method)
    assert choice.target_rank == (5 if method == "adalora" else None)


def test_a_rank_comes_with_its_alpha():
    settings = chosen("lora", rank=4).settings
    assert (settings["rank"], settings["alpha"]) == (4, 4)
    said_aloud, plain = chosen("lora", rank=8).settings, chosen("lora").settings
    assert repr(said_aloud) == repr(plain)  # so that either finds what the other left


def test_what_does_not_change_the_result_is_no_part_of_its_name():
    full = chosen("full").settings
    assert "rank" not in full and "dim" not in full and "allocation" not in full
    without_heads = chosen("psv", plain=[""]).settings
    assert without_heads["plain"] == [] and "rank" not in without_heads
    assert chosen("lora", seed=1).settings != chosen("lora").settings


@pytest.mark.parametrize(
    ("method", "flags", "message"),
    [
        ("lora", {"data": []}, "--data: name at least one data set"),
        ("subspace", {"subspaces": []}, "--subspaces: name at least one folder"),
        ("lora", {"subspaces": ["s"]}, "--subspaces has no meaning for --method=lora, only for subspace"),
        ("pissa", {"dim": 4}, "--dim has no meaning for --method=pissa, only for psv, subspace"),
        ("psv", {"allocation": "exact"}, "--allocation has no meaning for --method=psv"),
        ("lora", {"plain": ["*"]}, "--plain has no meaning for --method=lora"),
        ("full", {"rank": 4}, "--rank has no meaning for --method=full"),
        ("psv", {"rank": 4, "plain": [""]}, "--rank has no meaning for --method=psv without --plain"),
        ("lora", {"target_rank": 4}, "--target_rank has no meaning for --method=lora"),
        ("adalora", {"rank": 4, "target_rank": 5}, "--target_rank=5 is larger than the rank 4"),
    ],
)
def test_contradictions_are_one_line(method, flags, message):
    with pytest.raises(ValueError, match=message) as raised:
        choose(**({"method": method, "data": ["d"], **({"subspaces": ["s"]} if method == "subspace" else {})} | flags))
    assert "\n" not in str(raised.value)


def test_the_command_says_it_in_one_line_and_exits_with_2(tmp_path):
    command = [sys.executable, "-m", "experiments.finetune", "--method=lora", f"--data={tmp_path}/none"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.strip() == (
        f"python -m experiments.finetune: {tmp_path}/none is no finished data set: it has no manifest.json"
    )
