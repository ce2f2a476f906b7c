"""`edgezoo serve` and who means it ill, or is only slow: refused early and in one line, cut off, never believed."""

from __future__ import annotations

import random
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import graphs
import hostile
import numpy as np
import pytest
from PIL import Image as Pillow
from served import Answer, ask, multipart, raw, serving, wait_for

from edgezoo.bundle import Bundle
from edgezoo.engine import Engine
from edgezoo.errors import SourceError
from edgezoo.preprocess import Preprocess
from edgezoo.serve import Service
from edgezoo.serve.headers import pixels_of
from edgezoo.serve.predict import Limits, Predict
from edgezoo.web.patience import Patience

cv2 = pytest.importorskip("cv2")

RECIPE = Preprocess(size_wh=(64, 48), fit="letterbox")
TOKEN = "correct horse battery"
LIMITS = Limits(bytes=200_000, pixels=1_000_000, images=3, seconds=0.5)
PATIENCE = Patience(request_s=0.5, read_s=0.5, idle_s=1, connections=24)
GOOD = bytes(cv2.imencode(".png", graphs.scene((128, 96), (16, 12, 48, 36)))[1])
HEAD = b"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n"
WHOLE = HEAD % len(GOOD) + GOOD
OTHERS, LIARS = hostile.others(), hostile.liars(400, 300)


@pytest.fixture(scope="module")
def engine(bundle_of: Callable[..., Bundle]) -> Iterator[Engine]:
    with Engine(bundle_of("squares", RECIPE), threads=1) as engine:
        yield engine


@pytest.fixture(scope="module")
def service(engine: Engine) -> Iterator[Service]:
    with serving({"squares": engine}, limits=LIMITS, patience=PATIENCE) as service:
        yield service
        assert ask(service.server.port, "/v1/predict", GOOD).status == 200, "after all that it still answers"
        assert service._batchers["squares"].under_way == 0


@pytest.fixture(scope="module")
def calm(engine: Engine) -> Iterator[int]:
    """The port of one that gives everybody time."""
    with serving({"squares": engine}, limits=replace(LIMITS, seconds=20)) as service:
        yield service.server.port
        assert ask(service.server.port, "/v1/predict", GOOD).status == 200, "after all that it still answers"


@pytest.fixture(scope="module")
def port(service: Service) -> int:
    return service.server.port


# -- images that claim too much


@pytest.fixture
def nothing_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(*given: Any) -> Any:
        raise AssertionError("it was decoded")

    monkeypatch.setattr("edgezoo.serve.predict.decode_image", decoded)


@pytest.mark.parametrize("kind", hostile.KINDS)
@pytest.mark.usefixtures("nothing_decodes")
def test_a_gigapixel_is_refused_by_what_its_header_says(calm: int, kind: str) -> None:
    sides = (16384, 16384) if kind == ".webp" else (50000, 20000)
    answer = ask(calm, "/v1/predict", hostile.claims(kind, *sides))
    assert answer.status == 413, answer.error
    told = re.match(r"the body: expected at most 1000000 pixels, got (\d+); try a smaller picture", answer.error)
    assert told is not None
    assert int(told[1]) == sides[0] * sides[1]


@pytest.mark.usefixtures("nothing_decodes")
def test_many_large_images_are_refused_together(engine: Engine) -> None:
    """Each of them is small enough."""
    body, kind = multipart({f"{k}.png": hostile.png(1000, 1000) for k in range(5)})
    with serving({"squares": engine}, limits=replace(LIMITS, images=5)) as service:
        answer = ask(service.server.port, "/v1/predict", body, content_type=kind)
    line = "expected at most 4000000 pixels in a body, got 5000000; try fewer pictures at once"
    assert (answer.status, answer.error) == (413, line)


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS)
@pytest.mark.usefixtures("nothing_decodes")
def test_other_kinds_of_images_are_not_taken(calm: int, data: bytes) -> None:
    answer = ask(calm, "/v1/predict", data)
    assert answer.status == 400
    assert "the body: expected an image (JPEG, PNG, WebP, BMP), got bytes that begin with" in answer.error


