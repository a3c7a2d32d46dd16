"""What the site takes from the program itself: ``{{ help:extract }}`` becomes the command's own ``--help``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import indent
from typing import Any

ROOT = Path(__file__).parents[1]
_HELP = re.compile(r"^( *)\{\{ help:([a-z_]+) \}\}$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the help of a command where a page asks for it, as deep as it asks for it."""
    return _HELP.sub(lambda match: indent(_help(match[2]), match[1]), markdown)


def _help(command: str) -> str:
    module = command if command == "weights_convert" else f"experiments.{command}"
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    return f'``` title="python -m {module} --help"\n{done.stdout.strip().replace(f"{ROOT}/", "")}\n```'
