"""A page for browsers with the live picture of every source: the one of `edgezoo serve`."""

from __future__ import annotations

from dataclasses import replace

from edgezoo.address import Address
from edgezoo.capture import Capture
from edgezoo.errors import SinkError
from edgezoo.frame import Event, Frame
from edgezoo.latency import Profile
from edgezoo.results import Result
from edgezoo.sinks import Overlay, stream_of
from edgezoo.sources import is_live
from edgezoo.sources.images import is_images
from edgezoo.web import check_installed

FORMS = ("web:8080",)
GRACE_S = 2.0


def takes(address: Address) -> bool:
    return address.scheme == "web"


def from_address(address: Address, *, fps: float | None, overlay: Overlay | None) -> WebSink:
    from edgezoo.web.server import address_of  # what it needs comes with an extra

    address.check_options(("token", "capture"))
    host, port = address_of(address.target)
    capture = address.options.get("capture")
    return WebSink(
        host, port, token=address.options.get("token"), capture=None if capture is None else Capture(capture)
    )


class WebSink:
    """Serves the page from when it is made until it is closed.

    `web:8080`, or `web:0.0.0.0:8080#token=SECRET&capture=FOLDER`. Only the newest frame of each source is kept, and it
    is encoded when a browser asks for it. Raises SinkError: the port is taken, or others could come in without a token.
    """

    def __init__(self, host: str, port: int, *, token: str | None = None, capture: Capture | None = None) -> None:
        check_installed()
        from edgezoo.errors import RequestError
        from edgezoo.web.app import page_app
        from edgezoo.web.doors import Doors
        from edgezoo.web.hub import Controls, Hub
        from edgezoo.web.metrics import registry_of
        from edgezoo.web.server import WebServer, check_token, open_port

        self.done = False
        self.hub = Hub(Controls(capture=capture))
        try:
            check_token(host, token, cure=f"web:{host}:{port}#token=SECRET")
            doors = Doors(page_app(self.hub, registry_of(self.hub)), token=token, names=(host,))
            self._server = WebServer(doors, open_port(host, port), grace_s=GRACE_S, closing=self.hub.close)
        except RequestError as error:
            raise SinkError(str(error)) from None
        self.url = self._server.url
        self._server.start()

    @property
    def capture(self) -> Capture | None:
        """Where a person who looks may keep frames."""
        return self.hub.controls.capture

    @capture.setter
    def capture(self, capture: Capture | None) -> None:
        self.hub.controls = replace(self.hub.controls, capture=capture)

    def watch(self, profile: Profile, *, score: float = 0.0) -> None:
        """The page shows the figures of this pipeline; `score`: what its answers are asked to score at least."""
        self.hub.controls = replace(self.hub.controls, threshold=score, least=score)
        self.hub.watch(profile)

    def write(self, frame: Frame, result: Result) -> None:
        self.hub.write(frame, result, stream=stream_of(frame))

    def event(self, event: Event) -> None:
        self.hub.event(replace(event, source=_stream(event.source)))

    def close(self) -> None:
        self._server.close()


def _stream(source: str) -> str:
    """Of a folder of photos, a pattern or several by name, as `stream_of` calls its frames."""
    photos = not is_live(source) and (is_images(source) or source.endswith(" images"))
    return "photos" if photos else source
