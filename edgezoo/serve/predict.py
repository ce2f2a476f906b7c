"""POST /v1/predict: images in, what a model finds in them out. Nothing of it touches the disk."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from edgezoo.errors import BackendError, RequestError, SourceError, UnknownName, nearest
from edgezoo.optional import require
from edgezoo.serve.batcher import Answer, Batcher, Full
from edgezoo.serve.headers import pixels_of
from edgezoo.serve.multipart import Part, is_multipart, parts
from edgezoo.sources.images import decode_image
from edgezoo.tasks import Ask, class_ids
from edgezoo.web.answers import Json, Refusal

PARAMETERS = ("model", "score", "iou", "classes")
_BODIES = 8  # so many of the largest may be in memory at a time
_LONGEST = 200  # letters of a class: Python makes no number of more than 4300 digits
_PICTURES = 4  # so many of the largest may be in a body


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Of a request; what is over them is refused, and as early as it can be told."""

    bytes: int = 16_000_000
    """Of a body."""
    pixels: int = 40_000_000
    """Of an image; all of a body may have four times as many. Decoding takes 3 to 15 bytes for each."""
    images: int = 64
    """In a body; no more than the queue takes."""
    seconds: float = 10.0
    """From its head to its answer."""

    def __post_init__(self) -> None:
        for name in ("bytes", "pixels", "images", "seconds"):
            if not getattr(self, name) > 0:
                raise RequestError(f"expected a limit of {name} above 0, got {getattr(self, name)}")


def quiet_decoders() -> None:
    """OpenCV's own log has a line for every image that it cannot read; here who sent it is told, and nobody else.

    Its libjpeg and libpng still write a line of theirs to stderr for a damaged image ("Corrupt JPEG data: …", "libpng
    error: …"): what strangers send can make a terminal long, though not say what they like. To silence them, all that
    the process writes there would have to go, and with it what a crash has to say.
    """
    if "OPENCV_LOG_LEVEL" not in os.environ:
        require("cv2").utils.logging.setLogLevel(0)


