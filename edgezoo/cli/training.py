"""What a person sees of a training; apart from the verb, for no other verb should wait for what it imports."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from edgezoo.cli import show
from edgezoo.measure.evaluate import METRICS
from edgezoo.train import Watch

if TYPE_CHECKING:
    from edgezoo.train.loop import Told, Training


class Shown(Watch):
    """A line that lives, with loss and ETA; a row for every epoch."""

    def __enter__(self) -> Shown:
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
