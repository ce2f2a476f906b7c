"""What a network in training answers, by the path of the device: `Preprocess.place`, the decoder, the task's `read`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import nn

from edgezoo.cards import Decoder
from edgezoo.convert.decoders import exit_of
from edgezoo.preprocess import Preprocess
from edgezoo.results import Result
from edgezoo.sources.images import read_image
from edgezoo.tasks import Ask, task
from edgezoo.train.batches import door
from edgezoo.train.data import Example

BATCH = 16


def answers(
    network: nn.Module,
    examples: Sequence[Example],
    recipe: Preprocess,
    decoder: Decoder,
    names: tuple[str, ...],
    ask: Ask,
    *,
    device: torch.device,
    progress: Callable[[int, int], None],
) -> Iterator[Result]:
    """One result per example, in source pixels. `network` is in eval mode."""
    chosen, meaning = exit_of(decoder), task(exit_of(decoder).task)
    for start in range(0, len(examples), BATCH):
        placed, placements = zip(
            *(recipe.place(read_image(example.path)) for example in examples[start : start + BATCH])
        )
        with torch.inference_mode():
            raw = network(door(torch.from_numpy(np.stack(placed)).to(device), recipe)).float().cpu().numpy()
        yield from meaning.read(chosen.oracle([raw], decoder, recipe.size_wh), placements, names, ask)
        progress(min(start + BATCH, len(examples)), len(examples))
