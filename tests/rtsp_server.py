"""A real RTSP server on 127.0.0.1: synthetic frames with number and time burnt in, as H.264.

Run by Debian's own Python, whose packages it needs (`PACKAGES` in rtsp.py):

    PYTHONPATH=. /usr/bin/python3 tests/rtsp_server.py --fps 30 --size 640x480 --seconds 60

Prints its URL and `ready`; ends when stdin closes, or after --seconds. Every client is shown the
same encoder's stream; the time in a frame is `time.monotonic_ns()` when it went to the encoder,
which any process of this machine can subtract from its own clock.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from typing import Any

import gi  # type: ignore[import-not-found]

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # type: ignore[import-not-found]  # noqa: E402

from edgezoo.address import Address  # noqa: E402
from edgezoo.sources import barcode  # noqa: E402
from edgezoo.sources.synthetic import Synthetic  # noqa: E402


def launch_line(size: str, fps: int) -> str:
    """The encoder as IP cameras set theirs: no B-frames, a key frame every half second."""
    width, height = size.split("x")
    caps = f"video/x-raw,format=BGR,width={width},height={height},framerate={fps}/1"
    return (
        "( appsrc name=frames is-live=true format=time do-timestamp=true max-buffers=2 leaky-type=downstream"
        f" caps={caps}"
        " ! videoconvert ! video/x-raw,format=I420"
        f" ! x264enc tune=zerolatency speed-preset=ultrafast threads=1 bitrate=4000 key-int-max={max(1, fps // 2)}"
        " ! rtph264pay name=pay0 pt=96 config-interval=1 )"
    )


def feed(appsrc: Any, source: Synthetic) -> None:
    """Push frames until nobody takes them any more, the first once the pipeline's time runs.

    Before, `do-timestamp` would count from the machine's start, and the sink wait for hours to show that frame.
    """
    deadline = time.monotonic() + 10
    while not appsrc.get_base_time() and time.monotonic() < deadline:
        time.sleep(0.001)
    for frame in source:
        barcode.burn(frame.image, index=frame.index, time_ns=time.monotonic_ns())
        # FLUSHING only says that the pipeline is not up yet, or already down; the source is closed when it is down.
        if appsrc.emit("push-buffer", Gst.Buffer.new_wrapped(frame.image.tobytes())) == Gst.FlowReturn.ERROR:
            break


def ask_for_login(server: Any, factory: Any, login: str) -> None:
    """Digest authentication, as most cameras want it."""
    user, _, password = login.partition(":")
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth.add_digest(user, password, token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    for permission in ("media.factory.access", "media.factory.construct"):
        permissions.add_permission_for_role("viewer", permission, True)
    factory.set_permissions(permissions)


def main() -> None:
    parser = argparse.ArgumentParser(description="An RTSP server of synthetic frames, for tests.")
    parser.add_argument("--fps", type=int, default=30)
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--seconds", type=float, default=0, help="end after this long; 0: when stdin closes")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--login", help="USER:PASSWORD that clients must know")
    options = parser.parse_args()
    Gst.init(None)

    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(options.port))
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(launch_line(options.size, options.fps))
    factory.set_shared(True)
    factory.set_latency(0)
    if options.login:
        ask_for_login(server, factory, options.login)

    def on_media(_: object, media: Any) -> None:
        source = Synthetic(Address.parse(f"synthetic:#size={options.size}&fps={options.fps}&code=1"))
        appsrc = media.get_element().get_by_name("frames")
        media.connect("unprepared", lambda _: source.close())
        threading.Thread(target=feed, args=(appsrc, source), daemon=True).start()

    factory.connect("media-configure", on_media)
    server.get_mount_points().add_factory("/live", factory)
    server.attach(None)

    loop = GLib.MainLoop()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.quit()), daemon=True).start()
    if options.seconds:
        GLib.timeout_add(int(options.seconds * 1000), loop.quit)
    print(f"rtsp://127.0.0.1:{server.get_bound_port()}/live ready", flush=True)
    loop.run()


if __name__ == "__main__":
    main()
