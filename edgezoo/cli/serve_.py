"""`edgezoo serve`"""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

from edgezoo.address import Address
from edgezoo.cli import following, options, show
from edgezoo.engine import Engine
from edgezoo.errors import RequestError
from edgezoo.machine import share_heaps
from edgezoo.sources import is_live
from edgezoo.sources.images import is_images

if TYPE_CHECKING:
    from edgezoo.tracking import Follower

HELP = "Serve models over HTTP, and a page for browsers with the live picture of every source."


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models", nargs="+", metavar="MODEL", help="a bundle's folder, or a model's name; the first is the default"
    )
    parser.add_argument(
        "--source", action="append", default=[], dest="sources", metavar="SOURCE",
        help="camera:0, rtsp://…, http://…, clip.mp4, synthetic:; again for more; watched on the page",
    )  # fmt: skip
    options.add_capture(parser)
    _add_port(parser.add_argument_group("the port"))
    group = parser.add_argument_group("limits")
    options.add_batching(group, batch=4, wait_ms=0.0)
    options.add_retries(group)
    _add_limits(group)
    options.add_wanted(parser)
    following.arguments(parser)
    options.add_runtime(parser)


def _add_port(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--host", default="127.0.0.1", help="0.0.0.0: for other machines, too, with a token (default: %(default)s)"
    )
    group.add_argument("--port", type=int, default=8080, help="0: any that is free (default: %(default)s)")
    group.add_argument(
        "--token", help="what who comes must know, 16 letters or more (default: EDGEZOO_TOKEN of the environment)"
    )


def _add_limits(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--queue", type=int, default=64, metavar="N",
        help="images under way at most; more get a 429 (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--max-mb", type=float, default=16.0, metavar="MB", help="a request's body at most (default: %(default)g)"
    )
    group.add_argument(
        "--max-pixels", type=float, default=40e6, metavar="N", help="pixels of an image at most (default: %(default)g)"
    )
    group.add_argument(
        "--timeout", type=float, default=10.0, metavar="S",
        help="a request takes at most so long (default: %(default)g s)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    from edgezoo.web import check_installed

    check_installed()
    from edgezoo.capture import Capture
    from edgezoo.serve import CURE, Service
    from edgezoo.serve.predict import Limits, quiet_decoders
    from edgezoo.web.server import check_token, open_port

    limits = Limits(bytes=int(args.max_mb * 1e6), pixels=int(args.max_pixels), seconds=args.timeout)
    # A second wall behind the limit, read when OpenCV is imported. Higher, for it stands before `--source PHOTO`, too.
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(max(4 * limits.pixels, 100_000_000)))
    capture = None if args.capture is None else Capture(args.capture)
    follower = following.follower(args)  # so that a wrong line is told now
    following.check_photos(follower, any(map(_is_photos, args.sources)))
    token = args.token or os.environ.get("EDGEZOO_TOKEN") or None
    with ExitStack() as stack:
        check_token(args.host, token, cure=CURE)
        listening = stack.enter_context(open_port(args.host, args.port))
        engines = _engines(args, stack)
        service = Service(
            engines,
            listening,
            token=token,
            sources=args.sources,
            follower=partial(_follower, args) if follower is not None else None,
            capture=capture,
            limits=limits,
            batch=args.batch,
            wait_ms=args.wait_ms,
            queue=args.queue,
            retries=args.retries,
        )
        runs = "; ".join(f"{name} {engine.artifact.name}, {engine.runs}" for name, engine in engines.items())
        quiet_decoders()
        share_heaps()
        try:
            _end_by_signal(service.stop)
            show.out.print(f"[bold]{service.url}[/]  {show.plain(runs)}", soft_wrap=True)
            service.run()
            show.err.print("[dim]stopping: what is under way is answered first")
        finally:
            service.close()
    return 0


def _end_by_signal(stop: Callable[[], None]) -> None:
    """The first one lets it end well, wherever its threads are; the second one does not wait for that."""

    def first(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.default_int_handler)
        stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, first)


def _is_photos(source: str) -> bool:
    return not is_live(source) and is_images(Address.parse(source).target)


def _follower(args: argparse.Namespace) -> Follower:
    """Another one, that has seen nothing yet."""
    made = following.follower(args)
    assert made is not None
    return made


def _engines(args: argparse.Namespace, stack: ExitStack) -> dict[str, Engine]:
    engines: dict[str, Engine] = {}
    backend, precision = args.backend, args.precision
    for model in args.models:
        args.model, args.backend, args.precision = model, backend, precision  # of `auto` each has its own
        engine = stack.enter_context(options.open_engine(args, **options.wanted(args)))
        name = engine.bundle.manifest.name
        if name in engines:
            raise RequestError(f"expected models of different names, got {name} twice")
        engines[name] = engine
    return engines
