import pytest

from tests.browser import SECONDS
from tests.web.stub import serving


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
