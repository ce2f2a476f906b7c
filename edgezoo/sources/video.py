"""Video files, read to their end and compared with what they claim."""

from __future__ import annotations

import os
from collections.abc import Iterator

from edgezoo.address import Address
from edgezoo.errors import SourceError
from edgezoo.frame import Frame
from edgezoo.sources._capture import Capture

_LARGE_PX = 1920 * 1088
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


class Video:
    """A file's frames in order; `pts_s` is the file's own clock, from 0.0."""

    live = False

    def __init__(self, address: Address) -> None:
        address.check_options(())
        self.address = str(address)
        path = address.target
        if not os.path.exists(path):
            hint = f"; for a camera try camera:{path}" if path.isdigit() else ""
            raise SourceError(f"expected a file, found none at {self.address}{hint}")
        if not os.access(path, os.R_OK):
            raise SourceError(f"{self.address}: expected a file to read, got one without permission; see ls -l")
        self._path = os.path.abspath(path)  # FFmpeg takes `a:b.mp4` for a protocol
        # One thread decodes with half the work of FFmpeg's default; a large picture needs more of them all the same.
        self._capture = Capture(self.address, self._path, "FFMPEG", params={"N_THREADS": 1})
        if (size := self._capture.size_wh) is not None and size[0] * size[1] > _LARGE_PX:
            self._capture.device.close()
            self._capture = Capture(self.address, self._path, "FFMPEG")
        if not self._capture.is_open:
            raise SourceError(
                f"{self.address}: expected a video, got a file that FFmpeg cannot read as one; is it complete?"
            )
        self.fps = self._capture.fps
        self.size_wh = self._capture.size_wh
        self._step_s = 1 / self.fps if self.fps else 0.04
        self._claimed = int(self._capture.get("FRAME_COUNT"))  # below 1 where the file does not tell
        self.frames = self._claimed if self._claimed > 0 else None

    def __iter__(self) -> Iterator[Frame]:
        capture = self._capture
        index, first_s, pts_s = 0, 0.0, 0.0
        with capture.device.iterating():
            while (grabbed_ns := capture.grab()) is not None:
                clock_s = capture.get("POS_MSEC") / 1e3  # of the frame just grabbed
                if index == 0:
                    first_s = clock_s
                elif clock_s - first_s > pts_s:
                    pts_s = clock_s - first_s
                else:
                    pts_s += self._step_s  # bare H.264 has no clock
                if (image := capture.retrieve()) is None:
                    break
                yield Frame(image, index, pts_s, grabbed_ns, self.address)
                index += 1
            if not capture.device.ended.is_set():
                self._check_end(index, pts_s + self._step_s)

    def close(self) -> None:
        self._capture.device.close()

    def _check_end(self, frames: int, seconds: float) -> None:
        """SourceError where clearly less came than the file claims, and nothing innocent explains it."""
        if not frames:
            raise SourceError(f"{self.address}: expected a video, got a file in which no frame can be decoded")
        if self._claimed - frames <= max(2, 0.02 * self._claimed):
            return
        cut = _is_cut(self._path)
        if cut is None:
            # Here the claim is duration x rate, far too high where the rate varies: the time must be short as well.
            cut = seconds < 0.98 * self._claimed * self._step_s
        if not cut and not self._capture.damaged:
            return  # an MP4 that is all there: its edit list leaves frames out
        raise SourceError(
            f"{self.address}: expected {self._claimed} frames, got {frames}: "
            f"the file is {'truncated' if cut else 'damaged'}; try to copy or to record it again"
        )


def _is_cut(path: str) -> bool | None:
    """Whether an MP4 or MOV file ends inside one of its boxes; None for other containers."""
    size = os.path.getsize(path)
    at = 0
    with open(path, "rb") as file:
        while at < size:
            file.seek(at)
            head = file.read(16)
            if at == 0 and head[4:8] not in _FIRST_BOXES:
                return None
            length = int.from_bytes(head[:4], "big")
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            if length < 8:
                return False  # 0: this box reaches to the end of the file
            at += length
    return at > size
