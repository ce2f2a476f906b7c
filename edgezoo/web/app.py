"""The routes of the page: itself, what it asks for, what it may ask to be changed; and figures for Prometheus."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from edgezoo.errors import RequestError, SinkError
from edgezoo.results import Detections, LineCount
from edgezoo.web.answers import Json, Refusal, dump, failure, refused
from edgezoo.web.hub import Hub, Shot
from edgezoo.web.pictures import Pictures

PATIENCE_S = 5.0  # of a page that waits for a frame
MOST_ORDER = 4096  # bytes
ORDER_S = 10.0
FILES = {"/": "index.html", "/login": "login.html", "/page.js": "page.js", "/style.css": "style.css"}
_KINDS = {"html": "text/html", "js": "text/javascript", "css": "text/css"}


def page_app(
    hub: Hub,
    registry: CollectorRegistry,
    *,
    routes: Sequence[Route] = (),
) -> Starlette:
    """The page's application, with `routes` of others beside its own."""
    executor = ThreadPoolExecutor(2, thread_name_prefix="edgezoo pictures")
    live = Endpoints(hub, Pictures(executor), executor)

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        hub.attach(asyncio.get_running_loop())
        ticking = asyncio.create_task(hub.tick())
        yield
        ticking.cancel()
        executor.shutdown(wait=True)

    own = [Route(path, partial(_file, name), methods=["GET"]) for path, name in FILES.items()]
    own += [
        Route("/live", live.newest, methods=["GET"]),
        Route("/live/threshold", live.threshold, methods=["POST"]),
        Route("/live/model", live.model, methods=["POST"]),
        Route("/live/capture", live.capture, methods=["POST"]),
        Route("/metrics", partial(_metrics, registry), methods=["GET"]),
    ]
    handlers: Mapping[Any, Any] = {
        HTTPException: _no_route,
        Refusal: _refused,
        RequestError: _wrong,
        SinkError: _wrong,
        ClientDisconnect: _gone,
        Exception: _failed,  # raised again when it is answered, for the log
    }
    return Starlette(routes=[*own, *routes], lifespan=life, exception_handlers=handlers)


class Endpoints:
    """What the page asks for again and again, and what it orders."""

    def __init__(self, hub: Hub, pictures: Pictures, executor: ThreadPoolExecutor) -> None:
        self._hub, self._pictures, self._executor = hub, pictures, executor

    async def newest(self, request: Request) -> Response:
        """What is newer than the page has: four bytes for the length of the JSON, the JSON, and the JPEGs in its order.

        `after`: the number of its newest frame. `tick`: of its newest figures. `show`: the numbers of the sources whose
        pictures it wants (all without it), each `width` pixels wide. It waits until there is something.
        """
        asked = request.query_params
        after, tick, width = (_whole(asked.get(name, "0"), name) for name in ("after", "tick", "width"))
        shown = None if "show" not in asked else {_whole(each, "show") for each in asked["show"].split(",") if each}

        def newer() -> dict[int, Shot]:
            found = {self._hub.figures.number_of(name): shot for name, shot in self._hub.newer(after).items()}
            return {key: shot for key, shot in found.items() if key is not None and (shown is None or key in shown)}

        await self._hub.wait(lambda: self._hub.figures.ticks != tick or bool(newer()), PATIENCE_S)
        shots = newer()
        jpegs = await asyncio.gather(*(self._pictures.of(key, shot, width or 960) for key, shot in shots.items()))
        told: dict[str, Any] = {"frames": [_told(self._hub, key, shot) for key, shot in shots.items()]}
        for row, jpeg in zip(told["frames"], jpegs, strict=True):
            row["bytes"] = len(jpeg)
        if self._hub.figures.ticks != tick:
            told["figures"] = self._hub.figures.to_dict(since=tick) | {"controls": self._controls()}
            told["figures"]["runs"] = told["figures"]["runs"] or self._described()
        head = dump(told)
        return Response(b"".join([struct.pack(">I", len(head)), head, *jpegs]), media_type="application/octet-stream")

    async def threshold(self, request: Request) -> Response:
        value = (await _order(request)).get("threshold")
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise RequestError(f"expected a threshold as a number, got {value!r:.40}")
        self._hub.set_threshold(float(value))
        return Json(self._controls())

    async def model(self, request: Request) -> Response:
        controls, name = self._hub.controls, (await _order(request)).get("model")
        if name not in controls.models or controls.choose is None:
            raise RequestError(f"expected one of {', '.join(controls.models) or 'no models'}, got {name!r:.80}")
        controls.choose(name)
        return Json(self._controls())

    async def capture(self, request: Request) -> Response:
        number = (await _order(request)).get("source")
        name = self._hub.figures.named(number) if isinstance(number, int) else None
        if name is None:
            raise RequestError(f"expected the number of a source, got {number!r:.40}")
        path = await asyncio.get_running_loop().run_in_executor(self._executor, self._hub.keep, name)
        return Json({"saved": path.name})

    def _described(self) -> Mapping[str, Any]:
        """What would run, where nothing is watched."""
        controls = self._hub.controls
        return controls.described.get(controls.model or "", {})

    def _controls(self) -> dict[str, Any]:
        controls = self._hub.controls
        return {
            "models": controls.models if controls.choose is not None else (),
            "model": controls.model,
            "threshold": controls.threshold,
            "least": controls.least,
            "capture": controls.capture is not None,
            "photos": controls.photos,
        }


