"""How a training goes, as data: every number that decides its result. It is kept beside the weights it made."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from edgezoo import records
from edgezoo.errors import RequestError


@dataclass(frozen=True, kw_only=True, slots=True)
class Augment:
    """What is varied in an image before it is shown; each a chance (0..1), a range, or a width around "as it is"."""

    flip: float = 0.5
    """Chance of a mirror image. 0 for letters and digits, which mean something else then."""
    scale: tuple[float, float] = (0.5, 1.5)
    """detect: enlarged by a factor of this range, and shifted. classify: the part of the area that a crop keeps."""
    degrees: float = 0.0
    """Turned by up to so much either way."""
    shear: float = 0.0
    """Slanted by up to so many degrees, likewise."""
    hue: float = 0.015
    """Of the colour circle."""
    saturation: float = 0.5
    brightness: float = 0.4
    contrast: float = 0.0
    mosaic: float = 0.0
    """detect: chance of four images in one, so that objects are seen smaller and in strange company."""
    mixup: float = 0.0
    """Chance of another image shining through. Helps large networks; small ones it harms, as the YOLOX paper found."""

    def __post_init__(self) -> None:
        for name in ("flip", "mosaic", "mixup", "hue", "saturation", "brightness", "contrast"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"expected augment.{name} within 0..1, got {getattr(self, name)}")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"expected augment.scale as a range above 0, got {list(self.scale)}")
        for name in ("degrees", "shear"):
            if not 0 <= getattr(self, name) <= 45:
                raise ValueError(f"expected augment.{name} within 0..45, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A training."""

    epochs: int = 10
    batch: int = 16
    lr: float = 1e-3
    """The largest learning rate, of AdamW, for the head."""
    body: float = 0.1
    """The body's learning rate, as a part of the head's."""
    frozen_epochs: int = 1
    """At first only the head learns: what a new head asks for would spoil the body."""
    warmup_epochs: float = 0.5
    """The learning rate rises over so long, then falls along a cosine to a hundredth."""
    weight_decay: float = 0.02
    """Of weights alone: norms and biases have none."""
    batchnorm: bool = False
    """Whether batch norms count anew. Pretrained ones should not: a batch of a few images tells them less."""
    ema: float = 0.998
    """What is judged and kept is a moving average of the weights, with this much of the past at every step."""
    label_smoothing: float = 0.1
    """classify: how much of the right answer is shared out among all classes."""
    plain_epochs: int = 0
    """In the last epochs images are shown as the device will see them, or mirrored: nothing else is varied."""
    patience: int = 0
    """Stop after so many epochs without a better metric; 0: never."""
    seed: int = 0
    augment: Augment = field(default_factory=Augment)

    def __post_init__(self) -> None:
        for name, low in (
            ("epochs", 1),
            ("batch", 1),
            ("frozen_epochs", 0),
            ("plain_epochs", 0),
            ("patience", 0),
            ("seed", 0),
        ):
            if getattr(self, name) < low:
                raise ValueError(f"expected {name} of {low} or more, got {getattr(self, name)}")
        for name, high in (("lr", 1.0), ("body", 1.0), ("weight_decay", 1.0), ("ema", 0.99999), ("warmup_epochs", 1e3)):
            if not 0 <= getattr(self, name) <= high:
                raise ValueError(f"expected {name} within 0..{high:g}, got {getattr(self, name)}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"expected label_smoothing of 0 and below 1, got {self.label_smoothing}")


_CLASSIFY = Plan(
    patience=5, augment=Augment(scale=(0.35, 1.0), saturation=0.3, brightness=0.3, contrast=0.2, degrees=10)
)
_DETECT = Plan(
    epochs=50,
    batch=8,
    body=0.3,
    warmup_epochs=1,
    plain_epochs=5,
    patience=15,
    augment=Augment(mosaic=0.5, scale=(0.6, 1.4)),
)


def default_plan(task: str, *, pretrained: bool) -> Plan:
    """A plan that serves: for a few hundred images on top of pretrained weights, or from nothing."""
    plan = {"classify": _CLASSIFY, "detect": _DETECT}[task]
    return plan if pretrained else dataclasses.replace(plan, lr=2e-3, body=1.0, frozen_epochs=0, batchnorm=True)


def read_plan(path: Path) -> Plan:
    """A plan from TOML. Raises RequestError."""
    try:
        return records.read(Plan, records.parse_toml(path.read_text("utf-8")))
    except OSError as error:
        raise RequestError(f"{path}: expected a plan: {error.strerror}") from None
    except ValueError as error:
        raise RequestError(f"{path}: expected a plan in TOML: {' '.join(str(error).split())}") from None


def to_toml(plan: Plan) -> str:
    """The plan as `read_plan` takes it; equal plans are equal texts."""
    exact = records.read(Plan, dataclasses.asdict(plan))  # 1 becomes 1.0 where a fraction may stand
    return records.to_toml(dataclasses.asdict(exact))
