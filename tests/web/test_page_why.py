"""The dialog that says why a landmark is named, by mouse, by keyboard, on phones and in words."""

import base64
import io

import pytest
from PIL import ExifTags, Image
from playwright.sync_api import expect

from tests.web.on_page import HOSTILE, PHOTO, TOUCH, button, drawn, heading, photo, pick
from tests.web.stub import LANDMARKS, Answer, error, landmark, prediction

TALL = base64.b64encode(drawn(size=(120, 240))).decode()
POINTS = [((0.0, 0.0), (1.0, 1.0)), ((0.5, 0.25), (0.5, 0.5)), ((1.0, 1.0), (0.0, 0.0))]


def near(inliers=23, similarity=0.834, thumbnail=TALL, points=POINTS, image_id="1a2b3c4d5e6f7081"):
    ends = [dict(zip(("photo", "exemplar"), pair, strict=True)) for pair in points]
    matched = {"inliers": inliers, "points": ends, "thumbnail": thumbnail}
    whose = {"author": None, "licence": None}
    return {"image_id": image_id, "landmark_id": 1231, "similarity": similarity} | matched | whose


def explained(kind, *photos, landmarks=LANDMARKS, seconds=0):
    answer = prediction(landmarks, seconds=seconds)
    answer.body["photos"][0]["explanation"] = {"kind": kind, "photos": list(photos)}
    return answer


MATCHED = explained("exemplars", near(), near(0, None, points=[], image_id="short"))
SIMILAR = explained("meaning", near(None, 0.5, None, []), near(None, -0.02, None, []))
NONE = explained("none")


def opened(page, server, answer, file=None):
    """The dialog about a photo, which the server explains with an answer."""
    server.answers = [prediction(), answer]
    pick(page, *([file] if file else []))
    button(page, "Why Torre dos Clérigos?").click()
    return page.get_by_role("dialog", name="Why Torre dos Clérigos?")


def ends_on_screen(page):
    """Where the browser draws the ends of the first picture's lines: [line][end] = [x, y]."""
    return page.locator(".picture .lines").first.evaluate(
        """path => path.getAttribute("d").match(/[\\d.]+ [\\d.]+/g).map((end) => {
          const [x, y] = end.split(" ").map(Number);
          const at = new DOMPoint(x, y).matrixTransform(path.getScreenCTM());
          return [at.x, at.y];
        })"""
    )


def assert_lines_join_the_points(page, shape=320 / 240):
    boxes = [image.bounding_box() for image in page.locator(".picture").first.locator("img").all()]
    wanted = [
        (box["x"] + x * box["width"], box["y"] + y * box["height"])
        for pair in POINTS
        for (x, y), box in zip(pair, boxes, strict=True)
    ]
    for end, place in zip(ends_on_screen(page), wanted, strict=True):
        assert end == pytest.approx(place, abs=1.5)
    shapes = [box["width"] / box["height"] for box in boxes]
    assert shapes == pytest.approx([shape, 120 / 240], rel=0.01)
    return boxes


def test_matching_photos_lie_side_by_side_and_in_words(page, server):
    dialog = opened(page, server, MATCHED)
    said = "23 points of your photo match a photo of Torre dos Clérigos. Lines join 3 of them."
    expect(dialog.get_by_role("status")).to_have_text(said)
    assert dialog.locator(".words").all_text_contents() == [
        "23 points of your photo match photo 1a2b3c4d… of Torre dos Clérigos. "
        "Similarity: 0.83 of at most 1.",
        "No points of your photo match photo short of Torre dos Clérigos.",
    ]
    expect(dialog.get_by_role("img", name="Your photo")).to_have_count(2)
    expect(dialog.get_by_role("img", name="Photo 1a2b3c4d… of Torre dos Clérigos")).to_be_visible()
    left, right = assert_lines_join_the_points(page)
    assert right["x"] > left["x"] + left["width"] and right["y"] == pytest.approx(left["y"], abs=1)
    assert [path for path, _, _ in server.asked] == [
        "/predict?top_k=5",
        "/predict?top_k=1&explain=true",
    ]


