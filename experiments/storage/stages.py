"""Where finished work lies: folders named by a hash of what they depend on, so that commands share and resume it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def stage_folder(store: Path, stage: str, label: str, depends_on: Mapping[str, Any]) -> Path:
    """``store/stage/label-1f2e3d4c5b6a``: the same for the same ``depends_on``, another for any other.

    ``depends_on`` holds what JSON can hold; the order of its keys does not matter.
    """
    text = json.dumps(depends_on, sort_keys=True, separators=(",", ":"))
    return store / stage / f"{label}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
