"""Check the links, the anchors and the diagrams of README and docs."""

import importlib.util
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

from tests.conftest import PROJECT
from unbraid.commands.choices import choices
from unbraid.commands.help import groups

DOCS = PROJECT / "docs"
PAGES = [PROJECT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY", "CHANGELOG")] + sorted(DOCS.rglob("*.md"))
LINK = re.compile(r"(?<!`)\]\(([^)\s]+)\)")


def text_of(page: Path) -> str:
    """Return the text of a page without blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings, as GitHub and MkDocs make them."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)) for heading in headings]
    return {re.sub(r"\s", "-", heading.strip().lower()) for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_links_and_anchors_exist(page):
    for link in LINK.findall(text_of(page)):
        if re.match(r"https?://|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), link
        assert DOCS not in page.parents or DOCS in target.parents, f"{link}: outside of the site"
        assert not anchor or anchor in anchors(target), link


def test_anchors_of_a_page():
    assert "seeds-and-songs-that-are-needed" in anchors(DOCS / "reference/report.md")


def test_navigation_lists_every_page():
    nav = yaml.safe_load((PROJECT / "mkdocs.yml").read_text())["nav"]

    def pages(entry):
        values = entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else None
        return [entry] if values is None else [page for value in values for page in pages(value)]

    assert sorted(pages(nav)) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


def test_diagrams_are_those_of_the_source_code():
    spec = importlib.util.spec_from_file_location("diagrams", PROJECT / "scripts/docs/diagrams.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    drawn = module.diagrams()
    assert {*drawn} == {path.name for path in (DOCS / "images").glob("*.svg")}
    for name, text in drawn.items():
        ET.fromstring(text)
        assert (DOCS / "images" / name).read_text() == text, "run python scripts/docs/diagrams.py"


@pytest.mark.parametrize("group", sorted(groups()))
def test_the_table_of_groups_lists_all_choices(group):
    (row,) = re.findall(rf"^\| `{group}` \| .*$", (DOCS / "reference/command_line.md").read_text(), re.MULTILINE)
    text = (DOCS / "reference/scoring.md").read_text() if group == "protocol" else row
    assert {*choices(group)} <= {*re.findall(r"`([^`]+)`", text)}


def test_the_page_of_models_lists_all_models():
    assert {*choices("model")} <= {*re.findall(r"`([^`\n]+)`", (DOCS / "reference/models.md").read_text())}
