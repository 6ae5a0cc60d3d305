import asyncio

import pytest

from landmark_ray.serving import proxy


def part(body, more=False):
    return {"type": "http.request", "body": body, "more_body": more}


GONE = {"type": "http.disconnect"}


def through(messages, length=None, slow=()):
    """What the ingress is told of a request: its messages, and whether the body came along.

    messages: of the client; slow: numbers of those that come late.
    """
    heads = [] if length is None else [(b"content-length", str(length).encode())]
    heard, came = [], []

    async def app(scope, receive, send):
        came.append(proxy.BODY_KEY in scope)
        receive = proxy.restore_body(scope, receive)
        while not heard or heard[-1] != GONE:
            heard.append(await receive())

    async def run():
        left = list(enumerate(messages))

        async def receive():
            number, message = left[0]
            if number in slow:
                await asyncio.sleep(3 * proxy.PREFETCH_TIMEOUT_S)
            left.pop(0)
            return message

        scope = {"type": "http", "headers": heads}
        await asyncio.wait_for(proxy.PrefetchBody(app)(scope, receive, None), 10)

    asyncio.run(run())
    return heard, came[0]


def test_a_small_body_travels_with_its_request():
    heard, came = through([part(b"ab", True), part(b"cd"), GONE], length=4)
    assert came and heard == [part(b"abcd"), GONE]


@pytest.mark.parametrize("late", [0, 1])
def test_of_a_slow_body_nothing_is_lost(late):
    messages = [part(b"ab", True), part(b"cd"), GONE]
    heard, came = through(messages, length=4, slow=[late])
    assert not came and heard == messages


@pytest.mark.parametrize("length", [None, 0, proxy.MAX_PREFETCH_BYTES + 1])
def test_large_bodies_and_those_of_unknown_length_are_asked_for(length):
    messages = [part(b"ab", True), part(b"cd"), GONE]
    assert through(messages, length=length) == (messages, False)


def test_a_client_that_hangs_up_is_noticed():
    assert through([part(b"ab", True), GONE], length=4) == ([part(b"ab", True), GONE], False)


def test_headers_that_steer_are_gone():
    seen = []

    async def app(scope, receive, send):
        seen.extend(scope["headers"])

    headers = [(b"x_request-id", b"\xff"), (b"X-Request-Id".lower(), b"1"), (b"accept", b"*/*")]
    asyncio.run(proxy.StripSteeringHeaders(app)({"type": "http", "headers": headers}, None, None))
    assert seen == [(b"accept", b"*/*")]