def test_a_narrow_screen_stacks_the_photos(page, open_page, server):
    phone = open_page(**TOUCH)
    dialog = opened(phone, server, MATCHED)
    expect(dialog.locator(".picture").first).to_be_visible()
    upper, lower = assert_lines_join_the_points(phone)
    assert lower["y"] > upper["y"] + upper["height"]
    assert dialog.evaluate("dialog => dialog.scrollWidth <= innerWidth")
    phone.set_viewport_size({"width": 900, "height": 640})
    left, right = assert_lines_join_the_points(phone)
    assert right["x"] > left["x"] + left["width"]


def test_a_photo_that_exif_turns_has_its_points_upright(page, server):
    out, turned = io.BytesIO(), Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    Image.open(io.BytesIO(PHOTO)).save(out, "JPEG", exif=turned)
    opened(page, server, MATCHED, photo("turned.jpg", out.getvalue()))
    expect(page.locator(".picture").first).to_be_visible()
    assert_lines_join_the_points(page, 240 / 320)


def test_keyboard_opens_enlarges_and_closes(page, server):
    server.answers = [prediction(), MATCHED]
    pick(page)
    expect(heading(page, "Torre dos Clérigos")).to_be_visible()
    page.get_by_role("link", name="Torre dos Clérigos").focus()
    page.keyboard.press("Tab")
    expect(button(page, "Why Torre dos Clérigos?")).to_be_focused()
    page.keyboard.press("Enter")
    expect(button(page, "Close")).to_be_focused()
    enlarge = button(page, "Enlarge your photo and photo 1a2b3c4d…")
    expect(enlarge).to_be_visible()
    page.keyboard.press("Tab")
    expect(enlarge).to_be_focused()
    narrow = page.locator(".picture").first.bounding_box()["width"]
    page.keyboard.press("Enter")
    expect(button(page, "Reduce your photo and photo 1a2b3c4d…")).to_be_focused()
    assert page.locator(".picture").first.bounding_box()["width"] > 2 * narrow
    assert_lines_join_the_points(page)
    page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("group", name="your photo and photo 1a2b3c4d…")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(button(page, "Why Torre dos Clérigos?")).to_be_focused()


def test_a_click_enlarges_what_it_points_at(page, server):
    dialog = opened(page, server, MATCHED)
    stage = dialog.locator(".stage").first
    x, y = ends_on_screen(page)[4]  # the lower right corner of the left photo
    page.mouse.click(x - 2, y - 2)
    box = stage.bounding_box()
    x, y = ends_on_screen(page)[4]
    assert box["x"] < x < box["x"] + box["width"] and box["y"] < y < box["y"] + box["height"]
    stage.click()
    expect(stage).not_to_have_class("stage enlarged")


@pytest.mark.parametrize(
    ("answer", "says", "entries"),
    [
        (
            SIMILAR,
            "Points were not compared. These photos of Torre dos Clérigos are the most similar",
            [
                f"Photo 1a2b3c4d… of Torre dos Clérigos. Similarity: {cosine} of at most 1."
                for cosine in ("0.50", "-0.02")
            ],
        ),
        (
            explained("exemplars", near(1, 0.5, None)),
            "1 point of your photo matches a photo of Torre dos Clérigos. So few may match",
            [
                "1 point of your photo matches photo 1a2b3c4d… of Torre dos Clérigos. "
                "Similarity: 0.50 of at most 1."
            ],
        ),
        (
            explained("exemplars", near(0, 0.5, None, [])),
            "No point of your photo matches a photo of Torre dos Clérigos. As a whole",
            [
                "No points of your photo match photo 1a2b3c4d… of Torre dos Clérigos. "
                "Similarity: 0.50 of at most 1."
            ],
        ),
        (NONE, "This service has no photos of Torre dos Clérigos to compare yours with.", []),
        (error(429, "The queue is full."), "The queue is full.", []),
        (prediction(), "The service sent no explanation.", []),
        (Answer("", 500), "The service sent no explanation.", []),
    ],
)
def test_without_matches_the_dialog_says_what_there_is(page, server, answer, says, entries):
    dialog = opened(page, server, answer)
    expect(dialog.locator("#why-note")).to_contain_text(says)
    assert dialog.locator(".words").all_text_contents() == entries
    expect(dialog.locator(".picture:visible, .enlarge:visible")).to_have_count(0)
    button(page, "Close").click()
    expect(button(page, "Why Torre dos Clérigos?")).to_be_focused()


