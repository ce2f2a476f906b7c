"""The loop that `run` and `demo` share: a pipeline into sinks, with one line that lives and a table at the end."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.live import Live
from rich.text import Text

from edgezoo.address import Address
from edgezoo.cli import options, show
from edgezoo.engine import Engine
from edgezoo.errors import RequestError, SinkError
from edgezoo.frame import Event, Frame
from edgezoo.latency import Profile
from edgezoo.pipeline import Pipeline
from edgezoo.results import Result
from edgezoo.sinks import Sink, numbered, open_sink, window
from edgezoo.sources import Source, is_live, open_source
from edgezoo.sources.images import Images, is_images
from edgezoo.sources.paced import Paced

REFRESH_S = 0.1
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
        help="window, out.mp4, out.jpg, results/, out.jsonl, - (JSON lines), null; again for more (default: a window)",
    )  # fmt: skip
    parser.add_argument("--frames", type=int, metavar="N", help="stop after N frames")
    parser.add_argument("--corner", action="store_true", help="draw rate and frame age into a corner")
    options.add_wanted(parser)
    options.add_runtime(parser)
    group = parser.add_argument_group("pipeline")
    group.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="N engines of one thread each (default: for files one a core, for live sources one engine on all)",
    )
    group.add_argument("--batch", type=int, default=1, metavar="N", help="frames in one inference, across sources")
    group.add_argument("--wait-ms", type=float, metavar="MS", help="how long a batch waits to be full")
    group.add_argument(
        "--max-age-ms", type=float, metavar="MS", help="drop live frames older than this before inference"
    )
    options.add_json(parser)


def play(
    args: argparse.Namespace, addresses: Sequence[str], *, opened: Source | None = None, demo: Demo | None = None
) -> int:
    """Open the cheap and fragile things first: a single source, if it is not `opened` yet, sinks, then the engine."""
    if args.frames is not None and args.frames < 1:
        raise RequestError(f"expected --frames of 1 or more, got {args.frames}")
    watch = _Watch(args)
    with ExitStack() as stack:
        sources: list[Source | str] = _sources(addresses) if opened is None else [opened]
        for source in sources:
            if not isinstance(source, str):
                stack.callback(source.close)
        _check_targets(args.sinks, addresses, sources)
        watch.single = sources[0] if not isinstance(sources[0], str) else None
        sinks = _open_sinks(args, watch, demo)
        for sink in sinks:
            stack.callback(sink.close)
        if demo is not None and watch.in_window:
            sources = [_paced(source, stack) for source in sources]
        if demo is not None and watch.recorded is not None and any(map(_is_live, sources)):
            watch.limit_s = demo.live_s
        if demo is not None:
            args.model = demo.choose()
        engine = stack.enter_context(options.open_engine(args, **options.wanted(args)))
        pipeline = stack.enter_context(
            Pipeline(
                sources,
                engine,
                batch=args.batch,
                wait_ms=args.wait_ms,
                workers=args.workers,
                max_age_ms=args.max_age_ms,
                on_event=lambda event: _on_event(event, sinks, watch),
            )
        )
        watch.start(engine, pipeline)
        try:
            _loop(pipeline, sinks, watch, args.frames)
        except KeyboardInterrupt:
            show.err.print("[dim]stopped")
        finally:
            watch.stop()
            pipeline.close()
            if pipeline.profile.delivered:
                _report(args, pipeline)
    _tell_recorded(args, watch, len(sources))
    return 0


def _loop(pipeline: Pipeline, sinks: list[Sink], watch: _Watch, limit: int | None) -> None:
    until_s = time.monotonic() + (watch.limit_s or float("inf"))
    for frame, result in pipeline:
        for sink in sinks:
            sink.write(frame, result)
        watch.saw(frame, result)
        if any(sink.done for sink in sinks) or pipeline.profile.delivered == limit or time.monotonic() >= until_s:
            return


def _on_event(event: Event, sinks: list[Sink], watch: _Watch) -> None:
    for sink in sinks:
        sink.event(event)
    if event.kind == "failed" and watch.single is None:
        show.err.print(f"[yellow]{show.plain(f'{event.source}: {event.message}')}", soft_wrap=True)


def _open_sinks(args: argparse.Namespace, watch: _Watch, demo: Demo | None) -> list[Sink]:
    source = watch.single
    fps = source.fps if source is not None else None
    overlay = watch.corner if args.corner else None
    if args.sinks:
        watch.in_window = any(window.takes(Address.parse(text)) for text in args.sinks)
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


def _paced(source: Source | str, stack: ExitStack) -> Source | str:
    """A clip by its own clock: as fast as it can be read, nobody could see it. A photo stays anyway."""
    if _is_live(source) or isinstance(source, Images) or (isinstance(source, str) and is_images(source)):
        return source
    if isinstance(source, str):
        source = open_source(source)
        stack.callback(source.close)
    return Paced(source)


def _is_live(source: Source | str) -> bool:
    return is_live(source) if isinstance(source, str) else source.live


def _sources(addresses: Sequence[str]) -> list[Source | str]:
    """A single source opened; several as they are, for the pipeline to open each in its own thread.

    Several photos, as a shell makes them of `*.jpg`, are one source.
    """
    if len(addresses) == 1:
        return [open_source(addresses[0])]
    if all(is_images(address) and os.path.isfile(address) for address in addresses):
        return [Images.of(addresses)]
    if len(set(addresses)) < len(addresses):
        raise RequestError(f"expected every source once, got {' '.join(map(str, map(Address.parse, addresses)))}")
    return [*addresses]


def _check_targets(sinks: Sequence[str], addresses: Sequence[str], sources: Sequence[Source | str]) -> None:
    """RequestError where a sink would write over what a source reads, or over another sink."""
    read = {os.path.realpath(address) for address in addresses}
    read.update(os.path.realpath(path) for source in sources if isinstance(source, Images) for path in source.paths)
    folders = {os.path.dirname(path) for path in read if os.path.isfile(path)}
    written = set()
    for sink in sinks:
        target = os.path.realpath(Address.parse(sink).target)
        if target in read or (target in folders and os.path.isdir(target)):
            raise RequestError(f"{sink}: would write over what is read from there; choose another sink")
        if target in written and sink != "window":
            raise RequestError(f"{sink}: expected every sink once, got it twice")
        written.add(target)


class _Watch:
    """The one updating line; for photos without a sink, a line each."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self.single: Source | None = None
        self.hint = ""
        self.in_window = False
        self.recorded: Path | None = None
        """What a demo records where it has no window."""
        self.limit_s: float | None = None
        self._profile = Profile()
        self._live = Live(console=show.err, refresh_per_second=10, transient=True, auto_refresh=False)
        self._shown = 0.0
        self._last: Result | None = None
        self._tells = False

    @property
    def photos(self) -> bool:
        """Whether the one source is photos, which are looked at one by one."""
        return self.single is not None and not self.single.live and self.single.fps is None

    def start(self, engine: Engine, pipeline: Pipeline) -> None:
        self._profile = pipeline.profile
        self._tells = self.photos and not self._args.sinks and not self._args.json
        manifest = engine.bundle.manifest
        title = show.plain(manifest.title or manifest.name)
        how = show.plain(f"{engine.artifact.name}, {engine.runs}")
        show.err.print(f"[bold]{title}[/] {how}", soft_wrap=True)
        if self.recorded is not None:
            much = f"{self.limit_s:g} s as " if self.limit_s else ""
            self.hint = f"no display here: recording {much}{self.recorded}"
        if self.hint:
            show.err.print(f"[dim]{show.plain(self.hint)}")
        if show.err.is_terminal:
            self._live.start()

    def stop(self) -> None:
        self._live.stop()

    def saw(self, frame: Frame, result: Result) -> None:
        if self._tells:
            source, found = show.plain(frame.source), show.plain(_in_words(result))
            show.out.print(f"[bold]{source}[/]  {found}", soft_wrap=True)
        now = time.monotonic()
        if now - self._shown >= REFRESH_S and self._live.is_started:
            self._shown = now
            self._live.update(
                Text(show.printable(f"{self._numbers()}  {_in_words(result)}"), overflow="ellipsis", no_wrap=True),
                refresh=True,
            )

    def corner(self, frame: Frame) -> str:
        """The text that sinks draw into a corner."""
        return f"{self._profile.fps:.1f} fps\nage {frame.age_ms:.0f} ms"

    def _numbers(self) -> str:
        profile = self._profile
        total = None if self.single is None else self.single.frames
        done = f"{profile.delivered}" if total is None else f"{profile.delivered}/{total}"
        left = ""
        if total and profile.fps:
            minutes, seconds = divmod(round((total - profile.delivered) / profile.fps), 60)
            left = f"  {minutes}:{seconds:02} left"
        age, infer = profile.age, profile.stages["infer"]
        return (
            f"{done} frames{left}  {profile.fps:.1f} fps  age {age.percentile(50):.0f} / {age.percentile(99):.0f} ms"
            f"  infer {infer.percentile(50):.1f} ms  dropped {profile.dropped_in_all}"
        )


