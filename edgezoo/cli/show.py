"""What a person sees: consoles, tables, progress with an ETA. Results go to stdout, the rest to stderr."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rich import box
from rich.console import Console, RenderableType
from rich.constrain import Constrain
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column, Table
from rich.text import Text

if TYPE_CHECKING:
    from edgezoo.backends.tensorrt.progress import Told

out = Console(highlight=False, emoji=False)
err = Console(stderr=True, highlight=False, emoji=False)
_BUSY = 0.1
_ANY_WIDTH = 10_000
_CTRL_C = 2  # columns that the terminal writes where the cursor stands
_SILENCE_S = 30.0
_UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # control, and turned around


class Step(Protocol):
    def __call__(self, text: str) -> None: ...


class Count(Protocol):
    def __call__(self, done: int, total: int) -> None: ...


class Stage(Protocol):
    def __call__(self, text: str, done: int, total: int) -> None: ...


class Bytes(Protocol):
    def __call__(self, name: str, done: int, total: int | None) -> None: ...


def table(*columns: str, right: tuple[str, ...] = (), title: str | None = None) -> Table:
    """An empty table in the house's look."""
    made = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def fits(made: Table) -> bool:
    """Whether the terminal is wide enough for the table to break no word."""
    return Measurement.get(out, out.options.update_width(_ANY_WIDTH), made).maximum <= out.width


def indented(text: str) -> None:
    """Print it; where it is longer than a line, it goes on further in."""
    for number, line in enumerate(Text.from_markup(text).wrap(out, max(1, out.width - 2))):
        line.rstrip()
        out.print("  " * bool(number), line, sep="", no_wrap=True, overflow="ignore", crop=False)


def plain(text: object) -> str:
    """`text` as it is, also where it has brackets: names and paths of users are no markup of ours.

    What would move the cursor, clear the screen or turn letters around is shown as `�`: it may come from a bundle of
    somebody else's.
    """
    return escape(printable(str(text)))


def printable(text: str) -> str:
    """`text` without what is told to a terminal and not to its reader; lines end as they did."""
    return _UNSEEN.sub("�", text)


def busy(others: float | None, cure: str = "") -> None:
    """A warning where other programs took more than a little of the machine meanwhile, 0..1 of all its cores."""
    if (others or 0) > _BUSY:
        told = f"other programs took {100 * (others or 0):.0f} % of the machine meanwhile{cure}"
        out.print(f"[yellow]{told}", soft_wrap=True)


def size(count: int) -> str:
    """`7.4 MB`."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def print_json(data: dict[str, Any]) -> None:
    json.dump(data, sys.stdout, indent=1)
    print()


@contextmanager
def downloading() -> Iterator[Bytes]:
    """A bar per file with size, speed and ETA."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    ) as progress:
        bars: dict[str, Any] = {}

        def tell(name: str, done: int, total: int | None) -> None:
            if name not in bars:
                bars[name] = progress.add_task(name, total=total)
            progress.update(bars[name], completed=done, total=total)

        yield tell


@contextmanager
def counting(what: str) -> Iterator[Count]:
    """A bar over a known number of things, with ETA."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    ) as progress:
        bar = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


@contextmanager
def steps() -> Iterator[tuple[Step, Bytes]]:
    """A line that says what is being done, with a bar for what is being fetched."""
    with Progress(
        SpinnerColumn(),
        TextColumn("[cyan]{task.description}"),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    ) as progress:
        line = progress.add_task("", total=None, told="")

        def step(text: str) -> None:
            progress.update(line, description=text, told="")

        def tell(name: str, done: int, total: int | None) -> None:
            part = f" of {total / 1e6:.1f} MB, {100 * done // total} %" if total else " MB"
            progress.update(line, told=f"{done / 1e6:.1f}{part}")

        yield step, tell


@contextmanager
def stages() -> Iterator[Stage]:
    """One line: a bar with count and ETA where a length is known (not of 0), what is being done, all that it took.

    The text comes behind the bar, so that nothing moves when another begins.
    """
    counted = TextColumn("{task.fields[counted]:>9}")
    with _Line(24, counted, TimeRemainingColumn(compact=True, table_column=Column(width=5))) as progress:
        line = progress.add_task("", total=None, counted="")
        last = ""

        def tell(text: str, done: int, total: int) -> None:
            nonlocal last
            if text != last:
                progress.reset(line, description=plain(text))
                last = text
            progress.tasks[0].total = total or None  # `update` takes None for "as it was"
            progress.update(line, completed=done, counted=f"{done}/{total}" if total else "")

        yield tell


@contextmanager
def building() -> Iterator[Callable[[Told], None]]:
    """One line: a bar of the share that is done, what is left, what is being done, all that it took.

    What must not be missed stays above it. Where there is no terminal, a line now and then says that work goes on.
    """
    with _Line(20, TextColumn("{task.fields[told]}", table_column=Column(width=15))) as progress:
        line = progress.add_task("", total=None, told="")
        last_s = began_s = time.monotonic()

        def tell(told: Told) -> None:
            nonlocal last_s
            if told.news:
                err.print(plain(told.news), soft_wrap=True)
            share = "" if told.share is None else f"{100 * told.share:.0f} %"
            left = "" if told.left_s is None else f"{_clock(told.left_s)} left"
            progress.tasks[0].total = None if told.share is None else 1.0  # `update` takes None for "as it was"
            progress.update(line, description=plain(told.text), completed=told.share or 0.0, told=f"{share:>4} {left}")
            if not err.is_terminal and time.monotonic() - last_s >= _SILENCE_S:
                last_s = time.monotonic()
                parts = (share, left, f"since {_clock(last_s - began_s)}")
                err.print(plain(f"{told.text}: {', '.join(filter(None, parts))}"), soft_wrap=True)

        yield tell


def _clock(seconds: float) -> str:
    """`1:05`."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


class _Line(Progress):
    """A bar as wide as the terminal, but for the `^C` that this writes: on a line that is full, it would begin another,
    and the bar would not find its own again."""

    def __init__(self, bar: int, *figures: ProgressColumn) -> None:
        """A bar of so many letters, `figures` behind it, what is being done, and all the time that it took."""
        super().__init__(
            SpinnerColumn(),
            BarColumn(bar_width=bar),
            *figures,
            TextColumn("[cyan]{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
            _Since(time.monotonic()),
            console=err,
            transient=True,
            expand=True,
            disable=not err.is_terminal,
        )

    def get_renderables(self) -> Iterable[RenderableType]:
        yield Constrain(self.make_tasks_table(self.tasks), max(1, err.width - _CTRL_C))


class _Since(ProgressColumn):
    """The time since all began, `1:05`."""

    def __init__(self, began: float) -> None:
        super().__init__()
        self._began = began

    def render(self, task: Task) -> Text:
        return Text(_clock(time.monotonic() - self._began), style="progress.elapsed")


def short(path: str | Path) -> str:
    """A path from here where that is shorter."""
    try:
        near = str(Path(path).resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
    return near if len(near) < len(str(path)) else str(path)
