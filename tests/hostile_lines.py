"""Methods, targets, headers and lengths that are broken or mean harm, and what isn't HTTP."""

from collections.abc import Iterator

from tests.raw_http import CHUNKED, INFER, JPEG, PREDICT, Attack, form, part, photo, request


def lines(good: bytes) -> Iterator[Attack]:
    """Methods, targets and headers."""
    for (
        method
    ) in b"HEAD TRACE OPTIONS PATCH DELETE PUT CONNECT PROPFIND PURGE LINK M-SEARCH".split():
        for path in (PREDICT, b"/version", b"/", b"/nothing"):
            yield Attack(f"{method!r} {path!r}", request(path, method=method, body=b""))
    targets = [
        b"/%ff",
        b"/%00",
        b"/a%0d%0aSet-Cookie:%20a=b",
        b"//x",
        b"/../../etc/passwd",
        b"/{x}",
        b"/%",
    ]
    targets += [
        b"/page.js/../../middleware.py",
        b"/docs/..%2f..%2fmiddleware.py",
        b"/" + b"a" * 60_000,
        b"/a" * 9999,
    ]
    targets += [
        b"http://elsewhere/version",
        b"/landmarks/" + b"9" * 5000,
        b"/landmarks/1e5",
        b"/landmarks/-1",
    ]
    targets += [
        b"/landmarks/%00",
        b"/landmarks/NaN",
        b"/landmarks/1/2",
        b"/predict/",
        b"/version?" + b"a&" * 9999,
    ]
    for target in targets:
        yield Attack(f"GET {target[:30]!r}", request(target))
    for target in (
        b"*",
        b"x",
        b"",
        b"/\xff",
        b"/?\xff",
        b"/\0",
        b"/a b",
        b"/" + b"a" * 99_999,
        b"ftp://x/",
    ):
        yield Attack(f"GET {target[:30]!r}", request(target), raw=True)
    for query in (
        b"top_k=0",
        b"top_k=21",
        b"top_k=x",
        b"top_k=" + b"9" * 5000,
        b"top_k=",
        b"top_k=NaN",
        b"top_k=%ff",
    ):
        sent = request(PREDICT + b"?" + query, JPEG, body=good)
        yield Attack(f"query {query[:20]!r}", sent)
    kinds = b"text/plain application/json application/x-www-form-urlencoded image/ x".split()
    for kind in [
        *kinds,
        b"",
        b"\xff",
        b"text/html; charset=" + b"a" * 999,
        b"IMAGE/JPEG",
        b"image/jpeg; a=\xff",
    ]:
        yield Attack(f"type {kind[:20]!r}", photo(good, b"Content-Type: " + kind))
    for host in (b"[", b"a/b", b"a?b", b"x:99999999", b"\xff", b"x@y", b"127.0.0.1:1"):
        sent = request(b"/version/").replace(b"Host: 127.0.0.1", b"Host: " + host)
        yield Attack(f"host {host!r}", sent)
    steering = b"X-Request-Timeout-Seconds X-Request-Id X-Session-Id X-Request-Disconnect-Disabled"
    for name in (*steering.split(), b"Serve_Multiplexed_Model_Id", b"Serve-Multiplexed-Model-Id"):
        for value in (b"\xff", b"0.000001", b"?1", b"a" * 999):
            line = name + b": " + value
            yield Attack(f"steered by {line[:40]!r}", request(b"/version", line))
    for value in (
        b"bytes=x",
        b"bytes=99999999-",
        b"bytes=5-1",
        b"x=1-2",
        b"bytes=" + b"0-1," * 999,
    ):
        yield Attack(f"range {value[:20]!r}", request(b"/page.js", b"Range: " + value))
    for line in (
        b"Authorization: Bearer \xff",
        b"Cookie: " + b"a=b;" * 9999,
        b"Content-Encoding: gzip",
    ):
        yield Attack(f"line {line[:20]!r}", request(PREDICT, JPEG, line, body=good))
    for line in (
        b"A: " + b"a" * 1_000_000,
        b"A: b\r\n" * 20_000 + b"A: b",
        JPEG + b";" * 1_000_000,
    ):
        yield Attack(f"long line {line[:20]!r}", request(PREDICT, line, body=good))


def lengths(good: bytes) -> Iterator[Attack]:
    """Bodies of another length than they say, and what isn't HTTP."""
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    body = request(PREDICT, JPEG, CHUNKED, method=b"POST")
    yield Attack("chunks over the limit", body + chunk * 40 + b"0\r\n\r\n")
    yield Attack("body over the limit", photo(bytes(2_500_000)))
    yield Attack("form over the limit", form(part(bytes(2_500_000))))
    yield Attack("JSON over the limit", request(INFER, body=b"[" * 2_500_000))
    yield Attack("chunks of one byte", body + b"1\r\nx\r\n" * 9999 + b"0\r\n\r\n")
    yield Attack(
        "chunks with extensions", body + b"1;" + b"a" * 9999 + b"\r\nx\r\n0\r\nA: b\r\n\r\n"
    )
    yield Attack("no body", request(PREDICT, JPEG, method=b"POST"))
    yield Attack("body and more", photo(good) + b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
    yield Attack("body and noise", photo(good) + b"\0" * 999, raw=True)
    for bad in (b"zz\r\n", b"-1\r\n", b"f" * 17 + b"\r\n", b"1\r\nxxx", b"\0", b"1 1\r\nx\r\n"):
        yield Attack(f"chunk {bad!r}", body + bad, raw=True)
    for said in (
        b"-1",
        b"x",
        b"9" * 25,
        b"1, 1",
        b"0x5",
        b"1\r\nContent-Length: 2",
        b"1\r\n" + CHUNKED,
    ):
        sent = request(PREDICT, JPEG, b"Content-Length: " + said, method=b"POST") + b"xxxxx"
        yield Attack(f"length {said!r}", sent, raw=True)
    upgrade = b"Connection: Upgrade\r\nUpgrade: "
    ws = b"websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    for line in (
        upgrade + ws,
        upgrade + b"h2c",
        CHUNKED + b", x",
        b"Transfer-Encoding: gzip",
        b"Expect: x",
    ):
        yield Attack(f"line {line[-20:]!r}", request(PREDICT, line), raw=True)
    for start in (
        b"GET /\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"FOO / HTTP/1.1\r\n\r\n",
    ):
        yield Attack(f"start {start!r}", start, raw=True)
    for noise in (
        b"\x16\x03\x01\x02\0" + b"a" * 99,
        b"\0" * 99,
        b"\xff" * 9999,
        b"SSH-2.0-x\r\n",
        b" " * 99 + b"\r\n",
    ):
        yield Attack(f"noise {noise[:9]!r}", noise, raw=True)
    for line in (b"a: \0", b"a: b\r\n c: d", b"a b: c", b": c", b"a\xff: b", b"no colon"):
        yield Attack(f"line {line!r}", request(b"/version", line), raw=True)
