"""Options that several verbs share."""

from __future__ import annotations

import argparse
import math
from typing import Any

from edgezoo.address import parse_size
from edgezoo.bundle import Bundle
from edgezoo.cli import show
from edgezoo.engine import Engine
from edgezoo.errors import RequestError


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")


def add_batching(parser: argparse._ActionsContainer, *, batch: int = 1, wait_ms: float | None = None) -> None:
    parser.add_argument(
        "--batch", type=int, default=batch, metavar="N", help="images in one inference at most (default: %(default)s)"
    )
    parser.add_argument(
        "--wait-ms", type=float, default=wait_ms, metavar="MS", help="how long a batch waits to be full"
    )


def add_retries(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--retries",
        type=_retries,
        metavar="N",
        help="give a live source up after N tries in a row to open it (0: at once; forever: never, also when it is not "
        "there at the start; default: never, once it was there)",
    )


def _retries(text: str) -> float:
    if text == "forever":
        return math.inf
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number or forever, got {text!r}")
    return int(text)


def add_capture(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--capture",
        metavar="FOLDER",
        help="s in a window, or a button on a page, keeps the frame and its detections there, as COCO json",
    )


def add_runtime(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how it runs")
    group.add_argument("--backend", help="runtime (default: onnxruntime; with --precision auto the fastest)")
    group.add_argument(
        "--device", help="cpu, cuda or cuda:N; what is asked for runs, or nothing does (default: cpu; tensorrt: cuda)"
    )
    group.add_argument(
        "--precision",
        default="fp32",
        help="which artifact of the bundle; auto: the fastest here, as `bench --store` measured (default: %(default)s)",
    )
    group.add_argument(
        "--threads", type=int, metavar="N", help="threads inside one run (default: the runtime's choice)"
    )


def add_wanted(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is wanted of the answer")
    group.add_argument("--score", type=float, metavar="0..1", help="only what scores above this (detect: 0.25)")
    group.add_argument(
        "--iou", type=float, metavar="0..1", help="boxes that overlap by more are one object (detect: 0.45)"
    )
    group.add_argument("--classes", metavar="NAMES", help="only these, by name or number, separated by commas")
    group.add_argument(
        "--size", type=size, metavar="WxH", help="the network's input size in pixels, for a model's name"
    )


def size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT, for argparse."""
    try:
        return parse_size(text)
    except RequestError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def open_engine(args: argparse.Namespace, **wanted: Any) -> Engine:
    """The engine for a bundle, a name or a card, with progress where something is fetched or made."""
    bundle = found_bundle(args)
    chosen = settle(args, bundle)
    return Engine(
        bundle,
        backend=args.backend,
        device=args.device,
        precision=args.precision,
        threads=args.threads,
        chosen=chosen,
        **wanted,
    )


def settle(args: argparse.Namespace, bundle: Bundle) -> dict[str, Any] | None:
    """Make `args.backend` and `args.precision` what is meant; where `auto` meant it, say what, and the measurement."""
    from edgezoo.loading import decide

    args.backend, args.precision, choice = decide(
        bundle, backend=args.backend, device=args.device, precision=args.precision, threads=args.threads
    )
    if choice is None:
        return None
    show.err.print(show.plain(choice), soft_wrap=True)
    return choice.to_dict()


def found_bundle(args: argparse.Namespace) -> Bundle:
    """The bundle in a folder, or of a name or a card, with progress where something is fetched or made."""
    from edgezoo.loading import find_bundle

    with show.steps() as (step, tell):
        return find_bundle(args.model, size_wh=getattr(args, "size", None), step=step, progress=tell)


def wanted(args: argparse.Namespace) -> dict[str, Any]:
    """`--score`, `--iou` and `--classes` as the engine takes them."""
    classes = None if args.classes is None else [word.strip() for word in args.classes.split(",") if word.strip()]
    if classes == []:
        raise RequestError(f"expected --classes as names or numbers with commas between them, got {args.classes!r}")
    return {"score": args.score, "iou": args.iou, "classes": classes}
