"""`edgezoo demo`: something to see on any machine, with or without a camera, a network, a screen."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from functools import partial
from pathlib import Path

from edgezoo import cards
from edgezoo.address import Address
from edgezoo.cli import play, show
from edgezoo.errors import SourceError, WeightsError
from edgezoo.loading import bring
from edgezoo.measure import devices
from edgezoo.sinks import numbered, part_of
from edgezoo.sources import Source, open_source
from edgezoo.weights import why

HELP = "See it work: a camera or the built-in clip, in a window with boxes and latency, or recorded without a screen."

EVERYDAY = "yolox_nano"  # what stands before a camera
BUILT_IN = "digits"
PATIENCE_S = 5.0
LIVE_S = 10.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="anything that `edgezoo run` takes (default: a camera; where there is none, a clip that is built in)",
    )
    parser.add_argument(
        "--model",
        help=f"a model's name or a bundle's folder (default: {EVERYDAY} if it is here or can be fetched, else "
        f"{BUILT_IN}, which is built in and goes with the clip)",
    )
    play.arguments(parser)
    parser.set_defaults(corner=True)


def run(args: argparse.Namespace) -> int:
    camera, told = (None, _gist(args.sources)) if args.sources else _camera()
    addresses = args.sources or [camera.address if camera is not None else str(_clip())]
    choose = partial(_choose, args, told, on_clip=not args.sources and camera is None)
    try:
        demo = play.Demo(choose=choose, clip=_new_clip(len(addresses)), live_s=LIVE_S)
        return play.play(args, addresses, opened=camera, demo=demo)
    finally:
        if camera is not None:
            camera.close()


def _camera() -> tuple[Source | None, str]:
    """The first camera that opens, or the clip instead; and this in words."""
    reason = ""
    for address in _cameras():
        try:
            return open_source(address), address
        except SourceError as error:
            reason = reason or str(error).partition("expected a camera, ")[2] or str(error)
    return None, f"no camera{f' ({reason})' if reason else ''}: the built-in clip"


def _cameras() -> list[str]:
    """Addresses to try; Linux tells which are cameras without starting any."""
    if not sys.platform.startswith("linux"):
        return ["camera:0"]
    return [f"camera:{camera.path.removeprefix('/dev/video')}" for camera in devices.cameras()]


def _choose(args: argparse.Namespace, told: str, *, on_clip: bool) -> str:
    """The model that has most to say there, and a line that says why it is this one."""
    if args.model is None:
        model, reason = (BUILT_IN, "the model for what is on it") if on_clip else _everyday_or_not(args)
    else:
        model, reason = args.model, "as asked"
    if args.model is None or not args.sources:
        show.err.print(show.plain(f"{told}, and {model}, {reason}"), soft_wrap=True)
    return str(model)


def _everyday_or_not(args: argparse.Namespace) -> tuple[str, str]:
    try:
        with show.steps() as (step, tell):
            step(f"fetching {EVERYDAY}")
            fetched = bring(EVERYDAY, patience_s=PATIENCE_S, size_wh=args.size, progress=tell)
    except WeightsError as error:
        hint = "" if args.sources else "; show it a digit"
        return BUILT_IN, f"built in: {EVERYDAY} cannot be fetched ({why(error)}){hint}"
    return EVERYDAY, "fetched just now" if fetched else "which is here already"


def _gist(sources: list[str]) -> str:
    return str(Address.parse(sources[0])) if len(sources) == 1 else f"{len(sources)} sources"


def _clip() -> Path:
    return cards.zoo_folder() / BUILT_IN / "clip.mp4"


def _new_clip(streams: int) -> Path:
    """A name here for a recording of so many streams that takes nobody's place."""
    for number in itertools.count(1):
        path = numbered(Path("edgezoo-demo.mp4"), number)
        all_of_it = [numbered(path, stream) for stream in range(1, streams + 1)]
        if not any(os.path.lexists(name) for part in all_of_it for name in (part, part_of(part))):
            return path
    raise AssertionError("numbers do not end")
