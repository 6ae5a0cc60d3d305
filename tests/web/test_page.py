import base64

from playwright.sync_api import expect

from tests.web.on_page import HOSTILE, PHOTO, bars, button, drawn, heading, photo, pick
from tests.web.stub import LANDMARKS, VERSION, error, landmark, prediction


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
    assert not server.asked, "no photo was sent"
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
