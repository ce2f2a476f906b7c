"""The loop that `run` and `demo` share: a pipeline into sinks, with one line that lives and a table at the end."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from edgezoo.address import Address
from edgezoo.capture import Capture
from edgezoo.cli import following, options, show
from edgezoo.cli.watch import Watch, report
from edgezoo.engine import Engine
from edgezoo.errors import RequestError, SinkError
from edgezoo.frame import Event
from edgezoo.machine import share_heaps
from edgezoo.pipeline import Pipeline
from edgezoo.sinks import Sink, open_sink, web, window
from edgezoo.sinks.web import WebSink
from edgezoo.sinks.window import WindowSink
from edgezoo.sources import Source
from edgezoo.sources.feed import Feed
from edgezoo.sources.images import Images, is_images
from edgezoo.sources.paced import Paced
from edgezoo.tasks import task
from edgezoo.tracking import Follower

HOLD_S = 5  # for a photo in a demo's window
NO_DISPLAY = "no display here: numbers only; --sink out.mp4 records what a window would show"


@dataclass(frozen=True, kw_only=True)
class Demo:
    """How a demo differs from a run: it chooses its model, is there to be looked at, and ends by itself."""

    choose: Callable[[], str]
    """Its model; asked when all that is cheap and fragile is open, for it may have to be fetched."""
    record: Callable[[str], Path]
    """A new name, with that suffix, for what no window can show."""
    live_s: float
    """How much of a live source to record."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sink", action="append", default=[], metavar="SINK", dest="sinks",
        help="window, web:8080 (a page), out.mp4, out.jpg, results/, out.jsonl, - (JSON lines), null; again for more "
        "(default: a window)",
    )  # fmt: skip
    parser.add_argument("--frames", type=int, metavar="N", help="stop after N frames")
    parser.add_argument("--corner", action="store_true", help="draw rate and frame age into a corner")
    options.add_capture(parser)
    options.add_wanted(parser)
    following.arguments(parser)
    options.add_runtime(parser)
    group = parser.add_argument_group("pipeline")
    group.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="N engines of one thread each (default: for files one a core, for live sources one engine on all)",
    )
    options.add_batching(group)
    group.add_argument(
        "--max-age-ms", type=float, metavar="MS", help="drop live frames older than this before inference"
    )
    options.add_retries(group)
    options.add_json(parser)


def play(
    args: argparse.Namespace, addresses: Sequence[str], *, opened: Source | None = None, demo: Demo | None = None
) -> int:
    """Open the cheap and fragile things first: a single source, if it is not `opened` yet, sinks, then the engine."""
    if args.frames is not None and args.frames < 1:
        raise RequestError(f"expected --frames of 1 or more, got {args.frames}")
    share_heaps()
    watch, follower = Watch(args), following.follower(args)
    with ExitStack() as stack:
        feeds = (
            _feeds(addresses, wait=args.retries is not None)
            if opened is None
            else [replace(Feed.at(addresses[0]), opened=opened)]
        )
        for feed in feeds:
            if feed.opened is not None:
                stack.callback(feed.opened.close)
        _check_targets(args.sinks, feeds)
        watch.single = feeds[0].opened if len(feeds) == 1 else None
        following.check_photos(follower, watch.photos)
        capture = None if args.capture is None else Capture(args.capture)
        sinks = _open_sinks(args, watch, demo)
        for sink in sinks:
            stack.callback(sink.close)
        _keep(capture, sinks)
        if demo is not None and watch.in_window:
            feeds = [_paced(feed, stack) for feed in feeds]
        if demo is not None and watch.recorded is not None and any(feed.live for feed in feeds):
            watch.limit_s = demo.live_s
        if demo is not None:
            args.model = demo.choose()
        engine = stack.enter_context(options.open_engine(args, **following.wanted(args, follower)))
        pipeline = stack.enter_context(_pipeline(args, feeds, engine, sinks, watch))
        for sink in sinks:
            if isinstance(sink, WebSink):
                sink.watch(pipeline.profile, score=_least(args, engine))
                show.err.print(f"look at [bold]{sink.url}[/]", soft_wrap=True)
        watch.start(engine, pipeline)
        try:
            _loop(pipeline, sinks, watch, args.frames, follower)
        except KeyboardInterrupt:
            show.err.print("[dim]stopped")
        finally:
            watch.stop()
            pipeline.close()
            if pipeline.profile.delivered:
                report(args, pipeline, follower)
    watch.tell_recorded(len(feeds))
    return 0


def _pipeline(args: argparse.Namespace, feeds: list[Feed], engine: Engine, sinks: list[Sink], watch: Watch) -> Pipeline:
    pipeline = Pipeline(
        feeds,
        engine,
        batch=args.batch,
        wait_ms=args.wait_ms,
        workers=args.workers,
        max_age_ms=args.max_age_ms,
        retries=args.retries,
        on_event=lambda event: _on_event(event, sinks, watch),
        on_idle=lambda: _on_idle(pipeline, sinks, watch),
    )
    return pipeline


