"""A real RTSP server on 127.0.0.1, for tests: a camera's H.264 that can be made to misbehave.

Run by Debian's own Python, whose packages it needs (`PACKAGES` in rtsp.py):

    PYTHONPATH=. /usr/bin/python3 tests/rtsp_server.py --fps 30 --size 640x480 --seconds 60

It shows synthetic frames with number and time burnt in, or the H.264 of an MP4 file in a loop (`--clip`). Every client
sees the same encoder's stream; the time in a frame is `time.monotonic_ns()` when it went to the encoder, which any
process of this machine can subtract from its own clock.

Prints its URL and `ready`; ends when stdin closes, or after --seconds. Each line on stdin is an order, answered with
`ok`: `fps 5`, `size 320x240`, `stall`, `go`, `gone` (404 for who asks from now on), `back`.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import gi  # type: ignore[import-not-found]

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # type: ignore[import-not-found]  # noqa: E402

from edgezoo.address import Address  # noqa: E402
from edgezoo.sources import barcode  # noqa: E402
from edgezoo.sources.synthetic import Synthetic  # noqa: E402

PATH = "/live"
_APPSRC = "appsrc name=frames is-live=true format=time do-timestamp=true max-buffers=4 leaky-type=downstream"


class Camera:
    """What it shows, and how fast; changed by orders while it runs."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.fps: float = options.fps
        self.size: str = options.size
        self.clip: str | None = options.clip
        self.going = threading.Event()
        self.going.set()

    def launch_line(self) -> str:
        """As IP cameras set their encoder: no B-frames, a key frame every half second."""
        if self.clip:
            return f"( {_APPSRC} ! rtph264pay name=pay0 pt=96 config-interval=1 )"
        return (
            f"( {_APPSRC} ! videoconvert ! video/x-raw,format=I420"
            " ! x264enc tune=zerolatency speed-preset=ultrafast threads=1 bitrate=4000"
            f" key-int-max={max(1, int(self.fps) // 2)} ! rtph264pay name=pay0 pt=96 config-interval=1 )"
        )

    def samples(self, gone: threading.Event) -> Iterator[tuple[Any, str]]:
        """Buffers and their caps, one when it is due, until `gone`."""
        return self._of_clip(gone) if self.clip else self._drawn(gone)

    def _drawn(self, gone: threading.Event) -> Iterator[tuple[Any, str]]:
        due, size, source = time.monotonic(), "", None
        index = 0
        while not gone.is_set():
            if self.size != size or source is None:
                size = self.size
                source = Synthetic(Address.parse(f"synthetic:#size={size}&live=0&code=1"))
                width, height = size.split("x")
                caps = f"video/x-raw,format=BGR,width={width},height={height},framerate={int(self.fps) or 1}/1"
            image = source.image(index)
            barcode.burn(image, index=index, time_ns=time.monotonic_ns())
            yield Gst.Buffer.new_wrapped(image.tobytes()), caps
            index += 1
            due = max(due + 1 / self.fps, time.monotonic() - 1)
            gone.wait(max(0.0, due - time.monotonic()))

    def _of_clip(self, gone: threading.Event) -> Iterator[tuple[Any, str]]:
        """A clip's own packets at its own pace, or at `fps` where that is lower."""
        while not gone.is_set():
            line = "filesrc name=file ! qtdemux ! video/x-h264 ! appsink name=packets sync=true max-buffers=1"
            player = Gst.parse_launch(line)
            player.get_by_name("file").set_property("location", self.clip)
            player.set_state(Gst.State.PLAYING)
            packets = player.get_by_name("packets")
            while not gone.is_set() and (sample := packets.emit("pull-sample")) is not None:
                began = time.monotonic()
                buffer = sample.get_buffer().copy_deep()
                buffer.pts = buffer.dts = Gst.CLOCK_TIME_NONE  # that of the moment
                yield buffer, sample.get_caps().to_string()
                gone.wait(max(0.0, 1 / self.fps - 0.04 - (time.monotonic() - began)))
            player.set_state(Gst.State.NULL)


def feed(camera: Camera, appsrc: Any, gone: threading.Event) -> None:
    """Push frames until the pipeline is gone, the first once its time runs.

    Before, `do-timestamp` would count from the machine's start, and the sink wait for hours to show that frame.
    """
    deadline = time.monotonic() + 10
    while not appsrc.get_base_time() and time.monotonic() < deadline:
        time.sleep(0.001)
    last = ""
    for buffer, caps in camera.samples(gone):
        while not camera.going.wait(0.1) and not gone.is_set():
            pass
        if caps != last:
            appsrc.set_property("caps", Gst.Caps.from_string(caps))
            last = caps
        # FLUSHING only says that the pipeline is not up yet, or already down.
        if appsrc.emit("push-buffer", buffer) == Gst.FlowReturn.ERROR:
            return


def ask_for_login(server: Any, factory: Any, login: str, *, basic: bool) -> None:
    """Digest authentication, as most cameras want it, or basic."""
    user, _, password = login.partition(":")
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC if basic else GstRtsp.RTSPAuthMethod.DIGEST)
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    if basic:
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    else:
        auth.add_digest(user, password, token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    for permission in ("media.factory.access", "media.factory.construct"):
        permissions.add_permission_for_role("viewer", permission, True)
    factory.set_permissions(permissions)


def obey(order: str, camera: Camera, server: Any, factory: Any) -> str:
    """Carry out one order; the answer."""
    word, _, value = order.strip().partition(" ")
    if word == "fps":
        camera.fps = float(value)
    elif word == "size":
        camera.size = value
    elif word == "stall":
        camera.going.clear()
    elif word == "go":
        camera.going.set()
    elif word == "gone":
        server.get_mount_points().remove_factory(PATH)
    elif word == "back":
        server.get_mount_points().add_factory(PATH, factory)
    else:
        return f"no such order: {order!r}"
    return "ok"


def main() -> None:
    parser = argparse.ArgumentParser(description="An RTSP server of synthetic frames or a clip, for tests.")
    parser.add_argument("--fps", type=float, default=30, help="of a clip: at most so many")
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--clip", help="an MP4 file with H.264, instead of synthetic frames")
    parser.add_argument("--seconds", type=float, default=0, help="end after this long; 0: when stdin closes")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--login", help="USER:PASSWORD that clients must know")
    parser.add_argument("--basic", action="store_true", help="ask for that by basic authentication, not by digest")
    options = parser.parse_args()
    Gst.init(None)

    camera = Camera(options)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(options.port))
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(camera.launch_line())
    factory.set_shared(True)
    factory.set_latency(0)
    if options.login:
        ask_for_login(server, factory, options.login, basic=options.basic)

    def on_media(_: object, media: Any) -> None:
        gone = threading.Event()
        media.connect("unprepared", lambda _: gone.set())
        appsrc = media.get_element().get_by_name("frames")
        threading.Thread(target=feed, args=(camera, appsrc, gone), daemon=True).start()

    factory.connect("media-configure", on_media)
    server.get_mount_points().add_factory(PATH, factory)
    server.attach(None)
    loop = GLib.MainLoop()

    def listen() -> None:
        for order in sys.stdin:
            print(obey(order, camera, server, factory), flush=True)
        loop.quit()

    threading.Thread(target=listen, daemon=True).start()
    if options.seconds:
        GLib.timeout_add(int(options.seconds * 1000), loop.quit)
    print(f"rtsp://127.0.0.1:{server.get_bound_port()}{PATH} ready", flush=True)
    loop.run()


if __name__ == "__main__":
    main()
