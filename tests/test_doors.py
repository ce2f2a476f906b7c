"""Who may come in to a server: a form that never ends, two servers on one host, a proxy in between."""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from served import ask, raw, serving, wait_for

from edgezoo.bundle import Bundle
from edgezoo.engine import Engine
from edgezoo.preprocess import Preprocess
from edgezoo.serve import Service
from edgezoo.web import doors
from edgezoo.web.patience import Patience

pytest.importorskip("cv2")

TOKEN = "correct horse battery"
FORM = b"POST /login HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4000\r\n\r\n"
THRESHOLD = b'{"threshold": 0.5}'


@pytest.fixture(scope="module")
def engine(bundle_of: Callable[..., Bundle]) -> Iterator[Engine]:
    with Engine(bundle_of("squares", Preprocess(size_wh=(64, 48), fit="letterbox")), threads=1) as engine:
        yield engine


@pytest.fixture(scope="module")
def service(engine: Engine) -> Iterator[Service]:
    with serving({"squares": engine}, token=TOKEN, patience=Patience(connections=4)) as service:
        yield service


def test_a_login_that_does_not_come_is_not_waited_for(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(doors, "_LOGIN_S", 0.3)
    with caplog.at_level(logging.WARNING, "edgezoo"):
        answer = raw(service.server.port, FORM)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"expected the token within 0.3 s, it did not come" in answer
    assert not caplog.records, "strangers write no log"


def test_a_login_has_no_more_time_than_the_head_of_a_request(engine: Engine) -> None:
    with serving({"squares": engine}, token=TOKEN, patience=Patience(request_s=0.3)) as service:
        began_s = time.monotonic()
        assert raw(service.server.port, FORM) == b""
        assert 0.25 < time.monotonic() - began_s < 3


def test_slow_logins_shut_nobody_out(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """One letter now and then does not make it longer."""
    monkeypatch.setattr(doors, "_LOGIN_S", 0.5)
    port = service.server.port
    wait_for(lambda: ask(port, "/healthz").status == 200)  # those of the test before are gone
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(4)]
    began_s = time.monotonic()
    for connection in slow:
        connection.sendall(FORM)
    assert ask(port, "/healthz").status == 503, "as many as it takes"
    while ask(port, "/healthz").status != 200:
        assert time.monotonic() - began_s < 5
        for connection in slow:
            with contextlib.suppress(OSError):  # it was ended
                connection.sendall(b"a")
        time.sleep(0.05)
    for connection in slow:
        connection.close()


def test_two_servers_on_one_host_do_not_log_each_other_out(engine: Engine, service: Service) -> None:
    form = b"token=correct+horse+battery"
    with serving({"squares": engine}, token=TOKEN[::-1]) as other:
        cookies = [
            ask(each.server.port, "/login", given).headers["set-cookie"].partition(";")[0]
            for each, given in ((service, form), (other, b"token=" + TOKEN[::-1].replace(" ", "+").encode()))
        ]
        assert len({cookie.partition("=")[0] for cookie in cookies}) == 2
        for each in (service, other):
            assert ask(each.server.port, "/live", Cookie="; ".join(cookies)).status == 200


@pytest.mark.parametrize(
    ("site", "origin", "status"),
    [
        ("same-origin", "https://camera.example", 200),  # a proxy called this host otherwise
        ("same-origin", "null", 200),
        ("none", None, 200),
        ("cross-site", None, 403),
        ("cross-site", "http://127.0.0.1:{port}", 403),
        ("same-site", "https://camera.example", 403),
        (None, "https://camera.example", 403),
        (None, "http://127.0.0.1:{port}", 200),
        (None, None, 200),
    ],
)
def test_the_browser_s_own_word_says_where_an_order_comes_from(
    service: Service, site: str | None, origin: str | None, status: int
) -> None:
    port = service.server.port
    told = {"Sec_Fetch_Site": site, "Origin": origin and origin.format(port=port)}
    headers = {name: value for name, value in told.items() if value is not None}
    answer = ask(port, "/live/threshold", THRESHOLD, Authorization=f"Bearer {TOKEN}", **headers)
    assert answer.status == status
