from pathlib import Path

import pytest
from absl import flags

from weights_convert.path_flags import (
    DEFINE_named_paths,
    DEFINE_path,
    DEFINE_path_or_name,
    DEFINE_paths,
    DEFINE_paths_or_names,
)


@pytest.fixture
def values(monkeypatch):
    """Flags of their own, and a home folder."""
    monkeypatch.setenv("HOME", "/home/ada")
    return flags.FlagValues()


def test_a_path(values):
    DEFINE_path("output", None, "a folder", values)
    DEFINE_path("store", "~/runs", "a folder", values)
    values(["program", "--output=~/x"])
    assert values.output == Path("/home/ada/x") and values.store == Path("/home/ada/runs")
    assert "(a path)" in values.get_help()


def test_paths_with_commas(values):
    DEFINE_paths("data", [], "folders", values)
    DEFINE_paths("compare", None, "folders", values)
    values(["program", "--data=~/a,b,/c"])
    assert values.data == [Path("/home/ada/a"), Path("b"), Path("/c")] and values.compare is None
    values.unparse_flags()
    values(["program", "--data="])
    assert values.data == []


@pytest.mark.parametrize(
    "argument", ["--output=", "--weights=", "--data=a,,b", "--controls=,", "--results=a=", "--compare="]
)
def test_no_path_is_empty(values, argument):
    DEFINE_path("output", None, "", values)
    DEFINE_path_or_name("weights", "nano", "", values)
    DEFINE_paths("data", [], "", values)
    DEFINE_paths("compare", None, "", values)  # not given is not empty
    DEFINE_paths_or_names("controls", [], "", values)
    DEFINE_named_paths("results", [], "", values)
    with pytest.raises(flags.IllegalFlagValueError):
        values(["program", argument])


@pytest.mark.parametrize(
    "argument",
    ["--output=s3://bucket/x", "--weights=https://a.org/w.pt", "--data=a,gs://b/c", "--results=Ours=s3://b/c"],
)
def test_no_path_is_an_address(values, argument):
    DEFINE_path("output", None, "", values)
    DEFINE_path_or_name("weights", "nano", "", values)
    DEFINE_paths("data", [], "", values)
    DEFINE_named_paths("results", [], "", values)
    with pytest.raises(flags.IllegalFlagValueError, match="is an address, where a path of this machine is needed"):
        values(["program", argument])


def test_what_may_be_a_path(values):
    DEFINE_path_or_name("weights", "nano", "a model", values)
    DEFINE_paths_or_names("controls", [], "folders or names", values)
    values(["program", "--controls=shared,~/c"])
    assert values.weights == "nano" and values.controls == ["shared", "/home/ada/c"]
    values.unparse_flags()
    values(["program", "--weights=hf:facebook/VGGT-1B"])
    assert values.weights == "hf:facebook/VGGT-1B"


def test_paths_with_names(values):
    DEFINE_named_paths("results", [], "folders", values)
    values(["program", "--results=Ours=~/a,~/b=c,d"])
    assert values.results == ["Ours=/home/ada/a", "~/b=c", "d"]
