"""Frames of a source that is opened again go on counting, and bear the name that their stream has in the pipeline."""

from __future__ import annotations

from dataclasses import replace

from edgezoo.frame import Frame


class Numbering:
    """`index` and `pts_s` rise over all openings of one source."""

    def __init__(self, name: str | None) -> None:
        """`name`: for all frames; None leaves them theirs, as photos have them."""
        self._name = name
        self._last: tuple[int, float, int] | None = None
        """Index, time and grab of the last frame; not the frame, which would be kept alive."""
        self._index, self._pts_s = 0, 0.0
        """What is added to those of the present opening."""
        self._first = True

    def again(self) -> None:
        """The next frame is the first of another opening."""
        self._first = True

    def __call__(self, frame: Frame) -> Frame:
        """The frame as the pipeline passes it on."""
        if self._first:
            self._first = False
            self._index, self._pts_s = self._offsets(frame)
        name = self._name or frame.source
        if self._index or self._pts_s or name != frame.source:
            frame = replace(frame, index=frame.index + self._index, pts_s=frame.pts_s + self._pts_s, source=name)
        self._last = (frame.index, frame.pts_s, frame.grabbed_ns)
        return frame

    def _offsets(self, frame: Frame) -> tuple[int, float]:
        """Nothing for a source that goes on by itself where it was; else from the last frame and the time since."""
        if self._last is None:
            return 0, 0.0
        index, pts_s, grabbed_ns = self._last
        if frame.index > index and frame.pts_s > pts_s:
            return 0, 0.0
        passed_s = (frame.grabbed_ns - grabbed_ns) / 1e9
        return index + 1 - frame.index, pts_s + max(passed_s, 0.001) - frame.pts_s
