"""JPEGs out of a connection: whole, however they are cut on the way and whatever stands between them."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from edgezoo.sources.mjpeg import Parts

cv2: Any = pytest.importorskip("cv2")


def jpeg(level: int, *, thumbnail: bytes = b"") -> bytes:
    data: bytes = cv2.imencode(".jpg", np.full((32, 32, 3), level, np.uint8))[1].tobytes()
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    return data[:2] + (segment if thumbnail else b"") + data[2:]


PICTURES = [jpeg(10), jpeg(80, thumbnail=jpeg(200)), jpeg(250)]


def stream(pictures: list[bytes], *, lengths: bool = True, boundary: str = "--frame") -> bytes:
    out = b""
    for picture in pictures:
        length = f"Content-Length: {len(picture)}\r\n" if lengths else ""
        out += f"{boundary}\r\nContent-Type: image/jpeg\r\n{length}\r\n".encode() + picture + b"\r\n"
    return out


class Line:
    """A connection that brings `data` in pieces of `size`, and then breaks off; `at_once`: all are there already."""

    def __init__(self, data: bytes, size: int, *, at_once: bool = False) -> None:
        self.pieces = [data[at : at + size] for at in range(0, len(data), size)]
        self.at_once = at_once

    def take(self) -> bytes:
        return self.pieces.pop(0)

    def receive(self, timeout_s: float) -> bytes:
        if not timeout_s and not self.at_once:
            raise BlockingIOError
        if not self.pieces:
            raise ConnectionError("it hung up")
        return self.pieces.pop(0)


def all_of(line: Line) -> list[tuple[int, bytes]]:
    parts, found = Parts(line), []  # type: ignore[arg-type]
    with pytest.raises(ConnectionError):
        while True:
            part = parts.newest(time.monotonic() + 10)
            found.append((part.number, part.jpeg))
    return found


@pytest.mark.parametrize("size", [1, 7, 100, 5000])
@pytest.mark.parametrize("lengths", [True, False])
@pytest.mark.parametrize("boundary", ["--frame", "----frame", "frame"])
def test_pictures_come_whole(boundary: str, lengths: bool, size: int) -> None:
    found = all_of(Line(stream(PICTURES, lengths=lengths, boundary=boundary), size))
    kept = [(number, picture) for number, picture in enumerate(PICTURES)]
    assert found == kept[-len(found) :] if size == 5000 else found == kept


def test_a_picture_without_a_length_is_there_with_its_last_byte() -> None:
    data = stream(PICTURES[:1], lengths=False).removesuffix(b"\r\n")
    assert all_of(Line(data, 100)) == [(0, PICTURES[0])]
    assert all_of(Line(data[:-1], 100)) == []


def test_a_slow_reader_gets_the_newest() -> None:
    assert all_of(Line(stream(PICTURES), 100, at_once=True)) == [(2, PICTURES[2])]


def test_what_is_no_jpeg_does_not_hide_the_next_one() -> None:
    pictures = [b"\xff\xd8 no picture at all", PICTURES[0]]
    assert all_of(Line(stream(pictures, lengths=False), 50))[-1][1] == PICTURES[0]


@pytest.mark.parametrize("data", [b"x" * 200_000, b"\r\n\r\n" + b"\xff\xd8" + b"x" * 100, stream([b""]) * 3])
def test_nonsense_ends(data: bytes) -> None:
    all_of(Line(data, 10_000))


def test_lengths_that_lie_are_refused() -> None:
    assert all_of(Line(b"--f\r\nContent-Length: 99999999999\r\n\r\n" + PICTURES[0], 100)) == []