def _told(hub: Hub, source: int, shot: Shot) -> dict[str, Any]:
    frame, result = shot.frame, hub.shown(shot.result)
    told = {
        "source": source,
        "number": shot.number,
        "size_wh": [frame.image.shape[1], frame.image.shape[0]],
        "classes": result.class_ids.tolist(),
        "result": result.to_dict(),
    }
    if isinstance(result, Detections) and result.counts:
        told["places"] = [
            {
                "name": count.name,
                "points": [count.a_xy, count.b_xy] if isinstance(count, LineCount) else count.corners_xy,
                "line": isinstance(count, LineCount),
                "told": count.to_dict(),
            }
            for count in result.counts
        ]
    return told


async def _order(request: Request) -> dict[str, Any]:
    """A small JSON object. Raises Refusal."""
    try:
        body = await asyncio.wait_for(_read(request), ORDER_S)
        order = json.loads(body)
    except asyncio.TimeoutError:
        raise Refusal(408, f"expected an order within {ORDER_S:g} s") from None
    except (ValueError, RecursionError):
        order = None
    if not isinstance(order, dict):
        raise Refusal(400, "expected a JSON object, got something else")
    return order


async def _read(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_ORDER:
            raise Refusal(413, f"expected an order of at most {MOST_ORDER} bytes, got more")
    return body


def _whole(text: str, name: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise RequestError(f"expected {name} as a whole number, got {text!r:.40}")
    return int(text)


async def _file(name: str, request: Request) -> Response:
    """A file of the package, by a name that is written here and not asked for."""
    data = (files("edgezoo.web") / "page" / name).read_bytes()
    if name == "login.html" and "wrong" in request.query_params:
        data = data.replace(b'class="login"', b'class="login wrong"')
    return Response(data, media_type=_KINDS[name.rpartition(".")[2]])


async def _metrics(registry: CollectorRegistry, request: Request) -> Response:
    return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path[:80]
    line = f"expected a path of this server, got {path!r}; try /"
    if error.status_code == 405:
        line = f"expected another method for {path!r}, got {request.method[:20]}"
    return refused(Refusal(error.status_code, line, headers=error.headers))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return refused(error)


async def _gone(request: Request, error: Exception) -> Response:
    """To be counted; nobody is there to get it."""
    return Response(status_code=499)


async def _failed(request: Request, error: Exception) -> Response:
    return refused(failure(error))


async def _wrong(request: Request, error: Exception) -> Response:
    return refused(Refusal(400 if isinstance(error, RequestError) else 500, str(error)))
