"""Hundreds of bad inputs: each is refused in a sentence, and the service is as it was."""

import asyncio
import contextlib
import json
import re
import time
from collections import Counter
from pathlib import Path

import httpx
import psutil
import pytest

from tests import hostile, hostile_bodies, hostile_lines
from tests.hostile_answered import may_be
from tests.raw_http import (
    CHUNKED,
    FORM,
    INFER,
    JPEG,
    PREDICT,
    Answer,
    Attack,
    answer,
    ask,
    form,
    part,
    photo,
    request,
)

pytestmark = pytest.mark.ray

AT_ONCE = 8
GOOD = hostile.saved("jpeg")
GOOD_EVERY = 20
"""Of so many attacks, one is a good photo."""

TOUCHED = Path("/tmp/landmark_ray_was_here")
"""What some of the files would make, were they run."""

SENTENCE = re.compile(r"[^\x00-\x1f]*[^\x00-\x1f.]\.")
GROWTH = 300e6
PATIENCE_S = 20.0
"""A good photo has an answer by then, even where all decoding processes are to be started anew."""

FAMILIES = {
    "damaged photos": lambda: photos(hostile.damaged()),
    "other files": lambda: photos(hostile.foreign()),
    "bombs": lambda: photos(hostile.bombs()),
    "forms": lambda: hostile_bodies.forms(GOOD),
    "inferences": lambda: hostile_bodies.inferences(GOOD),
    "lines": lambda: hostile_lines.lines(GOOD),
    "lengths": lambda: hostile_lines.lengths(GOOD),
}
STATUSES = {
    "damaged photos": {200, 413, 415, 422},
    "other files": {415, 422},
    "bombs": {200, 413, 415, 422},
    "forms": {200, 400, 413, 415, 422},
    "inferences": {200, 400, 404, 413, 415, 422},
    "lines": {0, 200, 307, 400, 404, 405, 415, 422, 431},
    "lengths": {0, 200, 400, 403, 404, 405, 413, 415, 422},
}


def photos(made):
    """Every third in a form."""
    for number, (name, data) in enumerate(made):
        yield Attack(name, photo(data) if number % 3 else form(part(data)))


@pytest.fixture(scope="module")
def attacks():
    """Of every family."""
    return {name: list(make()) for name, make in FAMILIES.items()}


@pytest.fixture(scope="module")
def port(service):
    return int(service.rpartition(":")[2])


@pytest.fixture(scope="module")
def before(service):
    """The service's answer to a good photo, its decoding processes, and its memory."""
    return named(service), len(decoders(service)), memory(service)


@pytest.fixture
def unharmed(service, before):
    """The service is as it was, whatever a test did."""
    yield
    assert httpx.get(f"{service}/readyz", timeout=PATIENCE_S).status_code == 200
    assert named(service) == before[0]
    end = time.monotonic() + PATIENCE_S
    while len(decoders(service)) != before[1] and time.monotonic() < end:
        time.sleep(0.5)  # one that was ended is started anew
    assert len(decoders(service)) == before[1]
    grown = memory(service) - before[2]
    print(f"memory: {grown / 1e6:+.0f} MB")
    assert grown < GROWTH
    assert not TOUCHED.exists()


def named(service):
    """The answer to the good photo, but for the time it took."""
    found = httpx.post(
        f"{service}/predict",
        content=GOOD,
        headers={"Content-Type": "image/jpeg"},
        timeout=PATIENCE_S,
    )
    assert found.status_code == 200, found.text
    return found.json()["photos"]


def processes(service):
    """The replicas and proxies of the service at an address."""
    wanted = ["--port", service.rpartition(":")[2]]
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(words[i : i + 2] == wanted for i in range(len(words))):
            for child in process.children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    words = " ".join(child.cmdline())
                    if "ServeReplica:landmark_ray" in words or "ProxyActor" in words:
                        yield child, words


def decoders(service):
    found = [p for p, words in processes(service) if "landmark_ray:ingress" in words]
    assert found
    return [
        child
        for process in found
        for child in process.children(recursive=True)
        if "spawn_main" in " ".join(child.cmdline())
    ]


def memory(service):
    """Bytes that only the service's processes have."""
    total = 0
    for process in [*(p for p, _ in processes(service)), *decoders(service)]:
        with contextlib.suppress(psutil.Error):
            total += process.memory_full_info().uss
    return total


def complaint(attack: Attack, found: Answer, statuses) -> str:
    """What is wrong with an answer; empty where it is right."""
    if found.status not in statuses or (found.status == 0 and not attack.raw):
        return f"{attack.name}: {found.status} {found.body[:200]!r}"
    if found.status < 400 or attack.raw or attack.sent.startswith(b"HEAD"):
        return ""
    try:
        (key, sentence), *more = json.loads(found.body).items()
        right = key == "error" and not more and SENTENCE.fullmatch(sentence)
        right = right and len(sentence) < 500 and "object at 0x" not in sentence
    except (ValueError, AttributeError):
        right = False
    return "" if right else f"{attack.name}: {found.status} {found.body[:600]!r}"


