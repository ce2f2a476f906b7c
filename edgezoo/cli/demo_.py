"""`edgezoo demo`: something to see on any machine, with or without a camera, a network, a screen."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from functools import partial
from pathlib import Path

from edgezoo import cards
from edgezoo.address import Address
from edgezoo.cli import play, show
from edgezoo.errors import BundleError, ConvertError, RequestError, SourceError, WeightsError
from edgezoo.loading import bring, find_bundle
from edgezoo.measure import devices
from edgezoo.sinks import numbered, part_of
from edgezoo.sources import Source
from edgezoo.sources.camera import Camera
from edgezoo.weights import why

HELP = "See it work: a camera or the built-in clip, in a window with boxes and latency, or recorded without a screen."

EVERYDAY = "yolox_nano"  # what stands before a camera
BUILT_IN = "digits"
PATIENCE_S = 5.0
CAMERA_S = 3.0  # for a first frame
CAMERAS_S = 9.0  # for all that are there: some boards have a dozen that never give one
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
        record = partial(_new_name, streams=len(addresses))
        demo = play.Demo(choose=choose, record=record, live_s=LIVE_S)
        return play.play(args, addresses, opened=camera, demo=demo)
    finally:
        if camera is not None:
            camera.close()


def _camera() -> tuple[Source | None, str]:
    """The first camera that gives a frame, or the clip instead; and this in words."""
    reason, until_s = "", time.monotonic() + CAMERAS_S
    with show.steps() as (step, _):
        for address in _cameras():
            step(f"waiting for {address}")
            try:
                camera = Camera(Address.parse(address))
                camera.begin(patience_s=min(CAMERA_S, max(0.0, until_s - time.monotonic())))
                return camera, address
            except SourceError as error:
                reason = reason or why(error).rpartition("expected a camera, ")[2]
            if time.monotonic() >= until_s:
                break
    return None, f"no camera{f' ({reason})' if reason else ''}: the built-in clip"


def _cameras() -> list[str]:
    """Addresses to try; Linux tells which are cameras without starting any."""
    if not sys.platform.startswith("linux"):
        return ["camera:0"]
    return [f"camera:{camera.path.removeprefix('/dev/video')}" for camera in devices.cameras()]


def _choose(args: argparse.Namespace, told: str, *, on_clip: bool) -> str:
    """The model that has most to say there, and a line that says why it is this one."""
    wanted = args.classes is not None or args.size is not None  # of the model whose classes everybody knows
    if args.model is not None:
        model, reason = args.model, "as asked"
    elif on_clip and not wanted:
        model, reason = BUILT_IN, "the model for what is on it"
    else:
        model, reason = _everyday_or_not(args, must=wanted)
    if args.model is None or not args.sources:
        show.err.print(show.plain(f"{told}, and {model}, {reason}"), soft_wrap=True)
    return str(model)


def _everyday_or_not(args: argparse.Namespace, *, must: bool) -> tuple[str, str]:
    try:
        with show.steps() as (step, tell):
            step(f"fetching {EVERYDAY}")
            fetched = bring(EVERYDAY, patience_s=PATIENCE_S, size_wh=args.size, progress=tell)
            find_bundle(EVERYDAY, size_wh=args.size, step=step, progress=tell)
    except (WeightsError, ConvertError, BundleError) as error:
        if must:
            raise RequestError(f"--classes and --size are for {EVERYDAY}, which cannot be had: {error}") from None
        trouble = "fetched" if isinstance(error, WeightsError) else "made ready"
        hint = "" if args.sources else "; show it a digit"
        return BUILT_IN, f"built in: {EVERYDAY} cannot be {trouble} ({why(error)}){hint}"
    return EVERYDAY, "fetched just now" if fetched else "which is here already"


def _gist(sources: list[str]) -> str:
    return str(Address.parse(sources[0])) if len(sources) == 1 else f"{len(sources)} sources"


def _clip() -> Path:
    return cards.zoo_folder() / BUILT_IN / "clip.mp4"


def _new_name(suffix: str, *, streams: int) -> Path:
    """A name here for a recording of so many streams that takes nobody's place."""
    for number in itertools.count(1):
        path = numbered(Path(f"edgezoo-demo{suffix}"), number)
        all_of_it = [numbered(path, stream) for stream in range(1, streams + 1)]
        if not any(os.path.lexists(name) for part in all_of_it for name in (part, part_of(part))):
            return path
    raise AssertionError("numbers do not end")
