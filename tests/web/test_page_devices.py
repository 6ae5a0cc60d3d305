"""The page by keyboard alone, on phones, in the dark and without motion."""

import pytest
from playwright.sync_api import expect

from tests.web.on_page import TOUCH, button, choose_when_asked, heading, photo, pick
from tests.web.stub import LANDMARKS, Answer, error, landmark, prediction


def test_keyboard_alone_reaches_everything(page):
    choose_when_asked(page, photo("1.jpg"), photo("2.jpg"))
    page.keyboard.press("Tab")
    expect(button(page, "Choose photos")).to_be_focused()
    outline = "getComputedStyle(document.activeElement).outline"
    assert page.evaluate(outline) == "rgb(33, 102, 172) solid 3px"
    page.keyboard.press("Enter")
    expect(heading(page, "Torre dos Clérigos")).to_have_count(2)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Torre dos Clérigos").first).to_be_focused()
    page.keyboard.press("Tab")
    expect(button(page, "Why Torre dos Clérigos?").first).to_be_focused()
    for _ in range(4):
        page.keyboard.press("Tab")
    expect(button(page, "Remove 1.jpg")).to_be_focused()
    page.keyboard.press("Enter")
    expect(button(page, "Remove 2.jpg")).to_be_focused()
    page.keyboard.press("Enter")
    expect(button(page, "Choose photos")).to_be_focused()
    expect(page.locator(".card")).to_have_count(0)


def test_photo_that_the_browser_cannot_show_gets_a_placeholder(page):
    pick(page, photo("IMG_0042.HEIC", b"not shown", "image/heic"))
    expect(heading(page, "Torre dos Clérigos")).to_be_visible()
    expect(page.locator("figure svg")).to_be_visible()
    expect(page.locator("figure img")).to_be_hidden()
    expect(page.locator("figcaption")).to_have_text("IMG_0042.HEIC")


def test_camera_is_offered_where_fingers_point(page, open_page):
    expect(button(page, "Take a photo")).to_be_hidden()
    phone = open_page(**TOUCH)
    choose_when_asked(phone, photo())
    expect(phone.locator("#camera")).to_have_attribute("capture", "environment")
    button(phone, "Take a photo").tap()
    expect(heading(phone, "Torre dos Clérigos")).to_be_visible()


def test_narrow_phone_needs_no_sideways_scrolling(open_page, server):
    long = landmark(1, "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch", 0.9)
    server.answers = [
        prediction([long, *LANDMARKS[1:]]),
        error(415, f"{'a' * 90}.jpg is no image."),
    ]
    server.key = "key"
    phone = open_page(**TOUCH)
    pick(phone, photo(f"IMG_{'2024' * 20}.jpg"))
    expect(phone.get_by_label("Key")).to_be_visible()
    width = "document.documentElement.scrollWidth"
    assert phone.evaluate(width) == 320
    phone.get_by_label("Key").fill("key")
    button(phone, "Use this key").tap()
    expect(heading(phone, long["name"])).to_be_visible()
    pick(phone)
    expect(heading(phone, "This photo can’t be used")).to_be_visible()
    assert phone.evaluate(width) == 320


CONTRASTS = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = numbers(colour).map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    const colour = getComputedStyle(node).backgroundColor;
    return numbers(colour)[3] === 0 ? ground(node.parentElement) : colour;
  };
  const told = [...document.body.querySelectorAll("*")].filter((node) => node.checkVisibility()
    && [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim()));
  return told.map((node) => {
    const pair = [light(getComputedStyle(node).color), light(ground(node))].sort((a, b) => b - a);
    return [node.textContent, (pair[0] + 0.05) / (pair[1] + 0.05)];
  });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast_in_light_and_dark(open_page, server, scheme):
    server.answers = [
        *(prediction(), prediction(known=False), error(415, "This is not an image.")),
        *(Answer("", 500), error(429, "The queue is full.", Retry_After="60")),
    ]
    page = open_page(color_scheme=scheme)
    titles = ["Torre dos Clérigos", "Probably not a landmark", "This photo can’t be used"]
    for title in [*titles, "No answer", "The service is busy"]:
        pick(page)
        expect(heading(page, title)).to_be_visible()
    page.locator("summary:visible").click()
    page.locator("#key-form").evaluate("form => form.hidden = false")
    ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert ground == {"light": "rgb(248, 247, 244)", "dark": "rgb(18, 21, 25)"}[scheme]
    found = dict(page.evaluate(CONTRASTS))
    assert {"Choose photos", "tower.jpg", "97.3%", "Key", "API", *titles} <= found.keys()
    assert {text: ratio for text, ratio in found.items() if ratio < 4.5} == {}


@pytest.mark.parametrize(("motion", "moving"), [("reduce", False), ("no-preference", True)])
def test_nothing_moves_for_those_who_want_less_motion(open_page, server, motion, moving):
    server.answers = [prediction(seconds=60)]
    page = open_page(reduced_motion=motion)
    pick(page)
    expect(heading(page, "Looking…")).to_be_visible()
    assert (page.evaluate("document.getAnimations().length") > 0) == moving