@pytest.mark.parametrize("data", LIARS.values(), ids=LIARS)
def test_no_image_is_larger_than_it_was_taken_for(data: bytes) -> None:
    _check_size(data)


def test_no_damaged_image_is_larger_than_it_was_taken_for() -> None:
    dice, decoded = random.Random(7), 0
    seeds = hostile.good()
    until_s = time.monotonic() + 2
    for _ in range(6000):
        decoded += _check_size(hostile.with_right_sums(hostile.damaged(dice.choice(seeds), dice)))
        if time.monotonic() > until_s:
            break
    assert decoded > 100


def _check_size(data: bytes) -> bool:
    """Whether it is taken, and can be decoded."""
    try:
        pixels = pixels_of(data)
    except SourceError:
        return False
    if pixels > 3_000_000:
        return False
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return False
    assert image is None or image.shape[0] * image.shape[1] <= pixels, (pixels, image.shape, data[:200])
    return image is not None


def test_a_gigapixel_that_really_is(calm: int) -> None:
    bomb = hostile.png(31623, 31623)
    assert 100_000 < len(bomb) < 150_000
    began_s = time.monotonic()
    answer = ask(calm, "/v1/predict", bomb)
    assert (answer.status, "got 1000014129" in answer.error) == (413, True)
    body, kind = multipart({"small.png": GOOD, "large.png": bomb})
    answer = ask(calm, "/v1/predict", body, content_type=kind)
    assert (answer.status, answer.error.partition(":")[0]) == (413, "large.png")
    assert time.monotonic() - began_s < 10


BLACK = np.zeros((30, 40, 3), np.uint8)
JPEG = hostile.by_pillow(BLACK, "JPEG")
THUMBNAIL = Pillow.Exif().tobytes() + JPEG.replace(b"\x00\x1e\x00\x28", b"\x7f\xff\x7f\xff")
WRITTEN: list[tuple[str, dict[str, Any]]] = [
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("JPEG", {"exif": THUMBNAIL}),
    ("PNG", {}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("BMP", {}),
]


@pytest.mark.parametrize("data", [hostile.by_pillow(BLACK, name, **options) for name, options in WRITTEN])
def test_the_size_is_read_as_others_write_it(data: bytes) -> None:
    assert pixels_of(data) == 30 * 40
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (30, 40, 3)


PROGRESSIVE = hostile.by_pillow(BLACK, "JPEG", progressive=True)
MANY_SCANS = PROGRESSIVE[:-2] + PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2] * 320 + b"\xff\xd9"
BEFORE_SCANS = [
    b"",
    b"\xff\xd0",
    b"\xff\xff\x00",
    b"\xff\x02\xff\xff",
    b"\xff\xe1\x00\x04\xff\xd9",
    b"\xff\xe1\0\0",
    b"\xff",
]


@pytest.mark.parametrize("before", BEFORE_SCANS)
def test_scans_are_counted_whatever_stands_before_them(before: bytes) -> None:
    at = PROGRESSIVE.index(b"\xff\xda")
    for place in (at, at + 20):
        assert pixels_of(MANY_SCANS[:place] + before + MANY_SCANS[place:]) >= 20 * 30 * 40


def test_what_phones_append_to_a_photo_does_not_count() -> None:
    film = random.Random(3).randbytes(30_000) + b"\xff\xda" * 3000
    for data in (JPEG, PROGRESSIVE, hostile.by_pillow(BLACK, "JPEG", exif=THUMBNAIL)):
        assert pixels_of(data + film) == 30 * 40


