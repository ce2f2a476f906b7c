"""`edgezoo demo`"""

from __future__ import annotations

import argparse

from edgezoo.cli import play

HELP = "See it work: a camera, YOLOX-Nano, and a window with boxes and latency."


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sources", nargs="*", metavar="SOURCE", help="anything that `edgezoo run` takes (default: camera:0)"
    )
    parser.add_argument(
        "--model", default="yolox_nano", help="a model's name or a bundle's folder (default: %(default)s)"
    )
    play.arguments(parser)
    parser.set_defaults(corner=True)


def run(args: argparse.Namespace) -> int:
    return play.play(args, args.sources or ["camera:0"])
