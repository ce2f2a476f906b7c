"""`edgezoo run`"""

from __future__ import annotations

import argparse

from edgezoo.cli import play

HELP = "Run a model on cameras, streams, videos or photos; show, record, or write down what it finds."


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a bundle's folder, or a model's name")
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="camera:0, rtsp://…, clip.mp4, photo.jpg, folder/, '*.jpg', synthetic:",
    )
    play.arguments(parser)


def run(args: argparse.Namespace) -> int:
    return play.play(args, args.sources)
