"""Only commands speak of flags: what a library raises is read in notebooks too."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from experiments.__main__ import COMMANDS

ROOT = Path(__file__).parents[3]
PARTS_OF_COMMANDS = {
    *(ROOT / "experiments" / f"{name}.py" for name in COMMANDS),
    *ROOT.glob("*/__main__.py"),
    ROOT / "weights_convert" / "command_line.py",
}
LIBRARIES = [
    path
    for package in ("subspace", "vggt_jax", "weights_convert", "experiments")
    for path in sorted((ROOT / package).rglob("*.py"))
    if path not in PARTS_OF_COMMANDS
]


def flags_in_errors(source: str) -> Iterator[str]:
    """Texts with a flag in what is raised."""
    for raised in ast.walk(ast.parse(source)):
        for node in ast.walk(raised) if isinstance(raised, ast.Raise) else ():
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"--[a-z]", node.value):
                yield node.value


def test_errors_of_libraries_speak_of_arguments():
    found = {path.relative_to(ROOT): list(flags_in_errors(path.read_text(encoding="utf-8"))) for path in LIBRARIES}
    assert len(found) > 200 and not {path: texts for path, texts in found.items() if texts}


def test_a_flag_would_be_found():
    assert list(flags_in_errors('raise InputError(f"--dim={dim} is too large")')) == ["--dim="]
