"""What a task's network is to make small in training, and what it is judged by; one class a task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from edgezoo.cards import Card
from edgezoo.errors import RequestError
from edgezoo.measure import coco
from edgezoo.measure.evaluate import ASKS, MAX_DETECTIONS
from edgezoo.results import Detections, Result
from edgezoo.tasks import Ask
from edgezoo.train import simota
from edgezoo.train.batches import Batch
from edgezoo.train.data import Example
from edgezoo.train.plan import Plan


class Objective(Protocol):
    @property
    def metric(self) -> str:
        """The one of its metrics that decides which epoch was best."""

    @property
    def ask(self) -> Ask:
        """The thresholds of validation: `edgezoo eval`'s."""

    def forward(self, network: nn.Module, images: Tensor) -> Any:
        """What the loss is of; `images` went through the door. May run in half precision."""

    def loss(self, raw: Any, batch: Batch) -> dict[str, Tensor]:
        """Parts whose sum is to be made small, in single precision."""

    def judge(self, examples: Sequence[Example], results: Iterable[Result]) -> dict[str, float]:
        """Metrics of the answers to `examples`, as `edgezoo eval` states them."""


@dataclass(frozen=True)
class Classify:
    names: tuple[str, ...]
    label_smoothing: float
    metric: ClassVar[str] = "top1"
    ask: ClassVar[Ask] = ASKS["classify"]

    def forward(self, network: nn.Module, images: Tensor) -> Tensor:
        logits: Tensor = network(images)
        return logits

    def loss(self, raw: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy against the classes of a picture, as many as shine through it, by their shares."""
        wanted = torch.stack(
            [
                (one_hot(ids, len(self.names)) * torch.from_numpy(each.shares).to(raw.device)[:, None]).sum(0)
                for ids, each in zip(batch.ids(raw.device), batch.shown, strict=True)
            ]
        )
        return {"class": cross_entropy(raw.float(), wanted, label_smoothing=self.label_smoothing)}

    def judge(self, examples: Sequence[Example], results: Iterable[Result]) -> dict[str, float]:
        hits = [result.class_ids[:1] == example.class_ids for example, result in zip(examples, results, strict=True)]
        return {"top1": sum(map(bool, hits)) / len(hits)}


@dataclass(frozen=True)
class Detect:
    names: tuple[str, ...]
    strides: tuple[int, ...]
    metric: ClassVar[str] = "map"
    ask: ClassVar[Ask] = ASKS["detect"]

    def forward(self, network: nn.Module, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        levels: list[tuple[Tensor, Tensor]] = network.levels(images)  # type: ignore[operator]
        return levels

    def loss(self, raw: list[tuple[Tensor, Tensor]], batch: Batch) -> dict[str, Tensor]:
        found = simota.candidates(raw, self.strides)
        device = found.logits.device
        return simota.loss(found, batch.boxes(device), batch.ids(device))

    def judge(self, examples: Sequence[Example], results: Iterable[Result]) -> dict[str, float]:
        score = self.score(examples, results)
        return {name: value for name in ("map", "map50") if (value := score.metrics[name]) is not None}

    def score(self, examples: Sequence[Example], results: Iterable[Result]) -> coco.Score:
        truth = truth_of(examples, self.names)
        found = [result[:MAX_DETECTIONS] for result in results if isinstance(result, Detections)]
        return coco.score(truth, truth.images, found)


def objective_of(card: Card, names: tuple[str, ...], plan: Plan) -> Objective:
    """The objective of a card's task. Raises RequestError where its network cannot be trained here."""
    if card.network is None:
        raise RequestError(f"{card.name}: its card has no [network]: a graph alone cannot be trained")
    if card.task == "classify" and card.decoder.name == "logits":
        return Classify(names, plan.label_smoothing)
    if card.task == "detect" and card.decoder.name == "yolox-raw":
        return Detect(names, card.decoder.strides)
    raise RequestError(
        f"{card.name}: expected a classifier (decoder logits) or a YOLOX (decoder yolox-raw) to train, "
        f"got {card.task} with {card.decoder.name}"
    )


def truth_of(examples: Sequence[Example], names: tuple[str, ...]) -> coco.Truth:
    """The boxes of `examples` as `coco.score` takes them."""
    pictures = tuple(
        coco.Picture(id=k, path=example.path, size_wh=example.size_wh) for k, example in enumerate(examples, 1)
    )
    rows: list[Mapping[str, Any]] = [
        {
            "image_id": picture.id,
            "category_id": class_id,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "iscrowd": int(crowd),
        }
        for picture, example in zip(pictures, examples, strict=True)
        for (x1, y1, x2, y2), class_id, crowd in zip(
            example.boxes_xyxy.tolist(), example.class_ids.tolist(), example.crowd.tolist(), strict=True
        )
    ]
    boxes = tuple({"id": k, **row} for k, row in enumerate(rows, 1))
    return coco.Truth(images=pictures, boxes=boxes, names=names)
