"""Flags of all commands: those of paths take ``~`` for the home folder, and what errors refer to is among them."""

import contextlib
import re
import runpy
import sys
from pathlib import Path
from unittest import mock

import pytest
from absl import flags

import experiments.process.command_line  # noqa: F401  before it is patched, or what is put back is the patch
from experiments.__main__ import COMMANDS

ROOT = Path(__file__).parents[3]
NO_PATHS = {
    "coordinator", "dtype", "executor", "intrinsics_size", "label", "log", "matrices", "mesh", "plain", "scenes", "seeds",
    "views", "weigh",
}  # fmt: skip
"""Flags of text that are no paths."""
TYPES_WITHOUT_PATHS = (flags.EnumParser, flags.IntegerParser, flags.FloatParser, flags.BooleanParser)


@pytest.fixture(scope="module")
def defined():
    """Command → its flags, by name, and the names that it has for arguments."""
    found = {}
    for module in (*(f"experiments.{name}" for name in COMMANDS), "weights_convert"):
        given = {}
        with contextlib.ExitStack() as stack:
            run = stack.enter_context(mock.patch("weights_convert.command_line.run"))
            stack.enter_context(mock.patch("experiments.process.command_line.run", run))
            stack.enter_context(mock.patch("experiments.process.large_pages.restart_with_large_pages"))
            stack.enter_context(mock.patch.object(sys, "argv", [module]))
            before = set(flags.FLAGS)  # absl's own too, which it defines when it is imported
            runpy.run_module(module, run_name="__main__")
        for name in set(flags.FLAGS) - before:
            given[name] = flags.FLAGS[name]
            delattr(flags.FLAGS, name)
        found[module] = given, run.call_args.kwargs.get("flag_of", {})
    return found


def test_flags_of_paths_take_the_home_folder(defined, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    tried = set()
    for command, (given, _) in defined.items():
        for name, flag in given.items():
            if name in NO_PATHS or isinstance(flag.parser, TYPES_WITHOUT_PATHS):
                continue
            several = "commas" in flag.parser.syntactic_help
            flag.parse("~/x,~/y" if several else "~/x")
            values = flag.value if several else [flag.value]
            assert [str(value) for value in values] == ["/home/ada/x", "/home/ada/y"][: len(values)], (command, name)
            tried.add(name)
    assert {"output", "store", "data", "subspaces", "weights", "blender", "images", "input"} <= tried


def test_errors_refer_to_flags_that_there_are(defined):
    sources = [path for path in (ROOT / "experiments").rglob("*.py") if "blender" not in path.parts]
    named = {name for path in sources for name in re.findall(r'argument="(\w+)"', path.read_text(encoding="utf-8"))}
    known = {name for given, flag_of in defined.values() for name in (*given, *flag_of)}
    assert "overwrite" in named and named <= known