def test_what_costs_more_than_its_pixels_counts_more() -> None:
    assert pixels_of(MANY_SCANS) >= 20 * 30 * 40, "each scan may go over all of the picture"
    png, note = hostile.by_pillow(BLACK, "PNG"), hostile.chunk(b"zTXt", b"a\0\0" + bytes(1000))
    assert pixels_of(png[:33] + note * 3 + png[33:]) == 30 * 40 + 1032 * 1003
    frames = [Pillow.fromarray(255 - BLACK)]
    assert pixels_of(hostile.by_pillow(BLACK, "PNG", save_all=True, append_images=frames)) == 3 * 30 * 40


NO_SIZE = [
    b"",
    b"\xff\xd8\xff",
    b"\xff\xd8" + b"\xff" * 300_000,
    b"\xff\xd8\xff" + b"\xff\x00" * 100_000,
    b"\xff\xd8" + b"\xff\xe0\0\2" * 100_000,
    JPEG[:-2] + b"\xff\xe0\0\2" * 200_000,
    b"RIFF\0\0\0\0WEBP" + b"JUNK\0\0\0\0" * 100_000,
    b"BM",
    b"\x89PNG\r\n\x1a\n" + hostile.chunk(b"IHDR", b"\0\0\0\1" * 2) + hostile.chunk(b"tEXt", b"") * 100_000,
    hostile.claims(".png", 0, 5),
    hostile.png(8, 8)[:33] + b"\xee\0\0\0" + hostile.png(8, 8)[37:],  # for which OpenCV takes 4 GB
    hostile.claims(".bmp", -4, 5),
]


@pytest.mark.parametrize("data", NO_SIZE, ids=lambda data: repr(data[:12]))
def test_a_header_that_says_no_size_is_no_image_and_costs_nothing(data: bytes) -> None:
    began_s = time.process_time()
    with pytest.raises(SourceError):
        pixels_of(data)
    assert time.process_time() - began_s < 0.5


def test_damaged_images(calm: int) -> None:
    """The short form of tests/fuzz_serve.py."""
    statuses: Counter[int] = Counter()
    for body in hostile.bodies(300, seed=6):
        answer = ask(calm, "/v1/predict", body)
        statuses[answer.status] += 1
        assert answer.status in (200, 400, 413), answer
        assert answer.status == 200 or answer.error
    assert len(statuses) == 3, statuses


# -- bodies that are too large, too many, or no end of them


def test_a_body_that_is_too_large(port: int) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
    stated = raw(port, head + b"content-length: 10000000000\r\n\r\n")
    assert stated.startswith(b"HTTP/1.1 413 ")
    assert b"expected a body of at most 200000 bytes, this one states 10000000000" in stated
    answer = ask(port, "/v1/predict", GOOD + bytes(200_001))
    assert answer.status == 413
    part = b"8000\r\n" + bytes(0x8000) + b"\r\n"
    unstated = raw(port, head + b"transfer-encoding: chunked\r\n\r\n" + 8 * part)
    assert unstated.startswith(b"HTTP/1.1 413 ")
    assert b"more came" in unstated
    body, kind = multipart({f"{k}.png": GOOD for k in range(4)})
    answer = ask(port, "/v1/predict", body, content_type=kind)
    assert (answer.status, "expected at most 3 images in a body" in answer.error) == (413, True)


