"""Batches for training: made ahead by threads, the same ones whatever their number."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgezoo.preprocess import Preprocess
from edgezoo.train.augment import Augmenter, Shown
from edgezoo.train.plan import Plan

AHEAD = 2  # batches


@dataclass(frozen=True, eq=False)
class Batch:
    images: Tensor
    """uint8 (N, H, W, 3) BGR."""
    shown: tuple[Shown, ...]

    def boxes(self, device: torch.device) -> list[Tensor]:
        """Per image (G, 4), network pixels."""
        return [torch.from_numpy(each.boxes_xyxy).to(device) for each in self.shown]

    def ids(self, device: torch.device) -> list[Tensor]:
        """Per image (G,)."""
        return [torch.from_numpy(each.class_ids).to(device) for each in self.shown]


def door(images: Tensor, recipe: Preprocess) -> Tensor:
    """What the network sees of uint8 (N, H, W, 3) BGR, float32 (N, 3, H, W): `Preprocess.tensor`, bit for bit."""
    pixels = images.permute(0, 3, 1, 2).float()
    if recipe.color == "RGB":
        pixels = pixels.flip(1)
    mean = torch.tensor(recipe.mean, device=images.device).view(1, 3, 1, 1)
    factor = torch.from_numpy(recipe.inverse_std).to(images.device).view(1, 3, 1, 1)
    return ((pixels - mean) * factor).contiguous(memory_format=torch.channels_last)


def order(count: int, plan: Plan, epoch: int) -> list[npt.NDArray[np.int64]]:
    """The indices of every batch of an epoch: each image once, in batches of nearly one size."""
    shuffled = np.random.default_rng((plan.seed, epoch)).permutation(count)
    return np.array_split(shuffled, -(-count // plan.batch))


def batches(augmenter: Augmenter, plan: Plan, epoch: int, *, threads: int) -> Iterator[Batch]:
    """An epoch. Every image has a random state of its own, out of seed, epoch and index: threads change nothing.

    Raises SourceError.
    """
    plain = epoch >= plan.epochs - plan.plain_epochs

    def make(index: int) -> Shown:
        return augmenter(index, np.random.default_rng((plan.seed, epoch, index)), plain=plain)

    with ThreadPoolExecutor(threads, thread_name_prefix="augment") as pool:
        pending: deque[list[Future[Shown]]] = deque()
        try:
            for indices in order(len(augmenter.examples), plan, epoch):
                pending.append([pool.submit(make, int(index)) for index in indices])
                if len(pending) > AHEAD:
                    yield _collect(pending.popleft())
            while pending:
                yield _collect(pending.popleft())
        finally:
            for futures in pending:
                for future in futures:
                    future.cancel()


def _collect(futures: list[Future[Shown]]) -> Batch:
    shown = tuple(future.result() for future in futures)
    return Batch(torch.from_numpy(np.stack([each.pixels for each in shown])), shown)
