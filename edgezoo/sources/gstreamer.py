"""A GStreamer pipeline, where OpenCV's build has GStreamer: `gstreamer:PIPELINE`, or any text with ` ! ` in it.

OpenCV takes the frames from the pipeline's `appsink`, so a live one should end in
`… ! videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from edgezoo.address import without_login
from edgezoo.errors import MissingDependency, RequestError, SourceError
from edgezoo.frame import Frame
from edgezoo.optional import require
from edgezoo.sources._capture import Capture


class GStreamer:
    live = True
    frames = None

    def __init__(self, pipeline: str) -> None:
        self.address = "gstreamer:" + without_login(pipeline)
        if "appsink" not in pipeline:
            raise RequestError(
                f"{self.address}: expected an appsink at its end; try adding ' ! videoconvert ! appsink'"
            )
        if not re.search(r"GStreamer:\s+YES", require("cv2").getBuildInformation()):
            raise MissingDependency(
                f"{self.address}: expected an OpenCV with GStreamer, got one without (pip's has none); "
                "try the system's own: apt install python3-opencv"
            )
        self._capture = Capture(self.address, pipeline, "GSTREAMER")
        if not self._capture.is_open:
            raise SourceError(
                f"{self.address}: expected a pipeline that runs, got one that does not start; try it in gst-launch-1.0"
            )
        self.fps = self._capture.fps
        self.size_wh = self._capture.size_wh

    def __iter__(self) -> Iterator[Frame]:
        capture = self._capture
        opened_ns = time.monotonic_ns()
        index = 0
        with capture.device.iterating():
            while (grabbed_ns := capture.grab()) is not None and (image := capture.retrieve()) is not None:
                yield Frame(image, index, (grabbed_ns - opened_ns) / 1e9, grabbed_ns, self.address)
                index += 1
            if not capture.device.ended.is_set():
                raise SourceError(f"{self.address}: the pipeline ended after {index} frames")

    def close(self) -> None:
        self._capture.device.close()
