"""Flags that absl refuses are told of by name, limits and value."""

import pytest
from absl import flags

from subspace.errors import InputError
from vggt_jax.missing import nearest
from weights_convert.flag_errors import check_numbers, in_words, refuse
from weights_convert.path_flags import DEFINE_path


@pytest.fixture
def values(monkeypatch):
    values = flags.FlagValues()
    flags.DEFINE_integer("k", 3, "", lower_bound=2, flag_values=values)
    flags.DEFINE_integer("many", 3, "", upper_bound=9, flag_values=values)
    flags.DEFINE_integer("any", 3, "", flag_values=values)
    flags.DEFINE_float("share", 0.5, "", lower_bound=0, upper_bound=100, flag_values=values)
    flags.DEFINE_boolean("fast", False, "", flag_values=values)
    flags.DEFINE_enum("color", "red", ["red", "green", "blue"], "", flag_values=values)
    flags.DEFINE_enum("one", "red", ["red"], "", flag_values=values)
    flags.DEFINE_enum("dtype", None, ["float32", "bfloat16"], "", flag_values=values)
    DEFINE_path("output", None, "", values)
    monkeypatch.setattr(flags, "FLAGS", values)
    return values


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--k=1", "--k must be a whole number of at least 2, got 1"),
        ("--k=1.5", "--k must be a whole number of at least 2, got 1.5"),
        ("--k=", "--k must be a whole number of at least 2, got nothing"),
        ("--many=10", "--many must be a whole number of at most 9, got 10"),
        ("--any=x: y", "--any must be a whole number, got x"),
        ("--share=101", "--share must be a number from 0 to 100, got 101"),
        ("--fast=maybe", "--fast must be true or false, got maybe"),
        ("--color=grene", "--color must be red, green or blue, got grene; did you mean green?"),
        ("--color=x", "--color must be red, green or blue, got x"),
        ("--one=x", "--one must be red, got x"),
        ("--colour=red", "there is no flag --colour; did you mean --color?"),
        (
            "--zzzzz",
            "there is no flag --zzzzz; there are --any, --color, --dtype, --fast, --k, --many, --one, --output, --share",
        ),
        ("--sha", "there is no flag --sha; did you mean --share?"),
        ("--co-lor", "there is no flag --co-lor; did you mean --color?"),
        ("--dest=x", "there is no flag --dest; did you mean --output?"),
        ("--type=x", "there is no flag --type; did you mean --dtype?"),
        ("--results=x", "there is no flag --results; did you mean --output?"),
        ("--output=", "--output must be a path, got nothing"),
        ("--dtype=float16", "--dtype must be float32 or bfloat16, got float16"),
        ("--dtype=bf16", "--dtype must be float32 or bfloat16, got bf16; did you mean bfloat16?"),
        ("--color", "--color needs a value"),
    ],
)
def test_what_is_refused_is_said_in_words(values, argument, words):
    with pytest.raises(flags.Error) as refused:
        values(["command", argument])
    assert in_words(refused.value) == words


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
def test_numbers_are_finite(values, value):
    flags.DEFINE_float("length", 1.0, "", flag_values=values)
    values(["command"])
    check_numbers()
    values(["command", f"--length={value}"])
    with pytest.raises(InputError, match=f"^--length must be a finite number, got {value}$"):
        check_numbers()


def test_whole_numbers_fit_into_arrays(values):
    values(["command", f"--any={2**63 - 1}"])
    check_numbers()
    values(["command", f"--any={2**63}"])
    with pytest.raises(InputError, match=f"^--any must be less than 2 to the power of 63, got {2**63}$"):
        check_numbers()


def test_nearest():
    assert nearest("sharde", ["shared", "shuffled"]) == "; did you mean shared?" and nearest("x", ["shared"]) == ""


def test_all_flags_that_were_given_in_vain_are_named(values):
    values(["command", "--k=3", "--nofast"])
    refuse(["color", "many"], "here")
    with pytest.raises(InputError, match=r"^--fast has no effect here$"):
        refuse(["color", "fast"], "here")
    with pytest.raises(InputError, match=r"^--k, --fast have no effect here$"):
        refuse(["k", "color", "fast"], "here")
