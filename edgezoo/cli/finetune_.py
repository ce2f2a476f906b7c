"""`edgezoo finetune`"""

from __future__ import annotations

import argparse
import dataclasses
import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from edgezoo.cards import read_card
from edgezoo.cli import options, show
from edgezoo.errors import RequestError
from edgezoo.measure.evaluate import METRICS
from edgezoo.train import PLAN, Request, Watch, finetune, preview
from edgezoo.train.plan import Plan, default_plan, read_plan

if TYPE_CHECKING:
    from edgezoo.train.loop import Told, Training

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
    group.add_argument("--plan", type=Path, metavar="FILE.toml", help=f"all of it, as {PLAN} of another training")
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
    with _Shown() as shown:
        try:
            training = finetune(request, shown)
        except KeyboardInterrupt:
            shown.stopped(args.out)
            raise
    _tell(args, training)
    return 0


def _plan(args: argparse.Namespace) -> Plan | None:
    """The task's plan, or the one given, or the one begun with, with what the options change; None: no option did."""
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
    if not sheet.parent.is_dir():
        raise RequestError(f"{sheet}: expected a place for the picture, but there is no folder {sheet.parent}")
    with _Shown() as shown:
        data = preview(request, watch=shown)
    sheet.write_bytes(data)
    show.out.print(f"[green]✓[/] [bold]{show.plain(show.short(sheet))}[/]  what the network would be shown")
    return 0


def _tell(args: argparse.Namespace, training: Training) -> None:
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


class _Shown(Watch):
    """A line that lives, with loss and ETA; a row for every epoch."""

    def __enter__(self) -> _Shown:
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("[cyan]{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=show.err,
            transient=True,
            disable=not show.err.is_terminal,
        )
        self._bar.__enter__()
        self._line = self._bar.add_task("", total=None, told="")
        self._epochs = self._done = 0
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.__exit__(*error)

    def step(self, text: str) -> None:
        self._bar.reset(self._line, description=text, total=None, told="")

    def fetched(self, name: str, done: int, total: int | None) -> None:
        self._bar.update(self._line, completed=done, total=total, told=f"{done / 1e6:.1f} MB")

    def noted(self, line: str) -> None:
        show.err.print(f"[yellow]data:[/] {show.plain(line)}", soft_wrap=True)

    def checked(self, done: int, total: int) -> None:
        self._bar.update(self._line, completed=done, total=total, told=f"{done}/{total}")

    def begins(self, training: Training) -> None:
        data, learner = training.data, training.learner
        parameters = sum(parameter.numel() for parameter in learner.network.parameters())
        began = f"{learner.kept} tensors of {training.began}" if training.began else "from random weights"
        show.err.print(
            f"[bold]{show.plain(training.card.title or training.card.name)}[/], {parameters / 1e6:.2f} M parameters, "
            f"{show.plain(began)}; {len(data.names)} classes, {len(data.train)} images to learn, "
            f"{len(data.val)} to judge by",
            soft_wrap=True,
        )
        unjudged = [name for name, (train, val) in data.counts().items() if train and not val]
        if unjudged:
            self.noted(f"nothing to judge by for {', '.join(unjudged)}: their accuracy will not be known")
        self._epochs, self._done = training.plan.epochs, len(training.history)
        if self._done:
            show.err.print(f"[dim]going on after epoch {self._done}")
        self._bar.reset(self._line, description="training", total=None, told="")

    def at(self, told: Told) -> None:
        # Validation counts as a tenth of an epoch: the bar is about the whole training, so that its ETA is.
        part = told.done / told.total
        done = told.epoch + (0.9 * part if told.doing == "training" else 0.9 + 0.1 * part)
        loss = f"{told.done}/{told.total} images" if math.isnan(told.loss) else f"loss {told.loss:.3f}"
        self._bar.update(
            self._line,
            description=f"{told.doing} {told.epoch + 1}/{told.epochs}",
            completed=done,
            total=told.epochs,
            told=loss,
        )

    def epoch(self, row: dict[str, float], better: bool) -> None:
        self._done = int(row["epoch"])
        metrics = "  ".join(f"{METRICS[name]} {100 * row[name]:5.1f}" for name in METRICS if name in row)
        left = (self._epochs - self._done) * row["seconds"] / 60
        about = f"{left:.0f} min left" if left >= 1 else ""
        star = "[green]best[/]  " if better else "      "
        show.err.print(
            f"epoch {self._done:3}/{self._epochs}  loss {row['loss']:7.4f}  {metrics}  {row['seconds']:6.1f} s  "
            f"{star}[dim]{about}",
            soft_wrap=True,
        )

    def stopped(self, out: Path) -> None:
        if self._epochs:
            show.err.print(f"stopped after epoch {self._done}; --resume goes on from there in {show.plain(out)}")
