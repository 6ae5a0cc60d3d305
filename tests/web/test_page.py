import base64
import io
import re
import time

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import expect

from tests.web.conftest import SECONDS
from tests.web.stub import LANDMARKS, VERSION, Answer, error, landmark, prediction, serving

HOSTILE = "<img src=x onerror=alert(1)>"
TOUCH = {"viewport": {"width": 320, "height": 640}, "has_touch": True, "is_mobile": True}


def drawn(kind="JPEG", size=(320, 240)):
    image = Image.new("RGB", size, "#7fb2dd")
    draw = ImageDraw.Draw(image)
    draw.rectangle((140, 60, 180, 240), fill="#c4ac8c")
    draw.polygon([(132, 60), (188, 60), (160, 15)], fill="#784e42")
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


PHOTO = drawn()


def photo(name="tower.jpg", body=PHOTO, kind="image/jpeg"):
    return {"name": name, "mimeType": kind, "buffer": body}


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


def pick(page, *photos):
    page.set_input_files("#files", list(photos or [photo()]))


def choose_when_asked(page, *photos):
    """Answer the file chooser; well before it opens, as Chromium shows its own until then."""
    page.on("filechooser", lambda chooser: chooser.set_files(list(photos)))


def heading(page, text):
    return page.get_by_role("heading", name=text, exact=True)


def button(page, text):
    return page.get_by_role("button", name=text, exact=True)


def bars(page):
    return page.get_by_role("meter").evaluate_all("bars => bars.map((bar) => bar.value)")


def test_picked_photo_shows_five_landmarks_with_links_and_bars(page, server):
    pick(page)
    expect(heading(page, "Torre dos Clérigos")).to_be_visible()
    assert bars(page) == [row["confidence"] for row in LANDMARKS]
    assert page.locator(".score").all_text_contents() == ["97.3%", "1.5%", "0.6%", "0.2%", "<0.1%"]
    names = ["Ponte Dom Luís I", "Sé do Porto", "Landmark 1234", "Palácio da Bolsa"]
    assert page.locator(".others .name").all_text_contents() == names
    link = page.get_by_role("link", name="Torre dos Clérigos")
    expect(link).to_have_attribute("href", LANDMARKS[0]["category"])
    expect(link).to_have_attribute("target", "_blank")
    expect(link).to_have_attribute("rel", "noopener noreferrer")
    expect(page.get_by_role("link", name="Landmark 1234")).to_have_count(0)
    filled = page.locator(".first meter").evaluate("bar => getComputedStyle(bar).backgroundSize")
    assert filled == "97.31% 100%"
    [(path, headers, body)] = server.asked
    assert path == "/predict?top_k=5"
    assert headers["Content-Type"].startswith("multipart/form-data")
    assert "Authorization" not in headers
    assert PHOTO in body and b'filename="tower.jpg"' in body


def test_photo_is_previewed_named_and_announced(page):
    pick(page)
    preview = page.get_by_role("img", name="Your photo tower.jpg")
    expect(preview).to_be_visible()
    page.wait_for_function("document.querySelector('.card img').naturalWidth === 320")
    expect(page.locator("figcaption")).to_have_text("tower.jpg")
    expect(page.locator("[aria-live=polite]")).to_contain_text(
        "tower.jpg: Torre dos Clérigos, 97.3%"
    )


def test_footer_links_to_the_api_and_names_the_model(page, server):
    expect(page.locator("footer")).to_contain_text(f"Model {VERSION}")
    link = page.locator("footer").get_by_role("link")
    assert link.evaluate("link => link.href") == f"{server.url}docs"


def test_photo_dropped_anywhere_is_recognised(page, tmp_path):
    path = tmp_path / "dropped.jpg"
    path.write_bytes(PHOTO)
    devtools = page.context.new_cdp_session(page)
    dragged = {"items": [], "files": [str(path)], "dragOperationsMask": 1}

    def drag(kind):
        event = {"type": kind, "x": 20, "y": 500, "data": dragged}
        devtools.send("Input.dispatchDragEvent", event)

    drag("dragEnter")
    drag("dragOver")
    expect(page.locator("body")).to_have_class("dragging")
    drag("drop")
    expect(heading(page, "Torre dos Clérigos")).to_be_visible()
    expect(page.locator("figcaption")).to_have_text("dropped.jpg")
    expect(page.locator("body")).not_to_have_class("dragging")