async def patiently(port: int, sent: bytes, seconds: float) -> Answer:
    """Again where the service is busy; no answer in time is none."""
    found = Answer(0, {}, b"")
    for _ in range(5):
        with contextlib.suppress(TimeoutError):
            found = await ask(port, sent, seconds)
        if found.status != 429:
            break
        await asyncio.sleep(int(found.headers["retry-after"]))
    return found


async def send_all(port, attacks, statuses, good_one):
    """What is wrong with the answers to attacks, how often each status came, and who got 200."""
    gate, wrong, seen, answered = asyncio.Semaphore(AT_ONCE), [], Counter(), set()

    async def send(number, attack):
        async with gate:
            found = await patiently(port, attack.sent, 5 if attack.raw else 60)
            seen[found.status] += 1
            wrong.append(complaint(attack, found, statuses))
            if found.status == 200:
                answered.add(attack.name)
            if number % GOOD_EVERY == 0:
                found = await patiently(port, photo(GOOD), 60)
                if found.status != 200 or json.loads(found.body)["photos"] != good_one:
                    wrong.append(f"good photo after {attack.name}: {found}")

    await asyncio.gather(*(send(i, attack) for i, attack in enumerate(attacks)))
    return [text for text in wrong if text], seen, answered


def test_there_are_more_than_500_different_bad_inputs(attacks):
    sent = [attack.sent for family in attacks.values() for attack in family]
    print({name: len(family) for name, family in attacks.items()}, len(set(sent)))
    assert len(set(sent)) > 500
    assert len(set(sent)) > 0.97 * len(sent)


@pytest.mark.parametrize("family", FAMILIES)
def test_bad_inputs_are_refused_in_a_sentence_while_good_photos_are_answered(
    family, attacks, port, before, unharmed
):
    wrong, seen, answered = asyncio.run(
        send_all(port, attacks[family], STATUSES[family], before[0])
    )
    print(family, dict(seen))
    assert not wrong, "\n".join(wrong)
    assert not [name for name in sorted(answered) if not may_be(family, name)]


def test_photo_that_decodes_for_minutes_is_given_up_after_seconds(port, before, unharmed):
    sent = photo(hostile.slow_jpeg())

    async def several():
        begun = time.monotonic()
        found = await asyncio.gather(*(ask(port, sent) for _ in range(before[1])))
        return found, time.monotonic() - begun

    found, seconds = asyncio.run(several())
    for one in found:
        assert one.status == 422
        assert "too slow: decoding takes more than 2 s" in json.loads(one.body)["error"]
    assert seconds < PATIENCE_S


async def trickle(port: int, start: bytes, piece: bytes, times: int, pause: float) -> Answer:
    """Send a bit now and then; what comes back in the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = asyncio.create_task(answer(reader))
    try:
        writer.write(start)
        for _ in range(times):
            if not found.done():
                writer.write(piece)
                await asyncio.sleep(pause)
        return await asyncio.wait_for(found, 3)
    except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
        return Answer(0, {}, b"")
    finally:
        writer.close()


def test_slow_senders_are_cut_off_and_keep_nobody_waiting(port, service, before, unharmed):
    endless = request(PREDICT, JPEG, b"Content-Length: 1000", method=b"POST")
    chunks = request(PREDICT, JPEG, CHUNKED, method=b"POST")
    forms = request(PREDICT, b"Content-Type: " + FORM, CHUNKED, method=b"POST")
    begun = b"%x\r\n--b\r\n%s\r\n" % (len(part(b"")) + 5, part(b""))
    slow = {
        "body": (endless, b"x", 8, 1),
        "chunks": (chunks, b"1\r\nx\r\n", 8, 1),
        "form": (forms + begun, b"1\r\nx\r\n", 8, 1),
        "JSON": (request(INFER, b"Content-Length: 1000", method=b"POST"), b"[", 8, 1),
        "headers": (request(PREDICT)[:-2], b"a: b\r\n", 6, 0.5),
    }

    async def all_at_once():
        tasks = [asyncio.create_task(trickle(port, *words)) for words in slow.values()]
        await asyncio.sleep(1)
        begun = time.monotonic()
        good = await ask(port, photo(GOOD))
        return good, time.monotonic() - begun, await asyncio.gather(*tasks)

    good, seconds, found = asyncio.run(all_at_once())
    assert good.status == 200 and seconds < 5
    statuses = {name: one.status for name, one in zip(slow, found, strict=True)}
    assert statuses == {"body": 408, "chunks": 408, "form": 408, "JSON": 408, "headers": 0}
    assert "took longer than 3 s" in json.loads(found[0].body)["error"]


def test_clients_that_hang_up_harm_nobody(port, unharmed):
    good = photo(GOOD)
    places = [5, len(good) // 2, len(good) - 1, len(good)]
    sent = [good[:place] for place in places] * 4 + [photo(hostile.slow_jpeg())] * 2

    async def hang_up(data, pause):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        await asyncio.sleep(pause)
        writer.transport.abort()

    async def all_at_once():
        await asyncio.gather(*(hang_up(data, 0.1 * (i % 5)) for i, data in enumerate(sent)))

    asyncio.run(all_at_once())