def test_room_for_bodies_is_bounded(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stated takes none, what has come does."""
    made: list[Predict] = []
    monkeypatch.setattr("edgezoo.serve.Predict", lambda *given: made.append(Predict(*given)) or made[0])
    with serving({"squares": engine}, limits=replace(LIMITS, seconds=20)) as service, ExitStack() as holding:
        port = service.server.port
        slow = [holding.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(8)]
        for each in slow:
            each.sendall(HEAD % 200_000)
        assert ask(port, "/v1/predict", GOOD).status == 200
        for each in slow:
            each.sendall(bytes(199_999))
        wait_for(lambda: made[0]._bytes_held == 8 * 199_999)
        answer = ask(port, "/v1/predict", GOOD)
        assert (answer.status, answer.headers["retry-after"]) == (429, "1")
        assert "expected fewer large bodies at once" in answer.error
        holding.close()
        wait_for(lambda: made[0]._bytes_held == 0)
        assert ask(port, "/v1/predict", GOOD).status == 200


# -- who is slow, or goes away


def test_a_slow_body_has_an_end(port: int) -> None:
    began_s = time.monotonic()
    head = b"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 100\r\n\r\n"
    came = raw(port, head + b"only so much")
    assert came.startswith(b"HTTP/1.1 408 ")
    assert b"expected the body within 0.5 s" in came
    assert 0.3 < time.monotonic() - began_s < 5


def test_a_slow_head_has_an_end(port: int) -> None:
    began_s = time.monotonic()
    beginnings = (b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost: localhost\r\nx: ")
    with ThreadPoolExecutor(3) as clients:
        assert [*clients.map(partial(raw, port), beginnings)] == [b""] * 3
    assert 0.3 < time.monotonic() - began_s < 5


def test_a_head_that_comes_byte_by_byte_has_an_end(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection, pytest.raises(OSError):
        connection.sendall(b"GET / HTTP/1.1\r\n")
        for _ in range(100):
            connection.sendall(b"a: b\r\n")
            time.sleep(0.05)


def test_who_does_not_read_is_cut_off(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    port, much = service.server.port, b" " * 20_000_000
    monkeypatch.setattr("edgezoo.web.answers.dump", lambda content: much)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n")
        connections = service.server._server.server_state.connections
        wait_for(lambda: len(connections) > 0)
        began_s = time.monotonic()
        wait_for(lambda: not connections)
        assert 0.3 < time.monotonic() - began_s < 5


@pytest.mark.parametrize(
    ("sent", "answers"),
    [
        (b"", 0),
        (b"POST", 0),
        (HEAD % 100, 0),
        (HEAD % 100 + b"half", 0),
        (WHOLE, 1),
        (WHOLE + WHOLE, 2),
        (WHOLE + HEAD % 100 + b"half", 1),
        (WHOLE + b"GET", 1),
    ],
)
def test_who_closes_his_side_gets_what_he_asked_for_in_whole(service: Service, sent: bytes, answers: int) -> None:
    came = raw(service.server.port, sent, half=True)
    assert (came.count(b"HTTP/1.1 "), came.count(b"HTTP/1.1 200 OK")) == (answers, answers), came
    wait_for(lambda: not service.server._server.server_state.connections)
    wait_for(lambda: service._batchers["squares"].under_way == 0)


def test_who_goes_away_costs_no_inference(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving({"squares": engine}, wait_ms=400, batch=2) as service:
        batcher, ran = service._batchers["squares"], list[int]()
        monkeypatch.setattr(batcher, "_run", lambda engine, batch: ran.append(len(batch)))
        with socket.create_connection(("127.0.0.1", service.server.port)) as connection:
            head = f"POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(GOOD)}\r\n\r\n"
            connection.sendall(head.encode() + GOOD)
            wait_for(lambda: batcher._ready)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # not just his side
        wait_for(lambda: batcher.under_way == 0)
        assert ran == []
        assert (
            'edgezoo_requests_total{code="499",path="/v1/predict"} 1.0'
            in ask(service.server.port, "/metrics").body.decode()
        )


def test_what_is_no_http(port: int) -> None:
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200)
    many = b"GET / HTTP/1.1\r\nhost: localhost\r\n" + b"x: y\r\n" * 20_000
    for sent in (hello, many, b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"):
        came = raw(port, sent)
        assert came.startswith(b"HTTP/1.1 400 "), came[:80]
        assert b'{"error":"expected a request as HTTP/1.1 has it' in came


def test_more_connections_than_it_takes(port: int) -> None:
    holding = [socket.create_connection(("127.0.0.1", port)) for _ in range(PATIENCE.connections)]
    try:
        time.sleep(0.1)
        assert raw(port, b"").startswith(b"HTTP/1.1 503 ")
    finally:
        for each in holding:
            each.close()
    assert wait_for(lambda: _status(port) == 200)


def _status(port: int) -> int:
    try:
        return ask(port, "/healthz").status
    except OSError:
        return 0


def test_too_much_to_do_in_time(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving({"squares": engine}, limits=LIMITS, wait_ms=2000, batch=2) as service:
        answer = ask(service.server.port, "/v1/predict", GOOD)
        assert (answer.status, answer.headers["retry-after"]) == (503, "2")
        assert "expected an answer within 0.5 s" in answer.error


# -- who may come in


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:80", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8080", 200),
        ("10.0.0.7", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example:8080", 403),
        ("", 403),
    ],
)
def test_a_stranger_s_name_that_points_here_is_refused(calm: int, host: str, status: int) -> None:
    assert ask(calm, "/healthz", Host=host).status == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://127.0.0.1:{port}"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Sec_Fetch_Site": "same-origin"}, 200),
    ],
)
def test_another_site_s_page_changes_nothing(calm: int, headers: dict[str, str], status: int) -> None:
    named = {name: value.format(port=calm) for name, value in headers.items()}
    assert ask(calm, "/v1/predict", GOOD, **named).status == status


def test_every_answer_tells_browsers_what_they_may(calm: int) -> None:
    for answer in (
        ask(calm, "/"),
        ask(calm, "/style.css"),
        ask(calm, "/v1/models"),
        ask(calm, "/nothing"),
        ask(calm, "/", Host="evil"),
    ):
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert "server" not in answer.headers


@pytest.fixture(scope="module")
def guarded(engine: Engine) -> Iterator[int]:
    with serving({"squares": engine}, token=TOKEN) as service:
        yield service.server.port


def test_a_token_is_asked_for(guarded: int) -> None:
    for path in ("/v1/models", "/metrics", "/live", "/openapi.json", "/page.js", "/nothing"):
        answer = ask(guarded, path)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer"), path
        assert ask(guarded, path, Authorization=f"Bearer {TOKEN}").status != 401
    for wrong in ("", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer \xff"):
        assert ask(guarded, "/v1/predict", GOOD, Authorization=wrong).status == 401
    assert ask(guarded, "/v1/predict", GOOD, Authorization=f"bearer {TOKEN}").status == 200
    for path in ("/healthz", "/readyz", "/login", "/style.css"):
        assert ask(guarded, path).status == 200, path
    assert ask(guarded, "/healthz", Host="camera.example").status == 200, "a stranger's page does not have the token"
    document = ask(guarded, "/openapi.json", Authorization=f"Bearer {TOKEN}").json
    assert document["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}


def test_a_browser_logs_in_once(guarded: int) -> None:
    front = ask(guarded, "/")
    assert (front.status, front.headers["location"]) == (303, "/login")
    wrong = ask(guarded, "/login", b"token=guess")
    assert (wrong.status, wrong.headers["location"]) == (303, "/login?wrong")
    assert b'class="login wrong"' in ask(guarded, "/login?wrong").body
    given = b"token=correct+horse+battery"
    for answer in (ask(guarded, "/login", given), ask(guarded, "/?token=correct%20horse%20battery")):
        assert _let_in(guarded, answer) == 200
        assert answer.headers["refresh"] == "0; url=/"
    assert ask(guarded, "/live", Cookie="edgezoo=guess").status == 401
    assert ask(guarded, "/live", Cookie="=;=; edgezoo").status == 401
    foreign = ask(guarded, "/login", given, Origin="http://evil.example")
    assert foreign.status == 403


def _let_in(port: int, answer: Answer) -> int:
    cookie, *rest = answer.headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(rest)
    assert TOKEN not in cookie
    assert "correct" not in cookie
    return ask(port, "/", Cookie=f"other=1; {cookie}").status
