"""The live view of a server: models that fail, models that are chosen, photos that are watched."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import graphs
import pytest
from served import ask, serving, wait_for
from test_web import RECIPE, live, order

from edgezoo.bundle import Bundle
from edgezoo.cli import main
from edgezoo.engine import Engine
from edgezoo.errors import BackendError, RequestError
from edgezoo.serve import Service
from edgezoo.serve import live as module
from edgezoo.tracking import Follower, Line
from edgezoo.web.figures import SOURCES

cv2 = pytest.importorskip("cv2")

SOURCE = "synthetic:#size=64x48&fps=40"
PNG = bytes(cv2.imencode(".png", graphs.scene((64, 48), (8, 8, 24, 32)))[1])


class Fragile:
    """A backend that fails where it is told to."""

    def __init__(self, backend: Any, breaks: threading.Event) -> None:
        self._backend, self._breaks = backend, breaks

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def run(self, feeds: Any) -> Any:
        if self._breaks.is_set():
            raise BackendError("expected an answer, the device is gone")
        return self._backend.run(feeds)


@pytest.fixture
def breaks(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """While it is set, every engine that a pipeline has fails; those that answer requests do not."""
    told, fork = threading.Event(), Engine.fork

    def fragile(engine: Engine, **options: Any) -> Engine:
        twin = fork(engine, **options)
        twin.backend = Fragile(twin.backend, told)
        return twin

    monkeypatch.setattr(Engine, "fork", fragile)
    return told


@contextmanager
def watching(bundle_of: Callable[..., Bundle], *kinds: str, **options: Any) -> Iterator[Service]:
    engines = {kind: Engine(bundle_of(kind, RECIPE), threads=1) for kind in kinds}
    try:
        with serving(engines, **{"sources": [SOURCE], **options}) as service:
            yield service
    finally:
        for engine in engines.values():
            engine.close()


def figures(service: Service) -> dict[str, Any]:
    told = live(service.server.port, "show=").figures
    assert told is not None
    return told


def is_live(service: Service) -> bool:
    return [source["state"] for source in figures(service)["sources"]] == ["live"]


# -- a model that fails


def test_a_model_that_fails_is_begun_again(
    bundle_of: Callable[..., Bundle],
    breaks: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.05)
    with watching(bundle_of, "squares") as service, caplog.at_level(logging.ERROR, "edgezoo"):
        port = service.server.port
        wait_for(lambda: is_live(service))
        breaks.set()
        (source,) = wait_for(lambda: [each for each in figures(service)["sources"] if each["state"] == "lost"])
        assert source["reason"].startswith("squares failed: expected an answer, the device is gone; begins again in ")
        assert ask(port, "/v1/predict", PNG).status == 200, "requests go on"
        assert ask(port, "/healthz").status == 200
        assert "squares failed" in ask(port, "/readyz").json["live"]
        breaks.clear()
        wait_for(lambda: is_live(service))
        wait_for(lambda: ask(port, "/readyz").json == {"status": "ready"})
        events = [event["event"] for event in figures(service)["events"]]
        assert events[:3] == ["connecting", "live", "lost"]
        assert events[-1] == "live"
    assert any("squares failed" in record.message for record in caplog.records)


def test_a_model_that_always_fails_is_asked_ever_less(
    bundle_of: Callable[..., Bundle], breaks: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks.set()
    monkeypatch.setattr(module, "AGAIN_S", 0.01)
    monkeypatch.setattr(module, "LONGEST_S", 0.08)
    with watching(bundle_of, "squares", "colors") as service:
        told = wait_for(lambda: len(heard := _waits(service)) >= 6 and heard)
        assert told[:4] == ["0.01 s", "0.02 s", "0.04 s", "0.08 s"]
        assert set(told[4:]) == {"0.08 s"}, "and no longer"
        monkeypatch.setattr(module, "LONGEST_S", 60.0)
        wait_for(lambda: _waits(service)[-1] == "0.64 s")
        breaks.clear()
        began_s = time.monotonic()
        assert order(service.server.port, "/live/model", {"model": "colors"})[0] == 200
        wait_for(lambda: live(service.server.port).frames)
        assert time.monotonic() - began_s < 0.5, "who is chosen does not wait for it"


def _waits(service: Service) -> list[str]:
    lost = [event["message"] for event in figures(service)["events"] if event["event"] == "lost"]
    return [message.rpartition("begins again in ")[2] for message in lost]


def test_who_ran_for_long_begins_soon_again(
    bundle_of: Callable[..., Bundle], breaks: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.01)
    monkeypatch.setattr(module, "LONGEST_S", 0.02)
    with watching(bundle_of, "squares") as service:
        for _ in range(2):
            wait_for(lambda: is_live(service))
            time.sleep(0.05)
            breaks.set()
            wait_for(lambda: not is_live(service))
            breaks.clear()
        assert _waits(service)[0] == "0.01 s"
        wait_for(lambda: _waits(service).count("0.01 s") == 2)


def test_a_line_that_is_in_no_picture_ends_it(bundle_of: Callable[..., Bundle]) -> None:
    """It will never be in one: who has just started the server is told at once."""
    follower = lambda: Follower([Line.parse("900,0,900,50,door")])  # noqa: E731
    engine = Engine(bundle_of("squares", RECIPE), threads=1)
    service = Service({"squares": engine}, _port(), sources=[SOURCE], follower=follower)
    try:
        with pytest.raises(RequestError, match="expected 'door' within the picture of 64x48"):
            service.run()
        assert ask(service.server.port, "/healthz").status == 503
    finally:
        service.close()
        engine.close()


def _port() -> Any:
    from edgezoo.web.server import open_port

    return open_port("127.0.0.1", 0)


def test_counts_outlive_a_failure(
    bundle_of: Callable[..., Bundle], breaks: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.05)
    made: list[Follower] = []

    def follower() -> Follower:
        made.append(Follower([Line.parse("0.5,0,0.5,1,door")]))
        return made[-1]

    with watching(bundle_of, "squares", "colors", follower=follower) as service:
        wait_for(lambda: is_live(service))
        breaks.set()
        wait_for(lambda: not is_live(service))
        breaks.clear()
        wait_for(lambda: is_live(service))
        assert len(made) == 1
        for model in ("colors", "squares"):
            assert order(service.server.port, "/live/model", {"model": model})[0] == 200
            wait_for(lambda model=model: service._live._begun == model)
        wait_for(lambda: len(made) == 2)  # another model counts anew


# -- a model that is chosen


def test_a_chosen_model_brings_its_own_threshold(bundle_of: Callable[..., Bundle]) -> None:
    """A classifier's 0 would draw every box that a detector can think of; a detector's 0.25 would hide labels."""
    with watching(bundle_of, "colors", "squares") as service:
        port = service.server.port
        assert (service.hub.controls.threshold, service.hub.controls.least) == (0, 0)
        told = order(port, "/live/model", {"model": "squares"})[1]
        assert (told["model"], told["threshold"], told["least"]) == ("squares", 0.25, 0.05)
        wait_for(lambda: _asked(service) == 0.25)
        assert order(port, "/live/threshold", {"threshold": 0.5})[0] == 200
        assert order(port, "/live/model", {"model": "squares"})[1]["threshold"] == 0.5, "it is the same one"
        told = order(port, "/live/model", {"model": "colors"})[1]
        assert (told["threshold"], told["least"]) == (0, 0)
        wait_for(lambda: _asked(service) == 0)


def _asked(service: Service) -> float | None:
    engine = service._live._engine
    return None if engine is None else engine.ask.score


def test_what_is_followed_is_shown_as_it_is_given(bundle_of: Callable[..., Bundle]) -> None:
    with watching(bundle_of, "squares", "colors", follower=Follower) as service:
        assert (service.hub.controls.threshold, service.hub.controls.least) == (0.25, 0.25)
        wait_for(lambda: _asked(service) == 0.1)
        told = order(service.server.port, "/live/model", {"model": "colors"})[1]
        assert (told["threshold"], told["least"]) == (0, 0)
        wait_for(lambda: _asked(service) == 0)


# -- photos


def test_a_folder_of_photos_is_one_source(bundle_of: Callable[..., Bundle], tmp_path: Path) -> None:
    for number in range(SOURCES + 20):
        (tmp_path / f"{number}.png").write_bytes(PNG)
    with watching(bundle_of, "squares", sources=[str(tmp_path)]) as service:
        told = wait_for(lambda: (now := figures(service))["counts"].get("delivered") == SOURCES + 20 and now)
        assert [source["name"] for source in told["sources"]] == [str(tmp_path)]
        assert [*service.hub._shots] == [str(tmp_path)]
        assert len(live(service.server.port).frames) == 1


def test_photos_are_not_followed(
    bundle_of: Callable[..., Bundle], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    folder = str(bundle_of("squares", RECIPE).folder)
    assert main(["serve", folder, "--source", str(tmp_path), "--track", "--port", "0"]) == 2
    assert "to track and count in, got photos" in capsys.readouterr().err
