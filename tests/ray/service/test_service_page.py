"""The page and the documentation of a real service, in a real browser."""

import io

import httpx
import pytest
from playwright.sync_api import expect

from tests import drawn
from tests.browser import SECONDS
from tests.serving import KEY

pytestmark = pytest.mark.ray


def photo(size=(320, 240)) -> bytes:
    out = io.BytesIO()
    drawn.photo(size=size).save(out, "BMP")
    return out.getvalue()


@pytest.fixture
def page(browser):
    """A tab in which nothing may break a rule of the page's headers."""
    context = browser.new_context()
    page, wrong = context.new_page(), []
    page.set_default_timeout(SECONDS * 1000)
    page.on("pageerror", lambda failure: wrong.append(str(failure)))
    page.on("console", lambda m: wrong.append(m.text) if "Security Policy" in m.text else None)
    yield page
    context.close()
    assert wrong == []


def test_photo_is_named_on_the_page_once_the_key_is_given(page, replicas):
    page.goto(replicas)
    page.set_input_files("#files", [{"name": "a.bmp", "mimeType": "image/bmp", "buffer": photo()}])
    page.locator("input[type=password]").fill(KEY)
    page.get_by_role("button", name="Use this key").click()
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "image/bmp"}
    answer = httpx.post(f"{replicas}/predict", content=photo(), headers=headers).json()
    best = answer["photos"][0]["landmarks"][0]
    name = best["name"] or f"Landmark {best['landmark_id']}"
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()
    expect(page.locator("footer")).to_contain_text(answer["model_version"])


def test_file_that_is_too_large_is_named_so_on_the_page(page, replicas):
    page.goto(replicas)
    large = {"name": "b.bmp", "mimeType": "image/bmp", "buffer": photo((1500, 1000))}
    page.set_input_files("#files", [large])
    page.locator("input[type=password]").fill(KEY)
    page.get_by_role("button", name="Use this key").click()
    expect(
        page.get_by_text("The request is larger than 1 MB (--max_megabytes).").first
    ).to_be_visible()


def test_documentation_shows_every_route(page, replicas):
    page.goto(f"{replicas}/docs")
    for path in ("/predict", "/landmarks/{landmark_id}", "/v2/models/{model}/infer"):
        expect(page.locator(f"[data-path='{path}']").first).to_be_visible()
    expect(page.get_by_role("button", name="Authorize")).to_be_visible()
