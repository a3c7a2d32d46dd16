"""Markdown pages from templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2


def render_markdown(template: Path, **values: Any) -> str:
    """The text of a template, in which every value must be known."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    return environment.get_template(template.name).render(**values)
