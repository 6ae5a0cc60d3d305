"""Requests as clients make them: types, parts of forms, packed bodies, options."""

import gzip
import io
import os
import zlib

import pytest
from PIL import Image

from tests import hostile_bodies
from tests.serving import JPEG, error, photo

PHOTO = photo()


def files(answer):
    assert answer.status_code == 200, answer.text
    return [(found["file"], found["error"]) for found in answer.json()["photos"]]


@pytest.mark.parametrize(
    "kind",
    [
        "image/jpeg",
        "IMAGE/JPEG; Charset=Binary",
        "binary/octet-stream",
        "Application/Octet-Stream;a=b",
        "application/x-www-form-urlencoded",
        "text/plain",
        "application/json",
        "jpeg",
        "",
        None,
    ],
)
def test_bytes_that_are_a_photo_are_one_whatever_they_are_called(make, kind):
    client, _ = make()
    headers = {} if kind is None else {"Content-Type": kind}
    for format_ in ("JPEG", "WEBP"):
        answer = client.post("/predict", content=photo(format_), headers=headers)
        assert files(answer) == [(None, None)]


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "multipart/mixed; boundary=b"])
def test_bytes_that_are_none_are_refused_with_the_types_that_there_are(make, kind):
    client, _ = make()
    answer = client.post("/predict", content=b'{"a": 1}', headers={"Content-Type": kind})
    sentence = error(answer, 415)
    assert "must be multipart/form-data, image/* or application/octet-stream" in sentence
    assert kind in sentence


def form(*parts, end=b"--b--\r\n", kind="multipart/form-data; boundary=b"):
    """Parts: lines of headers, and bytes."""
    body = b"".join(b"--b\r\n%s\r\n\r\n%s\r\n" % (head.encode(), data) for head, data in parts)
    return {"content": body + end, "headers": {"Content-Type": kind}}


def said(name, **more):
    words = [f'; {key}="{value}"' for key, value in {"name": name, **more}.items()]
    return "Content-Disposition: form-data" + "".join(words)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "HEIF"])
def test_a_part_without_a_file_name_is_a_photo(make, format_):
    client, _ = make()
    for head in (
        said("photo"),
        said("upload[0]"),
        said("photo") + "\r\nContent-Type: image/" + format_.lower(),
        said("x") + "\r\nContent-Type: application/octet-stream",
        "Content-Disposition: form-data",
        "Content-Type: image/jpeg",
    ):
        answer = client.post("/predict", **form((head, photo(format_))))
        assert files(answer) == [(None, None)], head


def test_photos_with_and_without_names_keep_their_order(make):
    client, _ = make()
    parts = [(said("a", filename="1.jpg"), PHOTO), (said("b"), PHOTO), (said("top_k"), b"2")]
    parts.append((said("top_k", filename="../3.jpg"), PHOTO))
    answer = client.post("/predict", **form(*parts))
    assert files(answer) == [("1.jpg", None), (None, None), ("../3.jpg", None)]
    assert {len(found["landmarks"]) for found in answer.json()["photos"]} == {2}


def test_large_parts_without_a_name_are_read(make):
    out = io.BytesIO()
    Image.effect_noise((1500, 1200), 90).save(out, "PNG")
    assert len(out.getvalue()) > 1_500_000
    client, _ = make()
    assert files(client.post("/predict", **form((said("p"), out.getvalue())))) == [(None, None)]


@pytest.mark.parametrize(
    "kind",
    ["", "\r\nContent-Type: text/plain; charset=UTF-8", "\r\nContent-Type: application/json"],
)
def test_what_a_form_asks_for_is_used(make, kind):
    client, _ = make()
    for number in (1, 3):
        parts = [(said("top_k") + kind, b"%d" % number), (said("p", filename="a"), PHOTO)]
        (found,) = client.post("/predict", **form(*parts)).json()["photos"]
        assert len(found["landmarks"]) == number


