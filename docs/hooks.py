"""What the site takes from elsewhere, in place of lines that read well on GitHub.

``All flags: `python -m experiments.extract --help` `` becomes what that command prints, folded. A link that is followed by
``<!-- include: FILE -->`` becomes the file, or with ``FILE as yaml`` a block of code. Roles in docstrings, such as
``:func:`~subspace.merge_subspaces` ``, become the name, with a link where a page describes it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import indent
from typing import Any

ROOT = Path(__file__).parents[1]
_HELP = re.compile(r"^All flags: `python -m ([a-z_.]+) --help`$", re.MULTILINE)
_INCLUDE = re.compile(r"^\[[^]\n]+\]\([^)\n]+\) <!-- include: (\S+)(?: as (\w+))? -->$", re.MULTILINE)
_ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):<code>(~?)([\w.]+)</code>")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page as the site shows it."""
    markdown = _INCLUDE.sub(_included, markdown)
    return _HELP.sub(lambda match: f'??? note "All flags"\n{indent(_help(match[1]), "    ")}', markdown)


def on_page_content(html: str, **_: Any) -> str:
    """The rendered page, with links in place of roles."""
    return _ROLE.sub(_linked, html)


def _linked(match: re.Match[str]) -> str:
    is_short, target = match.groups()
    name = target.rsplit(".", 1)[-1] if is_short else target
    return f'<autoref identifier="{target}" optional><code>{name}</code></autoref>'


def _included(match: re.Match[str]) -> str:
    snippet = f'--8<-- "{match[1]}"'
    return snippet if match[2] is None else f"```{match[2]}\n{snippet}\n```"


def _help(module: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    return f'``` title="python -m {module} --help"\n{done.stdout.strip().replace(f"{ROOT}/", "")}\n```'
