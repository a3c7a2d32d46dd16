"""Pages under docs/ read well on GitHub, and the site replaces lines of theirs by what they lead to."""

import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
OF_THE_SITE = re.compile(r"^(\?\?\?|!!!) |\{\{|--8<--(?! \[)", re.MULTILINE)
"""What GitHub shows as it is."""


@pytest.fixture
def hooks(monkeypatch):
    specification = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout="--k: numbers\n"))
    return module


@pytest.mark.parametrize("page", [page for page in PAGES if "api" not in page.parts], ids=lambda page: page.name)
def test_no_page_has_what_only_the_site_understands(page):
    assert not OF_THE_SITE.findall(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_includes_is_there_and_is_where_its_link_leads(page, hooks):
    for line in page.read_text(encoding="utf-8").splitlines():
        if "<!-- include" not in line:
            continue
        match = hooks._INCLUDE.fullmatch(line)
        assert match is not None
        file, link = match[1].partition(":")[0], re.search(r"\]\(([^)#]+)", line)
        assert link is not None and (page.parent / link[1]).resolve() == (ROOT / file).resolve()
        assert (ROOT / file).is_file()


def test_the_site_shows_what_lines_lead_to(hooks):
    page = "a\n\nAll flags: `python -m experiments.extract --help`\n\n[x](../x) <!-- include: x as yaml -->\n\nb"
    found = hooks.on_page_markdown(page)
    assert found.startswith(
        'a\n\n??? note "All flags"\n    ``` title="python -m experiments.extract --help"\n    --k: numbers'
    )
    assert found.endswith('```yaml\n--8<-- "x"\n```\n\nb')
    assert hooks.on_page_markdown("[x](../x) <!-- include: x -->") == '--8<-- "x"'
