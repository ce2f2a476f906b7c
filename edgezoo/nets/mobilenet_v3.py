"""MobileNetV3: V2's inverted residuals with hard-swish, and a gate on the channels of some.

paper       Howard et al., Searching for MobileNetV3, https://arxiv.org/abs/1905.02244
original    https://github.com/pytorch/vision (torchvision.models.mobilenet_v3_*), whose keys these are
weights     BSD-3-Clause as the repository, with no licence of their own; trained on ImageNet-1k
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from torch import Tensor, nn

SIZE_MULTIPLE = 1

Variant = Literal["small", "large"]
Row: TypeAlias = tuple[int, int, int, bool, type[nn.Module], int]

RE, HS = nn.ReLU, nn.Hardswish

ROWS: dict[Variant, tuple[Row, ...]] = {  # tables 2 and 1 of the paper: kernel, wide, out, gate, activation, stride
    "small": (
        (3, 16, 16, True, RE, 2),
        (3, 72, 24, False, RE, 2),
        (3, 88, 24, False, RE, 1),
        (5, 96, 40, True, HS, 2),
        (5, 240, 40, True, HS, 1),
        (5, 240, 40, True, HS, 1),
        (5, 120, 48, True, HS, 1),
        (5, 144, 48, True, HS, 1),
        (5, 288, 96, True, HS, 2),
        (5, 576, 96, True, HS, 1),
        (5, 576, 96, True, HS, 1),
    ),
    "large": (
        (3, 16, 16, False, RE, 1),
        (3, 64, 24, False, RE, 2),
        (3, 72, 24, False, RE, 1),
        (5, 72, 40, True, RE, 2),
        (5, 120, 40, True, RE, 1),
        (5, 120, 40, True, RE, 1),
        (3, 240, 80, False, HS, 2),
        (3, 200, 80, False, HS, 1),
        (3, 184, 80, False, HS, 1),
        (3, 184, 80, False, HS, 1),
        (3, 480, 112, True, HS, 1),
        (3, 672, 112, True, HS, 1),
        (5, 672, 160, True, HS, 2),
        (5, 960, 160, True, HS, 1),
        (5, 960, 160, True, HS, 1),
    ),
}
HIDDEN: dict[Variant, int] = {"small": 1024, "large": 1280}


def build(*, classes: int, variant: Variant) -> nn.Module:
    return MobileNetV3(ROWS[variant], hidden=HIDDEN[variant], classes=classes)


def classes_of(state_dict: Mapping[str, Tensor]) -> int:
    return state_dict["classifier.3.weight"].shape[0]


class MobileNetV3(nn.Module):
    def __init__(self, rows: tuple[Row, ...], *, hidden: int, classes: int) -> None:
        super().__init__()
        channels = 16
        features: list[nn.Module] = [conv(3, channels, 3, stride=2, activation=HS)]
        for kernel, wide, outputs, gate, activation, stride in rows:
            features.append(
                InvertedResidual(
                    channels, outputs, wide=wide, kernel=kernel, stride=stride, gate=gate, activation=activation
                )
            )
            channels = outputs
        features.append(conv(channels, channels * 6, 1, activation=HS))
        self.features = nn.Sequential(*features)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(channels * 6, hidden), nn.Hardswish(inplace=True), nn.Dropout(0.2), nn.Linear(hidden, classes)
        )

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) normalised RGB -> logits (N, C)."""
        x: Tensor = self.pool(self.features(images))
        x = self.classifier(x.flatten(1))
        return x


class InvertedResidual(nn.Module):
    """Widen, filter each channel, weigh the channels, narrow; the last step is linear."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        wide: int,
        kernel: int,
        stride: int,
        gate: bool,
        activation: type[nn.Module],
    ) -> None:
        super().__init__()
        widen = [conv(inputs, wide, 1, activation=activation)] if wide != inputs else []
        weigh = [SqueezeExcitation(wide)] if gate else []
        self.block = nn.Sequential(
            *widen,
            conv(wide, wide, kernel, stride=stride, groups=wide, activation=activation),
            *weigh,
            conv(wide, outputs, 1),
        )
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return x + y if self.shortcut else y


class SqueezeExcitation(nn.Module):
    """Scales each channel by a gate that has seen the mean of all (https://arxiv.org/abs/1709.01507)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = by_eight(channels // 4)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.gate = nn.Hardsigmoid(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.gate(self.fc2(self.relu(self.fc1(self.pool(x)))))
        return x * gate


def conv(
    inputs: int,
    outputs: int,
    size: int,
    *,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.Module] | None = None,
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01),
        *([activation(inplace=True)] if activation else []),
    )


def by_eight(channels: int) -> int:
    """The nearest multiple of 8 that is not more than a tenth below."""
    near = max(8, (channels + 4) // 8 * 8)
    return near if near >= 0.9 * channels else near + 8
