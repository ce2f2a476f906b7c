"""The loop: epochs of steps, each epoch validated, kept, and the best of them remembered."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from edgezoo.cards import Card
from edgezoo.errors import RequestError
from edgezoo.preprocess import Preprocess
from edgezoo.results import Result
from edgezoo.train import checkpoint
from edgezoo.train.augment import Augmenter
from edgezoo.train.batches import Batch, batches, door, order
from edgezoo.train.data import DataSet
from edgezoo.train.objectives import Objective
from edgezoo.train.plan import Plan, to_toml
from edgezoo.train.transfer import Average, Learner, to_device
from edgezoo.train.validate import answers

LOWEST_RATE = 0.01  # of the largest, at the end of the cosine
LONGEST_GRADIENT = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """Where a training is, for whoever watches."""

    epoch: int
    """From 0."""
    epochs: int
    doing: str
    """`training` or `validating`."""
    done: int
    total: int
    """Steps or images of this epoch."""
    loss: float
    """The epoch's mean so far."""


@dataclass(eq=False)
class Training:
    """Everything that one training needs; `run` goes on from where it is."""

    card: Card
    recipe: Preprocess
    data: DataSet
    plan: Plan
    learner: Learner
    began: str
    """What its weights are from: a card's or a file's name; empty: chance."""
    objective: Objective
    folder: Path
    device: torch.device
    threads: int
    history: list[dict[str, float]] = field(default_factory=list)
    """A row an epoch: epoch (from 1), lr, seconds, loss and its parts, metrics."""
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        to_device(self.learner, self.device)
        self.optimizer = self.learner.optimizer(self.plan)
        self.average = Average(self.learner.network, self.plan.ema)
        self._half = self.device.type == "cuda"
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self._half)
        self._augmenter = Augmenter(self.data.train, self.recipe, self.plan.augment, self.card.task)

    @property
    def best(self) -> dict[str, float] | None:
        """The first row with the best metric."""
        return max(self.history, key=lambda row: row[self.objective.metric], default=None)

    @property
    def finished(self) -> bool:
        if self.best is None:
            return False
        waited = len(self.history) - int(self.best["epoch"])
        return len(self.history) >= self.plan.epochs or 0 < self.plan.patience <= waited

    def run(
        self, *, on_step: Callable[[Told], None], on_epoch: Callable[[dict[str, float], bool], None]
    ) -> dict[str, float]:
        """Train to the end; the best epoch's row. After each epoch `last.pt` is on the disk.

        Raises RequestError where the loss is no number any more, SourceError.
        """
        while not self.finished:
            epoch, began = len(self.history), time.perf_counter()
            losses = self._train(epoch, on_step)
            metrics = self.validate(epoch, on_step)
            row = {"epoch": float(epoch + 1), "lr": self._rate(epoch + 1), **losses, **metrics}
            self.history.append({**row, "seconds": time.perf_counter() - began})
            better = self.best is self.history[-1]
            if better:
                self.best_weights = copy.deepcopy(self.average.network.state_dict())
            self.save()
            on_epoch(self.history[-1], better)
        assert self.best is not None
        return self.best

    def _train(self, epoch: int, on_step: Callable[[Told], None]) -> dict[str, float]:
        """One epoch of steps; the means of the loss and its parts."""
        self.learner.get_ready(self.plan, epoch)
        steps = len(order(len(self.data.train), self.plan, epoch))
        sums: dict[str, float] = {}
        for step, batch in enumerate(batches(self._augmenter, self.plan, epoch, threads=self.threads)):
            rate = self._rate(epoch + step / steps)
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group["share"]
            for name, value in self._step(batch).items():
                sums[name] = sums.get(name, 0.0) + value
            if not math.isfinite(sums["loss"]):
                raise RequestError(
                    f"epoch {epoch + 1}, step {step + 1}: the loss is no number any more; try a smaller --lr than "
                    f"{self.plan.lr:g}"
                )
            mean = sums["loss"] / (step + 1)
            on_step(self._told(epoch, "training", step + 1, steps, mean))
        return {name: value / steps for name, value in sums.items()}

    def _step(self, batch: Batch) -> dict[str, float]:
        network = self.learner.network
        images = door(batch.images.to(self.device, non_blocking=True), self.recipe)
        with torch.autocast(self.device.type, dtype=torch.float16, enabled=self._half):
            raw = self.objective.forward(network, images)
        parts = self.objective.loss(raw, batch)
        loss = torch.stack([*parts.values()]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(network.parameters(), LONGEST_GRADIENT)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.average.update(network)
        return {"loss": loss.item(), **({name: part.item() for name, part in parts.items()} if len(parts) > 1 else {})}

    def validate(self, epoch: int, on_step: Callable[[Told], None]) -> dict[str, float]:
        """The metrics of the averaged weights on the validation images."""
        return self.objective.judge(self.data.val, self.answers(epoch, on_step))

    def answers(self, epoch: int, on_step: Callable[[Told], None]) -> Iterator[Result]:
        """What the averaged weights answer to the validation images, at `edgezoo eval`'s thresholds."""
        return answers(
            self.average.network,
            self.data.val,
            self.recipe,
            self.card.decoder,
            self.data.names,
            self.objective.ask,
            device=self.device,
            progress=lambda done, total: on_step(self._told(epoch, "validating", done, total, math.nan)),
        )

    def _told(self, epoch: int, doing: str, done: int, total: int, loss: float) -> Told:
        return Told(epoch=epoch, epochs=self.plan.epochs, doing=doing, done=done, total=total, loss=loss)

    def _rate(self, at: float) -> float:
        """The head's learning rate, `at` so many epochs: up along a line, down along a cosine."""
        plan = self.plan
        if at < plan.warmup_epochs:
            return plan.lr * max(at / plan.warmup_epochs, LOWEST_RATE)
        left = (at - plan.warmup_epochs) / max(plan.epochs - plan.warmup_epochs, 1e-9)
        return plan.lr * (LOWEST_RATE + (1 - LOWEST_RATE) * (1 + math.cos(math.pi * min(left, 1.0))) / 2)

    def save(self) -> None:
        """Write `last.pt`, the only truth about where this training is."""
        checkpoint.save(
            self.folder,
            {
                "identity": self._identity(),
                "began": self.began,
                "kept": self.learner.kept,
                "network": self.learner.network.state_dict(),
                "average": self.average.network.state_dict(),
                "average_steps": self.average.steps,
                "optimizer": self.optimizer.state_dict(),
                "scaler": self._scaler.state_dict(),
                "history": self.history,
                "best": self.best_weights,
            },
            self.device,
        )

    def resume(self) -> None:
        """Go on from `last.pt`. Raises WeightsError, and RequestError where something else was trained there."""
        state = checkpoint.load(self.folder, self.device)
        for what, mine in self._identity().items():
            if state["identity"][what] != mine:
                shown = f"; --size {state['identity'][what]} did" if what == "size" else ""
                raise RequestError(
                    f"{self.folder}: cannot go on: this is not the {what} it began with{shown}; or begin anew elsewhere"
                )
        self.began = state["began"]
        self.learner.kept = state["kept"]
        self.learner.network.load_state_dict(state["network"])
        self.average.network.load_state_dict(state["average"])
        self.average.steps = state["average_steps"]
        self.optimizer.load_state_dict(state["optimizer"])
        if self._half and state["scaler"]:  # a CPU, where it may have begun, has none
            self._scaler.load_state_dict(state["scaler"])
        self.history[:] = state["history"]
        self.best_weights = state["best"]

    def _identity(self) -> dict[str, str]:
        """What may not change between the parts of one training."""
        width, height = self.recipe.size_wh
        return {
            "size": f"{width}x{height}",
            "data": self.data.digest,
            "plan": to_toml(self.plan),
            "model": repr((self.card.name, self.card.network, self.recipe)),
        }
