"""What a person sees: consoles, tables, progress with an ETA. Results go to stdout, the rest to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

out = Console(highlight=False, emoji=False)
err = Console(stderr=True, highlight=False, emoji=False)


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


def plain(text: object) -> str:
    """`text` as it is, also where it has brackets: names and paths of users are no markup of ours."""
    return escape(str(text))


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
    """A line that says what is being done, with a bar and an ETA where its length is known."""
    with Progress(
        SpinnerColumn(),
        TextColumn("[cyan]{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    ) as progress:
        lines: dict[str, Any] = {}

        def tell(text: str, done: int, total: int) -> None:
            if text not in lines:
                for line in lines.values():
                    progress.remove_task(line)
                lines.clear()
                lines[text] = progress.add_task(text, total=None)
            progress.update(lines[text], completed=done, total=total if total > 1 else None)

        yield tell


def short(path: str | Path) -> str:
    """A path from here where that is shorter."""
    try:
        near = str(Path(path).resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
    return near if len(near) < len(str(path)) else str(path)
