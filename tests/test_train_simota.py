"""SimOTA and the loss, against cases small enough to work by hand: one level of 4x4 cells of 8 px, 32x32 px in all."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training is written in torch")

from edgezoo.cards import Decoder  # noqa: E402
from edgezoo.convert.decoders import exit_of  # noqa: E402
from edgezoo.nets import yolox  # noqa: E402
from edgezoo.train import simota  # noqa: E402

CLASSES = 2
# Around (16, 16) lie the centres 12 and 20 of columns and rows 1 and 2; 4 and 28 are 12 px away, which is not nearer
# than 1.5 strides.
MIDDLE = [5, 6, 9, 10]


def found(boxes: dict[int, list[float]], *, logit: float = 0.0) -> simota.Candidates:
    """Candidates that say nothing but what `boxes` says, by cell; the others' boxes lie far outside."""
    raw = torch.full((1, 16, 4), -100.0)
    for cell, box in boxes.items():
        raw[0, cell] = torch.tensor(box)
    centers = torch.tensor([[column * 8 + 4.0, row * 8 + 4.0] for row in range(4) for column in range(4)])
    return simota.Candidates(raw, torch.full((1, 16, 1 + CLASSES), logit), centers, torch.full((16, 1), 8.0))


def assigned(candidates: simota.Candidates, boxes: list[list[float]], ids: list[int]) -> dict[int, int]:
    pairs = simota.assign(candidates, 0, torch.tensor(boxes), torch.tensor(ids))
    assert len(set(pairs.candidates.tolist())) == len(pairs.candidates)
    return dict(zip(pairs.candidates.tolist(), pairs.objects.tolist()))


def test_an_object_takes_as_many_as_their_overlaps_add_up_to() -> None:
    box = [8.0, 8.0, 24.0, 24.0]
    all_right = found(dict.fromkeys(MIDDLE, box))  # four overlaps of 1
    assert assigned(all_right, [box], [0]) == dict.fromkeys(MIDDLE, 0)
    half = [8.0, 8.0, 24.0, 16.0]  # overlaps 1 + 0.5 + 0.5 + 0 = 2
    two = found({5: half, 6: box, 9: half})
    assert set(assigned(two, [box], [0])) in ({6, 5}, {6, 9})
    one = found({5: half, 6: [8.0, 8.0, 24.0, 17.0]})  # 0.5 + 0.5625: k = 1, the better
    assert assigned(one, [box], [0]) == {6: 0}


def test_no_overlap_at_all_still_takes_one() -> None:
    assert len(assigned(found({}), [[8.0, 8.0, 24.0, 24.0]], [0])) == 1


def test_the_class_counts_too() -> None:
    box = [8.0, 8.0, 24.0, 24.0]
    candidates = found({5: [8.0, 8.0, 24.0, 17.0], 6: [8.0, 8.0, 24.0, 16.5]})  # overlaps 0.5625, 0.53: k = 1
    assert assigned(candidates, [box], [1]) == {5: 0}
    candidates.logits[0, 6] = torch.tensor([3.0, -3.0, 3.0])  # sure of class 1
    assert assigned(candidates, [box], [1]) == {6: 0}
    assert assigned(candidates, [box], [0]) == {5: 0}


def test_of_two_that_want_one_candidate_it_goes_to_the_cheaper() -> None:
    left, right = [8.0, 8.0, 20.0, 24.0], [12.0, 8.0, 24.0, 24.0]
    candidates = found({5: [8.0, 8.0, 21.0, 24.0]})  # IoU 12/13 with the left one, 9/16 with the right one
    got = assigned(candidates, [left, right], [0, 0])
    assert got[5] == 0


def test_who_does_not_take_a_candidate_does_not_keep_it_from_others() -> None:
    """Object 0 finds candidate 0 cheaper than the others do, but takes candidate 1."""
    cost = torch.tensor([[1.0, 0.5, 9.0, 9.0], [2.0, 9.0, 5.0, 9.0], [3.0, 9.0, 9.0, 5.0]])
    taken = simota._take(cost, torch.zeros(3, 4))
    assert taken.nonzero().tolist() == [[0, 1], [1, 0]]


def test_the_class_cost_is_the_binary_cross_entropy_over_all_classes() -> None:
    box = [8.0, 8.0, 24.0, 24.0]
    candidates = found(dict.fromkeys(MIDDLE, box))
    candidates.logits[0, MIDDLE] = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    scores = candidates.logits[0, MIDDLE].sigmoid()
    wanted = torch.tensor([0.0, 1.0]).expand(4, 2)
    cost = torch.nn.functional.binary_cross_entropy((scores[:, :1] * scores[:, 1:]).sqrt(), wanted, reduction="none")
    order = [MIDDLE[k] for k in cost.sum(1).argsort().tolist()]
    smaller = [8.0, 8.0, 24.0, 8.0 + 16 * 0.3]  # four overlaps of 0.3: k = 1
    for cell in MIDDLE:
        candidates.boxes_xyxy[0, cell] = torch.tensor(smaller)
    assert list(assigned(candidates, [box], [1])) == order[:1]