class Predict:
    """The endpoint over one batcher a model; the first is asked where a request names none."""

    def __init__(self, batchers: Mapping[str, Batcher], limits: Limits) -> None:
        self._batchers, self._limits = batchers, limits
        self._bytes_held = 0

    async def __call__(self, request: Request) -> Response:
        began_s = time.monotonic()
        batcher, ask = self._asked(request)
        if (full := batcher.full(1)) is not None:  # before its body costs anything
            raise _no_room(batcher, 1, full)
        content_type = request.headers.get("content-type", "")
        async with self._body(request, began_s) as body:
            if is_multipart(content_type):
                files = parts(content_type, body, most=self._limits.images)
            else:
                files = [Part("", True, memoryview(body))]
            self._check(files)
            await asyncio.get_running_loop().run_in_executor(None, self._weigh, files)
            answers = await self._answers(request, batcher, files, ask, began_s)
        return Json(_told(batcher, files, answers, began_s))

    def _asked(self, request: Request) -> tuple[Batcher, Ask]:
        """The model and what of its answer is wanted. Raises Refusal, RequestError."""
        query = request.query_params
        for name in query:
            if name not in PARAMETERS:
                near = nearest(name, PARAMETERS)
                tip = f"did you mean {near!r}?" if near else f"known: {', '.join(PARAMETERS)}"
                raise RequestError(f"no parameter is called {name[:40]!r}; {tip}")
            if len(query.getlist(name)) > 1:
                raise RequestError(f"expected {name} once, got it {len(query.getlist(name))} times")
        model = query.get("model", next(iter(self._batchers)))
        if model not in self._batchers:
            raise Refusal(404, str(UnknownName("model", model[:80], self._batchers)))
        batcher = self._batchers[model]
        classes = query.get("classes")
        ids = None
        if classes is not None:
            words = [word.strip()[:_LONGEST] for word in classes.split(",") if word.strip()]
            if not words:
                raise RequestError("expected classes as names or numbers with commas between them, got none")
            ids = class_ids(batcher.engine.names, words)
        default = batcher.engine.ask
        score, iou = (_number(query.get(name), name, getattr(default, name)) for name in ("score", "iou"))
        return batcher, Ask(score=score, iou=iou, classes=ids if ids is not None else default.classes)

    @asynccontextmanager
    async def _body(self, request: Request, began_s: float) -> AsyncIterator[bytearray]:
        """All of it, and room for it as long as it is needed. Raises Refusal: too large, too slow, too many at once."""
        limit, stated = self._limits.bytes, request.headers.get("content-length", "")
        if stated.isdecimal() and int(stated[:18]) > limit:
            raise Refusal(413, f"expected a body of at most {limit} bytes, this one states {stated[:18]}")
        body = bytearray()
        try:
            try:
                await asyncio.wait_for(self._read(request, body), self._left_s(began_s))
            except asyncio.TimeoutError:
                raise Refusal(408, f"expected the body within {self._limits.seconds:g} s, it did not come") from None
            yield body
        finally:
            self._bytes_held -= len(body)

    async def _read(self, request: Request, body: bytearray) -> None:
        """What has come counts, not what is stated: that costs its sender nothing."""
        limit = self._limits.bytes
        async for part in request.stream():
            if len(body) + len(part) > limit:
                raise Refusal(413, f"expected a body of at most {limit} bytes, more came")
            if self._bytes_held + len(part) > _BODIES * limit:
                line = "expected fewer large bodies at once, there is no room; try again"
                raise Refusal(429, line, headers={"retry-after": "1"})
            self._bytes_held += len(part)
            body += part

    def _check(self, files: list[Part]) -> None:
        if not files or not files[0].data:
            raise RequestError("expected an image as the body, got nothing; try: curl --data-binary @photo.jpg URL")
        for part in files:
            if not part.is_file:
                raise RequestError(f"expected files alone, got the field {part.name[:40]!r}; try it as ?score=0.4")

    def _weigh(self, files: list[Part]) -> None:
        """Before any is decoded; in another thread, since there may be much to look through. Raises Refusal."""
        limit, total = self._limits.pixels, 0
        for part in files:
            called = _called(part)
            try:
                pixels = pixels_of(part.data)
            except SourceError as error:
                raise Refusal(400, f"{called}: {error}") from None
            if pixels > limit:
                raise Refusal(413, f"{called}: expected at most {limit} pixels, got {pixels}; try a smaller picture")
            total += pixels
        if total > _PICTURES * limit:
            line = f"expected at most {_PICTURES * limit} pixels in a body, got {total}; try fewer pictures at once"
            raise Refusal(413, line)

    async def _answers(
        self, request: Request, batcher: Batcher, files: list[Part], ask: Ask, began_s: float
    ) -> list[Answer]:
        images = [partial(decode_image, np.frombuffer(part.data, np.uint8), _called(part)) for part in files]
        work = asyncio.ensure_future(batcher.answer(images, ask))
        gone = asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait([work, gone], timeout=self._left_s(began_s), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            if gone.done():
                raise ClientDisconnect
            raise Refusal(
                503,
                f"expected an answer within {self._limits.seconds:g} s, there is too much to do; try again",
                headers={"retry-after": "2"},
            )
        except Full as full:
            raise _no_room(batcher, len(files), full) from None
        except SourceError as error:
            raise Refusal(400, str(error)) from None
        except BackendError as error:
            raise Refusal(500, str(error)) from None
        finally:
            work.cancel()
            gone.cancel()

    def _left_s(self, began_s: float) -> float:
        return max(0.0, began_s + self._limits.seconds - time.monotonic())


def _called(part: Part) -> str:
    return part.name or "the body"


def _no_room(batcher: Batcher, images: int, full: Full) -> Refusal:
    line = f"expected at most {batcher.queue} images at a time, there is no room for {images} more"
    return Refusal(429, f"{line}; try again in {full.retry_s} s", headers={"retry-after": str(full.retry_s)})


async def _gone(request: Request) -> None:
    """Returns when the client is gone; all of its body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _number(text: str | None, name: str, default: float | None) -> float | None:
    if text is None:
        return default
    try:
        return float(text)
    except ValueError:
        raise RequestError(f"expected {name} as a number within 0..1, got {text[:40]!r}") from None


def _told(batcher: Batcher, files: list[Part], answers: list[Answer], began_s: float) -> dict[str, Any]:
    runs = batcher.engine.describe()
    return {
        **{name: runs[name] for name in ("model", "precision", "backend", "version", "device")},
        "ms": round((time.monotonic() - began_s) * 1e3, 2),
        "results": [_result(part, answer) for part, answer in zip(files, answers, strict=True)],
    }


def _result(part: Part, answer: Answer) -> dict[str, Any]:
    assert answer.result is not None
    told: dict[str, Any] = {"name": part.name} if part.name else {}
    told |= {"width": answer.size_wh[0], "height": answer.size_wh[1], **answer.result.to_dict()}
    told["classes"] = answer.result.class_ids.tolist()
    times = {name: round(value, 3) for name, value in answer.ms.items()}
    return told | {"ms": times, "batch": answer.batch}