def test_pasted_photo_is_recognised(open_page, server):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.evaluate(
        """async (text) => {
          const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
          const image = new Blob([bytes], { type: "image/png" });
          await navigator.clipboard.write([new ClipboardItem({ "image/png": image })]);
        }""",
        base64.b64encode(drawn("PNG")).decode(),
    )
    page.keyboard.press("Control+V")
    expect(heading(page, "Torre dos Clérigos")).to_be_visible()
    assert b"\x89PNG" in server.asked[0][2]


def test_text_pasted_into_the_page_does_nothing(open_page, server):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.evaluate("navigator.clipboard.writeText('a tower')")
    page.keyboard.press("Control+V")
    expect(page.locator(".card")).to_have_count(0)
    assert server.asked == []


def test_no_landmark_is_said_and_the_guesses_are_folded_away(page, server):
    server.answers = [prediction(known=False)]
    pick(page)
    expect(heading(page, "Probably not a landmark")).to_be_visible()
    guess = page.get_by_text("Torre dos Clérigos", exact=True)
    expect(guess).to_be_hidden()
    page.get_by_text("The closest guesses").click()
    expect(guess).to_be_visible()
    assert bars(page) == [row["confidence"] for row in LANDMARKS]


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


def test_hostile_names_stay_text(page, server):
    rows = [landmark(1, HOSTILE, 0.9, "javascript:alert(1)"), landmark(2, HOSTILE, 0.1)]
    server.answers = [prediction(rows), error(422, HOSTILE)]
    pick(page, photo(f"{HOSTILE}.jpg"))
    expect(heading(page, HOSTILE)).to_be_visible()
    pick(page, photo(f"{HOSTILE}.jpg"))
    expect(page.locator(".note").first).to_have_text(HOSTILE)
    expect(page.locator("figcaption").first).to_have_text(f"{HOSTILE}.jpg")
    expect(page.locator("img[src=x]")).to_have_count(0)
    links = page.locator(".card a").evaluate_all("links => links.map((link) => link.protocol)")
    assert links == ["http:"]


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
    for _ in range(4):
        page.keyboard.press("Tab")
    expect(button(page, "Remove 1.jpg")).to_be_focused()
    page.keyboard.press("Enter")
    expect(button(page, "Remove 2.jpg")).to_be_focused()
    page.keyboard.press("Enter")
    expect(button(page, "Choose photos")).to_be_focused()
    expect(page.locator(".card")).to_have_count(0)


def test_several_photos_are_sent_two_at_a_time_and_keep_their_order(page, server):
    server.answers = [prediction(seconds=0.5)]
    names = [f"{number}.jpg" for number in range(5)]
    pick(page, *map(photo, names))
    expect(heading(page, "Torre dos Clérigos")).to_have_count(5)
    assert page.locator("figcaption").all_text_contents() == names
    assert len(server.asked) == 5 and server.most_at_once == 2
    pick(page, photo("newest.jpg"))
    expect(page.locator("figcaption").first).to_have_text("newest.jpg")


def test_removed_photo_is_not_sent_and_frees_its_place(page, server):
    server.answers = [*[prediction(seconds=60)] * 2, prediction()]
    pick(page, *(photo(f"{number}.jpg") for number in range(4)))
    expect(heading(page, "Looking…")).to_have_count(2)
    for number in (2, 0, 1):
        button(page, f"Remove {number}.jpg").click()
    expect(heading(page, "Torre dos Clérigos")).to_be_visible()
    sent = b"".join(body for _, _, body in server.asked)
    assert b"2.jpg" not in sent and b"3.jpg" in sent
    expect(page.locator(".card")).to_have_count(1)


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
