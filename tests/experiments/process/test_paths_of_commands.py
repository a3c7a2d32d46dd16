"""Every flag of every command that may be a path takes ``~`` for the home folder."""

import runpy
import sys

import pytest
from absl import flags

import weights_convert.command_line
from experiments.__main__ import COMMANDS

NO_PATHS = {
    "dtype", "log", "matrices", "plain", "seeds", "views", "only", "without",
}  # fmt: skip
"""Flags of text that are no paths."""


def defined_flags(module, monkeypatch):
    """The flags that a command defines, by name."""
    before = set(flags.FLAGS)
    defined = {}

    def run(*_, **__):
        defined.update({name: flags.FLAGS[name] for name in set(flags.FLAGS) - before})

    monkeypatch.setattr(weights_convert.command_line, "run", run)
    monkeypatch.setattr("experiments.process.command_line.run", run)
    monkeypatch.setattr("experiments.process.large_pages.restart_with_large_pages", lambda: None)
    monkeypatch.setattr(sys, "argv", [module])
    try:
        runpy.run_module(module, run_name="__main__")
    finally:
        for name in set(flags.FLAGS) - before:
            delattr(flags.FLAGS, name)
    return defined


@pytest.mark.parametrize("module", [*(f"experiments.{name}" for name in COMMANDS), "weights_convert"])
def test_flags_of_paths_take_the_home_folder(module, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    for name, flag in defined_flags(module, monkeypatch).items():
        if isinstance(flag.parser, flags.EnumParser | flags.IntegerParser | flags.FloatParser | flags.BooleanParser):
            continue
        if name in NO_PATHS:
            continue
        flag.parse("~/x,~/y" if "commas" in flag.parser.syntactic_help else "~/x")
        values = flag.value if isinstance(flag.value, list) else [flag.value]
        assert [str(value) for value in values] in (["/home/ada/x"], ["/home/ada/x", "/home/ada/y"]), name