def test_what_lies_in_the_box_goes_before_what_is_only_near() -> None:
    low = [9.0, 9.0, 15.0, 15.0]  # one centre inside: 12, 12
    candidates = found({6: low, 9: low})  # the neighbours fit perfectly, 5 says nothing
    taken = assigned(candidates, [low], [0])
    assert 5 in taken  # k = 2: one perfect neighbour, and the one inside before it
    assert len(taken) == 2


def test_an_object_that_holds_no_centre_gets_its_nearest() -> None:
    small = [14.0, 14.0, 18.0, 18.0]
    assert set(assigned(found({6: small}), [small], [0])) == {6}


def test_objects_far_from_every_cell_take_nothing_that_is_not_near() -> None:
    got = assigned(found({cell: [0.0, 0.0, 8.0, 8.0] for cell in range(16)}), [[0.0, 0.0, 8.0, 8.0]], [0])
    assert set(got) <= {0, 1, 4, 5}


def test_the_parts_of_the_loss() -> None:
    box = [8.0, 8.0, 24.0, 24.0]
    candidates = found({6: [8.0, 8.0, 24.0, 16.0]})  # IoU 1/2: one pair
    parts = simota.loss(candidates, [torch.tensor([box])], [torch.tensor([1])])
    assert parts["box"].item() == pytest.approx(5 * (1 - 0.25))
    assert parts["objectness"].item() == pytest.approx(16 * math.log(2))  # sixteen candidates that say 1/2
    assert parts["class"].item() == pytest.approx(2 * math.log(2))  # both classes say 1/2; wanted 0 and 1/2


def test_an_empty_picture_teaches_that_nothing_is_there() -> None:
    parts = simota.loss(found({}, logit=-2.0), [torch.zeros(0, 4)], [torch.zeros(0, dtype=torch.long)])
    assert parts["box"].item() == parts["class"].item() == 0
    assert parts["objectness"].item() == pytest.approx(16 * math.log1p(math.exp(-2)), rel=1e-5)


def test_parts_are_per_pair_over_the_whole_batch() -> None:
    box = [8.0, 8.0, 24.0, 24.0]
    one = found({6: [8.0, 8.0, 24.0, 16.0]})
    two = simota.Candidates(one.boxes_xyxy.repeat(2, 1, 1), one.logits.repeat(2, 1, 1), one.centers_xy, one.strides)
    alone = simota.loss(one, [torch.tensor([box])], [torch.tensor([1])])
    both = simota.loss(two, [torch.tensor([box])] * 2, [torch.tensor([1])] * 2)
    assert {name: part.item() for name, part in both.items()} == pytest.approx(
        {name: part.item() for name, part in alone.items()}
    )


def test_candidates_are_decoded_as_the_artifact_decodes_them() -> None:
    torch.manual_seed(0)
    network = yolox.build(classes=3, depth=0.33, width=0.125).eval()
    images = torch.rand(2, 3, 96, 64) * 255
    with torch.no_grad():
        levels, raw = network.levels(images), network(images).numpy()
    candidates = simota.candidates(levels, yolox.STRIDES)
    oracle: Any = exit_of(Decoder(name="yolox-raw")).oracle([raw], Decoder(name="yolox-raw"), (64, 96))
    np.testing.assert_allclose(candidates.boxes_xyxy.numpy(), oracle["boxes"], atol=1e-3)
    scores = candidates.logits.sigmoid()
    np.testing.assert_allclose((scores[..., :1] * scores[..., 1:]).numpy(), oracle["scores"], atol=1e-5)
    assert candidates.centers_xy[:3].tolist() == [[4, 4], [12, 4], [20, 4]]


def test_iou_broadcasts_and_has_gradients() -> None:
    a = torch.tensor([[[0.0, 0.0, 2.0, 2.0]], [[5.0, 5.0, 5.0, 5.0]]], requires_grad=True)
    b = torch.tensor([[[0.0, 0.0, 1.0, 2.0], [1.0, 1.0, 3.0, 3.0]]])
    overlaps = simota.iou(a, b)
    assert overlaps.tolist() == [[0.5, pytest.approx(1 / 7)], [0.0, 0.0]]
    overlaps.sum().backward()
    assert a.grad is not None
    assert a.grad.isfinite().all()