def test_a_photo_that_the_browser_cannot_show_leaves_the_other_one(page, server):
    dialog = opened(page, server, MATCHED, photo("IMG_0042.HEIC", b"not shown", "image/heic"))
    expect(dialog.get_by_role("img")).to_have_count(2)
    said = "23 points of your photo match a photo of Torre dos Clérigos."
    expect(dialog.locator("#why-note")).to_have_text(said)
    dots = dialog.locator(".picture .dots").first.get_attribute("d")
    assert dots.count("M") == len(POINTS)


def test_an_unreachable_service_is_said(page, server):
    server.answers = [prediction()]
    pick(page)
    expect(heading(page, "Torre dos Clérigos")).to_be_visible()
    page.route("**/predict*", lambda route: route.abort())
    button(page, "Why Torre dos Clérigos?").click()
    expect(page.locator("#why-note")).to_contain_text("The connection failed")


def test_a_key_that_is_no_longer_accepted_is_asked_for(page, server):
    server.answers = [prediction()]
    pick(page)
    expect(heading(page, "Torre dos Clérigos")).to_be_visible()
    server.key = "key"
    button(page, "Why Torre dos Clérigos?").click()
    expect(page.get_by_label("Key")).to_be_focused()
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_label("Key").fill("key")
    page.keyboard.press("Enter")
    expect(button(page, "Why Torre dos Clérigos?")).to_be_visible()


def test_an_explanation_that_comes_too_late_is_not_shown(page, server):
    dialog = opened(page, server, explained("exemplars", near(99), seconds=1))
    expect(dialog.locator("#why-note")).to_contain_text("Comparing")
    page.keyboard.press("Escape")
    server.answers = [MATCHED]
    button(page, "Why Torre dos Clérigos?").click()
    expect(page.locator(".near")).to_have_count(2)
    while server.at_once:
        page.wait_for_timeout(50)
    page.wait_for_timeout(100)  # the answer that nobody waits for is on its way
    expect(page.locator(".near")).to_have_count(2)
    expect(page.locator("#why-note")).to_contain_text("23 points")


def test_hostile_names_and_ids_stay_text(page, server):
    rows = [landmark(1231, HOSTILE, 0.9)]
    answer = explained("exemplars", near(image_id=HOSTILE), landmarks=rows)
    server.answers = [prediction(rows), answer]
    pick(page)
    button(page, f"Why {HOSTILE}?").click()
    expect(page.locator("#why-title")).to_have_text(f"Why {HOSTILE}?")
    expect(page.locator(".words")).to_contain_text(f"of {HOSTILE}.")
    expect(page.locator("img[src=x]")).to_have_count(0)


def test_no_landmark_has_no_why(page, server):
    server.answers = [prediction(known=False)]
    pick(page)
    expect(heading(page, "Probably not a landmark")).to_be_visible()
    expect(page.locator(".why")).to_be_hidden()


@pytest.mark.parametrize(
    ("author", "licence", "says"),
    [
        ("<b>Jane</b>", "CC BY 3.0", " Photo: <b>Jane</b>, CC BY 3.0."),
        (None, "CC0", " Photo: CC0."),
        ("Jane", None, " Photo: Jane."),
    ],
)
def test_author_and_licence_of_a_photo_are_named(page, server, author, licence, says):
    photo = near() | {"author": author, "licence": licence}
    dialog = opened(page, server, explained("exemplars", photo))
    expect(dialog.locator(".words")).to_contain_text(says)
