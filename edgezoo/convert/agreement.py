"""Does the artifact still answer like the original? Measured image by image, at every batch size it claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgezoo.backends import Arrays, Backend
from edgezoo.cards import Decoder
from edgezoo.convert.decoders import exit_of
from edgezoo.convert.export import Original
from edgezoo.engine import DOOR
from edgezoo.errors import AgreementError, ConvertError
from edgezoo.frame import Image
from edgezoo.preprocess import Preprocess
from edgezoo.tasks import Outputs, Task

BATCHES = (1, 2, 8)


def answer(original: Original, image: Image, recipe: Preprocess, decoder: Decoder) -> Arrays:
    """What the original says of one image: the recipe's oracle in, the decoder's oracle out; N = 1.

    Raises ConvertError where the decoder is not for such outputs.
    """
    raw = original(recipe.tensor(image)[None])
    chosen = exit_of(decoder)
    misfit = ConvertError(
        f"{decoder.name}: expected {chosen.about}, got {', '.join(str(part.shape) for part in raw)}; "
        "check the decoder in the card"
    )
    if len(raw) < chosen.outputs:
        raise misfit
    try:
        found = chosen.oracle(raw[: chosen.outputs], decoder, recipe.size_wh)
    except ConvertError:
        raise
    except (ValueError, IndexError):
        raise misfit from None
    if not _fit_the_task(found, chosen.task):
        raise misfit
    return found


def _fit_the_task(found: Arrays, task: str) -> bool:
    scores = found["scores"]
    if task == "classify":
        return scores.ndim == 2 and scores.size > 0
    boxes = found["boxes"]
    return boxes.ndim == scores.ndim == 3 and boxes.shape == (*scores.shape[:2], 4) and scores.size > 0


def infer_one(backend: Backend, image: Image, recipe: Preprocess) -> Arrays:
    """What the artifact says of one image; N = 1 also where its batch size is fixed."""
    return run_one(backend, recipe.place(image)[0])


def run_one(backend: Backend, placed: Image) -> Arrays:
    """The same of an image that is placed already, uint8 (H, W, 3)."""
    fixed = backend.inputs[0].shape[0] or 1
    outputs = backend.run({DOOR: np.repeat(placed[None], fixed, axis=0)})
    return {name: value[:1] for name, value in outputs.items()}


def measure(task: Task, references: Sequence[Outputs], answers: Sequence[Outputs]) -> dict[str, float]:
    """The largest differences over all images. Raises AgreementError past the task's tolerance."""
    worst: dict[str, float] = {}
    for reference, found in zip(references, answers, strict=True):
        for name in task.OUTPUTS:
            if reference[name].shape != found[name].shape:
                raise AgreementError(
                    f"{name}: expected shape {reference[name].shape}, the artifact answers {found[name].shape}"
                )
            if not np.isfinite(found[name]).all():
                raise AgreementError(f"{name}: the artifact answers numbers that are not finite")
        for name, value in task.difference(reference, found).items():
            worst[name] = max(worst.get(name, 0.0), value)
    check(worst, task.TOLERANCE)
    return {name: float(f"{value:.3g}") for name, value in worst.items()}


def check(worst: Mapping[str, float], tolerance: Mapping[str, float]) -> None:
    """Raises AgreementError where a difference passes what is tolerated."""
    for name, value in worst.items():
        if not value <= tolerance[name]:
            raise AgreementError(
                f"the artifact does not answer like the original: {name} differ by {value:.3g}, "
                f"expected at most {tolerance[name]:.3g}; check the card's input recipe and decoder"
            )


def prove_batches(task: Task, backend: Backend, images: Sequence[Image], recipe: Preprocess) -> list[int]:
    """Batch sizes at which every image gets the answer that it gets alone. Raises BackendError, AgreementError."""
    alone = [infer_one(backend, image, recipe) for image in images]
    for size in BATCHES:
        chosen = [k % len(images) for k in range(size)]
        together = backend.run({DOOR: np.stack([recipe.place(images[k])[0] for k in chosen])})
        rows: list[dict[str, Any]] = [
            {name: value[row : row + 1] for name, value in together.items()} for row in range(size)
        ]
        measure(task, [alone[k] for k in chosen], rows)
    return list(BATCHES)
