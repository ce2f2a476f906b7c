"""MobileNetV2: residuals between narrow layers, depthwise convolutions in the wide ones between.

paper       Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks,
            https://arxiv.org/abs/1801.04381
original    https://github.com/pytorch/vision (torchvision.models.mobilenet_v2), whose keys these are
weights     BSD-3-Clause as the repository, with no licence of their own; trained on ImageNet-1k
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

SIZE_MULTIPLE = 1

STAGES = (  # table 2 of the paper: expansion, channels, repeats, stride of the first
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def build(*, classes: int) -> nn.Module:
    return MobileNetV2(classes=classes)


def classes_of(state_dict: Mapping[str, Tensor]) -> int:
    return state_dict["classifier.1.weight"].shape[0]


class MobileNetV2(nn.Module):
    def __init__(self, *, classes: int) -> None:
        super().__init__()
        channels = 32
        features: list[nn.Module] = [conv(3, channels, 3, stride=2)]
        for expansion, outputs, repeats, first_stride in STAGES:
            for stride in (first_stride, *[1] * (repeats - 1)):
                features.append(InvertedResidual(channels, outputs, expansion=expansion, stride=stride))
                channels = outputs
        features.append(conv(channels, 1280, 1))
        self.features = nn.Sequential(*features)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) normalised RGB -> logits (N, C)."""
        x: Tensor = self.pool(self.features(images))
        x = self.classifier(x.flatten(1))
        return x


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow; the last step is linear."""

    def __init__(self, inputs: int, outputs: int, *, expansion: int, stride: int) -> None:
        super().__init__()
        wide = inputs * expansion
        widen = [conv(inputs, wide, 1)] if expansion > 1 else []
        self.conv = nn.Sequential(
            *widen,
            conv(wide, wide, 3, stride=stride, groups=wide),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.shortcut else y


def conv(inputs: int, outputs: int, size: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )
