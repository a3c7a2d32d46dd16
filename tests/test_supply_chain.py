"""What CI says of known holes in what is installed: that nothing was compared is no good news."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

READER = Path(__file__).parents[1] / ".ci" / "advisories.py"


def unknown(name):
    return {"name": name, "skip_reason": f"Dependency not found on PyPI and could not be audited: {name} (1.0)"}


def clean(name):
    return {"name": name, "version": "1.0", "vulns": []}


HOLE = {"id": "PYSEC-2021-1", "fix_versions": ["1.1", "2.0"], "aliases": ["CVE-2021-1"], "description": "a hole"}

OF_TWO = """{"dependencies": [{"name": "jinja2", "version": "3.1.2", "vulns": [{"id": "CVE-2024-22195",
"fix_versions": ["3.1.3"], "aliases": ["GHSA-h5c8-rqwp-cp95"],
"description": "Jinja vulnerable to HTML attribute injection"}]}, {"name": "six", "version": "1.16.0", "vulns": []}],
"fixes": []}"""
"""What pip-audit 2.10.1 wrote of a requirements file where a server of advisories (``--osv-url``) answered."""


@pytest.mark.parametrize(
    ("packages", "status", "says"),
    [
        ([clean("a"), unknown("b")], 0, ["1 of 2 packages compared", "0 known holes"]),
        (
            [{"name": "a", "version": "1.0", "vulns": [HOLE]}],
            0,
            ["a 1.0: PYSEC-2021-1, mended in 1.1, 2.0", "1 known holes"],
        ),
        (
            json.loads(OF_TWO)["dependencies"],
            0,
            ["jinja2 3.1.2: CVE-2024-22195, mended in 3.1.3", "2 of 2", "1 known holes"],
        ),
        ([unknown("a"), unknown("b")], 1, ["NOT COMPARED", "(2)"]),
        ([], 1, ["NOT COMPARED"]),
        (None, 1, ["NOT COMPARED"]),
    ],
    ids=["one unknown", "a hole", "as written", "none known", "none", "did not run"],
)
def test_what_was_not_compared_is_said(packages, status, says):
    audit = "" if packages is None else json.dumps({"dependencies": packages, "fixes": []})
    done = subprocess.run([sys.executable, str(READER)], input=audit, capture_output=True, text=True)
    assert done.returncode == status and not done.stderr
    assert all(part in done.stdout for part in says)