@pytest.mark.parametrize(
    ("fields", "query", "says"),
    [
        ([("top_k", b"0")], "", "top_k: Input should be greater than or equal to 1."),
        ([("top_k", b"many")], "", "top_k: "),
        ([("top_k", b"")], "", "top_k: "),
        ([("topK", b"3")], "", "There is no option 'topK' in the form (did you mean top_k?): "),
        ([("go", b"Upload")], "", "There is no option 'go' in the form: there is top_k."),
        ([("top_k", b"3"), ("top_k", b"4")], "", "top_k is given twice in the form"),
        ([("top_k", b"3")], "?top_k=3", "top_k is given twice in the query and the form"),
        ([], "?topk=3", "There is no option 'topk' in the query (did you mean top_k?): "),
        ([], "?k=3", "There is no option 'k' in the query: there is top_k, explain."),
        (
            [],
            "?top_k=3&threshold=0.5",
            "no option 'threshold' in the query: there is top_k, explain.",
        ),
        ([], "?top_k=3&top_k=4", "top_k is given twice in the query: give it once."),
        ([], "?top_k=", "top_k: "),
        ([], "?\ud800".encode("utf-8", "surrogatepass").decode("latin-1") + "=1", "no option"),
    ],
)
def test_what_a_request_asks_for_in_vain_is_refused(make, fields, query, says):
    client, shard = make()
    parts = [(said("p", filename="a.jpg"), PHOTO), *((said(n), value) for n, value in fields)]
    sentence = error(client.post(f"/predict{query}", **form(*parts)), 422)
    assert says in sentence and sentence.endswith(".")
    assert not shard.asked


def test_a_form_that_names_a_file_instead_of_sending_it_is_told_how(make):
    client, _ = make()
    answer = client.post("/predict", **form((said("photo"), b"photo.jpg")))
    assert "curl -F photo=@FILE" in error(answer, 400)


@pytest.mark.parametrize("path", ["/version?x=1", "/landmarks/100?top_k=1", "/v2?a", "/healthz?a="])
def test_paths_without_options_say_so(make, path):
    client, _ = make()
    assert "in the query: there is none." in error(client.get(path), 422)
    assert client.get("/?utm_source=x").status_code == 200


def test_photos_are_counted_in_forms_without_names_too(make):
    client, _ = make(max_files=2)
    parts = [(said("p"), PHOTO)] * 3
    assert "Too many files: a request takes 2 photos." in error(
        client.post("/predict", **form(*parts)), 400
    )
    assert "Too many files" in error(client.post("/predict", **form(*parts * 99)), 400)


PACKS = {"gzip": gzip.compress, "deflate": zlib.compress}


@pytest.mark.parametrize("encoding", PACKS)
def test_packed_bodies_are_answered(make, encoding):
    client, _ = make()
    packed = {"Content-Encoding": encoding}
    raw = client.post("/predict", content=PACKS[encoding](PHOTO), headers=JPEG | packed)
    assert files(raw) == [(None, None)]
    sent = form((said("p", filename="a.jpg"), PHOTO), (said("top_k"), b"2"))
    body, headers = PACKS[encoding](sent["content"]), sent["headers"] | packed
    answer = client.post("/predict", content=body, headers=headers)
    assert files(answer) == [("a.jpg", None)]
    chunks = (body[i : i + 100] for i in range(0, len(body), 100))
    assert files(client.post("/predict", content=chunks, headers=headers)) == [("a.jpg", None)]


def test_packed_bodies_are_refused_in_words(make):
    client, shard = make(max_megabytes=0.5)

    def sentence(status, content, encoding="gzip"):
        headers = JPEG | {"Content-Encoding": encoding}
        return error(client.post("/predict", content=content, headers=headers), status)

    assert "larger than 0.5 MB" in sentence(413, gzip.compress(bytes(9_000_000)))
    assert "larger than 0.5 MB" in sentence(413, gzip.compress(os.urandom(600_000)))
    assert "ends too early" in sentence(400, gzip.compress(PHOTO)[:-5])
    assert "is damaged" in sentence(400, PHOTO)
    assert "Content-Encoding can be gzip or deflate" in sentence(415, PHOTO, "br")
    assert not shard.asked


def test_a_body_that_another_server_lost_is_told_of(make):
    client, _ = make()
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "Content-Length": "70"}
    answer = client.post("/predict", content=b"", headers=JPEG | offer)
    assert "Upgrade" in error(answer, 400)
    del offer["Content-Length"]
    assert files(client.post("/predict", content=PHOTO, headers=JPEG | offer)) == [(None, None)]


def test_broken_forms_are_refused_in_words(make):
    client, _ = make(max_megabytes=2)
    refused: dict[str, str] = {}
    for attack in hostile_bodies.forms(PHOTO):
        head, _, body = attack.sent.partition(b"\r\n\r\n")
        lines = [line.partition(b": ") for line in head.split(b"\r\n")[1:]]
        headers = [(name, value) for name, _, value in lines if name == b"Content-Type"]
        answer = client.post("/predict", content=body, headers=headers)
        if answer.status_code != 200:  # an odd form may hold a photo that can be read
            assert answer.status_code in {400, 413, 415, 422}, (attack.name, answer.text)
            refused[attack.name] = error(answer, answer.status_code)
    assert len(refused) > 30
    assert not [text for text in refused.values() if not text.endswith(".")]
