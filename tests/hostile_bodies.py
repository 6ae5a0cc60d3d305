"""Forms and JSON that are broken or mean harm."""

import base64
import json
from collections.abc import Iterator
from typing import Any

from tests.raw_http import DISPOSITION, FORM, INFER, Attack, form, part, photo, request


def forms(good: bytes) -> Iterator[Attack]:
    """Forms, from nearly right to nonsense."""
    names = [
        b"",
        b".",
        b"../../etc/passwd",
        b"C:\\\\a\\\\b.jpg",
        b"a" * 3000,
        b"\xff\xfe.jpg",
        b"a\0.jpg",
    ]
    names += [
        "\u202egpj.exe".encode(),
        b"<img src=x onerror=alert(1)>",
        b"%00%0a",
        b'\\"; name=x',
        b"{x}",
    ]
    names += [b"$(touch /tmp/landmark_ray_was_here)", b"CON", b"a;b", b"=?utf-8?q?a?=", b"'" * 99]
    for name in names:
        yield Attack(f"file name {name[:30]!r}", form(part(good, DISPOSITION % name)))
    for charset in b"utf-7 punycode undefined idna unicode_escape hex utf-16 rot13 \xff".split():
        for name in (b"+2AA-", b"\\ud800", b"xn--\xff"):
            kind = FORM + b"; charset=" + charset
            sent = form(part(good, DISPOSITION % name), kind=kind)
            yield Attack(f"file name {name!r} in {charset!r}", sent)
    for kind in (
        b"",
        b"; boundary=",
        b'; boundary="',
        b"; boundary=\xff",
        b"; boundary=" + b"b" * 300,
    ):
        yield Attack(f"form{kind[:20]!r}", form(part(good), kind=b"multipart/form-data" + kind))
    for end in (b"", b"--b", b"--b-", b"--c--\r\n", b"--b--" * 9, b"\r\n" * 999, b"--b\r\n" * 999):
        yield Attack(f"form that ends in {end[:8]!r}", form(part(good), end=end))
    for words in (
        b"",
        b"form-data",
        b'form-data; name="',
        b"attachment",
        b";" * 999,
        b"form-data; filename=a",
    ):
        yield Attack(f"part that says {words[:20]!r}", form(part(good, words)))
    for line in (b"{x}: {y}", b": ", b"a", b"\0: a", b"a: " + b"b" * 99_999, b"Content-Length: -1"):
        yield Attack(f"part with header {line[:9]!r}", form(part(good, DISPOSITION % b"a", line)))
    mixed = b"Content-Type: multipart/mixed; boundary=c"
    yield Attack("form in a form", form(part(b"--c\r\n\r\n--c--", DISPOSITION % b"a", mixed)))
    yield Attack("form of 9000 files", form(*[part(b"x")] * 9000))
    yield Attack("form of 9000 fields", form(*[part(b"x", b'form-data; name="p"')] * 9000))
    yield Attack("form of a long field", form(part(b"x" * 1_900_000, b'form-data; name="p"')))
    yield Attack("form of 9000 headers", form(b"a: b\r\n" * 9000 + b"\r\nx"))
    yield Attack("form of bad files", form(*(part(b"x%d" % i) for i in range(16))))
    yield Attack("form of no files", form(part(b"x", b'form-data; name="p"')))
    yield Attack("form of nothing", form())
    yield Attack("photo that says it's a form", photo(good, b"Content-Type: " + FORM))
    yield Attack("form that says it's a photo", form(part(good), kind=b"image/jpeg"))


def inferences(good: bytes) -> Iterator[Attack]:
    """Requests of the Open Inference Protocol."""
    text = base64.b64encode(good).decode()
    tensor = {"name": "photo", "shape": [1], "datatype": "BYTES", "data": [text]}

    def sent(value: Any, *lines: bytes, tail: bytes = b"") -> bytes:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return request(INFER, b"Content-Type: application/json", *lines, body=body + tail)

    for shape in ([], [0], [-1], [-1, -1], [2], [1e400], [1.5], [10**4000], [9**9] * 9, "1", None):
        yield Attack(f"shape {str(shape)[:20]}", sent({"inputs": [{**tensor, "shape": shape}]}))
    for data in (
        [],
        [""],
        ["%%%"],
        [7],
        [None],
        [[[text]]],
        [{}],
        "x",
        [text] * 17,
        ["\u0100"],
        [True],
    ):
        yield Attack(f"data {str(data)[:20]}", sent({"inputs": [{**tensor, "data": data}]}))
    for top_k in (0, -1, 21, 1e400, 10**4000, "x", None, [], {}, 1.5, float("nan")):
        yield Attack(
            f"top_k {str(top_k)[:20]}", sent({"inputs": [tensor], "parameters": {"top_k": top_k}})
        )
    for size in (-1, 0, 1, 7, 10**30, 1e400, "7", None, [], {}, True):
        binary = {**tensor, "data": None, "parameters": {"binary_data_size": size}}
        head = json.dumps({"inputs": [binary]}).encode()
        length = b"Inference-Header-Content-Length: %d" % len(head)
        yield Attack(f"binary size {size}", sent(head, length, tail=b"\x03\0\0\0abc"))
    binary = {**tensor, "data": None, "parameters": {"binary_data_size": 1_900_000}}
    head = json.dumps({"inputs": [binary]}).encode()
    length = b"Inference-Header-Content-Length: %d" % len(head)
    yield Attack("binary zeros", sent(head, length, tail=bytes(1_900_000)))
    yield Attack("binary ones", sent(head, length, tail=b"\xff" * 1_900_000))
    for said in (
        b"-1",
        b"0",
        b"1",
        b"9" * 15,
        b"9" * 5000,
        b"0" * 5000,
        b"x",
        b"",
        b"1.0",
        b"\xb2",
    ):
        line = b"Inference-Header-Content-Length: " + said
        yield Attack(f"header length {said[:20]!r}", sent({"inputs": [tensor]}, line))
    for outputs in ([{}], [{"name": "x"}], [{"name": "name"}] * 999, "x", [None], {}):
        yield Attack(f"outputs {str(outputs)[:20]}", sent({"inputs": [tensor], "outputs": outputs}))
    for inputs in (
        [],
        [tensor] * 2,
        [{}],
        [{}] * 500_000,
        None,
        "x",
        [{**tensor, "name": "x" * 9999}],
    ):
        yield Attack(f"inputs {str(inputs)[:20]}", sent({"inputs": inputs}))
    bodies = [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"NaN",
        b"{",
        b"[" * 99_999,
        b'{"inputs":' * 99_999,
        b"\0" * 99,
    ]
    bodies += [
        b'{"id":"\\ud800","inputs":[]}',
        b'{"id":"\xff","inputs":[]}',
        b'{"a":1e99999,"inputs":[]}',
    ]
    bodies += [
        b"9" * 99_999,
        b"\xff\xfe{\0}\0",
        b'{"inputs":[],' + b'"a":1,' * 99_999 + b'"b":1}',
        b"[]," * 600_000,
    ]
    for body in bodies:
        yield Attack(f"JSON {body[:20]!r}", sent(body))
    for model in (
        b"x",
        b"landmark%00",
        b"..%2f..%2fetc",
        b"{model}",
        b"a" * 9999,
        b"landmark/versions/0",
    ):
        yield Attack(f"model {model[:20]!r}", request(b"/v2/models/%s/infer" % model, body=b"{}"))
