"""A first card for a stranger's graph: what can be read off it, and what is left for a person to say."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgezoo import graphs
from edgezoo.backends import Arrays, open_backend
from edgezoo.convert.decoders import EXITS, yolox_cells
from edgezoo.convert.graph import check_raw
from edgezoo.errors import ConvertError

Shapes = Sequence[tuple[str, tuple[int, ...]]]


def draft_card(path: Path, *, size_wh: tuple[int, int] | None = None) -> str:
    """TOML text. The graph is run once, on noise, to see what it answers. Raises ConvertError, BackendError."""
    try:
        model = graphs.load(path)
    except OSError as error:
        raise ConvertError(f"{path}: expected an .onnx file: {error.strerror}") from None
    except ValueError as error:
        raise ConvertError(f"{path}: {error}") from None
    try:
        (width, height), batch = check_raw(model, size_wh)
    except ConvertError as error:
        raise ConvertError(f"{path}: {error}") from None
    answers = _answers(model.SerializeToString(), (width, height), batch or 1)
    shapes = [(name, value.shape) for name, value in answers.items()]
    decoder, outputs, why = candidate(answers, (width, height))
    task = EXITS[decoder].task if decoder else "detect"
    known = "; ".join(f"{name}: {entry.about}" for name, entry in EXITS.items())
    listed = "\n".join(f"#   {name} {shape}" for name, shape in shapes)
    fit = (
        'fit = "crop"                   # the centre of the image\ncrop = 0.875'
        if task == "classify"
        else ('fit = "letterbox"              # or "stretch"\nalign = "top-left"             # or "center"\npad = 114')
    )
    return f"""# A draft, read off {path.name}. Lines with SAY are for you: nothing in the graph tells them.
# It answers:
{listed}
name = "{card_name(path.stem)}"
task = "{task}"
file = "{path.name}"
labels = "labels.txt"          # SAY: a text file beside this one, one class name a line

[licence]
code = "unknown"               # SAY: SPDX names, such as Apache-2.0
weights = "unknown"
data = "unknown"

[input]
size_wh = [{width}, {height}]
{fit}
color = "RGB"                  # SAY: the order the network was trained with
mean = [0.0, 0.0, 0.0]         # SAY: in 0..255 units
std = [255.0, 255.0, 255.0]    # SAY: 255 means "scaled to 0..1"

[decoder]
# {known}
name = "{decoder or "SAY"}"{" " * 10}# {why}
outputs = [{", ".join(f'"{name}"' for name in outputs)}]
"""


def candidate(answers: Arrays, size_wh: tuple[int, int]) -> tuple[str | None, list[str], str]:
    """The decoder that the answers' shapes allow, the outputs it takes, and why; N = 1."""
    for name, value in answers.items():
        if value.ndim == 2 and value.shape[1] > 1:
            sums_to_one = bool((value >= 0).all()) and abs(float(value.sum(axis=1)[0]) - 1) < 1e-3
            return ("probabilities" if sums_to_one else "logits"), [name], f"{value.shape[1]} classes"
    boxes = [name for name, value in answers.items() if value.ndim == 3 and value.shape[2] == 4]
    scores = [name for name, value in answers.items() if value.ndim == 3 and name not in boxes]
    for box in boxes if len(boxes) == 1 else []:  # a pair for each level is no decoder's
        for score in scores:
            if answers[box].shape[1] == answers[score].shape[1]:
                return "boxes-scores", [box, score], 'SAY: boxes = "cxcywh" if they are centre and size; network pixels'
    for name, value in answers.items():
        if value.ndim != 3:
            continue
        if value.shape[2] > 5 and value.shape[1] == len(yolox_cells((8, 16, 32), size_wh)[0]):
            return "yolox-raw", [name], f"{value.shape[2] - 5} classes; SAY: true only if cells are not decoded yet"
        if 4 < value.shape[1] < value.shape[2]:
            return "yolov8-raw", [name], f"{value.shape[1] - 4} classes"
    return None, list(answers), "SAY: no decoder fits these shapes; see the list above"


def _answers(graph: bytes, size_wh: tuple[int, int], batch: int) -> Arrays:
    backend = open_backend("onnxruntime", graph)
    noise = np.random.default_rng(0).uniform(0, 255, (batch, 3, size_wh[1], size_wh[0])).astype(np.float32)
    try:
        return {name: value[:1] for name, value in backend.run({backend.inputs[0].name: noise}).items()}
    finally:
        backend.close()


def card_name(stem: str) -> str:
    """A file's or a folder's name as a card may be called."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._") or "model"