def _in_words(result: Result) -> str:
    words = repr(result)
    return words[words.index("(") + 1 : -1]


def _report(args: argparse.Namespace, pipeline: Pipeline) -> None:
    profile = pipeline.profile
    for name in pipeline.stuck:
        show.err.print(f"[yellow]{show.plain(name)}: still held by its driver; left behind")
    if args.json:
        show.print_json(profile.to_dict())
        return
    table = show.table("ms", "p50", "p90", "p99", "max", right=("p50", "p90", "p99", "max"))
    rows = {**profile.stages, "frame age": profile.age}
    for name, stage in rows.items():
        figures = [f"{stage.percentile(percent):.2f}" for percent in (50, 90, 99)]
        table.add_row(f"[bold]{name}" if name == "frame age" else name, *figures, f"{stage.max_ms:.2f}")
    show.err.print(table)
    reasons = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in profile.dropped.items() if count)
    told = f"{profile.delivered} frames delivered of {profile.grabbed}, {profile.fps:.1f} fps"
    show.err.print(
        told + (f"; dropped: {reasons}" if reasons else "") + (f"; failed: {profile.failed}" if profile.failed else "")
    )


def _tell_recorded(args: argparse.Namespace, watch: _Watch, streams: int) -> None:
    """The last line: where to look at what no window showed."""
    if watch.recorded is None:
        return
    console = show.err if args.json else show.out
    how = "any viewer" if watch.photos else "any player"
    for number in range(1, streams + 1):
        if (path := numbered(watch.recorded, number)).exists():
            console.print(f"[green]✓[/] [bold]{show.plain(path)}[/]  look at it with {how}", soft_wrap=True)
