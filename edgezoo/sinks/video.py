"""A recording of what was seen."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from edgezoo.address import Address
from edgezoo.errors import RequestError, SinkError
from edgezoo.frame import Event, Frame, Image
from edgezoo.optional import require
from edgezoo.results import Result
from edgezoo.sinks import Overlay, check_target, numbered, part_of, picture, stream_of

# MPEG-4 part 2, which players know and browsers do not: OpenCV from PyPI has no H.264 encoder.
# Motion JPEG is OpenCV's own and needs no FFmpeg.
CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
FORMS = tuple(f"out{suffix}" for suffix in CODECS)
DEFAULT_FPS = 30.0
LONGEST_GAP_S = 5.0  # a longer silence of a source is cut to this


def takes(address: Address) -> bool:
    return not address.scheme and address.target.lower().endswith(tuple(CODECS))


def from_address(address: Address, *, fps: float | None, overlay: Overlay | None) -> VideoSink:
    address.check_options(("fps",))
    return VideoSink(Path(address.target).expanduser(), fps=address.number("fps", fps), overlay=overlay)


class VideoSink:
    """A video at `path`, which bears the name `*.part.mp4` until close().

    It keeps the time of what it shows: a picture stays until the next one's time, as where a live source
    dropped frames; none is left out. The rate is `fps`, else from the distance of the first two frames,
    else 30. The first frame fixes the size, a frame of another size is letterboxed into it. A second source
    gets a file of its own, `out-2.mp4`, a third `out-3.mp4`, in order of appearance; photos are one source.
    Without a frame there is no file.

    Raises RequestError: an unknown suffix or rate. SinkError: the folder cannot be written to, the disk
    is full, or OpenCV cannot write the video; what was recorded before a full disk is kept at close().
    """

    def __init__(self, path: Path, *, fps: float | None = None, overlay: Overlay | None = None) -> None:
        if path.suffix.lower() not in CODECS:
            raise RequestError(f"expected a video as {', '.join(CODECS)}, got {path.suffix!r}; try .mp4")
        if fps is not None and not 0.1 <= fps <= 1000:
            raise RequestError(f"expected fps in 0.1..1000, got {fps:g}; try 30")
        check_target(path)
        self.done = False
        self._path, self._fps, self._overlay = path, fps, overlay
        self._recordings: dict[str, _Recording] = {}

    def write(self, frame: Frame, result: Result) -> None:
        stream = stream_of(frame)
        if stream not in self._recordings:
            path = numbered(self._path, len(self._recordings) + 1)
            self._recordings[stream] = _Recording(path, self._fps)
        self._recordings[stream].add(picture(frame, result, self._overlay), frame.pts_s)

    def event(self, event: Event) -> None:
        pass

    def close(self) -> None:
        recordings, self._recordings = list(self._recordings.values()), {}
        failed: SinkError | None = None
        for recording in recordings:
            try:
                recording.close()
            except SinkError as error:
                failed = failed or error
        if failed is not None:
            raise failed


class _Recording:
    """One video file; without a rate it holds its first frame back until the second one comes."""

    def __init__(self, path: Path, fps: float | None) -> None:
        require("cv2")
        self._path, self._part, self._fps = path, part_of(path), None if fps is None else _encodable(fps)
        self._held: tuple[Image, float] | None = None
        self._shown: Image | None = None
        self._began_s = 0.0
        self._wh: tuple[int, int] | None = None
        self._writer: Any = None
        self._written = 0

    def add(self, image: Image, pts_s: float) -> None:
        if self._wh is None:
            self._wh = (image.shape[1] + image.shape[1] % 2, image.shape[0] + image.shape[0] % 2)
        image = _fit(image, self._wh)
        if self._fps is None and self._held is None:
            self._held = (image, pts_s)
            return
        if self._held is not None:
            self._start(_rate(pts_s - self._held[1]))
        elif self._shown is None:
            self._began_s = pts_s
        self._catch_up(pts_s)
        self._put(image)

    def close(self) -> None:
        if self._held is not None:
            self._start(DEFAULT_FPS)
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        self._check()
        try:
            os.replace(self._part, self._path)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise SinkError(f"expected to write {str(self._path)!r}, got: {reason}; it is at {self._part}") from error

    def _start(self, fps: float) -> None:
        """The rate is known: write what was held back."""
        held, self._held, self._fps = self._held, None, _encodable(fps)
        if held is not None:
            self._began_s = held[1]
            self._put(held[0])

    def _catch_up(self, pts_s: float) -> None:
        """Repeat the picture that stands until the time of the next one."""
        assert self._fps is not None
        due = min((pts_s - self._began_s) * self._fps, self._written + LONGEST_GAP_S * self._fps)
        while self._shown is not None and self._written < round(due):
            self._put(self._shown)

    def _put(self, image: Image) -> None:
        cv2 = require("cv2")
        if self._writer is None:
            codec = CODECS[self._path.suffix.lower()]
            self._writer = cv2.VideoWriter(str(self._part), cv2.VideoWriter_fourcc(*codec), self._fps, self._wh)
            if not self._writer.isOpened():
                self._writer = None
                self._part.unlink(missing_ok=True)
                size = "x".join(map(str, self._wh or ()))
                raise SinkError(f"OpenCV cannot write {size} video as {codec} to {str(self._path)!r}; try out.avi")
        # OpenCV's writer does not report a failed write, so the disk is asked first.
        if shutil.disk_usage(self._part.parent).free < image.nbytes + (1 << 20):
            raise SinkError(f"{str(self._path)!r}: no space left after {self._written} frames; try another place")
        self._writer.write(image)
        self._written += 1
        self._shown = image

    def _check(self) -> None:
        """SinkError unless the end of the finished file can be read back."""
        cv2 = require("cv2")
        video = cv2.VideoCapture(str(self._part))
        video.set(cv2.CAP_PROP_POS_FRAMES, self._written - 1)
        whole, _ = video.read()
        video.release()
        if not whole:
            cure = f"try a place with free space; what there is: {self._part}"
            raise SinkError(f"{str(self._path)!r} came out unreadable after {self._written} frames; {cure}")


def _rate(seconds: float) -> float:
    """Frames per second from the distance of two frames."""
    return min(max(1 / seconds, 0.1), 240.0) if math.isfinite(seconds) and seconds > 0 else DEFAULT_FPS


def _encodable(fps: float) -> float:
    """The rate with no more digits than MPEG-4 has room for: OpenCV writes it as a fraction of powers of ten."""
    return next(round(fps, digits) for digits in (3, 2, 1) if fps * 10**digits <= 65535)


def _fit(image: Image, wh: tuple[int, int]) -> Image:
    """`image` on a black canvas of size `wh`, as large as it fits, in the middle.

    An odd side, which the codecs cannot have, is continued by one pixel.
    """
    cv2 = require("cv2")
    height, width = image.shape[:2]
    if (width, height) == wh:
        return image
    if (width + width % 2, height + height % 2) == wh:
        return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    scale = min(wh[0] / width, wh[1] / height)
    new_w, new_h = max(1, round(width * scale)), max(1, round(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas = np.zeros((wh[1], wh[0], 3), np.uint8)
    left, top = (wh[0] - new_w) // 2, (wh[1] - new_h) // 2
    canvas[top : top + new_h, left : left + new_w] = cv2.resize(image, (new_w, new_h), interpolation=method)
    return canvas
