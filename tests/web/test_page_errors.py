"""The page where the service is busy, gone, locked or refuses a photo."""

import re
import time

import pytest
from playwright.sync_api import expect

from tests.web.on_page import button, heading, photo, pick
from tests.web.stub import Answer, error, prediction


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_unusable_photo_shows_the_sentence_of_the_service(page, server, status):
    server.answers = [error(status, "The photo has more than 100 million pixels.")]
    pick(page)
    expect(heading(page, "This photo can’t be used")).to_be_visible()
    expect(page.locator(".note")).to_have_text("The photo has more than 100 million pixels.")
    expect(button(page, "Try again")).to_be_hidden()


@pytest.mark.parametrize("answer", [Answer("", 500), Answer({}), error(408, "Too slow.")])
def test_photo_without_answer_can_be_tried_again(page, server, answer):
    server.answers = [answer, prediction()]
    pick(page)
    expect(heading(page, "No answer")).to_be_visible()
    button(page, "Try again").click()
    expect(heading(page, "Torre dos Clérigos")).to_be_visible()


@pytest.mark.parametrize("status", [429, 503])
def test_busy_service_is_asked_again_after_the_time_it_names(page, server, status):
    server.answers = [error(status, "The queue is full.", Retry_After="1"), prediction()]
    start = time.monotonic()
    pick(page)
    expect(heading(page, "Torre dos Clérigos")).to_be_visible()
    assert time.monotonic() - start > 1
    said = "tower.jpg: the service is busy. Trying again in 1 s."
    expect(page.locator("[aria-live=polite]")).to_contain_text(said)
    assert len(server.asked) == 2


def test_busy_service_is_left_alone_after_three_retries(page, server):
    server.answers = [error(429, "The queue is full.", Retry_After="1")]
    pick(page)
    expect(heading(page, "The service is still busy")).to_be_visible()
    expect(page.locator(".note")).to_have_text("The queue is full.")
    assert len(server.asked) == 4
    server.answers = [prediction()]
    button(page, "Try again").click()
    expect(heading(page, "Torre dos Clérigos")).to_be_visible()


def test_waiting_for_a_busy_service_can_be_cancelled(page, server):
    server.answers = [error(503, "The service is starting.", Retry_After="60")]
    pick(page)
    expect(heading(page, "The service is busy")).to_be_visible()
    expect(page.locator(".note")).to_have_text(re.compile(r"Trying again in \d\d s \(1 of 3\)\."))
    button(page, "Cancel").click()
    expect(heading(page, "Cancelled")).to_be_focused()
    expect(button(page, "Cancel")).to_be_hidden()
    assert len(server.asked) == 1
    server.answers = [prediction()]
    button(page, "Try again").click()
    expect(heading(page, "Torre dos Clérigos")).to_be_visible()


def test_unreachable_service_is_said_and_can_be_tried_again(page):
    page.route("**/predict*", lambda route: route.abort())
    pick(page)
    expect(heading(page, "Can’t reach the service")).to_be_visible()
    page.unroute("**/predict*")
    button(page, "Try again").click()
    expect(heading(page, "Torre dos Clérigos")).to_be_visible()


def test_key_is_asked_for_and_goes_into_the_header_only(page, server):
    server.key = "s3cret-key"
    pick(page, photo("1.jpg"), photo("2.jpg"), photo("3.jpg"))
    field = page.get_by_label("Key")
    expect(field).to_be_focused()
    expect(field).to_have_attribute("type", "password")
    expect(field).to_have_attribute("autocomplete", "off")
    field.fill("wrong")
    button(page, "Use this key").click()
    expect(page.get_by_text("That key was not accepted.").first).to_be_visible()
    field.fill(" s3cret-key ")
    field.press("Enter")
    expect(heading(page, "Torre dos Clérigos")).to_have_count(3)
    expect(page.locator("#key-form")).to_be_hidden()
    sent = [headers.get("Authorization") for _, headers, _ in server.asked]
    assert sent[-3:] == ["Bearer s3cret-key"] * 3
    assert "s3cret" not in page.url + "".join(server.paths)
    assert not any(b"s3cret" in body for _, _, body in server.asked)
    page.reload()
    pick(page)
    expect(heading(page, "Torre dos Clérigos")).to_be_visible()
    assert page.context.cookies() == []
    assert page.evaluate("localStorage.length") == 0
