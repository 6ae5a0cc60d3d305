"""The documents name what there is."""

import re
import runpy

import pytest

from landmark_ray.config import STAGES
from tests.conftest import REPO

PAGES = [REPO / "README.md", *sorted((REPO / "docs").rglob("*.md"))]


def test_the_picture_shows_every_stage_in_order_and_is_drawn_by_its_script():
    picture = (REPO / "docs/way-of-the-data.svg").read_text()
    names = re.findall(r'font-weight="600"[^>]*>([a-z]+)<', picture)
    assert [name for name in names if name != "bundle"] == list(STAGES)
    assert runpy.run_path(str(REPO / "docs/way_of_the_data.py"))["draw"]() == picture


def anchors(text):
    """GitHub's anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_scripts_of_a_page_are_there(page):
    text = page.read_text()
    for link in re.findall(r"(?:\]\(|src=\")([^):\"]+)[)\"]", text):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link
    for script in re.findall(r"\b(?:jobs|bench)/\w+\.py\b", text):
        assert (REPO / script).exists(), script
