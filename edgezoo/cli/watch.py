"""What a person sees of a pipeline that runs: a line that lives, news of streams, and the figures at the end."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.live import Live
from rich.text import Text

from edgezoo.cli import following, show
from edgezoo.engine import Engine
from edgezoo.errors import SourceError
from edgezoo.frame import Event, Frame
from edgezoo.latency import Profile
from edgezoo.pipeline import Pipeline
from edgezoo.pipeline.streams import StreamState
from edgezoo.results import Result
from edgezoo.sinks import numbered
from edgezoo.sources import Source
from edgezoo.tracking import Follower

REFRESH_S = 0.1


class Watch:
    """The one updating line; for photos without a sink, a line each."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self.single: Source | None = None
        self.hint = ""
        self.in_window = False
        self.recorded: Path | None = None
        """What a demo records where it has no window."""
        self.limit_s: float | None = None
        self._pipeline: Pipeline | None = None
        self._profile = Profile()
        self._live = Live(console=show.err, refresh_per_second=10, transient=True, auto_refresh=False)
        self._shown = 0.0
        self._began = 0.0
        self._last = ""
        self._tells = False
        self._missed: set[str] = set()
        """Streams that were told to be lost, and not yet to be back."""

    @property
    def photos(self) -> bool:
        """Whether the one source is photos, which are looked at one by one."""
        return self.single is not None and not self.single.live and self.single.fps is None

    @property
    def over(self) -> bool:
        """Whether the time that was given has passed."""
        return self.limit_s is not None and time.monotonic() - self._began >= self.limit_s

    def start(self, engine: Engine, pipeline: Pipeline) -> None:
        self._pipeline, self._profile = pipeline, pipeline.profile
        self._began = time.monotonic()
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
        self._last = _in_words(result)
        if self._tells:
            source, found = show.plain(frame.source), show.plain(self._last)
            show.out.print(f"[bold]{source}[/]  {found}", soft_wrap=True)
        self.tick()

    def tick(self) -> None:
        """Show the line anew, where it is time for that."""
        now = time.monotonic()
        if now - self._shown < REFRESH_S or not self._live.is_started:
            return
        self._shown = now
        line = show.printable(f"{self._numbers()}{self._troubles()}  {self._last}")
        self._live.update(Text(line, overflow="ellipsis", no_wrap=True), refresh=True)

    def heard(self, event: Event) -> None:
        """A line for what a person should know. SourceError where no source gave anything, none can be opened, and no
        `--retries` say to wait.
        """
        states = () if self._pipeline is None else self._pipeline.states
        told = show.plain(f"{event.source}: {event.message}")
        if event.kind == "lost":
            if self._args.retries is None and states and all(map(_never_came, states)):
                raise SourceError(f"{event.source}: {event.message}")
            if event.source not in self._missed:
                show.err.print(f"[yellow]{told}; lost, and opened again when it is there", soft_wrap=True)
            self._missed.add(event.source)
        elif event.kind == "live" and event.source in self._missed:
            self._missed.discard(event.source)
            show.err.print(f"[green]{told}", soft_wrap=True)
        elif event.error and self.single is None:
            show.err.print(f"[yellow]{told}", soft_wrap=True)

    def corner(self, frame: Frame) -> str:
        """The text that sinks draw into a corner."""
        return f"{self._profile.fps:.1f} fps\nage {frame.age_ms:.0f} ms"

    def tell_recorded(self, streams: int) -> None:
        """The last line: where to look at what no window showed."""
        if self.recorded is None:
            return
        console = show.err if self._args.json else show.out
        how = "any viewer" if self.photos else "any player"
        for number in range(1, streams + 1):
            if (path := numbered(self.recorded, number)).exists():
                console.print(f"[green]✓[/] [bold]{show.plain(path)}[/]  look at it with {how}", soft_wrap=True)

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

    def _troubles(self) -> str:
        """Streams from which nothing comes now."""
        if self._pipeline is None or not self._missed:
            return ""
        now_ns = time.monotonic_ns()
        silent = [state for state in self._pipeline.states if state.state in ("stalled", "lost")]
        return "".join(f"  {state.source} {state.state} {(now_ns - state.since_ns) / 1e9:.0f} s" for state in silent)


def report(args: argparse.Namespace, pipeline: Pipeline, follower: Follower | None = None) -> None:
    """The figures, as a table or as JSON."""
    profile = pipeline.profile
    for name in pipeline.stuck:
        show.err.print(f"[yellow]{show.plain(name)}: still held by its driver or server; left behind")
    if args.json:
        counts = {} if follower is None else {"counts": following.to_dict(follower)}
        show.print_json(profile.to_dict() | counts)
        return
    table = show.table("ms", "p50", "p90", "p99", "max", right=("p50", "p90", "p99", "max"))
    rows = {**profile.stages, "frame age": profile.age}
    for name, stage in rows.items():
        figures = [f"{stage.percentile(percent):.2f}" for percent in (50, 90, 99)]
        table.add_row(f"[bold]{name}" if name == "frame age" else name, *figures, f"{stage.max_ms:.2f}")
    show.err.print(table)
    if len(profile.sources) > 1:
        _report_sources(profile)
    if follower is not None:
        following.report(follower)
    reasons = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in profile.dropped.items() if count)
    told = f"{profile.delivered} frames delivered of {profile.grabbed}, {profile.fps:.1f} fps"
    show.err.print(
        told + (f"; dropped: {reasons}" if reasons else "") + (f"; failed: {profile.failed}" if profile.failed else "")
    )


def _report_sources(profile: Profile) -> None:
    numbers = ("grabbed", "delivered", "dropped", "fps", "age p99", "reconnects")
    table = show.table("source", *numbers, right=numbers)
    for name, tally in profile.sources.items():
        counts = (tally.grabbed, tally.delivered, tally.dropped_in_all)
        rates = (f"{tally.fps:.1f}", f"{tally.age.percentile(99):.1f}", str(tally.reconnects))
        table.add_row(show.plain(name), *map(str, counts), *rates)
    show.err.print(table)


def _never_came(state: StreamState) -> bool:
    return not state.frames and (state.state == "lost" or state.error)


def _in_words(result: Result) -> str:
    words = repr(result)
    return words[words.index("(") + 1 : -1]