def _keep(capture: Capture | None, sinks: list[Sink]) -> None:
    """Where a person may say so. RequestError where nobody could."""
    asked = [sink for sink in sinks if isinstance(sink, (WebSink, WindowSink))]
    for sink in asked:
        if capture is not None:
            sink.capture = capture
        if isinstance(sink, WindowSink):
            sink.tell = lambda line: show.err.print(show.plain(line), soft_wrap=True)
    if capture is not None and not asked:
        raise RequestError("expected a window or a page for --capture, there is none; try: --sink web:8080")


def _least(args: argparse.Namespace, engine: Engine) -> float:
    """What the frames that are shown score at least."""
    return float(task(engine.bundle.manifest.task).SCORE if args.score is None else args.score)


def _loop(pipeline: Pipeline, sinks: list[Sink], watch: Watch, limit: int | None, follower: Follower | None) -> None:
    for frame, result in pipeline:
        if follower is not None:
            result = follower(frame, result)
        for sink in sinks:
            sink.write(frame, result)
        watch.saw(frame, result)
        if any(sink.done for sink in sinks) or pipeline.profile.delivered == limit or watch.over:
            return


def _on_event(event: Event, sinks: list[Sink], watch: Watch) -> None:
    for sink in sinks:
        sink.event(event)
    watch.heard(event)


def _on_idle(pipeline: Pipeline, sinks: list[Sink], watch: Watch) -> None:
    """No frame comes: a window wants to be looked after all the same."""
    watch.tick()
    for sink in sinks:
        if isinstance(sink, WindowSink):
            sink.idle()
    if watch.over or any(sink.done for sink in sinks):
        pipeline.close()


def _open_sinks(args: argparse.Namespace, watch: Watch, demo: Demo | None) -> list[Sink]:
    source = watch.single
    fps = source.fps if source is not None else None
    overlay = watch.corner if args.corner else None
    if args.sinks:
        shown = [Address.parse(text) for text in args.sinks]
        watch.in_window = any(window.takes(address) or web.takes(address) for address in shown)
        return [open_sink(text, fps=fps, overlay=overlay) for text in args.sinks]
    if watch.photos:
        if demo is None:
            return []
        overlay = None  # they have no rate
    try:
        screen = open_sink("window" if demo is None else f"window#hold={HOLD_S}", overlay=overlay)
        watch.in_window = True
        return [screen]
    except SinkError:
        if demo is None:
            watch.hint = NO_DISPLAY
            return []
    many = watch.photos and source is not None and source.frames != 1
    path = demo.record("" if many else ".jpg" if watch.photos else ".mp4")
    try:
        recording = open_sink(f"{path}/" if many else str(path), fps=fps, overlay=overlay)
    except SinkError as error:
        raise SinkError(f"no display here, and no place for a recording: {error}") from None
    watch.recorded = path
    return [recording]


def _paced(feed: Feed, stack: ExitStack) -> Feed:
    """A clip by its own clock: as fast as it can be read, nobody could see it. A photo stays anyway."""
    if feed.live or isinstance(feed.opened, Images) or (feed.text is not None and is_images(feed.text)):
        return feed
    if feed.opened is None:
        feed = feed.now()
        assert feed.opened is not None
        stack.callback(feed.opened.close)
    assert feed.opened is not None
    return replace(feed, live=True, text=None, opened=Paced(feed.opened))


def _feeds(addresses: Sequence[str], *, wait: bool) -> list[Feed]:
    """A single source opened, unless it may be waited for; several as they are, for the pipeline to open each in its
    own thread.

    Several photos, as a shell makes them of `*.jpg`, are one source.
    """
    if len(addresses) == 1:
        feed = Feed.at(addresses[0])
        return [feed if wait and feed.live else feed.now()]
    if all(is_images(address) and os.path.isfile(address) for address in addresses):
        return [Feed.of(Images.of(addresses))]
    if len(set(addresses)) < len(addresses):
        raise RequestError(f"expected every source once, got {' '.join(map(str, map(Address.parse, addresses)))}")
    return [Feed.at(address) for address in addresses]


def _check_targets(sinks: Sequence[str], feeds: Sequence[Feed]) -> None:
    """RequestError where a sink would write over what a source reads, or over another sink."""
    read = {os.path.realpath(feed.text) for feed in feeds if feed.text is not None}
    read.update(
        os.path.realpath(path) for feed in feeds if isinstance(feed.opened, Images) for path in feed.opened.paths
    )
    folders = {os.path.dirname(path) for path in read if os.path.isfile(path)}
    written = set()
    for sink in sinks:
        target = os.path.realpath(Address.parse(sink).target)
        if target in read or (target in folders and os.path.isdir(target)):
            raise RequestError(f"{sink}: would write over what is read from there; choose another sink")
        if target in written and sink != "window":
            raise RequestError(f"{sink}: expected every sink once, got it twice")
        written.add(target)
