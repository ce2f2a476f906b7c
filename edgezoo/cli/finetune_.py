"""`edgezoo finetune`"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from edgezoo.cards import read_card
from edgezoo.cli import options, show
from edgezoo.errors import RequestError

if TYPE_CHECKING:
    from edgezoo.train import Request
    from edgezoo.train.loop import Training
    from edgezoo.train.plan import Plan

HELP = "Train a model on images of your own, beginning with its pretrained weights."


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a name of the zoo, or a card.toml with a [network]")
    parser.add_argument(
        "--data", required=True, type=Path, metavar="DIR",
        help="classify: folders of images by class, in train/ and val/ or not; detect: COCO json, or YOLO txt",
    )  # fmt: skip
    parser.add_argument("--val", type=Path, metavar="DIR", help="validation images, where they lie elsewhere")
    parser.add_argument("-o", "--out", type=Path, metavar="DIR", help="a new folder for what comes of it")
    parser.add_argument("--resume", action="store_true", help="go on with the training in -o")
    parser.add_argument(
        "--preview", type=Path, metavar="FILE.png", nargs="?", const=Path("preview.png"),
        help="only draw a sheet of what would be shown to the network (default: %(const)s)",
    )  # fmt: skip
    parser.add_argument(
        "--leave-out", action="store_true", help="go on without images and labels that are wrong, naming each"
    )
    group = parser.add_argument_group("where it begins")
    group.add_argument("--weights", type=Path, metavar="FILE", help="a checkpoint instead of the official one")
    group.add_argument("--scratch", action="store_true", help="random weights")
    group.add_argument("--size", type=options.size, metavar="WxH", help="the network's input size in pixels")
    group = parser.add_argument_group("the plan")
    group.add_argument("--plan", type=Path, metavar="FILE.toml", help="all of it, as plan.toml of another training")
    for name, what in (
        ("epochs", "how often every image is seen"),
        ("batch", "images a step"),
        ("seed", "of all chance"),
    ):
        group.add_argument(f"--{name}", type=int, metavar="N", help=what)
    group.add_argument("--patience", type=int, metavar="N", help="stop after N epochs without a better metric")
    group.add_argument("--lr", type=float, metavar="X", help="the head's largest learning rate")
    for name, what in (("flip", "of mirror images"), ("mosaic", "of four images in one"), ("mixup", "of two in one")):
        group.add_argument(f"--{name}", type=float, metavar="0..1", help=f"chance {what}")
    group.add_argument("--degrees", type=float, metavar="D", help="images are turned by up to so much either way")
    group = parser.add_argument_group("how it runs")
    group.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    group.add_argument("--threads", type=int, metavar="N", help="of torch (default: torch's choice)")
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    from edgezoo.cli.training import Shown
    from edgezoo.train import Request, finetune

    if args.weights is not None and args.scratch:
        raise RequestError("expected --weights or --scratch, got both")
    if args.preview is None and args.out is None:
        raise RequestError("expected a new folder for what comes of it: -o DIR")
    request = Request(
        model=args.model,
        data=args.data,
        out=args.out or Path(),
        val=args.val,
        weights=args.weights,
        scratch=args.scratch,
        plan=_plan(args),
        size_wh=args.size,
        device=args.device,
        threads=args.threads,
        resume=args.resume,
        leave_out=args.leave_out,
    )
    if args.preview is not None:
        return _preview(args.preview, request)
    with Shown() as shown:
        try:
            training = finetune(request, shown)
        except KeyboardInterrupt:
            shown.stopped(args.out)
            raise
    _tell(args, training)
    return 0


def _plan(args: argparse.Namespace) -> Plan | None:
    """The task's plan, or the one given, or the one begun with, with what the options change; None: no option did."""
    from edgezoo.train import PLAN
    from edgezoo.train.plan import default_plan, read_plan

    chosen = {name: getattr(args, name) for name in ("epochs", "batch", "seed", "patience", "lr")}
    varied = {name: getattr(args, name) for name in ("flip", "mosaic", "mixup", "degrees")}
    chosen, varied = ({k: v for k, v in table.items() if v is not None} for table in (chosen, varied))
    if not chosen and not varied and args.plan is None:
        return None
    if args.plan is not None:
        plan = read_plan(args.plan)
    elif args.resume and (args.out / PLAN).is_file():
        plan = read_plan(args.out / PLAN)
    else:
        plan = default_plan(read_card(args.model).task, pretrained=not args.scratch)
    try:
        return dataclasses.replace(plan, **chosen, augment=dataclasses.replace(plan.augment, **varied))
    except ValueError as error:
        raise RequestError(str(error)) from None


def _preview(sheet: Path, request: Request) -> int:
    from edgezoo.cli.training import Shown
    from edgezoo.train import preview

    if not sheet.parent.is_dir():
        raise RequestError(f"{sheet}: expected a place for the picture, but there is no folder {sheet.parent}")
    with Shown() as shown:
        data = preview(request, watch=shown)
    sheet.write_bytes(data)
    show.out.print(f"[green]✓[/] [bold]{show.plain(show.short(sheet))}[/]  what the network would be shown")
    return 0


def _tell(args: argparse.Namespace, training: Training) -> None:
    from edgezoo.measure.evaluate import METRICS

    best = training.best
    assert best is not None
    metrics = {name: best[name] for name in METRICS if name in best}
    card = args.out / "card.toml"
    if args.json:
        show.print_json({"card": str(card), "epoch": int(best["epoch"]), **metrics, "history": training.history})
        return
    told = ", ".join(f"{METRICS[name]} {100 * value:.1f} %" for name, value in metrics.items())
    folder, images = show.plain(show.short(args.out)), len(training.data.val)
    show.out.print(
        f"[green]✓[/] [bold]{folder}[/]  {told} on {images} validation images, epoch {best['epoch']:.0f}",
        soft_wrap=True,
    )
    command = f"edgezoo convert {shlex.quote(show.short(card))} -o {shlex.quote(args.out.resolve().name)}_bundle"
    show.out.print(f"  [dim]next: {show.plain(command)}", soft_wrap=True)
