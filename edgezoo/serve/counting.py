"""Requests and batches, counted for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric

from edgezoo.serve.batcher import Batcher
from edgezoo.web.doors import App, Message, Receive, Scope, Send

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Counting:
    """Counters of one server."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter("edgezoo_requests", "Requests by path and status", ["path", "code"], registry=registry)
        self.seconds = Histogram(
            "edgezoo_request_seconds",
            "From a request's head to the end of its answer",
            ["path"],
            registry=registry,
            buckets=_SECONDS,
        )
        self.batch = Histogram(
            "edgezoo_batch_images", "Images inferred together", ["model"], registry=registry, buckets=_SIZES
        )
        self.infer = Histogram(
            "edgezoo_infer_seconds", "Inference of a batch", ["model"], registry=registry, buckets=_SECONDS
        )

    def batched(self, model: str, images: int, seconds: float) -> None:
        self.batch.labels(model).observe(images)
        self.infer.labels(model).observe(seconds)


class Counted:
    """In front of an ASGI application; `paths` are told apart, all others together."""

    def __init__(self, app: App, counting: Counting, *, paths: Collection[str]) -> None:
        self._app, self._counting, self._paths = app, counting, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began_s, code = time.monotonic(), 499  # gone before an answer

        async def answer(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        path = scope["path"] if scope["path"] in self._paths else "other"
        try:
            await self._app(scope, receive, answer)
        finally:
            self._counting.requests.labels(path, code).inc()
            self._counting.seconds.labels(path).observe(time.monotonic() - began_s)


class Queues:
    """How much is under way, when somebody asks."""

    def __init__(self, batchers: Mapping[str, Batcher]) -> None:
        self._batchers = batchers

    def collect(self) -> list[Metric]:
        under_way = GaugeMetricFamily("edgezoo_queue_images", "Images under way", labels=["model"])
        room = GaugeMetricFamily("edgezoo_queue_limit_images", "So many may be", labels=["model"])
        for name, batcher in self._batchers.items():
            under_way.add_metric([name], batcher.under_way)
            room.add_metric([name], batcher.queue)
        return [under_way, room]
