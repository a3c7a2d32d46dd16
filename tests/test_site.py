"""What the documentation's site takes from the program (``docs/hooks.py``)."""

import ast
import re
import runpy
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def page(monkeypatch):
    """``page(markdown)``: what becomes of it; commands print their name in place of their help."""

    def run(command, **_):
        asked.append(command[2])
        return subprocess.CompletedProcess(command, 0, stdout=f"{command[2]}\n  --flag: {DOCS.parent}/runs\n")

    asked = []
    monkeypatch.setattr(subprocess, "run", run)
    hooks = runpy.run_path(str(DOCS / "hooks.py"))
    return lambda markdown: (hooks["on_page_markdown"](markdown, page=None), asked)


def test_help_is_folded_and_names_no_folder_of_this_machine(page):
    found, asked = page("a\nAll flags: `python -m experiments.extract --help`\nb All flags: `python -m x --help`\n")
    assert asked == ["experiments.extract"]
    assert found.splitlines() == [
        "a",
        '??? note "All flags"',
        '    ``` title="python -m experiments.extract --help"',
        "    experiments.extract",
        "      --flag: runs",
        "    ```",
        "b All flags: `python -m x --help`",
    ]


def test_files_stand_in_the_place_of_links_to_them(page):
    found, _ = page(
        "[the changelog](../CHANGELOG.md) <!-- include: CHANGELOG.md -->\n[a](b.yml) <!-- include: b.yml as yaml -->"
    )
    assert found.splitlines() == ['--8<-- "CHANGELOG.md"', "```yaml", '--8<-- "b.yml"', "```"]


def test_every_command_of_the_pages_exists(page):
    asked = [page(path.read_text(encoding="utf-8"))[1] for path in DOCS.rglob("*.md")][-1]
    assert {"experiments.extract", "weights_convert"} <= set(asked)
    assert all(find_spec(module) for module in asked)


def test_roles_of_docstrings_become_names_with_links(page):
    hooks = runpy.run_path(str(DOCS / "hooks.py"))
    rendered = (
        "<p>Of :func:<code>merge</code>, :class:<code>~vggt_jax.adapters.LoRA</code> and <code>:func:</code>.</p>"
    )
    assert hooks["on_page_content"](rendered, page=None) == (
        '<p>Of <autoref identifier="merge" optional><code>merge</code></autoref>, '
        '<autoref identifier="vggt_jax.adapters.LoRA" optional><code>LoRA</code></autoref> and <code>:func:</code>.</p>'
    )


def test_help_has_no_roles_of_sphinx():
    """They are for docstrings of the API; a terminal shows them as they are."""
    commands = [path for path in (DOCS.parent / "experiments").glob("*.py") if "flags.DEFINE" in path.read_text()]
    assert len(commands) > 10
    for path in (*commands, DOCS.parent / "weights_convert" / "__main__.py"):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert text is None or not re.search(r":[a-z]+:`", text), path
