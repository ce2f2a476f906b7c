"""YOLOX's loss and its label assignment, SimOTA (Ge et al., https://arxiv.org/abs/2107.08430, section 2.1).

Every object bids for candidates near its centre. A candidate costs an object what it says wrongly of its class and how
badly its box fits; an object takes as many of the cheapest as their overlaps add up to (dynamic k), and a candidate
that two objects want goes to the one it costs less. What is taken learns box, objectness and class; all others learn
that nothing is there.

Coordinates are network pixels. A candidates, C classes, G objects of an image, K pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot

CENTER_STRIDES = 1.5  # how far from an object's centre a candidate may lie, in its own strides
TOP = 10  # the overlaps that say how many candidates an object takes
IOU_COST = 3.0
OUTSIDE_COST = 1e5  # for a candidate outside the object's box: taken only where there is no other
BOX_WEIGHT = 5.0


class Candidates(NamedTuple):
    """A network's dense answers to a batch, and where they stand."""

    boxes_xyxy: Tensor
    """(N, A, 4)."""
    logits: Tensor
    """(N, A, 1 + C), objectness first."""
    centers_xy: Tensor
    """(A, 2) of the cells."""
    strides: Tensor
    """(A, 1)."""


class Pairs(NamedTuple):
    """Which candidate learns which object."""

    candidates: Tensor
    """(K,) indices into A; each once."""
    objects: Tensor
    """(K,) indices into G."""
    overlaps: Tensor
    """(K,) their IoU."""


def candidates(levels: Sequence[tuple[Tensor, Tensor]], strides: Sequence[int]) -> Candidates:
    """Decode what `YOLOX.levels` answers; the same arithmetic as the `yolox-raw` decoder's."""
    boxes, logits, centers, sizes = [], [], [], []
    for (box, logit), stride in zip(levels, strides, strict=True):
        rows, columns = (torch.arange(side, device=box.device) for side in box.shape[2:])
        cells = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1).reshape(-1, 2).float()
        box = box.float().flatten(2).transpose(1, 2)
        center, size = (box[..., :2] + cells) * stride, box[..., 2:].exp() * stride
        boxes.append(torch.cat([center - size / 2, center + size / 2], -1))
        logits.append(logit.float().flatten(2).transpose(1, 2))
        centers.append((cells + 0.5) * stride)
        sizes.append(torch.full_like(cells[:, :1], stride))
    return Candidates(torch.cat(boxes, 1), torch.cat(logits, 1), torch.cat(centers), torch.cat(sizes))


@torch.no_grad()
def assign(found: Candidates, image: int, boxes_xyxy: Tensor, class_ids: Tensor) -> Pairs:
    """The pairs of one image of the batch, for its objects (G, 4) and (G,)."""
    near, inside = _where(found, boxes_xyxy)
    chosen = near.any(0).nonzero().squeeze(1)
    overlaps = iou(boxes_xyxy[:, None], found.boxes_xyxy[image, chosen][None])
    scores = found.logits[image, chosen].sigmoid()
    said = (scores[:, :1] * scores[:, 1:]).sqrt().nan_to_num(0.0)  # the loss itself will tell of what is no number
    # The binary cross-entropy over all classes, of which but one is wanted to be 0.
    absent, present = (-share.log().clamp(min=-100.0) for share in (1 - said, said))
    cost = absent.sum(1) + (present - absent)[:, class_ids].T
    cost = cost - IOU_COST * (overlaps + 1e-8).log() + OUTSIDE_COST * ~(near & inside)[:, chosen]
    # Not among an object's own candidates at all: never taken, however large the other costs are.
    taken = _take(cost.masked_fill(~near[:, chosen], torch.inf), overlaps.masked_fill(~near[:, chosen], 0))
    objects, columns = taken.nonzero(as_tuple=True)
    return Pairs(chosen[columns], objects, overlaps[objects, columns])


def _where(found: Candidates, boxes_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    """(G, A): whether a cell's centre is near the object's, and whether it is inside its box."""
    middle = (boxes_xyxy[:, None, :2] + boxes_xyxy[:, None, 2:]) / 2
    near = ((found.centers_xy - middle).abs() < CENTER_STRIDES * found.strides).all(-1)
    above, below = found.centers_xy > boxes_xyxy[:, None, :2], found.centers_xy < boxes_xyxy[:, None, 2:]
    return near, (above & below).all(-1)


def _take(cost: Tensor, overlaps: Tensor) -> Tensor:
    """(G, K') whether an object takes a candidate: its dynamic k cheapest; of two takers the cheaper."""
    count = overlaps.topk(min(TOP, overlaps.shape[1]), dim=1).values.sum(1).int().clamp(min=1)
    rank = cost.argsort(dim=1, stable=True).argsort(1)
    taken = (rank < count[:, None]) & cost.isfinite()
    cheapest = one_hot(cost.masked_fill(~taken, torch.inf).argmin(0), len(cost)).T.bool()
    return taken & cheapest


def loss(found: Candidates, boxes_xyxy: Sequence[Tensor], class_ids: Sequence[Tensor]) -> dict[str, Tensor]:
    """The parts of the loss of a batch, `box`, `objectness` and `class`; their sum is to be made small.

    Each is a sum over candidates, divided by the number of pairs in the batch. The class that a candidate is to say is
    weighted with its IoU, so that its score tells how well its box fits.
    """
    none = torch.zeros(0, dtype=torch.long, device=found.strides.device)
    pairs = [
        assign(found, image, boxes, ids) if len(boxes) else Pairs(none, none, none.float())
        for image, (boxes, ids) in enumerate(zip(boxes_xyxy, class_ids, strict=True))
    ]
    rows = torch.cat([torch.full_like(pair.candidates, image) for image, pair in enumerate(pairs)])
    columns = torch.cat([pair.candidates for pair in pairs])
    count = max(1, len(rows))
    wanted_boxes = torch.cat([boxes[pair.objects] for boxes, pair in zip(boxes_xyxy, pairs, strict=True)])
    wanted_ids = torch.cat([ids[pair.objects] for ids, pair in zip(class_ids, pairs, strict=True)])

    logits = found.logits
    there = torch.zeros_like(logits[..., 0])
    there[rows, columns] = 1
    wanted = one_hot(wanted_ids, logits.shape[2] - 1) * torch.cat([pair.overlaps for pair in pairs])[:, None]
    fit = iou(found.boxes_xyxy[rows, columns], wanted_boxes)
    return {
        "box": BOX_WEIGHT * (1 - fit**2).sum() / count,
        "objectness": binary_cross_entropy_with_logits(logits[..., 0], there, reduction="sum") / count,
        "class": binary_cross_entropy_with_logits(logits[rows, columns, 1:], wanted, reduction="sum") / count,
    }


def iou(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """Intersection over union of boxes that broadcast against each other, with gradients."""
    sides = torch.minimum(a_xyxy[..., 2:], b_xyxy[..., 2:]) - torch.maximum(a_xyxy[..., :2], b_xyxy[..., :2])
    shared = sides.clamp(min=0).prod(-1)
    area_a, area_b = ((box[..., 2:] - box[..., :2]).clamp(min=0).prod(-1) for box in (a_xyxy, b_xyxy))
    return shared / (area_a + area_b - shared).clamp(min=1e-9)
