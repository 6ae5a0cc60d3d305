"""What tests do on the page, and what they see."""

import io

from PIL import Image, ImageDraw

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
