"""`--track`, `--line` and `--zone`: what verbs that look at streams share."""

from __future__ import annotations

import argparse
from typing import Any

from edgezoo.cli import options, show
from edgezoo.errors import RequestError
from edgezoo.tracking import LOWEST_SCORE, SCORE, Follower, Line, Zone


def arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("tracking and counting")
    group.add_argument("--track", action="store_true", help="give every object an id that stays (detect)")
    group.add_argument(
        "--line",
        action="append",
        default=[],
        dest="lines",
        metavar="x1,y1,x2,y2[,NAME]",
        help="count what passes, in from the line's left to its right; pixels, or 0..1 of the picture; again for more",
    )
    group.add_argument(
        "--zone",
        action="append",
        default=[],
        dest="zones",
        metavar="x,y,x,y,x,y[,NAME]",
        help="count what is inside and what has been; again for more",
    )


def follower(args: argparse.Namespace) -> Follower | None:
    """What `--track`, `--line` or `--zone` ask for. RequestError: a wrong line or zone."""
    places: list[Line | Zone] = [Line.parse(text) for text in args.lines]
    places += [Zone.parse(text) for text in args.zones]
    if not args.track and not places:
        return None
    return Follower(places, score=SCORE if args.score is None else args.score)


def wanted(args: argparse.Namespace, follower: Follower | None) -> dict[str, Any]:
    """What the engine is asked for; where somebody follows, also what scores low: that goes on a track."""
    asked = options.wanted(args)
    if follower is not None:
        asked["score"] = min(LOWEST_SCORE, SCORE if args.score is None else args.score)
    return asked


def check_photos(follower: Follower | None, photos: bool) -> None:
    """RequestError where photos should be followed."""
    if follower is not None and photos:
        raise RequestError("expected a camera, a stream or a video to track and count in, got photos")


def to_dict(follower: Follower) -> dict[str, Any]:
    """The last counts of every source, by name."""
    return {source: {count.name: count.to_dict() for count in counts} for source, counts in follower.counts.items()}


def report(follower: Follower) -> None:
    """The last counts of every source, a line each."""
    for source, counts in follower.counts.items():
        for count in counts:
            show.err.print(show.plain(f"{source}: {count}"), soft_wrap=True)
