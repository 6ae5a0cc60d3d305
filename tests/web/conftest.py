import shutil

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.web.stub import serving

ARGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
SECONDS = 30
"""How long to wait for what a page does, on a busy machine."""


@pytest.fixture(scope="module")
def browser():
    """Chromium; of one module, since Playwright keeps an event loop running in this thread."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Debian's chromium, which is not installed")
    expect.set_options(timeout=SECONDS * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGS)
        yield browser
        browser.close()


@pytest.fixture
def server():
    with serving() as server:
        yield server


@pytest.fixture
def open_page(browser, server):
    """The page in a tab of its own, in which nothing may go wrong that the stub did not do."""
    contexts, wrong = [], []

    def heard(message):
        expected = message.text.startswith("Failed to load resource")
        if message.type in ("error", "warning") and not (
            expected and message.location["url"].startswith(f"{server.url}predict")
        ):
            wrong.append(message.text)

    def dialog(dialog):
        wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def open_(**options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(SECONDS * 1000)
        page.on("console", heard)
        page.on("pageerror", lambda failure: wrong.append(str(failure)))
        page.on("dialog", dialog)
        page.goto(server.url)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def page(open_page):
    return open_page()
