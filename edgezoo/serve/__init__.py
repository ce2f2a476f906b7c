"""`edgezoo serve`: models over HTTP, and a page with what they see. The only other place with threads.

predict ──▶ batcher ──▶ engine        images of many requests, answered together
live ─────▶ pipeline ──▶ web.hub      sources, watched on the page
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from queue import SimpleQueue
from types import TracebackType
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgezoo.capture import Capture
from edgezoo.engine import Engine
from edgezoo.serve.batcher import Batcher
from edgezoo.serve.counting import Counted, Counting, Queues
from edgezoo.serve.live import Live
from edgezoo.serve.openapi import document
from edgezoo.serve.predict import Limits, Predict
from edgezoo.tracking import Follower
from edgezoo.web.answers import Json, Refusal
from edgezoo.web.app import FILES, page_app
from edgezoo.web.doors import Doors
from edgezoo.web.hub import Controls, Hub
from edgezoo.web.metrics import registry_of
from edgezoo.web.patience import Patience
from edgezoo.web.server import LOCAL, WebServer, check_token, open_port

CURE = "--token $(openssl rand -hex 16)"
JOIN_S = 10.0
GRACE_S = 5.0  # over the time that a request may take
API = ("/v1/models", "/v1/predict", "/healthz", "/readyz", "/openapi.json")


class Service:
    """Engines behind a port: `run` it until somebody calls `stop`, then `close` it."""

    def __init__(
        self,
        engines: Mapping[str, Engine],
        listening: socket.socket | None = None,
        *,
        token: str | None = None,
        sources: Sequence[str] = (),
        follower: Callable[[], Follower] | None = None,
        capture: Capture | None = None,
        limits: Limits | None = None,
        batch: int = 4,
        wait_ms: float = 0.0,
        queue: int = 64,
        retries: float | None = None,
        patience: Patience | None = None,
    ) -> None:
        """`engines` by name, the first is asked where a request names none; they stay their owner's. `listening`: what
        `open_port` gave, closed with this once it is made; None: port 8080 of this machine alone. Raises RequestError.
        """
        listening = listening or open_port(LOCAL, 8080)
        host = str(listening.getsockname()[0])
        check_token(host, token, cure=CURE)
        self._engines, self._token = engines, token
        self.hub = Hub()
        live = Live(
            engines, sources, self.hub, batch=batch, wait_ms=wait_ms or None, retries=retries, follower=follower
        )
        self.hub.controls = _controls(engines, live, capture)
        registry = registry_of(self.hub)
        self._counting = Counting(registry)
        self._batchers = {
            name: Batcher(engine, batch=batch, wait_ms=wait_ms, queue=queue, told=self._told(name))
            for name, engine in engines.items()
        }
        registry.register(Queues(self._batchers))
        limits = limits or Limits()
        self._limits = replace(limits, images=min(limits.images, queue))
        self._live, self._ready = live, False
        self._watching = threading.Thread(target=self._watch, name="edgezoo live", daemon=True)
        self._over: SimpleQueue[BaseException | None] = SimpleQueue()
        app = page_app(self.hub, registry, routes=self._routes())
        doors = Doors(app, token=token, names=(host,))
        counted = Counted(doors, self._counting, paths={*FILES, *API, "/live", "/metrics"})
        self.server = WebServer(
            counted,
            listening,
            grace_s=self._limits.seconds + GRACE_S,
            patience=patience,
            closing=self.hub.close,
        )
        self.url = self.server.url

    def start(self) -> None:
        """Answer from now on."""
        for batcher in self._batchers.values():
            batcher.start()
        self._ready = True
        self._watching.start()
        self.server.start()

    def run(self) -> None:
        """`start`, and wait for `stop`. Raises RequestError for lines and zones that are in no picture."""
        self.start()
        error = self._over.get()
        if error is not None:
            raise error

    def stop(self) -> None:
        """From any thread, and from a signal handler."""
        self._over.put(None)

    def close(self) -> None:
        """Take nothing new, answer what is under way, end all threads. Safe to call again."""
        self._ready = False
        self.stop()
        self._live.close()
        self.server.close()
        if self._watching.ident is not None:
            self._watching.join(JOIN_S)
        for batcher in self._batchers.values():
            batcher.close()

    def _watch(self) -> None:
        try:
            self._live.run()
        except BaseException as error:
            self._over.put(error)

    def _told(self, model: str) -> Callable[[int, float], None]:
        return lambda images, seconds: self._counting.batched(model, images, seconds)

    def _routes(self) -> list[Route]:
        return [
            Route("/v1/models", self._models, methods=["GET"]),
            Route("/v1/predict", Predict(self._batchers, self._limits).__call__, methods=["POST"]),
            Route("/healthz", self._health, methods=["GET"]),
            Route("/readyz", self._readiness, methods=["GET"]),
            Route("/openapi.json", self._document, methods=["GET"]),
        ]

    async def _models(self, request: Request) -> Response:
        default = next(iter(self._engines))
        return Json({"models": [_model(name, each, name == default) for name, each in self._engines.items()]})

    async def _health(self, request: Request) -> Response:
        if not self._watching.is_alive() or not all(batcher.alive for batcher in self._batchers.values()):
            raise Refusal(503, "expected all threads to live, one has ended; start the server again")
        return Json({"status": "ok"})

    async def _readiness(self, request: Request) -> Response:
        if not self._ready:
            raise Refusal(503, "expected a server that takes requests, this one is about to end")
        trouble = self._live.trouble  # of the pictures; requests have engines of their own
        return Json({"status": "ready"} | ({"live": trouble} if trouble else {}))

    async def _document(self, request: Request) -> Response:
        first = next(iter(self._engines.values()))
        told = document([*self._engines], first.names, self._limits, token=self._token is not None)
        return Json(told)

    def __enter__(self) -> Service:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _controls(engines: Mapping[str, Engine], live: Live, capture: Capture | None) -> Controls:
    """What the page may change."""
    first = next(iter(engines))
    threshold, least = live.scores(first)
    return Controls(
        models=tuple(engines),
        model=first,
        choose=live.choose,
        described={name: engine.describe() for name, engine in engines.items()},
        threshold=threshold,
        least=least,
        ask=live.ask,
        capture=capture,
        photos=True,
    )


def _model(name: str, engine: Engine, is_default: bool) -> dict[str, Any]:
    manifest, runs = engine.bundle.manifest, engine.describe()
    return {
        "name": name,
        "title": manifest.title or manifest.name,
        "task": manifest.task,
        **{key: runs[key] for key in ("precision", "backend", "version", "device")},
        "size_wh": manifest.input.size_wh,
        "labels": engine.names,
        "default": is_default,
    }
